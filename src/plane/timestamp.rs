//! RFC 3339 date-times, as the control plane writes them.
//!
//! They feed two histograms and decide nothing, so what cannot be read is left out and its command runs.
//! That is also why the reader stays small: it takes 29 February in any year.

use std::time::{Duration, SystemTime};

/// The moment that `text` names, or nothing when it is no RFC 3339 date-time with a zone. Without a zone a
/// clock time means nothing, and before 1970 nothing was queued.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let clock_end = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at_checked(clock_end)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let days_of_month = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = *days_of_month.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_since_epoch(year, month, day)
        .checked_mul(86_400)?
        .checked_add(hour * 3600 + minute * 60 + second)?
        .checked_sub(offset_seconds(zone)?)?;
    let nanoseconds = fraction_ns(fraction)?;
    let moment = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))?;
    moment.checked_add(Duration::from_nanos(nanoseconds))
}

/// ASCII digits alone: the standard library would also take a sign. Four at most, so that nothing
/// computed from them can overflow.
fn number(digits: &str) -> Option<i64> {
    let plain = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// How far a zone is ahead of UTC: `Z`, or hours and minutes with a sign.
fn offset_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    Some(sign * (number(hours)? * 3600 + number(minutes)? * 60))
}

/// Nanoseconds of the digits behind the point; more than nine digits are more than we keep. Fewer are
/// filled up, since `.5` is half a second and not five nanoseconds.
fn fraction_ns(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept: String = digits.chars().chain(std::iter::repeat('0')).take(9).collect();
    kept.parse().ok()
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, counting years from March so that the
/// leap day is the last of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix_ms(text: &str) -> Option<u128> {
        parse(text).map(|moment| moment.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis())
    }

    #[test]
    fn date_times_with_zones() {
        assert_eq!(unix_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_ms("2026-08-21T12:34:56.789Z"), Some(1_787_315_696_789));
        assert_eq!(unix_ms("2026-08-21T14:34:56.789+02:00"), Some(1_787_315_696_789));
        assert_eq!(unix_ms("2024-02-29T23:59:59.123456789Z"), Some(1_709_251_199_123));
    }

    #[test]
    fn anything_else_is_no_date_time() {
        for bad in [
            "",
            "now",
            "2026-08-21",
            "2026-08-21T12:34:56",
            "2026-13-01T00:00:00Z",
            "2026-01-01T25:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-1-32T00:00:00Z",
            "٢٠٢٦-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
