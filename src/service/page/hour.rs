//! The last hour as a picture, and as a table for those who do not see it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::ops::timestamp;
use crate::relay::calls::Kept;
use crate::relay::calls::hour::{MINUTES, Minute};

use super::html::{Page, cell};
use super::words::latency;

/// Height of the pictures in their own units; a minute is ten wide.
const HEIGHT: u64 = 100;

/// Writes the section.
pub(super) fn show(page: &mut Page, kept: &Kept) {
    page.section("hour");
    let (wanted, now) = (page.view.channel.clone(), kept.minute());
    let hours = kept.hours.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted == *name));
    let mut minutes: BTreeMap<u64, Minute> = BTreeMap::new();
    for minute in hours.flat_map(|(_, hour)| hour.minutes(now)) {
        minutes.entry(minute.number).or_insert_with(|| Minute::new(minute.number)).add(minute);
    }
    if minutes.is_empty() {
        return page.nothing("hour");
    }
    let of = wanted.map(|channel| format!(" of {channel}")).unwrap_or_default();
    page.raw("<div class=pictures>\n");
    pictures(page, &of, now, &minutes);
    page.raw("</div><details><summary>The same as a table</summary>\n");
    let rows = minutes.values().rev().map(|minute| {
        let at = SystemTime::now().checked_sub(Duration::from_secs(60 * (now - minute.number)));
        let time = |percent| minute.within(percent).map_or("–".to_owned(), latency);
        let numbers = [minute.calls.to_string(), minute.failed.to_string(), time(50), time(95)];
        let at = cell(at.map(timestamp::shown).unwrap_or_default());
        [at].into_iter().chain(numbers.map(|number| cell(number).class("n"))).collect()
    });
    page.table("hour", rows);
    page.raw("</details>\n");
}

/// Both pictures: how many calls, and how long they ran.
fn pictures(page: &mut Page, of: &str, now: u64, minutes: &BTreeMap<u64, Minute>) {
    let sum = |of: fn(&Minute) -> u32| minutes.values().map(|minute| u64::from(of(minute))).sum::<u64>();
    let (calls, failed) = (sum(|minute| minute.calls), sum(|minute| minute.failed));
    let most = minutes.values().map(|minute| u64::from(minute.calls)).max().unwrap_or_default();
    let slowest = minutes.values().filter_map(|minute| minute.within(95)).max().unwrap_or_default();
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    // What there was is seen, however much there was elsewhere; bars grow from below.
    let y = |count: u64, whole: u64| HEIGHT - (count * HEIGHT / whole.max(1)).max(1);
    let bars = |bar: &dyn Fn(&Minute) -> Option<(u64, u64)>| {
        let path = |minute: &Minute| {
            let (from, to) = bar(minute)?;
            Some(format!("M{} {from}V{to}", 10 * (MINUTES - 1 - (now - minute.number)) + 5))
        };
        minutes.values().filter_map(path).collect::<String>()
    };
    let all = bars(&|minute| Some((HEIGHT, y(minute.calls.into(), most))));
    let bad = bars(&|minute| (minute.failed > 0).then(|| (HEIGHT, y(minute.failed.into(), most))));
    let ran = bars(&|minute| {
        let [p50, p95] =
            [minute.within(50)?, minute.within(95)?].map(|time| y(millis(time), millis(slowest)));
        Some((p50.max(p95 + 1), p95))
    });
    let about = format!("{calls} ended, at most {most} in a minute; {failed} did not end well.");
    let paths = format!("<path class=all d=\"{all}\"/><path class=bad d=\"{bad}\"/>");
    picture(page, "all", &format!("Calls{of}"), &about, &paths);
    let longest = latency(slowest);
    let about = format!(
        "From p50 to p95 of each minute, without waiting for a worker. The longest p95 is {longest}."
    );
    picture(
        page,
        "ran",
        &format!("Time that calls{of} ran"),
        &about,
        &format!("<path class=ran d=\"{ran}\"/>"),
    );
}

fn picture(page: &mut Page, id: &str, title: &str, about: &str, paths: &str) {
    let (width, half) = (10 * MINUTES, HEIGHT / 2);
    page.raw(&format!(
        "<figure><figcaption><strong>{title}</strong> <span>{about}</span></figcaption>\
         <svg role=img aria-labelledby=\"{id}-t {id}-d\" viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=none>\
         <title id={id}-t>{title}</title><desc id={id}-d>{about}</desc>\
         <path class=grid d=\"M0 {HEIGHT}H{width}M0 {half}H{width}M0 0H{width}\"/>{paths}</svg>\
         <p class=axis><span>60 min ago</span><span>30 min ago</span><span>now</span></p></figure>\n"
    ));
}
