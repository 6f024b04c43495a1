//! Pause between the end of a child and the next start.

use std::time::Duration;

use crate::relay::backoff::Backoff;

/// The first pause; each further one is twice as long, up to the last.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A child that lived this long was well; its death is a first one again.
const WELL: Duration = Duration::from_secs(30);

/// One that has answered is away for at most this part of the time that it has lived.
const PART_OF_LIFE: u32 = 4;

/// The pause after a death: a child that was well is started again at once.
pub(super) fn after(backoff: &mut Backoff, lived: Duration, answered: bool) -> Duration {
    if lived >= WELL {
        backoff.reset();
        return Duration::ZERO;
    }
    backoff.next(if answered { (lived / PART_OF_LIFE).max(PAUSE_MIN) } else { PAUSE_MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses of a child that dies again and again after so many seconds.
    fn pauses(lived: f64, answered: bool, deaths: usize) -> Vec<f64> {
        let mut pause = Backoff::new(PAUSE_MIN);
        let next = |_| after(&mut pause, Duration::from_secs_f64(lived), answered).as_secs_f64();
        (0..deaths).map(next).collect()
    }

    #[test]
    fn the_pause_follows_the_life() {
        for (lived, answered, expected) in [
            // Never comes up: longer and longer.
            (0.1, false, &[0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0][..]),
            (29.0, false, &[0.2, 0.4, 0.8, 1.6, 3.2]),
            // Well for half a minute: no pause, however often.
            (30.0, false, &[0.0, 0.0, 0.0]),
            (31.0, true, &[0.0, 0.0, 0.0]),
            // Answers, and dies: bounded by its life.
            (0.1, true, &[0.2, 0.2, 0.2]),
            (4.0, true, &[0.2, 0.4, 0.8, 1.0, 1.0]),
            (20.0, true, &[0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]),
        ] {
            assert_eq!(pauses(lived, answered, expected.len()), expected, "{lived} {answered}");
        }
    }

    #[test]
    fn a_good_life_forgets_the_bad_ones() {
        let mut pause = Backoff::new(PAUSE_MIN);
        (0..9).for_each(|_| assert!(!after(&mut pause, Duration::ZERO, false).is_zero()));
        assert_eq!(after(&mut pause, Duration::from_secs(8), true), Duration::from_secs(2));
        assert_eq!(after(&mut pause, WELL, false), Duration::ZERO);
        assert_eq!(after(&mut pause, Duration::ZERO, false), PAUSE_MIN);
    }
}
