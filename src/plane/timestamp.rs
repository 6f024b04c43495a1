//! RFC 3339 date-times, as the control plane writes them.
//!
//! They feed two histograms and decide nothing, so what cannot be read is left out and its command runs.
//! That is also why the reader stays small and knows no leap seconds.

use std::time::{Duration, SystemTime};

use crate::calendar;

/// The moment that `text` names, or nothing when it is no RFC 3339 date-time with a zone. Without a zone a
/// clock time means nothing, and before 1970 nothing was queued.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let [b'-', b'-', b'T' | b't' | b' ', b':', b':'] =
        [4, 7, 10, 13, 16].map(|at| *text.as_bytes().get(at).unwrap_or(&0))
    else {
        return None;
    };
    let digits = [0..4, 5..7, 8..10, 11..13, 14..16, 17..19].map(|part| text.get(part).unwrap_or_default());
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(calendar::seconds(&digits.concat())?);
    let rest = text.get(19..).filter(|_| text >= "1970")?;
    let (fraction, zone) = rest.split_at_checked(rest.find(['Z', 'z', '+', '-'])?)?;
    let moment = moment.checked_add(fraction_of_second(fraction)?)?;
    match zone.split_at_checked(1)? {
        ("+", ahead) => moment.checked_sub(hours_and_minutes(ahead)?),
        ("-", behind) => moment.checked_add(hours_and_minutes(behind)?),
        (_, rest) => rest.is_empty().then_some(moment),
    }
}

/// ASCII digits alone: the standard library would also take a sign. Nine at most, so that nothing
/// computed from them can overflow.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// The hours and minutes of a zone.
fn hours_and_minutes(zone: &str) -> Option<Duration> {
    let (hours, minutes) = zone.split_once(':')?;
    Some(Duration::from_secs(60 * (60 * number(hours)? + number(minutes)?)))
}

/// What stands behind the seconds; more than nine digits are more than we keep. Fewer are filled up, since `.5` is
/// half a second and not five nanoseconds.
fn fraction_of_second(text: &str) -> Option<Duration> {
    let digits =
        if text.is_empty() { "0" } else { text.strip_prefix('.').filter(|digits| !digits.is_empty())? };
    Some(Duration::from_nanos(number(&format!("{digits:0<9.9}"))?))
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
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "٢٠٢٦-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
