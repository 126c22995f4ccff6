// SPDX-License-Identifier: GPL-2.0-or-later

//! Finds where damaged schedules may begin, by counting the ones of z (see [`crate::family`]).
//!
//! If each bit is wrong with probability p, a bit of z is one with q = (1 - (1 - 2p)^3) / 2 in a
//! schedule and 1/2 in random data. Over the 768 bits of eight runs these are far apart: for p = 5 %,
//! 104 +- 9.5 against 384 +- 13.9. The sums for every offset come from a few additions of whole arrays
//! to themselves at a distance, one byte for each offset.

use crate::family::{Family, Sum, FAMILIES, REACH};
use std::ops::Range;

/// Offsets tested at once: the arrays stay in the first-level cache.
const BLOCK: usize = 4096;
/// Offsets beyond, of which counts are needed.
const COUNTS: usize = BLOCK + REACH;
/// Bytes that these depend on.
const SPAN: usize = COUNTS + 64;

/// Standard deviations, as of independent bits, by which a schedule may be worse than its rate says. A
/// wrong bit is in up to three sums, so that the true deviation is up to 3^(1/2) times as large: 4 of
/// those.
const SLACK: f64 = 7.0;
/// Standard deviations by which the sums of a candidate must be better than random ones. One offset in
/// 10^5 of random data passes.
const RANDOM: f64 = 4.2;
/// The same for all of z between inner words, which is looked at next: one in 10^9.
pub(crate) const RANDOM_ALL: f64 = 6.0;
/// Standard deviations by which z may have fewer ones after the runs than random bits. Regular memory
/// has hardly any.
const REGULAR: f64 = 5.0;

/// Most bytes of 128 in a schedule that are 0 or 255. With a third of the ones decayed there are
/// 4 +- 2; the schedule of a key of zeros has 16 and few more. Regular memory is full of them.
const MOST: u8 = 24;

/// What the sums of one family are compared with.
#[derive(Clone, Copy)]
struct Limits {
    /// Most ones in the runs, in units of their sum.
    run: u8,
    /// Fewest ones in what follows them, in units of that sum.
    after: u8,
}

/// Array of counts or sums, by offset.
type Sums = [u8; COUNTS];

/// Looks for damaged schedules at one rate of wrong bits.
pub(crate) struct Sieve {
    limits: [Limits; 6],
}

impl Sieve {
    /// `rate` is the share of wrong bits in a schedule.
    pub fn new(rate: f64) -> Self {
        Self {
            limits: FAMILIES.map(|family| {
                let greatest = |start: usize| {
                    family
                        .sums
                        .iter()
                        .fold(8.0 * start as f64, |sum, step| match step {
                            Sum::Add(_) => 2.0 * sum,
                            Sum::Average(_) => sum,
                        })
                };
                let bits = f64::from(family.bits);
                let after_bits = bits * 4.0 / family.run as f64;
                let after = 0.5 - REGULAR * 0.5 / after_bits.sqrt();
                // Averages are rounded up: by at most 1 in sum.
                Limits {
                    run: (greatest(family.run) * limit(rate, bits, RANDOM) + 1.0) as u8,
                    after: (greatest(4) * after) as u8,
                }
            }),
        }
    }

