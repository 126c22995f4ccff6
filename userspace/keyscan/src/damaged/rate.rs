// SPDX-License-Identifier: GPL-2.0-or-later

//! How much damage is looked for, and how much there is.

use super::graph::Channel;
use super::Evidence;

/// How much damage a schedule may have and still be searched for.
///
/// The two add up. What counts for finding is the share of all bits that are wrong, which for decay
/// is half of the share of bits not in the ground state that fell to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damage {
    /// Share of all bits that are wrong, in either direction.
    pub flips: f64,
    /// Share of bits not in the ground state that have fallen to it. The ground state need not be
    /// known and may differ from place to place.
    pub decay: f64,
}

impl Damage {
    /// Random errors alone.
    pub const fn flips(rate: f64) -> Self {
        Self {
            flips: rate,
            decay: 0.0,
        }
    }

    /// Decay to either ground state, with one bit in 500 against it.
    pub const fn decay(rate: f64) -> Self {
        Self {
            flips: 0.002,
            decay: rate,
        }
    }

    /// Largest rate of wrong bits that a scan can use: beyond it damaged schedules do not stand out
    /// from random data.
    pub const LIMIT: f64 = 0.16;

    /// Share of wrong bits that is searched for: at least 2 %, at most [`LIMIT`](Self::LIMIT).
    pub fn rate(self) -> f64 {
        let rate = self.flips + self.decay / 2.0;
        // What is no number asks for the least.
        if rate > 0.02 {
            rate.min(Self::LIMIT)
        } else {
            0.02
        }
    }

    /// Whether the bits that were wrong are no more than were to be expected.
    pub(crate) fn allows(self, evidence: Evidence, len: usize) -> bool {
        let (p, n) = (self.rate(), 8.0 * len as f64);
        f64::from(evidence.flips()) <= n * p + 5.0 * (n * p * (1.0 - p)).sqrt()
    }
}

/// How likely bits were read wrongly in `memory`, by the share of ones in z and the share of ones in
/// all: a schedule has half of its bits set.
pub(crate) fn estimate(memory: &[u8], ones_of_z: f64) -> Channel {
    let wrong = (1.0 - (1.0 - 2.0 * ones_of_z).max(0.0).cbrt()) / 2.0;
    let set: u32 = memory.iter().map(|byte| byte.count_ones()).sum();
    let missing = 0.5 - f64::from(set) / (8.0 * memory.len() as f64);
    let bound = |p: f64| p.clamp(0.003, 0.6);
    Channel {
        fall: bound(wrong + missing),
        rise: bound(wrong - missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_that_are_no_rates_are_bounded() {
        assert_eq!(Damage::flips(f64::NAN).rate(), 0.02);
        assert_eq!(Damage::flips(-3.0).rate(), 0.02);
        assert_eq!(Damage::decay(2.0).rate(), Damage::LIMIT);
        assert_eq!(Damage::decay(0.3).rate(), 0.152);
    }
}
