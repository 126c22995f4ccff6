// SPDX-License-Identifier: GPL-2.0-or-later

//! Looks for many byte patterns at once, at every offset.
//!
//! Every pattern has 8 bytes or more. Of the four consecutive offsets that a pattern's first bytes
//! cover, one is a multiple of 4, and the five bytes from there still lie inside the pattern. So
//! it is enough to look at five bytes at every fourth offset: a bitmap says whether any pattern has
//! them at a shift of 0 to 3, a sorted table says which, a comparison decides.

use crate::needles::{Meaning, Needles};
use std::ops::Range;
use zeroize::Zeroize;

const STRIDE: usize = 4;
const SAMPLE: u64 = (1 << 40) - 1;

/// A set of patterns, ready to be looked for.
pub(crate) struct Matcher<'a> {
    needles: &'a Needles,
    /// One bit for each hash value that some sample has.
    bitmap: Vec<u64>,
    /// 64 less the number of bits in a hash value.
    shift: u32,
    /// Samples in order, so that equal ones are neighbours.
    table: Vec<Entry>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    sample: u64,
    pattern: usize,
    /// Offset of the sample in the pattern.
    shift: usize,
}

impl<'a> Matcher<'a> {
    pub(crate) fn new(needles: &'a Needles) -> Self {
        let mut table: Vec<Entry> = Vec::with_capacity(STRIDE * needles.patterns.len());
        for (pattern, p) in needles.patterns.iter().enumerate() {
            for shift in 0..STRIDE {
                let mut bytes = [0; 8];
                bytes[..5].copy_from_slice(&p.bytes[shift..shift + 5]);
                table.push(Entry {
                    sample: u64::from_le_bytes(bytes),
                    pattern,
                    shift,
                });
                bytes.zeroize();
            }
        }
        table.sort_unstable();
        // About 1 bit in 32 set, but small enough for the first-level cache.
        let bits = (32 * table.len().max(1))
            .next_power_of_two()
            .clamp(1 << 12, 1 << 18);
        let shift = u64::BITS - bits.trailing_zeros();
        let mut bitmap = vec![0; bits / 64];
        for entry in &table {
            let hash = hash(entry.sample, shift);
            bitmap[hash / 64] |= 1 << (hash % 64);
        }
        Self {
            needles,
            bitmap,
            shift,
            table,
        }
    }

    /// Calls `hit` with the offset, the length and the meaning of every pattern that begins within
    /// `starts` and ends within `data`. What lies inside a longer pattern of the same secret
    /// is left out, if `data` shows that one whole.
    pub(crate) fn find(
        &self,
        data: &[u8],
        starts: Range<usize>,
        hit: &mut dyn FnMut(usize, usize, &Meaning),
    ) {
        if self.table.is_empty() {
            return;
        }
        let first = starts.start.next_multiple_of(STRIDE);
        let end = starts.end.saturating_add(STRIDE - 1).min(data.len());
        let mut at = first;
        // Eight bytes can be read at once up to here.
        let fast_end = end.min(data.len().saturating_sub(7));
        if first < fast_end {
            let fast = &data[first..];
            let samples = (fast_end - first).div_ceil(STRIDE);
            for (i, chunk) in fast.windows(8).step_by(STRIDE).take(samples).enumerate() {
                let sample = u64::from_le_bytes(chunk.try_into().unwrap_or_default()) & SAMPLE;
                if self.maybe(sample) {
                    self.look_up(data, first + STRIDE * i, sample, &starts, hit);
                }
            }
            at += STRIDE * samples;
        }
        while at < end {
            if let Some(five) = data.get(at..at + 5) {
                let mut bytes = [0; 8];
                bytes[..5].copy_from_slice(five);
                let sample = u64::from_le_bytes(bytes);
                if self.maybe(sample) {
                    self.look_up(data, at, sample, &starts, hit);
                }
            }
            at += STRIDE;
        }
    }

    #[inline(always)]
    fn maybe(&self, sample: u64) -> bool {
        let hash = hash(sample, self.shift);
        self.bitmap[hash / 64] & (1 << (hash % 64)) != 0
    }

    #[inline(never)]
    fn look_up(
        &self,
        data: &[u8],
        at: usize,
        sample: u64,
        starts: &Range<usize>,
        hit: &mut dyn FnMut(usize, usize, &Meaning),
    ) {
        let from = self.table.partition_point(|entry| entry.sample < sample);
        for entry in self.table[from..]
            .iter()
            .take_while(|entry| entry.sample == sample)
        {
            let Some(start) = at.checked_sub(entry.shift) else {
                continue;
            };
            if !starts.contains(&start) || !self.is_at(data, entry.pattern, start) {
                continue;
            }
            let pattern = &self.needles.patterns[entry.pattern];
            for meaning in &pattern.meanings {
                let covered = meaning.inside.iter().any(|&(longer, offset)| {
                    start
                        .checked_sub(offset)
                        .is_some_and(|begin| self.is_at(data, longer, begin))
                });
                if !covered {
                    hit(start, pattern.bytes.len(), meaning);
                }
            }
        }
    }

    fn is_at(&self, data: &[u8], pattern: usize, start: usize) -> bool {
        let bytes = &self.needles.patterns[pattern].bytes;
        data.get(start..)
            .is_some_and(|rest| rest.starts_with(bytes))
    }
}

impl Drop for Matcher<'_> {
    fn drop(&mut self) {
        self.bitmap.zeroize();
        for entry in &mut self.table {
            entry.sample.zeroize();
        }
    }
}

/// Multiplicative hashing by 2^64 over the golden ratio (Knuth, volume 3, section 6.4).
#[inline(always)]
fn hash(sample: u64, shift: u32) -> usize {
    (sample.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize
}
