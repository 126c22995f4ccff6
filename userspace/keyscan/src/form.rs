// SPDX-License-Identifier: GPL-2.0-or-later

//! The forms in which an expanded key lies in memory.

use crate::aes::{mix_column, KeySize, Schedule};
use crate::report::{Layout, Order};
use zeroize::Zeroizing;

/// Key size, layout and byte order of a schedule in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub size: KeySize,
    pub layout: Layout,
    /// The bytes of each 32-bit word are reversed.
    pub swapped: bool,
}

impl Form {
    /// Every form that is searched for: 3 sizes, 4 layouts, 2 byte orders.
    #[cfg(test)]
    pub fn all() -> impl Iterator<Item = Self> {
        KeySize::ALL.into_iter().flat_map(|size| {
            Layout::ALL.into_iter().flat_map(move |layout| {
                [false, true].map(|swapped| Self {
                    size,
                    layout,
                    swapped,
                })
            })
        })
    }

    /// Bytes in memory.
    pub fn len(self) -> usize {
        self.size.schedule_len()
    }

    /// Number of 32-bit words in the schedule.
    pub fn words(self) -> usize {
        self.len() / 4
    }

    pub fn order(self) -> Order {
        if self.swapped {
            Order::Words32Swapped
        } else {
            Order::Native
        }
    }

    /// Whether word `i` is stored after InvMixColumns: all but those of the outer round keys.
    pub fn is_mixed(self, i: usize) -> bool {
        self.layout.is_decryption() && (4..self.words() - 4).contains(&i)
    }

    /// Offset in memory of byte `b` of word `i`.
    pub fn at(self, i: usize, b: usize) -> usize {
        let i = if self.layout.is_reversed() {
            4 * (self.size.rounds() - i / 4) + i % 4
        } else {
            i
        };
        4 * i + if self.swapped { 3 - b } else { b }
    }

    /// Word `i` as it lies in memory, in the byte order of FIPS 197.
    #[inline(always)]
    fn stored(self, memory: &[u8], i: usize) -> [u8; 4] {
        let at = self.at(i, 0) & !3;
        let word = [0, 1, 2, 3].map(|b| memory[at + b]);
        if self.swapped {
            [word[3], word[2], word[1], word[0]]
        } else {
            word
        }
    }

    /// Word `i` of the encryption schedule whose memory image is `memory`.
    #[inline(always)]
    pub fn word(self, memory: &[u8], i: usize) -> [u8; 4] {
        let word = self.stored(memory, i);
        if self.is_mixed(i) {
            mix_column(word)
        } else {
            word
        }
    }

    /// How `schedule`, rounds in encryption order, lies in memory.
    pub fn encode(self, schedule: &Schedule) -> Zeroizing<Vec<u8>> {
        let inverse;
        let schedule = if self.layout.is_decryption() {
            inverse = schedule.equivalent_inverse();
            &inverse
        } else {
            schedule
        };
        let mut memory = Zeroizing::new(vec![0; self.len()]);
        for i in 0..self.words() {
            for (b, byte) in schedule.word(i).into_iter().enumerate() {
                memory[self.at(i, b)] = byte;
            }
        }
        memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_the_words_that_it_was_written_from() {
        let key: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(41) ^ 0x37).collect();
        assert_eq!(Form::all().count(), 24);
        for form in Form::all() {
            let schedule = Schedule::expand(&key[..form.size.key_len()]).unwrap();
            let memory = form.encode(&schedule);
            assert!((0..form.words()).all(|i| form.word(&memory, i) == schedule.word(i)));
        }
    }

    #[test]
    fn the_decryption_layout_is_the_reversed_equivalent_inverse_of_fips_197() {
        let key = hex::decode("000102030405060708090a0b0c0d0e0f").unwrap();
        let form = Form {
            size: KeySize::Aes128,
            layout: Layout::Decryption,
            swapped: false,
        };
        let memory = form.encode(&Schedule::expand(&key).unwrap());
        // FIPS 197, appendix C.1: the rounds' ik_sch values, in the order of their use.
        let expected = [
            "13111d7fe3944a17f307a78b4d2b30c5",
            "13aa29be9c8faff6f770f58000f7bf03",
        ];
        assert_eq!(hex::encode(&memory[..32]), expected.concat());
        assert_eq!(memory[160..], key);
    }
}
