// SPDX-License-Identifier: GPL-2.0-or-later

//! Known secrets, turned into the byte patterns that would betray them.

use crate::aes::{KeySize, Schedule};
use crate::report::{Order, What};
use crate::Error;
use std::fmt;
use zeroize::Zeroizing;

/// Bytes in the shortest pattern, and in a "word" of a secret: a 64-bit register.
pub const MIN_NEEDLE: usize = 8;

/// Which round keys a secret stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expand {
    /// None: the secret is not an AES key.
    #[default]
    None,
    /// Those of one AES key of 16, 24 or 32 bytes.
    Aes,
    /// Those of both keys of an XTS pair of 32 or 64 bytes (IEEE 1619, section 5.1).
    Xts,
}

/// A set of known secrets to search for; everything secret in it is wiped when dropped.
///
/// Each secret becomes these patterns, in each [`Order`] that gives other bytes:
///
/// - the whole secret;
/// - without [`Expand`], each of its halves, if they are words in whole, and more than one;
/// - each of its 8-byte words (see [`What::Word`]);
/// - with [`Expand`], each 16-byte round key of the encryption schedule and of the equivalent
///   inverse cipher.
///
/// A place is reported once, as the longest pattern that it belongs to: the words inside a whole
/// secret that was found do not count again.
#[derive(Default)]
pub struct Needles {
    pub(crate) names: Vec<String>,
    pub(crate) patterns: Vec<Pattern>,
}

/// A byte string to look for. Several secrets may share it.
pub(crate) struct Pattern {
    pub bytes: Zeroizing<Vec<u8>>,
    pub meanings: Vec<Meaning>,
}

/// What a pattern is to one secret.
pub(crate) struct Meaning {
    /// Index of the secret in [`Needles::names`].
    pub needle: usize,
    pub part: Part,
    pub order: Order,
    /// Longer patterns of the same secret that contain this one, as index and offset within.
    pub inside: Vec<(usize, usize)>,
}

#[derive(Clone, Copy)]
pub(crate) enum Part {
    Whole,
    Half(usize),
    Word(usize),
    RoundKey {
        half: usize,
        round: usize,
        inverse: bool,
    },
}

impl Part {
    pub(crate) fn what(self, name: &str) -> What {
        let name = name.to_owned();
        match self {
            Self::Whole => What::Whole { name },
            Self::Half(index) => What::Half { name, index },
            Self::Word(index) => What::Word { name, index },
            Self::RoundKey {
                half,
                round,
                inverse,
            } => What::RoundKey {
                name,
                half,
                round,
                inverse,
            },
        }
    }
}

impl Needles {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `secret` under `name`.
    ///
    /// # Errors
    ///
    /// [`Error::TooShort`] below [`MIN_NEEDLE`] bytes; [`Error::KeyLength`] if `expand` does not
    /// fit; [`Error::LowEntropy`] if a word of the secret is so regular that ordinary memory
    /// contains it; [`Error::DuplicateName`]. The set is unchanged then.
    pub fn add_secret(&mut self, name: &str, secret: &[u8], expand: Expand) -> Result<(), Error> {
        let mut parts = Parts::of(name, secret, expand)?;
        if self.names.iter().any(|known| known == name) {
            return Err(Error::DuplicateName {
                name: name.to_owned(),
            });
        }
        // Longest first, so that equal bytes keep their most telling meaning.
        parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.len()));
        let needle = self.names.len();
        self.names.push(name.to_owned());
        let mut own = Vec::new();
        for (part, bytes) in parts {
            for (order, bytes) in orders(&bytes) {
                let known = self.patterns.iter().position(|p| p.bytes == bytes);
                let at = known.unwrap_or_else(|| {
                    self.patterns.push(Pattern {
                        bytes,
                        meanings: Vec::new(),
                    });
                    self.patterns.len() - 1
                });
                let meanings = &mut self.patterns[at].meanings;
                if meanings.iter().all(|m| m.needle != needle) {
                    meanings.push(Meaning {
                        needle,
                        part,
                        order,
                        inside: Vec::new(),
                    });
                    own.push(at);
                }
            }
        }
        self.link(needle, &own);
        Ok(())
    }

    /// Notes, for every pattern of the secret, in which longer ones it lies.
    fn link(&mut self, needle: usize, own: &[usize]) {
        let mut inside: Vec<(usize, usize, usize)> = Vec::new();
        for &long in own {
            let bytes = &self.patterns[long].bytes;
            for &short in own {
                let needle = &self.patterns[short].bytes;
                if needle.len() < bytes.len() {
                    let windows = bytes.windows(needle.len()).enumerate();
                    inside.extend(
                        windows
                            .filter(|(_, w)| *w == &needle[..])
                            .map(|(i, _)| (short, long, i)),
                    );
                }
            }
        }
        for (short, long, offset) in inside {
            if let Some(meaning) = self.patterns[short]
                .meanings
                .iter_mut()
                .find(|m| m.needle == needle)
            {
                meaning.inside.push((long, offset));
            }
        }
    }

    /// Names of the secrets, in the order added.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of distinct byte patterns.
    pub fn patterns(&self) -> usize {
        self.patterns.len()
    }

    /// Number of patterns that stand for the secret with this index.
    pub(crate) fn patterns_of(&self, needle: usize) -> usize {
        self.patterns
            .iter()
            .flat_map(|p| &p.meanings)
            .filter(|m| m.needle == needle)
            .count()
    }

    /// Bytes in the longest pattern.
    pub(crate) fn longest(&self) -> usize {
        self.patterns
            .iter()
            .map(|p| p.bytes.len())
            .max()
            .unwrap_or(0)
    }
}

