// SPDX-License-Identifier: GPL-2.0-or-later

//! Says of almost all bytes, fast, that they are of no secret.
//!
//! A sample is five bytes. Of four consecutive addresses one is a multiple of 4, so any 8 bytes in a
//! row contain a sample at such an address: testing those is enough.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

/// Bytes in a sample.
pub const SAMPLE: usize = 5;
/// Distance of the addresses at which samples are taken.
pub const STRIDE: usize = 4;
/// The five bytes of a little-endian word that count.
pub const SAMPLE_MASK: u64 = (1 << (8 * SAMPLE)) - 1;

/// A set that may say yes too often, and only grows.
pub struct Bits {
    words: Vec<AtomicU64>,
    shift: u32,
}

impl Bits {
    /// An empty set of 2^`log2` bits, at least 64.
    pub fn new(log2: u32) -> Self {
        let words = 1usize << (log2 - 6);
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            shift: u64::BITS - log2,
        }
    }

    /// Adds a value.
    pub fn insert(&self, value: u64) {
        let bit = hash(value, self.shift);
        self.words[bit / 64].fetch_or(1 << (bit % 64), Ordering::SeqCst);
    }

    /// Whether the value may be in the set.
    #[inline(always)]
    pub fn may_contain(&self, value: u64) -> bool {
        let bit = hash(value, self.shift);
        self.words[bit / 64].load(Ordering::Relaxed) & (1 << (bit % 64)) != 0
    }
}

/// The same for values that come and go: each place counts.
pub struct Counts {
    counts: Vec<AtomicU16>,
    shift: u32,
}

impl Counts {
    /// An empty set of 2^`log2` places.
    pub fn new(log2: u32) -> Self {
        Self {
            counts: (0..1usize << log2).map(|_| AtomicU16::new(0)).collect(),
            shift: u64::BITS - log2,
        }
    }

    /// Adds a value; it must be removed as often as it was added.
    pub fn insert(&self, value: u64) {
        self.counts[hash(value, self.shift)].fetch_add(1, Ordering::SeqCst);
    }

    /// Removes a value that was added.
    pub fn remove(&self, value: u64) {
        self.counts[hash(value, self.shift)].fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether the value may be in the set.
    #[inline(always)]
    pub fn may_contain(&self, value: u64) -> bool {
        self.counts[hash(value, self.shift)].load(Ordering::Relaxed) != 0
    }
}

/// One bit for each 64 bytes of RAM.
pub struct Lines(Vec<AtomicU64>);

impl Lines {
    /// Bytes of RAM for which one bit stands, as a power of two.
    pub const SHIFT: u32 = 6;

    /// No line of `len` bytes of RAM.
    pub fn new(len: u64) -> Self {
        let words = (len >> Self::SHIFT).div_ceil(64);
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// Marks a line, by its number.
    pub fn insert(&self, line: u64) {
        if let Some(word) = self.0.get((line / 64) as usize) {
            word.fetch_or(1 << (line % 64), Ordering::SeqCst);
        }
    }

    /// Unmarks a line.
    pub fn remove(&self, line: u64) {
        if let Some(word) = self.0.get((line / 64) as usize) {
            word.fetch_and(!(1 << (line % 64)), Ordering::SeqCst);
        }
    }

    /// Whether the line of this address is marked.
    #[inline(always)]
    pub fn contains(&self, address: u64) -> bool {
        let line = address >> Self::SHIFT;
        self.0
            .get((line / 64) as usize)
            .is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (line % 64)) != 0)
    }
}

/// Multiplicative hashing by 2^64 over the golden ratio (Knuth, volume 3, section 6.4).
#[inline(always)]
fn hash(value: u64, shift: u32) -> usize {
    (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize
}

/// The sample that begins at `at`; `None` if it is not all there.
pub fn sample(bytes: &[u8], at: usize) -> Option<u64> {
    let five = bytes.get(at..at + SAMPLE)?;
    let mut word = [0; 8];
    word[..SAMPLE].copy_from_slice(five);
    Some(u64::from_le_bytes(word))
}
