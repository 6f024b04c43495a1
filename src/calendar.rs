//! Dates of the calendar as seconds, for certificates and timestamps.

/// The seconds from the epoch to a date of fourteen digits, in the calendar that every program extends
/// backwards and forwards. The year is counted from March, so that a leap day is its last.
pub(crate) fn seconds(digits: &str) -> Option<u64> {
    let number = |from: usize, to: usize, most: u64| {
        let digits = digits.get(from..to).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits?.parse::<u64>().ok().filter(|number| *number <= most)
    };
    let (year, month, day) = (number(0, 4, 9999)?, number(4, 6, 12)?, number(6, 8, 31)?);
    let (hour, minute, second) = (number(8, 10, 23)?, number(10, 12, 59)?, number(12, 14, 59)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let year =
        year.checked_sub(u64::from(month <= 2)).filter(|_| month > 0 && (1..=longest).contains(&day))?;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    // From March 1 of the year 0 to the epoch.
    let days = days.saturating_sub(719_468);
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_seconds_from_the_epoch() {
        for (text, expected) in [
            ("19700101000000", Some(0)),
            ("19690101000000", Some(0)),
            ("20240229000000", Some(1_709_164_800)),
            ("20241231235959", Some(1_735_689_599)),
            ("21000301000000", Some(4_107_542_400)),
            ("00000101000000", None),
            ("20241301000000", None),
            ("20240100000000", None),
            ("20240230000000", None),
            ("20230229000000", None),
            ("20240431000000", None),
            ("20240101240000", None),
            ("+0240101000000", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
