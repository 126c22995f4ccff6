// SPDX-License-Identifier: GPL-2.0-or-later

//! Secrets spilled as separate 4-byte words, with gaps between them.
//!
//! Four bytes are no evidence: of 10^9 words that a guest stores, some are a word of a secret by
//! chance. Two different words of the same form are, if the same CPU stored them within
//! [`DISTANCE_STORES`] stores and [`DISTANCE_BYTES`] bytes. A secret is random, so whatever a guest
//! stores, the chance that a given word of 4 bytes is one of a form's n words is n / 2^32. With w
//! words in all forms of a secret, 10^9 words stored, two words a store, the expected number of
//! false alarms in a run is below 10^9 * w / 2^32 * 2 * DISTANCE_STORES * (n - 1) / 2^32: for an
//! AES-256-XTS key with all its round keys (w about 660, n = 4) 6 * 10^-5, for M (w = n = 24)
//! 2 * 10^-5. Words with fewer than three distinct bytes are not counted.

use std::collections::{HashMap, VecDeque};

use crate::forms::Form;

/// Stores between the two words, at most.
pub const DISTANCE_STORES: u64 = 256;
/// Bytes between the two words, at most.
pub const DISTANCE_BYTES: u64 = 256;
/// Bytes in a word.
pub const WORD: usize = 4;
/// Matches that are kept for each CPU.
const KEPT: usize = 64;

/// The words of all forms.
#[derive(Default)]
pub struct Words(HashMap<u32, Vec<(usize, usize)>>);

impl Words {
    /// Adds the words of a form; returns them, for a filter.
    pub fn add(&mut self, index: usize, form: &Form) -> Vec<u32> {
        let mut added = Vec::new();
        for (at, bytes) in form.bytes.chunks_exact(WORD).enumerate() {
            let distinct = (0..WORD).filter(|&i| !bytes[..i].contains(&bytes[i]));
            if distinct.count() < 3 {
                continue;
            }
            let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            self.0.entry(word).or_default().push((index, WORD * at));
            added.push(word);
        }
        added
    }

    /// The form and offset of each place that has this word.
    pub fn find(&self, word: u32) -> &[(usize, usize)] {
        self.0.get(&word).map_or(&[], Vec::as_slice)
    }
}

/// A word of a secret that a CPU stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Index of the form.
    pub form: usize,
    /// The word.
    pub word: u32,
    /// Guest-physical address.
    pub address: u64,
    /// Number of the CPU's store.
    pub store: u64,
}

/// The last such words of one CPU.
#[derive(Default)]
pub struct History(VecDeque<Seen>);

impl History {
    /// Notes a word; returns another of the same form near it, if there is one.
    pub fn note(&mut self, seen: Seen) -> Option<Seen> {
        let near = |other: &&Seen| {
            other.form == seen.form
                && other.word != seen.word
                && seen.store.abs_diff(other.store) <= DISTANCE_STORES
                && seen.address.abs_diff(other.address) <= DISTANCE_BYTES
        };
        let other = self.0.iter().rev().find(near).copied();
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(seen);
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(form: usize, word: u32, address: u64, store: u64) -> Seen {
        Seen {
            form,
            word,
            address,
            store,
        }
    }

    #[test]
    fn two_words_of_a_form_near_each_other_are_a_pair_and_nothing_else_is() {
        let first = seen(0, 0x1234_5678, 0x1000, 10);
        for (second, pair) in [
            (seen(0, 0x9abc_def0, 0x1010, 20), true),
            (seen(0, 0x1234_5678, 0x1010, 20), false),
            (seen(1, 0x9abc_def0, 0x1010, 20), false),
            (seen(0, 0x9abc_def0, 0x1010, 11 + DISTANCE_STORES), false),
            (seen(0, 0x9abc_def0, 0x1001 + DISTANCE_BYTES, 20), false),
        ] {
            let mut history = History::default();
            assert_eq!(history.note(first), None);
            assert_eq!(history.note(second), pair.then_some(first), "{second:?}");
        }
    }

    #[test]
    fn regular_words_are_not_counted() {
        let mut words = Words::default();
        let form = Form {
            name: "K".into(),
            bytes: vec![0, 0, 0, 0, 1, 0, 1, 0, 7, 8, 9, 9, 255, 255, 255, 255],
        };
        assert_eq!(words.add(0, &form), [u32::from_le_bytes([7, 8, 9, 9])]);
        assert_eq!(words.find(u32::from_le_bytes([7, 8, 9, 9])), [(0, 8)]);
        assert_eq!(words.find(0), []);
    }
}
