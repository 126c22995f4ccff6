// SPDX-License-Identifier: GPL-2.0-or-later

//! Whether a schedule explains what is in memory.

/// Bits of proof beyond the length of the key: 2^33 offsets in 8 GiB, 24 forms and the rates fitted
/// leave a chance below 2^-20 that anything is reported in random memory.
const MARGIN: f64 = 64.0;

/// How a schedule and what was read in its place agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Evidence {
    /// Bits that were one and were read as zero.
    pub fallen: u32,
    /// Bits that were zero and were read as one.
    pub risen: u32,
    /// What the schedule tells of the bits read, in bits: n times the empirical mutual information.
    pub information: f64,
}

impl Evidence {
    pub fn of(schedule: &[u8], read: &[u8]) -> Self {
        let (mut fallen, mut risen, mut ones, mut ones_read) = (0, 0, 0, 0);
        for (s, r) in schedule.iter().zip(read) {
            fallen += (s & !r).count_ones();
            risen += (!s & r).count_ones();
            ones += s.count_ones();
            ones_read += r.count_ones();
        }
        let n = f64::from(8 * schedule.len() as u32);
        let (ones, ones_read) = (f64::from(ones), f64::from(ones_read));
        let cell = |count: f64, stored: f64, read: f64| {
            if count == 0.0 {
                0.0
            } else {
                count * (count * n / (stored * read)).log2()
            }
        };
        let (f, r) = (f64::from(fallen), f64::from(risen));
        let information = cell(f, ones, n - ones_read)
            + cell(ones - f, ones, ones_read)
            + cell(r, n - ones, ones_read)
            + cell(n - ones - r, n - ones, n - ones_read);
        // Memory that says the opposite of the schedule tells as much of it, but is not it.
        let agrees = f64::from(fallen + risen) * 2.0 < n;
        Self {
            fallen,
            risen,
            information: if agrees { information } else { 0.0 },
        }
    }

    /// Bits that were read wrongly.
    pub fn flips(self) -> u32 {
        self.fallen + self.risen
    }

    /// Whether this proves a schedule with keys of `bits`: there are 2^bits schedules, and in memory
    /// whose bits are independent of them one in 2^information fits so well.
    pub fn proves(self, bits: u16) -> bool {
        self.information >= f64::from(bits) + MARGIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_match_tells_about_all_bits_and_its_opposite_or_a_stranger_nothing() {
        let schedule: Vec<u8> = (0..176u32)
            .map(|i| (i.wrapping_mul(0x9e37_79b1) >> 19) as u8)
            .collect();
        let other: Vec<u8> = (0..176u32)
            .map(|i| (i.wrapping_mul(0x85eb_ca6b) >> 17) as u8)
            .collect();
        let opposite: Vec<u8> = schedule.iter().map(|b| !b).collect();
        let perfect = Evidence::of(&schedule, &schedule);
        assert!((1400.0..=1408.0).contains(&perfect.information) && perfect.flips() == 0);
        assert!(perfect.proves(128));
        assert!(!Evidence::of(&schedule, &opposite).proves(128));
        assert!(Evidence::of(&schedule, &other).information < 20.0);
        assert!(!Evidence::of(&schedule, &[0; 176]).proves(128));
    }
}
