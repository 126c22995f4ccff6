// SPDX-License-Identifier: GPL-2.0-or-later

//! Finds AES encryption key schedules without knowing the key.
//!
//! In a schedule of Nk key words, w\[i\] = w\[i-1\] xor w\[i-Nk\] holds for three or more words in
//! a row after each use of the S-box (FIPS 197, section 5.2), whatever the byte order inside the
//! words. A schedule that starts at byte o therefore has, for
//!
//! ```text
//! z(j) = d[j] ^ d[j + 4*Nk - 4] ^ d[j + 4*Nk]
//! ```
//!
//! twelve zero bytes in a row, j in o+4 .. o+16. Wherever o lies, two neighbouring aligned 32-bit
//! words of z are among them, and the first begins in o+4 ..= o+7; the same again after the next
//! use of the S-box. So it is enough to test aligned words of z: random data passes once in 2^128
//! words, and what does pass is regular memory. It is then checked with the S-box step, and
//! at last against the whole expansion.

use crate::aes::{key_core, sub_byte, KeySize, Schedule};
use crate::report::Order;
use std::ops::Range;
use zeroize::Zeroizing;

/// Bytes whose offsets are tested at once.
const BLOCK: usize = 64;
/// Bytes that such a test reads: 23 words of z, for the largest Nk, and one more.
const SPAN: usize = 128;
/// Least distance from the start of a schedule to the first aligned word of z that is zero; 3 more
/// at most.
const LEAD: usize = 4;

/// A schedule that was found, at `start` in the window.
pub(crate) struct Hit {
    pub start: usize,
    pub size: KeySize,
    pub order: Order,
    pub schedule: Schedule,
}

/// Calls `hit` for every schedule that begins within `starts` and ends within `data`.
pub(crate) fn find(data: &[u8], starts: Range<usize>, hit: &mut dyn FnMut(Hit)) {
    // The word of z that gives a start away begins at most 7 bytes after it.
    let end = starts.end.saturating_add(8).min(data.len());
    for at in (starts.start..end).step_by(BLOCK) {
        let masks = match data
            .get(at..at + SPAN)
            .and_then(|span| span.try_into().ok())
        {
            Some(span) => KeySize::ALL.map(|size| mask(span, size.words())),
            // So near the end every offset is worth a check.
            None => [u32::from(u16::MAX); 3],
        };
        if masks != [0; 3] && !is_zero(data, at) {
            search_block(data, at, masks, &starts, hit);
        }
    }
}

/// One bit for each pair of neighbouring aligned words of z in the first block of `span` that are
/// zero, if the same holds where the next run of zeros must be.
#[inline(always)]
fn mask(span: &[u8; SPAN], nk: usize) -> u32 {
    let zeros = zeros(span, nk);
    let pairs = zeros & (zeros >> 1);
    // The S-box is used in every Nk-th word, and in every fourth for Nk = 8.
    let next = if nk == 6 { 6 } else { 4 };
    pairs & (pairs >> next) & u32::from(u16::MAX)
}

/// One bit for each of the first 24 aligned words of z that is zero.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn zeros(span: &[u8; SPAN], nk: usize) -> u32 {
    use std::arch::x86_64::*;
    let load = |at: usize| {
        // SAFETY: Unaligned, and 16 bytes from `at` are within `span`: slicing checks it.
        unsafe { _mm_loadu_si128(span[at..at + 16].as_ptr().cast()) }
    };
    (0..6).fold(0, |zeros, group| {
        let at = 16 * group;
        // SAFETY: SSE2 is part of x86-64.
        let bits = unsafe {
            let z = _mm_xor_si128(
                load(at),
                _mm_xor_si128(load(at + 4 * nk - 4), load(at + 4 * nk)),
            );
            _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(z, _mm_setzero_si128())))
        };
        zeros | (bits as u32) << (4 * group)
    })
}

/// One bit for each of the first 24 aligned words of z that is zero.
#[cfg(not(target_arch = "x86_64"))]
fn zeros(span: &[u8; SPAN], nk: usize) -> u32 {
    let word = |at: usize| word(span, at).unwrap_or_default();
    (0..24).fold(0, |zeros, i| {
        let at = 4 * i;
        let z = xor(word(at), xor(word(at + 4 * nk - 4), word(at + 4 * nk)));
        zeros | u32::from(z == [0; 4]) << i
    })
}

/// Whether the block at `at` and the next are all zero: empty memory can be passed over. A schedule
/// that a word of z in this block could give away would contain 64 of these zeros; but a run of
/// zero words longer than Nk ends where the S-box step next adds a non-zero word to a zero one,
/// so no schedule has more than 11 zero words in a row.
#[inline(always)]
fn is_zero(data: &[u8], at: usize) -> bool {
    data.get(at..at + 2 * BLOCK)
        .is_some_and(|two| two.iter().fold(0, |any, byte| any | byte) == 0)
}

#[inline(never)]
fn search_block(
    data: &[u8],
    at: usize,
    masks: [u32; 3],
    starts: &Range<usize>,
    hit: &mut dyn FnMut(Hit),
) {
    for (size, mut mask) in KeySize::ALL.into_iter().zip(masks) {
        while mask != 0 {
            let word = at + 4 * mask.trailing_zeros() as usize;
            mask &= mask - 1;
            for start in (LEAD..LEAD + 4).filter_map(|lead| word.checked_sub(lead)) {
                if starts.contains(&start) {
                    if let Some((order, schedule)) = check(data, start, size) {
                        hit(Hit {
                            start,
                            size,
                            order,
                            schedule,
                        });
                    }
                }
            }
        }
    }
}

/// Checks the schedule that would begin at `start`, cheapest test first.
#[inline(always)]
fn check(data: &[u8], start: usize, size: KeySize) -> Option<(Order, Schedule)> {
    let key_len = size.key_len();
    let found = data.get(start..start + size.schedule_len())?;
    let last = word(found, key_len - 4)?;
    let core = xor(word(found, 0)?, word(found, key_len)?);
    // One byte of the S-box step turns most candidates away.
    let order = if core[0] == sub_byte(last[1]) ^ 1 && core == key_core(last, 1) {
        Order::Native
    } else if core[3] == sub_byte(last[2]) ^ 1 && swap(core) == key_core(swap(last), 1) {
        Order::Words32Swapped
    } else {
        return None;
    };
    compare(found, key_len, order).map(|schedule| (order, schedule))
}

/// Expands the key at the beginning of `found` and compares all of it.
#[inline(never)]
fn compare(found: &[u8], key_len: usize, order: Order) -> Option<Schedule> {
    let mut key = Zeroizing::new([0; 32]);
    key[..key_len].copy_from_slice(&found[..key_len]);
    if order == Order::Words32Swapped {
        key.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    }
    let schedule = Schedule::expand(&key[..key_len])?;
    let same = match order {
        Order::Words32Swapped => (0..found.len() / 4)
            .all(|i| word(found, 4 * i).map(swap) == word(schedule.as_bytes(), 4 * i)),
        _ => found == schedule.as_bytes(),
    };
    same.then_some(schedule)
}

fn word(data: &[u8], at: usize) -> Option<[u8; 4]> {
    data.get(at..)?.first_chunk().copied()
}

fn xor(a: [u8; 4], b: [u8; 4]) -> [u8; 4] {
    (u32::from_ne_bytes(a) ^ u32::from_ne_bytes(b)).to_ne_bytes()
}

fn swap(mut word: [u8; 4]) -> [u8; 4] {
    word.reverse();
    word
}
