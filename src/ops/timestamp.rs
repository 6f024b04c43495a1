//! Calendar time in UTC, for log lines and what is compared with dates as text.
//!
//! A time zone database is a dependency and an attack surface that log lines do not need, so there
//! is no local time here. The calendar is that of `httpdate`, which writes the dates of HTTP; its
//! words are put in another order. It fails for no clock: what lies outside of 1970 to 9999 is
//! written as the nearest moment that has a date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999; HTTP has no dates after it.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// `2026-11-20T14:05:38.000000005Z`, as RFC 3339 has it: the form of lines for programs. Nanoseconds
/// always have nine digits, so that lines sort as text.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let (since, [year, month, day, clock]) = parts(time);
    format!("{year}-{month}-{day}T{clock}.{:09}Z", since.subsec_nanos())
}

/// RFC 3339 with milliseconds, the form of lines for programs that read them as text.
pub(crate) fn rfc3339_ms(time: SystemTime) -> String {
    let (since, [year, month, day, clock]) = parts(time);
    format!("{year}-{month}-{day}T{clock}.{:03}Z", since.subsec_millis())
}

/// `2026/11/20 14:05:38`, the form of plain log lines.
pub fn plain(time: SystemTime) -> String {
    let (_, [year, month, day, clock]) = parts(time);
    format!("{year}/{month}/{day} {clock}")
}

/// `2026-11-20 14:05:38Z`, the form of pages for people.
#[cfg(feature = "page")]
pub(crate) fn shown(time: SystemTime) -> String {
    let (_, [year, month, day, clock]) = parts(time);
    format!("{year}-{month}-{day} {clock}Z")
}

/// Year, month and day in digits, and the time of day.
fn parts(time: SystemTime) -> (Duration, [String; 4]) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST);
    // `Fri, 20 Nov 2026 14:05:38 GMT`
    let date = httpdate::fmt_http_date(UNIX_EPOCH + since);
    let mut words = date.split(' ').skip(1);
    let [day, month, year, clock] = std::array::from_fn(|_| words.next().unwrap_or_default().to_owned());
    // Every name has three letters, and none begins within another.
    let place = "JanFebMarAprMayJunJulAugSepOctNovDec".find(&month).unwrap_or_default();
    (since, [year, format!("{:02}", place / 3 + 1), day, clock])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00.000000005Z"),
            (951_782_400, "2000-02-29T00:00:00.000000005Z"),
            (951_868_799, "2000-02-29T23:59:59.000000005Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000000005Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000005Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000005Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::new(secs, 5)), text);
        }
        assert_eq!(plain(UNIX_EPOCH + Duration::from_secs(1_795_183_538)), "2026/11/20 14:05:38");
    }

    #[test]
    fn every_month_has_its_number() {
        for month in 0..12_u64 {
            let middle = UNIX_EPOCH + Duration::from_secs((month * 365 / 12 + 15) * 86_400);
            assert_eq!(rfc3339(middle).get(5..7), Some(format!("{:02}", month + 1).as_str()));
        }
    }

    #[test]
    fn no_clock_is_a_failure() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(plain(before), "1970/01/01 00:00:00");
        assert_eq!(plain(UNIX_EPOCH + LAST * 2), "9999/12/31 23:59:59");
    }
}
