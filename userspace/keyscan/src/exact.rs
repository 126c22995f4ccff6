// SPDX-License-Identifier: GPL-2.0-or-later

//! Finds undamaged schedules of all forms without knowing the key.
//!
//! Wherever a schedule lies, a run of zeros of its family's z holds aligned 32-bit words of the data,
//! so that only those are looked at: each word of the data is, in each of the six families, the
//! candidate for being the first whole one in the first run. For that six words of z at fixed distances
//! must be zero, and some between them must not, nor may more than one of the words of data that they
//! depend on. Random data passes once in 2^192 words; of regular memory, where z is zero because the
//! data is, little does. What passes is checked with one S-box step and at last against the whole
//! expansion.

use crate::aes::{step, xor, KeySize, Schedule};
use crate::family::{Family, FAMILIES, REACH};
use crate::form::Form;
use std::ops::Range;
use zeroize::Zeroizing;

/// Words tested at once: the words of z for all of them stay in the first-level cache.
const BLOCK: usize = 1024;
/// Words of z beyond these that a test looks at.
const AHEAD: usize = 40;
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
        let flagged = match data.get(at..at + SPAN).and_then(|s| s.try_into().ok()) {
            Some(span) => flag(span),
            None => {
                let mut padded = Zeroizing::new([0; SPAN]);
                padded[..data.len() - at].copy_from_slice(&data[at..]);
                flag(&padded)
            }
        };
        for (n, flag) in flagged
            .into_iter()
            .enumerate()
            .filter(|(_, flag)| *flag != 0)
        {
            search(data, at + 32 * n, flag, &starts, hit);
        }
    }
}

/// One bit for each family that has a candidate in some 32 bytes of the block.
type Flags = [u8; BLOCK / 8];

fn flag(span: &[u8; SPAN]) -> Flags {
    // Most of most dumps. All of z is zero.
    let is_zero = |part: &[u8]| part.iter().fold(0, |any, byte| any | byte) == 0;
    if span.chunks(64).all(is_zero) {
        return [0; BLOCK / 8];
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: The CPU has AVX2.
        return unsafe { flag_avx2(span) };
    }
    flag_any(span)
}

/// Eight words at once. The compiler does not find this by itself.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn flag_avx2(span: &[u8; SPAN]) -> Flags {
    use std::arch::x86_64::*;
    const VECTORS: usize = BLOCK / 8;
    let mut z = [_mm256_setzero_si256(); VECTORS + AHEAD / 8];
    let mut flags = [0; BLOCK / 8];
    for (n, family) in FAMILIES.iter().enumerate() {
        let (b, c) = family.taps;
        for (i, z) in z.iter_mut().enumerate() {
            // SAFETY: Unaligned; the last byte read is less than SPAN, as the taps are 36 at most.
            let load = |at| unsafe { _mm256_loadu_si256(span.as_ptr().add(32 * i + at).cast()) };
            *z = _mm256_xor_si256(load(0), _mm256_xor_si256(load(b), load(c)));
        }
        let words: *const u32 = z.as_ptr().cast();
        let nothing = _mm256_setzero_si256();
        for (flag, x) in flags.iter_mut().zip((0..BLOCK).step_by(8)) {
            // SAFETY: Unaligned; `at` is 28 at most, so that this ends within the AHEAD words.
            let load = |at: usize| unsafe { _mm256_loadu_si256(words.add(x + at).cast()) };
            let or = |a, b| _mm256_or_si256(a, b);
            let zero = family.zero.map(load).into_iter().fold(nothing, or);
            let zero = _mm256_cmpeq_epi32(zero, nothing);
            if _mm256_testz_si256(zero, zero) != 0 {
                continue;
            }
            let nonzero = family.nonzero.map(load).into_iter().fold(nothing, or);
            let regular = _mm256_cmpeq_epi32(nonzero, nothing);
            let dead = family.live.into_iter().fold(nothing, |dead, at| {
                // SAFETY: Unaligned; `at` is 17 at most, less than AHEAD.
                let word = unsafe { _mm256_loadu_si256(span.as_ptr().add(4 * (x + at)).cast()) };
                _mm256_add_epi32(dead, _mm256_cmpeq_epi32(word, nothing))
            });
            // Less than -1: more than one is zero.
            let dead = _mm256_cmpgt_epi32(_mm256_set1_epi32(-1), dead);
            // 1 if all of `zero` is in the others: there is no candidate.
            *flag |= u8::from(_mm256_testc_si256(or(regular, dead), zero) == 0) << n;
        }
    }
    flags
}

