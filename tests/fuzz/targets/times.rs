//! Dates and waits: calendar, date-times of the control plane, `Retry-After`; against counting day by day.

use std::time::{Duration, SystemTime};

use super::retry;
use super::timestamp;
use crate::calendar;
use crate::fuzz::bytes::Bytes;
use crate::ops::timestamp as written;

/// Moment of a date, by counting.
fn seconds(year: u64, month: u64, day: u64, clock: [u64; 3]) -> Option<u64> {
    let is_leap = |year: u64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let lengths = |year| [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let longest = *lengths(year).get(usize::try_from(month).unwrap().checked_sub(1)?)?;
    let [hour, minute, second] = clock;
    if day == 0 || day > longest || hour > 23 || minute > 59 || second > 59 || year > 9999 {
        return None;
    }
    // Before the epoch everything is the epoch's day.
    let years: u64 = (1970..year).map(|year| lengths(year).iter().sum::<u64>()).sum();
    let months: u64 = lengths(year).iter().take(usize::try_from(month).unwrap() - 1).sum();
    let days = if year < 1970 { 0 } else { years + months + day - 1 };
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// The first byte chooses between a text as it is and one made of numbers.
pub fn run(data: &[u8]) {
    let mut choices = Bytes(data);
    if choices.below(3) == 0 {
        let text = String::from_utf8_lossy(choices.0);
        let _ = (timestamp::parse(&text), calendar::seconds(&text));
        let asked = retry::retry_after(&text, SystemTime::UNIX_EPOCH);
        return assert!(asked.is_none_or(|asked| asked <= retry::RETRY_AFTER_MAX && !asked.is_zero()));
    }
    let year = if choices.next() < 200 { 1960 + choices.wide() % 200 } else { choices.wide() % 10_000 };
    let (month, day) = (choices.below(14) as u64, choices.below(34) as u64);
    let clock = [choices.below(26), choices.below(62), choices.below(62)].map(|number| number as u64);
    let [hour, minute, second] = clock;
    let expected = seconds(year, month, day, clock);
    let digits = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}");
    // The calendar begins in March of the year 0.
    let begun = expected.filter(|_| year > 0 || month > 2);
    assert_eq!(calendar::seconds(&digits), begun, "{digits}");
    date_time(&mut choices, [year, month, day, hour, minute, second], expected);
    let Some(moment) = expected.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)) else {
        return;
    };
    for shown in [written::rfc3339(moment), written::rfc3339_ms(moment)] {
        assert_eq!(timestamp::parse(&shown), Some(moment), "{shown}");
    }
    let ahead = choices.wide() % 200;
    let now = moment.checked_sub(Duration::from_secs(ahead)).unwrap_or(SystemTime::UNIX_EPOCH);
    let wait = moment.duration_since(now).unwrap().min(retry::RETRY_AFTER_MAX);
    let asked = retry::retry_after(&httpdate::fmt_http_date(moment), now);
    assert_eq!(asked.unwrap_or_default(), wait);
    assert_eq!(retry::retry_after(&ahead.to_string(), now).unwrap_or_default().as_secs(), ahead.min(60));
}

/// A date-time with a fraction and a zone.
fn date_time(choices: &mut Bytes<'_>, parts: [u64; 6], expected: Option<u64>) {
    let [year, month, day, hour, minute, second] = parts;
    let digits = choices.below(12);
    let fraction: String = (0..digits).map(|_| char::from(b'0' + choices.next() % 10)).collect();
    let nanoseconds: u32 = format!("{fraction:0<9.9}").parse().unwrap();
    let fraction = if digits == 0 { String::new() } else { format!(".{fraction}") };
    let sign = choices.one_of(&["Z", "z", "+", "-"]);
    let (hours, minutes) = (choices.below(24) as u64, choices.below(60) as u64);
    let zone =
        if sign.eq_ignore_ascii_case("z") { String::new() } else { format!("{hours:02}:{minutes:02}") };
    let blank = choices.one_of(&["T", "t", " "]);
    let text = format!(
        "{year:04}-{month:02}-{day:02}{blank}{hour:02}:{minute:02}:{second:02}{fraction}{sign}{zone}"
    );
    let offset = Duration::from_secs((hours * 60 + minutes) * 60);
    let local = expected.filter(|_| year >= 1970).map(|seconds| Duration::new(seconds, nanoseconds));
    let local = local.map(|since| SystemTime::UNIX_EPOCH + since);
    let moment = match sign {
        "+" => local.and_then(|local| local.checked_sub(offset)),
        "-" => local.and_then(|local| local.checked_add(offset)),
        _ => local,
    };
    assert_eq!(timestamp::parse(&text), moment, "{text}");
}
