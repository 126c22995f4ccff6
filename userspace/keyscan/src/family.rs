// SPDX-License-Identifier: GPL-2.0-or-later

//! The six ways in which the linear part of the key expansion shows in memory.
//!
//! w\[i\] = w\[i-1\] xor w\[i-Nk\] holds for three or more words in a row after each use of the S-box
//! (FIPS 197, section 5.2), whatever the byte order inside the words, and since InvMixColumns is
//! linear also between the inner round keys of a decryption schedule. So with distances `taps` that
//! depend only on the key size and on whether the rounds lie in order or reversed,
//!
//! ```text
//! z(j) = d[j] ^ d[j + taps.0] ^ d[j + taps.1]
//! ```
//!
//! has runs of zero bytes at places known relative to the start. All constants here count from there
//! to runs among the *inner* round keys alone, so that all four layouts and both byte orders of a
//! size pass through two families.

use crate::aes::KeySize;
use crate::form::Form;
use crate::report::Layout;

/// Where z is zero in the schedules of one size and direction. All lengths are in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub size: KeySize,
    pub reversed: bool,
    pub taps: (usize, usize),
    /// From the start of the schedule to the first run of zeros.
    pub lead: usize,
    /// Length of a run. The 4 bytes of z that follow come from an S-box, or from no relation.
    pub run: usize,
    /// Aligned words, from the first in a run on, that are zero: some of those in two or more runs.
    pub zero: [usize; 6],
    /// Aligned words, counted in the same way, that are not all zero. Each list covers all of what
    /// follows two runs: z is zero in both with a chance of 2^-64, if not by the S-box's nature never.
    pub nonzero: [usize; 4],
    /// Aligned words of the data, counted in the same way, that the tests of `zero` depend on. All lie
    /// among inner round keys, and of none are two zero but by chance, of 2^-59; of regular memory, where
    /// z is zero because the data is, most are.
    pub live: [usize; 8],
    /// Further runs to sum over: each step adds the sum so far to itself at this distance.
    pub sums: &'static [Sum],
    /// Bits of z that the sum is over: three of its runs may count twice.
    pub bits: u32,
}

/// How a sum is added to itself at a distance.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sum {
    /// Added.
    Add(usize),
    /// Averaged, so that the result still fits a byte.
    Average(usize),
}

use Sum::{Add, Average};

/// For Nk = 6 and reversed rounds only words 2 and 3 of a round key have equal taps, and those only
/// in two rounds of three.
pub(crate) const FAMILIES: [Family; 6] = [
    Family {
        size: KeySize::Aes128,
        reversed: false,
        taps: (12, 16),
        lead: 20,
        run: 12,
        zero: [0, 1, 4, 5, 8, 9],
        nonzero: [2, 3, 6, 7],
        live: [4, 5, 7, 8, 9, 11, 12, 13],
        sums: &[Add(16), Average(32), Average(64)],
        bits: 768,
    },
    Family {
        size: KeySize::Aes192,
        reversed: false,
        taps: (20, 24),
        lead: 28,
        run: 20,
        zero: [0, 1, 2, 3, 6, 7],
        nonzero: [4, 5, 10, 11],
        live: [5, 6, 7, 8, 9, 11, 12, 13],
        sums: &[Average(24), Average(48)],
        bits: 640,
    },
    Family {
        size: KeySize::Aes256,
        reversed: false,
        taps: (28, 32),
        lead: 20,
        run: 12,
        zero: [0, 1, 4, 5, 8, 9],
        nonzero: [2, 3, 6, 7],
        live: [8, 9, 11, 12, 13, 15, 16, 17],
        sums: &[Add(16), Average(32), Average(64)],
        bits: 768,
    },
    Family {
        size: KeySize::Aes128,
        reversed: true,
        taps: (4, 20),
        lead: 16,
        run: 12,
        zero: [0, 1, 4, 5, 8, 9],
        nonzero: [2, 3, 6, 7],
        live: [0, 1, 2, 4, 5, 6, 8, 9],
        sums: &[Add(16), Average(32), Average(64)],
        bits: 768,
    },
    Family {
        size: KeySize::Aes192,
        reversed: true,
        taps: (4, 12),
        lead: 52,
        run: 8,
        zero: [0, 4, 12, 16, 24, 28],
        nonzero: [1, 2, 5, 6],
        live: [0, 1, 3, 4, 12, 13, 16, 17],
        sums: &[Add(16), Average(48), Average(48)],
        bits: 341,
    },
    Family {
        size: KeySize::Aes256,
        reversed: true,
        taps: (4, 36),
        lead: 16,
        run: 12,
        zero: [0, 1, 4, 5, 8, 9],
        nonzero: [2, 3, 6, 7],
        live: [0, 1, 2, 4, 5, 6, 8, 9],
        sums: &[Add(16), Average(32), Average(64)],
        bits: 768,
    },
];

/// Bytes from the start of a schedule to the last of z that any family looks at, and a few more.
pub(crate) const REACH: usize = 256;

impl Family {
    /// The forms whose schedules show in this way, encryption layouts first.
    pub fn forms(&self) -> [Form; 4] {
        let layouts = if self.reversed {
            [Layout::EncryptionReversed, Layout::Decryption]
        } else {
            [Layout::Encryption, Layout::DecryptionForward]
        };
        let form = |layout, swapped| Form {
            size: self.size,
            layout,
            swapped,
        };
        [
            form(layouts[0], false),
            form(layouts[0], true),
            form(layouts[1], false),
            form(layouts[1], true),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_have_each_form_once() {
        let forms: Vec<Form> = FAMILIES.iter().flat_map(Family::forms).collect();
        assert_eq!(forms.len(), 24);
        assert!(Form::all().all(|form| forms.contains(&form)));
    }
}