fn flag_any(span: &[u8; SPAN]) -> Flags {
    let mut flags = [0; BLOCK / 8];
    for (n, family) in FAMILIES.iter().enumerate() {
        for x in 0..BLOCK {
            flags[x / 8] |= u8::from(is_candidate(span, family, 4 * x)) << n;
        }
    }
    flags
}

/// Whether the word at `at` may be the first whole one in the first run of a schedule.
#[inline(always)]
fn is_candidate(data: &[u8], family: &Family, at: usize) -> bool {
    let (b, c) = family.taps;
    let z = |x: usize| {
        let at = at + 4 * x;
        xor(word(data, at), xor(word(data, at + b), word(data, at + c))) == [0; 4]
    };
    let dead = |x: &usize| word(data, at + 4 * x) == [0; 4];
    family.zero.into_iter().all(z)
        && !family.nonzero.into_iter().all(z)
        && family.live.iter().filter(|x| dead(x)).count() < 2
}

/// Checks the candidates in the 32 bytes at `at` in the flagged families.
#[inline(never)]
fn search(data: &[u8], at: usize, flagged: u8, starts: &Range<usize>, hit: &mut dyn FnMut(Hit)) {
    for (n, family) in FAMILIES.iter().enumerate() {
        if flagged >> n & 1 == 0 {
            continue;
        }
        for word in (at..at + 32).step_by(4) {
            if !is_candidate(data, family, word) {
                continue;
            }
            // Up to three bytes of the run may lie before its first aligned word.
            for start in (0..4).filter_map(|skew| word.checked_sub(family.lead + skew)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys as poor as they get must not be passed over as regular memory.
    #[test]
    fn schedules_of_regular_keys_are_found_in_every_form_at_every_offset() {
        let repeated = (0..=255u8).map(|byte| [byte; 32]);
        let one_bit = (0..256).map(|bit| {
            let mut key = [0; 32];
            key[bit / 8] = 1 << (bit % 8);
            key
        });
        let counted = std::array::from_fn(|i| i as u8);
        for key in repeated.chain(one_bit).chain([counted]) {
            for form in Form::all() {
                let schedule = Schedule::expand(&key[..form.size.key_len()]).unwrap();
                let planted = form.encode(&schedule);
                for skew in 0..4 {
                    let at = 32 + skew;
                    let mut memory = vec![0; 512];
                    memory[at..at + planted.len()].copy_from_slice(&planted);
                    let mut found = false;
                    find(&memory, 0..memory.len(), &mut |hit| {
                        found |= hit.start == at && hit.form == form;
                    });
                    assert!(found, "{form:?} of {key:02x?} at {at}");
                }
            }
        }
    }

    #[test]
    fn the_fast_test_flags_what_the_plain_one_flags() {
        let mut state = 1u32;
        for zeros in 0..8 {
            // Words that are often zero or equal, so that there are candidates, and schedules.
            let mut span = [0; SPAN];
            for word in span.chunks_exact_mut(4) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if state >> 29 >= zeros {
                    word.fill((state >> 24) as u8 & 3);
                }
            }
            for (form, at) in Form::all().zip((100..).step_by(160)) {
                let key: Vec<u8> = (0..32).map(|i| (state >> (i % 25)) as u8).collect();
                let key = &key[..form.size.key_len()];
                let planted = form.encode(&Schedule::expand(key).unwrap());
                span[at..at + planted.len()].copy_from_slice(&planted);
            }
            let plain = flag_any(&span);
            assert_ne!(plain, [0; BLOCK / 8]);
            assert_eq!(flag(&span), plain);
        }
    }
}