impl fmt::Debug for Needles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Needles")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// The parts of one secret in native order.
type Parts = Vec<(Part, Zeroizing<Vec<u8>>)>;

trait PartsExt: Sized {
    fn of(name: &str, secret: &[u8], expand: Expand) -> Result<Self, Error>;
}

impl PartsExt for Parts {
    fn of(name: &str, secret: &[u8], expand: Expand) -> Result<Self, Error> {
        let name = || name.to_owned();
        let len = secret.len();
        if len < MIN_NEEDLE {
            return Err(Error::TooShort { name: name(), len });
        }
        let halves: Vec<&[u8]> = match expand {
            Expand::None => Vec::new(),
            Expand::Aes if KeySize::from_key_len(len).is_some() => vec![secret],
            Expand::Xts if len == 32 || len == 64 => secret.chunks_exact(len / 2).collect(),
            Expand::Aes => {
                return Err(Error::KeyLength {
                    name: name(),
                    len,
                    wanted: "AES",
                })
            }
            Expand::Xts => {
                return Err(Error::KeyLength {
                    name: name(),
                    len,
                    wanted: "AES-XTS",
                })
            }
        };
        let copy = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());
        let mut parts = vec![(Part::Whole, copy(secret))];
        for index in 0..len.div_ceil(MIN_NEEDLE) {
            let start = (index * MIN_NEEDLE).min(len - MIN_NEEDLE);
            parts.push((Part::Word(index), copy(&secret[start..start + MIN_NEEDLE])));
        }
        for (half, key) in halves.into_iter().enumerate() {
            let forward = Schedule::expand(key).ok_or(Error::KeyLength {
                name: name(),
                len,
                wanted: "AES",
            })?;
            for (inverse, schedule) in [(true, forward.equivalent_inverse()), (false, forward)] {
                let last = schedule.round_keys().count() - 1;
                for (round, bytes) in schedule.round_keys().enumerate() {
                    // The outer round keys are the same in both schedules.
                    if !(inverse && (round == 0 || round == last)) {
                        parts.push((
                            Part::RoundKey {
                                half,
                                round,
                                inverse,
                            },
                            copy(bytes),
                        ));
                    }
                }
            }
        }
        // The halves of an AES-256 key, or of a pair, are round keys.
        if expand == Expand::None && len >= 4 * MIN_NEEDLE && len % (2 * MIN_NEEDLE) == 0 {
            let halves = secret.chunks_exact(len / 2).enumerate();
            parts.extend(halves.map(|(index, half)| (Part::Half(index), copy(half))));
        }
        // The whole comes last: an error should name the smallest part that is to blame.
        for (part, bytes) in parts.iter().skip(1).chain(parts.first()) {
            if is_regular(bytes) {
                let what = part.what("").to_string();
                let part = what.split(" of ").next().unwrap_or_default().to_owned();
                return Err(Error::LowEntropy { name: name(), part });
            }
        }
        Ok(parts)
    }
}

