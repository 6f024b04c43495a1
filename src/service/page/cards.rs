//! The first screen: the verdict, the slowest server, and a card for the control plane and each channel.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::Channel;
use crate::ops::readiness::Look;
use crate::ops::timestamp;
use crate::relay::calls::Kept;
use crate::relay::calls::hour::Minute;
use crate::relay::stop::Phase;

use super::super::tunnel::Tunnel;
use super::html::{Page, room};
use super::words::{ago, duration, latency, since};

const DAY: Duration = Duration::from_secs(86_400);

/// Names with what belongs to them.
type Facts = Vec<(&'static str, String)>;

impl Tunnel {
    /// The verdict, in colour and words, and which server is slow.
    pub(super) fn show_verdict(&self, page: &mut Page, kept: &Kept) -> &'static str {
        let Look { tone, word, why, since: begun } =
            self.readiness.seen_as_whole(self.stop.reached(Phase::Draining));
        page.raw(&format!(
            "<div id=verdict class=\"verdict {tone}\" data-state={tone}><p class=word><strong>{word}</strong> \
             <span id=since>since {}</span></p><p>{}</p></div>\n",
            moment(begun),
            page.shown(&why, 1024),
        ));
        let sums = kept.hours.iter().map(|(name, hour)| (name, hour.sum(kept.minute())));
        let slowest = sums.filter_map(|(name, sum)| Some((sum.within(95)?, name, sum)));
        let slow = slowest.max_by_key(|(p95, ..)| *p95).map(|(_, name, sum)| {
            format!("Slowest server of the last hour: {name}, {}; calls: {}.", shares(&sum), sum.calls)
        });
        let slow = slow.unwrap_or_else(|| "No call has run in the last hour.".to_owned());
        let failure = kept.failure.as_ref().map(|call| {
            let (ago, channel) = (ago(call.at), page.shown(call.channel.as_str(), 100));
            format!(" <a href=\"#last-failure\">Last failure: {ago} on {channel}</a>")
        });
        page.raw(&format!("<p id=slow>{slow}{}</p>\n", failure.unwrap_or_default()));
        word
    }

    /// A card for each part.
    pub(super) fn show_cards(&self, page: &mut Page, kept: &Kept) {
        page.section("parts");
        page.raw("<div class=cards>\n");
        card(page, "plane", "Control plane", &self.readiness.seen_plane(), &self.plane_facts());
        let served = self.relay.targets.iter().filter(|(_, target)| target.is_served());
        let mut parts: Vec<_> =
            served.map(|(channel, _)| (channel, self.readiness.seen_channel(channel))).collect();
        // What needs somebody comes first.
        parts.sort_by_key(|(channel, look)| (look.tone != "bad", channel.as_str().to_owned()));
        let write = |page: &mut Page, (channel, look): (&Channel, Look)| {
            let name = channel.as_str();
            card(page, &format!("channel-{name}"), name, &look, &self.channel_facts(channel, kept));
        };
        page.fill(room("parts"), parts, write, "</div>\n");
    }

    fn plane_facts(&self) -> Facts {
        let metrics = &self.metrics;
        let last = metrics.last_good_poll.value([]).filter(|at| *at > 0);
        let last = last.map_or("none yet".to_owned(), |at| ago(UNIX_EPOCH + Duration::from_secs(at)));
        vec![
            ("last good poll", last),
            ("commands", metrics.polled.sum(|_| true).to_string()),
            ("failed polls", metrics.poll_errors.sum(|_| true).to_string()),
            ("answers lost", metrics.answers_lost.sum(|_| true).to_string()),
            ("certificate", self.certificate_text("control-plane")),
        ]
    }

    fn channel_facts(&self, channel: &Channel, kept: &Kept) -> Facts {
        let (metrics, name) = (&self.metrics, channel.as_str());
        let hour = kept.hours.get(name).cloned().unwrap_or_default();
        let count = |of: fn(&str) -> bool| {
            let counts = |labels: &[String]| {
                labels.first().is_some_and(|label| label == name)
                    && labels.last().is_some_and(|label| of(label))
            };
            metrics.calls.sum(counts)
        };
        let (calls, failed, running) =
            (count(|_| true), count(|outcome| outcome != "ok"), metrics.calls_in_flight.value([name]));
        let server = self.servers.iter().find(|server| server.channel() == channel);
        let child = self.children.iter().find(|child| child.channel() == channel);
        let process = child.map(|child| {
            let runs =
                child.runs().map(|(pid, since)| format!("guard {pid} for {}", duration(since.elapsed())));
            let restarts = metrics.child_restarts.value([name]).unwrap_or_default();
            format!("{}, {restarts} restarts", runs.as_deref().unwrap_or("none"))
        });
        vec![
            ("server", server.map(|server| server.client().route().destination.clone()).unwrap_or_default()),
            ("process", process.unwrap_or_default()),
            ("last success", hour.last_good.map_or("none yet".to_owned(), ago)),
            ("calls", format!("{calls}, {failed} failed, {} running", running.unwrap_or_default())),
            ("last hour", shares(&hour.sum(kept.minute()))),
            ("certificate", self.certificate_text(&format!("mcp:{name}"))),
        ]
    }

    /// When the certificate of a purpose ends; nothing where none is shown.
    fn certificate_text(&self, purpose: &str) -> String {
        let ends =
            self.metrics.certificate(purpose).map(|[_, ends, _]| UNIX_EPOCH + Duration::from_secs(ends));
        ends.map(|ends| left(ends).0).unwrap_or_default()
    }
}

/// How long it is until a certificate ends, and what that means.
pub(super) fn left(ends: SystemTime) -> (String, &'static str) {
    match ends.duration_since(SystemTime::now()) {
        Err(_) => (format!("ended {}", ago(ends)), "bad"),
        Ok(left) if left < 7 * DAY => (format!("ends in {}", duration(left)), "wait"),
        Ok(left) if left > 3650 * DAY => ("ends in over 10 years".to_owned(), "ok"),
        Ok(left) => (format!("ends in {} days", left.as_secs() / DAY.as_secs()), "ok"),
    }
}

/// How fast calls ran.
fn shares(sum: &Minute) -> String {
    let shares = sum.within(50).zip(sum.within(95));
    shares
        .map_or("no call ran".to_owned(), |(p50, p95)| format!("p50 {}, p95 {}", latency(p50), latency(p95)))
}

/// `2026-11-30 14:05:38Z (3 min)`.
fn moment(time: SystemTime) -> String {
    format!("{} ({})", timestamp::shown(time), duration(since(time)))
}

fn card(page: &mut Page, id: &str, name: &str, look: &Look, facts: &Facts) {
    let Look { tone, word, why, since } = look;
    let why = page.shown(why, 300);
    page.raw(&format!(
        "<article class=card id=\"{id}\" data-state={tone} aria-labelledby=\"{id}-h\"><h3 id=\"{id}-h\">{name}</h3>\
         <p><b class={tone}>{word}</b> since {}</p><p class=why>{why}</p>\n",
        moment(*since),
    ));
    page.facts(facts);
    page.raw("</article>\n");
}
