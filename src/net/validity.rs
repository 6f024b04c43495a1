//! Lifetime of certificates: when one of ours begins and ends, and from when on it is overdue.
//!
//! Certificates live an hour or ten years. What tells a forgotten one is the share of its life that is left, and for
//! those that people renew the days that this takes. A pure rule, without a clock.

/// The time that a certificate holds for, in seconds from the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub not_before: u64,
    /// Its last second.
    pub not_after: u64,
}

/// How long a certificate still holds.
#[cfg(any(test, feature = "operator"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// Long enough.
    Enough,
    /// A third of its lifetime or less, and 30 days at most.
    Little,
    /// It has ended.
    Nothing,
}

#[cfg(any(test, feature = "operator"))]
impl Validity {
    /// Renewals take that long where people do them. It is a third of 90 days: what lives longer is overdue by days,
    /// what lives shorter by its share.
    const LITTLE_MAX_SECONDS: u64 = 30 * 24 * 3600;

    fn lifetime(self) -> u64 {
        self.not_after.saturating_sub(self.not_before)
    }

    /// What is left at this second.
    pub fn remaining(self, now: u64) -> Remaining {
        match self.not_after.checked_sub(now) {
            None => Remaining::Nothing,
            Some(left) if left <= (self.lifetime() / 3).min(Self::LITTLE_MAX_SECONDS) => Remaining::Little,
            Some(_) => Remaining::Enough,
        }
    }

    /// The same in words: `7 of 24 hours left`.
    pub fn left(self, now: u64) -> String {
        let units = [(24 * 3600, "days"), (3600, "hours")];
        let fits = |(seconds, _): &(u64, &str)| self.lifetime() >= 3 * seconds;
        let (seconds, word) = units.into_iter().find(fits).unwrap_or((60, "minutes"));
        format!(
            "{} of {} {word} left",
            self.not_after.saturating_sub(now) / seconds,
            self.lifetime() / seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;

    #[test]
    fn a_third_is_little_and_thirty_days_at_most() {
        for (life, age, remaining, words) in [
            (DAY, 2 * HOUR, Remaining::Enough, "22 of 24 hours left"),
            (DAY, 16 * HOUR - 1, Remaining::Enough, "8 of 24 hours left"),
            (DAY, 16 * HOUR, Remaining::Little, "8 of 24 hours left"),
            (DAY, DAY, Remaining::Little, "0 of 24 hours left"),
            (DAY, DAY + 1, Remaining::Nothing, "0 of 24 hours left"),
            (HOUR, HOUR / 2, Remaining::Enough, "30 of 60 minutes left"),
            (HOUR, 40 * 60, Remaining::Little, "20 of 60 minutes left"),
            (90 * DAY, 59 * DAY, Remaining::Enough, "31 of 90 days left"),
            (90 * DAY, 60 * DAY, Remaining::Little, "30 of 90 days left"),
            (3650 * DAY, 3619 * DAY, Remaining::Enough, "31 of 3650 days left"),
            (3650 * DAY, 3620 * DAY, Remaining::Little, "30 of 3650 days left"),
            (0, 0, Remaining::Little, "0 of 0 minutes left"),
        ] {
            let validity = Validity { not_before: 1_000_000, not_after: 1_000_000 + life };
            let now = 1_000_000 + age;
            assert_eq!(validity.remaining(now), remaining, "{life} after {age}");
            assert_eq!(validity.left(now), words);
        }
        // Dates that make no sense.
        let validity = Validity { not_before: 20, not_after: 10 };
        assert_eq!((validity.remaining(10), validity.remaining(5)), (Remaining::Little, Remaining::Enough));
    }
}
