// SPDX-License-Identifier: GPL-2.0-or-later

//! Finds undamaged schedules of all forms without knowing the key.
//!
//! Wherever a schedule lies, a run of zeros of its family's z holds aligned 32-bit words of the data,
//! so that only those are looked at: each word of the data is, in each of the six families, the
//! candidate for being the first whole one in the first run. For that four words of z at fixed
//! distances must be zero, and some between them must not. Random data passes once in 2^128 words; of
//! regular memory little does. What passes is checked with one S-box step and at last against the
//! whole expansion.

use crate::aes::{step, xor, KeySize, Schedule};
use crate::family::{Family, FAMILIES, REACH};
use crate::form::Form;
use std::ops::Range;
use zeroize::Zeroizing;

/// Words tested at once: the words of z for all of them stay in the first-level cache.
const BLOCK: usize = 1024;
/// Words of z beyond these that a test looks at.
const AHEAD: usize = 24;
/// Most bytes from a word of the data to the last that its z or the tests of it depend on.
const SPAN: usize = 4 * (BLOCK + AHEAD) + 40;

/// A schedule that was found, at `start` in the window.
pub(crate) struct Hit {
    pub start: usize,
    pub form: Form,
    pub schedule: Schedule,
}

/// Calls `hit` for every schedule that begins within `starts` and ends within `data`.
pub(crate) fn find(data: &[u8], starts: Range<usize>, hit: &mut dyn FnMut(Hit)) {
    let end = starts.end.saturating_add(REACH).min(data.len());
    for at in (starts.start..end).step_by(4 * BLOCK) {
        let flagged = match data.get(at..at + SPAN) {
            Some(span) => flag(span),
            None => {
                let mut padded = Zeroizing::new([0; SPAN]);
                padded[..data.len() - at].copy_from_slice(&data[at..]);
                flag(&padded[..])
            }
        };
        if flagged != 0 {
            search(data, at, flagged, &starts, hit);
        }
    }
}

/// One bit for each family that has a candidate in the block.
fn flag(span: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: The CPU has AVX2.
        return unsafe { flag_avx2(span) };
    }
    flag_any(span)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn flag_avx2(span: &[u8]) -> u32 {
    flag_any(span)
}

/// The same source for every CPU: plain loops over words, which the compiler turns into vectors.
#[inline(always)]
fn flag_any(span: &[u8]) -> u32 {
    // Not wiped: overwritten with every block, and z shows a key no more than the data does.
    let mut z = [0; BLOCK + AHEAD];
    let flags = [
        flag_family::<0>(span, &mut z),
        flag_family::<1>(span, &mut z),
        flag_family::<2>(span, &mut z),
        flag_family::<3>(span, &mut z),
        flag_family::<4>(span, &mut z),
        flag_family::<5>(span, &mut z),
    ];
    (0..)
        .zip(flags)
        .fold(0, |all, (n, flag)| all | u32::from(flag) << n)
}

#[inline(always)]
fn flag_family<const N: usize>(span: &[u8], z: &mut [u32; BLOCK + AHEAD]) -> bool {
    let family = const { &FAMILIES[N] };
    let words = |from: usize| {
        span[from..]
            .chunks_exact(4)
            .map(|w| [w[0], w[1], w[2], w[3]])
    };
    let (b, c) = family.taps;
    for (z, ((a, b), c)) in z.iter_mut().zip(words(0).zip(words(b)).zip(words(c))) {
        *z = u32::from_ne_bytes(a) ^ u32::from_ne_bytes(b) ^ u32::from_ne_bytes(c);
    }
    let mut any = 0;
    for x in 0..BLOCK {
        any |= u32::from(is_candidate(family, z, x));
    }
    any != 0
}

#[inline(always)]
fn is_candidate(family: &Family, z: &[u32; BLOCK + AHEAD], x: usize) -> bool {
    let mut zero = 0;
    for &at in family.zero {
        zero |= z[x + at];
    }
    let mut nonzero = 0;
    for &at in family.nonzero {
        nonzero |= z[x + at];
    }
    (zero == 0) & (nonzero != 0)
}

/// Checks the candidates of the block at `at` in the flagged families.
#[inline(never)]
fn search(data: &[u8], at: usize, flagged: u32, starts: &Range<usize>, hit: &mut dyn FnMut(Hit)) {
    for (n, family) in FAMILIES.iter().enumerate() {
        if flagged >> n & 1 == 0 {
            continue;
        }
        let (b, c) = family.taps;
        let z = |x: usize| {
            let at = at + 4 * x;
            xor(word(data, at), xor(word(data, at + b), word(data, at + c))) == [0; 4]
        };
        for x in 0..BLOCK {
            if !family.zero.iter().all(|k| z(x + k)) || family.nonzero.iter().all(|k| z(x + k)) {
                continue;
            }
            // Up to three bytes of the run may lie before its first aligned word.
            for start in (0..4).filter_map(|skew| (at + 4 * x).checked_sub(family.lead + skew)) {
                if starts.contains(&start) {
                    for form in family.forms() {
                        if let Some(schedule) = check(data, start, form) {
                            hit(Hit {
                                start,
                                form,
                                schedule,
                            });
                        }
                    }
                }
            }
        }
    }
}

/// Checks the schedule that would begin at `start`, cheapest test first.
pub(crate) fn check(data: &[u8], start: usize, form: Form) -> Option<Schedule> {
    let found = data.get(start..start.checked_add(form.len())?)?;
    let nk = form.size.words();
    // The first S-box step whose three words are all inner ones.
    let s = if form.size == KeySize::Aes128 { 8 } else { 12 };
    let before = form.word(found, s - 1);
    if xor(form.word(found, s), form.word(found, s - nk)) != step(form.size, s, before) {
        return None;
    }
    let mut words = Zeroizing::new([[0; 4]; 8]);
    for (i, word) in words[..nk].iter_mut().enumerate() {
        *word = form.word(found, 4 + i);
    }
    let schedule = Schedule::from_words(4, &words[..nk])?;
    (form.encode(&schedule)[..] == *found).then_some(schedule)
}

/// Four bytes at `at`; zeros beyond the end, as in a padded block.
#[inline(always)]
fn word(data: &[u8], at: usize) -> [u8; 4] {
    match data.get(at..at + 4) {
        Some(word) => [word[0], word[1], word[2], word[3]],
        None => [0, 1, 2, 3].map(|b| data.get(at + b).copied().unwrap_or(0)),
    }
}
