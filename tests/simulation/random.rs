//! Numbers that follow from a seed.

use std::time::Duration;

#[path = "../support/random.rs"]
mod numbers;

pub(crate) use numbers::Random;

impl Random {
    /// The sequence of a seed. Those of neighbours have nothing in common.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    /// Another sequence that follows from this one.
    pub(crate) fn branch(&mut self) -> Random {
        Random(self.number())
    }

    /// A place in a list of that length, which is not zero.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap())).unwrap()
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A number from 0 to 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.number() >> 32).unwrap()) / f64::from(u32::MAX)
    }

    /// A time of up to `longest`; short ones are as frequent as long ones.
    pub(crate) fn time(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.fraction().powi(4))
    }
}