/// Whether ordinary memory is likely to contain these bytes: too few distinct values, or more than
/// half of them the same. Eight random bytes are refused once in 10^7 or less.
fn is_regular(bytes: &[u8]) -> bool {
    let mut counts = [0usize; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    let distinct = counts.iter().filter(|&&n| n != 0).count();
    let most = counts.iter().copied().max().unwrap_or(0);
    distinct < (bytes.len() / 2).min(8) || 2 * most > bytes.len()
}

/// `bytes` in every order that differs from those before it.
fn orders(bytes: &[u8]) -> Vec<(Order, Zeroizing<Vec<u8>>)> {
    let swapped = |group: usize| {
        let mut copy = Zeroizing::new(bytes.to_vec());
        copy.chunks_mut(group).for_each(<[u8]>::reverse);
        copy
    };
    let mut all = vec![(Order::Native, Zeroizing::new(bytes.to_vec()))];
    for (order, group) in [
        (Order::Reversed, bytes.len()),
        (Order::Words64Swapped, 8),
        (Order::Words32Swapped, 4),
    ] {
        if bytes.len() % group == 0 {
            let candidate = swapped(group);
            if all.iter().all(|(_, known)| *known != candidate) {
                all.push((order, candidate));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(len: usize) -> Vec<u8> {
        (0..len as u32)
            .map(|i| (i.wrapping_mul(0x9e37_79b1) >> 13) as u8)
            .collect()
    }

    #[test]
    fn a_word_that_is_all_zero_is_refused_and_the_set_is_unchanged() {
        let mut bytes = secret(32);
        bytes[16..24].fill(0);
        let mut needles = Needles::new();
        let error = needles.add_secret("k", &bytes, Expand::None).unwrap_err();
        assert!(
            matches!(&error, Error::LowEntropy { part, .. } if part == "word 2"),
            "{error}"
        );
        assert_eq!((needles.names().len(), needles.patterns()), (0, 0));
        needles.add_secret("k", &secret(32), Expand::None).unwrap();
    }

    #[test]
    fn words_of_few_distinct_bytes_or_mostly_one_are_refused() {
        for word in [
            *b"\0\0\0\0\0\0\0\x01",
            *b"abcabcab",
            *b"\xffa\xffb\xffc\xff\xff",
        ] {
            assert!(is_regular(&word), "{word:02x?}");
        }
        assert!(!is_regular(&[0, 1, 2, 3, 0, 0, 0, 7]));
    }

    #[test]
    fn short_secrets_wrong_key_lengths_and_repeated_names_are_refused() {
        let mut needles = Needles::new();
        let mut refuse = |name, len, expand| {
            needles
                .add_secret(name, &secret(len), expand)
                .map(|()| String::new())
                .unwrap_err()
        };
        assert!(matches!(
            refuse("a", 7, Expand::None),
            Error::TooShort { len: 7, .. }
        ));
        assert!(matches!(
            refuse("a", 20, Expand::Aes),
            Error::KeyLength { len: 20, .. }
        ));
        assert!(matches!(
            refuse("a", 48, Expand::Xts),
            Error::KeyLength { len: 48, .. }
        ));
        needles.add_secret("a", &secret(32), Expand::Xts).unwrap();
        let again = needles
            .add_secret("a", &secret(24), Expand::None)
            .unwrap_err();
        assert_eq!(
            again.to_string(),
            "two secrets are called \"a\"; give each a name of its own"
        );
    }

    #[test]
    fn an_expanded_key_has_every_part_in_every_order() {
        let mut needles = Needles::new();
        needles.add_secret("k", &secret(32), Expand::Aes).unwrap();
        // Whole: 4 orders. 4 words: 3 orders, as reversing one swaps it. Round keys: 15 forward
        // and 13 inverse, 4 orders each.
        assert_eq!(needles.patterns(), 4 + 4 * 3 + (15 + 13) * 4);
        assert_eq!(needles.patterns_of(0), needles.patterns());
    }

    #[test]
    fn debug_output_names_secrets_and_tells_none() {
        let mut needles = Needles::new();
        needles
            .add_secret("k", b"topsecret material", Expand::None)
            .unwrap();
        assert_eq!(format!("{needles:?}"), "Needles { names: [\"k\"], .. }");
    }
}
