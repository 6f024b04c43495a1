//! The grammars of single values: durations, booleans, integers, log levels.
//!
//! Pure functions from text to value. A failure is the tail of an error sentence; the caller adds
//! which setting it was. None of these values is a secret, so the texts may quote them.

use log::LevelFilter;

/// Nanoseconds of a duration in Go's grammar, such as `30s`, `1h30m`, `1.5s` or `-2ms`; a bare number is only
/// accepted when it is `0`, since nobody could tell seconds from minutes.
pub(crate) fn duration_ns(text: &str) -> Result<i64, String> {
    let fault =
        || format!("invalid duration {text:?}: expected a number with a unit, such as 30s, 5m or 1h30m");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    let mut total: i64 = 0;
    // At least once, so that a sign alone is no duration. Sums are checked: an overflow that
    // wrapped would make a long limit a short or a negative one.
    loop {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(fault)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(letters);
        total = scaled(number, unit).and_then(|part| total.checked_add(part)).ok_or_else(fault)?;
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
    Ok(if negative { -total } else { total })
}

/// The spellings of Go's `strconv.ParseBool`, which existing units and scripts use.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("invalid boolean {text:?}: expected true or false")),
    }
}

/// A decimal integer with an optional sign. Wide enough for every bound of the table on every
/// machine; what does not fit the machine is refused where the bounds are.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("invalid integer {text:?}: expected a decimal number"))
}

/// A log level on the scale of Go's `slog`: debug -4, info 0, warn 4, error 8, each with an
/// optional `+N` or `-N`.
pub(crate) fn level(text: &str) -> Result<i64, String> {
    let split = text.find(['+', '-']).unwrap_or(text.len());
    let (name, offset) = text.split_at(split);
    let base = match name.to_ascii_lowercase().as_str() {
        "debug" => -4,
        "info" => 0,
        "warn" => 4,
        "error" => 8,
        _ => return Err("expected debug, info, warn or error".into()),
    };
    let offset = if offset.is_empty() { "0" } else { offset };
    // Read narrower than it is used, so that the sum cannot overflow.
    let offset: i32 = offset.parse().map_err(|_| "the offset is not a number")?;
    Ok(base + i64::from(offset))
}

/// The filter that lets through what a threshold of that scale lets through: between two levels
/// it is the upper one. There is nothing below debug, so lower thresholds mean debug, and nothing
/// is written above error.
pub(crate) fn level_filter(threshold: i64) -> LevelFilter {
    match threshold {
        i64::MIN..=-4 => LevelFilter::Debug,
        -3..=0 => LevelFilter::Info,
        1..=4 => LevelFilter::Warn,
        5..=8 => LevelFilter::Error,
        _ => LevelFilter::Off,
    }
}

/// Nanoseconds of a unit of time in Go's grammar.
pub(crate) fn unit_ns(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        // Both code points that print as a micro sign.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `number` (digits with at most one dot) times `unit`, in nanoseconds; digits of a fraction that
/// are finer than a nanosecond are cut.
fn scaled(number: &str, unit: &str) -> Option<i64> {
    let scale = unit_ns(unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(scale)?;
    let mut place = scale;
    // A second dot ends here: it is no digit.
    for digit in fraction.chars() {
        place /= 10;
        total = total.checked_add(place.checked_mul(i64::from(digit.to_digit(10)?))?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_the_go_grammar() {
        let second = 1_000_000_000;
        for (text, expected) in [
            ("0", 0),
            ("0s", 0),
            ("30s", 30 * second),
            ("1h30m", 5_400 * second),
            ("1.5s", 3 * second / 2),
            (".5s", second / 2),
            ("-2ms", -2_000_000),
            ("+3us", 3_000),
            ("3\u{b5}s", 3_000),
            ("7ns", 7),
            ("1m0.25s", 60 * second + second / 4),
        ] {
            assert_eq!(duration_ns(text), Ok(expected), "{text}");
        }
        for text in ["", "-", "30", "1d", "s", ".s", "1..2s", "1 s", "1S", "9999999999h", "3s4"] {
            assert!(duration_ns(text).is_err(), "{text}");
        }
    }

    #[test]
    fn booleans_are_spelled_as_in_go() {
        assert_eq!(boolean("T"), Ok(true));
        assert_eq!(boolean("False"), Ok(false));
        assert!(boolean("yes").is_err());
        assert!(boolean("").is_err());
    }

    #[test]
    fn levels_take_offsets() {
        assert_eq!(level("Warn"), Ok(4));
        assert_eq!(level("info-4"), Ok(-4));
        assert_eq!(level("ERROR+2"), Ok(10));
        assert!(level("trace").is_err());
        assert!(level("info+").is_err());
        assert_eq!(level_filter(-4), LevelFilter::Debug);
        assert_eq!(level_filter(-1), LevelFilter::Info);
        assert_eq!(level_filter(3), LevelFilter::Warn);
        assert_eq!(level_filter(8), LevelFilter::Error);
        assert_eq!(level_filter(9), LevelFilter::Off);
    }
}