    /// Calls `candidate` with each offset within `starts` where a schedule of the family may begin.
    pub fn find(
        &self,
        data: &[u8],
        starts: Range<usize>,
        candidate: &mut dyn FnMut(usize, &'static Family),
    ) {
        let mut flags = [0; BLOCK];
        for at in starts.clone().step_by(BLOCK) {
            let block = BLOCK.min(starts.end - at);
            let padded;
            let span = match data.get(at..at + SPAN).and_then(|s| s.try_into().ok()) {
                Some(span) => span,
                None => {
                    let mut copy = [0; SPAN];
                    copy[..data.len() - at].copy_from_slice(&data[at..]);
                    padded = copy;
                    &padded
                }
            };
            flag(span, &self.limits, &mut flags);
            for (n, eight) in flags[..block.next_multiple_of(8)]
                .chunks_exact(8)
                .enumerate()
            {
                if eight.iter().all(|&f| f == 0) {
                    continue;
                }
                for (k, &flag) in eight.iter().enumerate().filter(|(k, _)| 8 * n + k < block) {
                    for (f, family) in FAMILIES.iter().enumerate() {
                        if flag >> f & 1 == 1 {
                            candidate(at + 8 * n + k, family);
                        }
                    }
                }
            }
        }
    }
}

/// Largest share of ones among `bits` bits of z that a schedule with `rate` wrong bits may have, if that
/// is better than random data by `margin` standard deviations; else the share that is.
pub(crate) fn limit(rate: f64, bits: f64, margin: f64) -> f64 {
    let q = (1.0 - (1.0 - 2.0 * rate).powi(3)) / 2.0;
    let wanted = q + SLACK * (q * (1.0 - q) / bits).sqrt();
    wanted.min(0.5 - margin * 0.5 / bits.sqrt())
}

/// By offset, one bit for each family that a schedule may belong to.
fn flag(span: &[u8; SPAN], limits: &[Limits; 6], flags: &mut [u8; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: The CPU has AVX2.
        return unsafe { flag_avx2(span, limits, flags) };
    }
    flag_any(span, limits, flags);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn flag_avx2(span: &[u8; SPAN], limits: &[Limits; 6], flags: &mut [u8; BLOCK]) {
    flag_any(span, limits, flags);
}

/// The same source for every CPU: plain loops over arrays, which the compiler turns into vectors.
#[inline(always)]
fn flag_any(span: &[u8; SPAN], limits: &[Limits; 6], flags: &mut [u8; BLOCK]) {
    flags.fill(0);
    let regular = regular(span);
    for (n, (family, limits)) in FAMILIES.iter().zip(limits).enumerate() {
        let mut four = ones(span, family.taps);
        four = add(&four, 1);
        four = add(&four, 2);
        let eight = add(&four, 4);
        let mut run = match family.run {
            8 => eight,
            12 => combine(&eight, &four, 8),
            _ => combine(&add(&eight, 8), &four, 16),
        };
        for sum in family.sums {
            (run, four) = match *sum {
                Sum::Add(by) => (add(&run, by), add(&four, by)),
                Sum::Average(by) => (average(&run, by), average(&four, by)),
            };
        }
        let run = &run[family.lead..][..BLOCK];
        let after = &four[family.lead + family.run..][..BLOCK];
        for ((flag, run), after) in flags.iter_mut().zip(run).zip(after) {
            let pass = (*run <= limits.run) & (*after >= limits.after);
            *flag |= u8::from(pass) << n;
        }
    }
    for (flag, regular) in flags.iter_mut().zip(&regular) {
        *flag = if *regular > MOST { 0 } else { *flag };
    }
}

/// How many of the 128 bytes from each offset on are 0 or 255.
#[inline(always)]
fn regular(span: &[u8; SPAN]) -> Sums {
    let mut sums = [0; COUNTS];
    for (sum, byte) in sums.iter_mut().zip(span) {
        *sum = u8::from((*byte == 0) | (*byte == 0xff));
    }
    for by in [1, 2, 4, 8, 16, 32, 64] {
        sums = add(&sums, by);
    }
    sums
}

/// The number of ones in each byte of z.
#[inline(always)]
fn ones(span: &[u8; SPAN], taps: (usize, usize)) -> Sums {
    let mut counts = [0; COUNTS];
    let (b, c) = (&span[taps.0..], &span[taps.1..]);
    for (count, ((a, b), c)) in counts.iter_mut().zip(span.iter().zip(b).zip(c)) {
        *count = (a ^ b ^ c).count_ones() as u8;
    }
    counts
}

/// `a[j] + b[j + by]`; what lies beyond the end is left out.
#[inline(always)]
fn combine(a: &Sums, b: &Sums, by: usize) -> Sums {
    let mut sums = [0; COUNTS];
    for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(&b[by..])) {
        *sum = a.wrapping_add(*b);
    }
    sums
}

#[inline(always)]
fn add(a: &Sums, by: usize) -> Sums {
    combine(a, a, by)
}

/// `(a[j] + a[j + by]) / 2`, rounded up.
#[inline(always)]
fn average(a: &Sums, by: usize) -> Sums {
    let mut sums = [0; COUNTS];
    for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(&a[by..])) {
        *sum = ((u16::from(*a) + u16::from(*b) + 1) >> 1) as u8;
    }
    sums
}
