// SPDX-License-Identifier: GPL-2.0-or-later

//! Tells memory that is no schedule, damaged or not, by what is regular in it.

/// Distinct byte values that 176 bytes of a schedule have at least. Random ones have 127 +- 6, with a
/// third of the ones decayed still more than 90; regular memory has few.
const DISTINCT: usize = 72;
/// Most often that any value is among them. With a third of the ones decayed zero is there 6 +- 2.5
/// times.
const MOST: u8 = 26;
/// Most of their 32-bit words that repeat another. In random data none does; in the schedule of a key of
/// zeros 8.
const REPEATED: usize = 10;

/// Distances in bytes at which regular memory resembles itself.
const DISTANCES: [usize; 4] = [4, 8, 16, 24];
/// Least share of bits that differ from those at each of these distances. Where z has a third of ones by
/// chance of regular memory it is below 0.35; in a schedule it is 0.5, and with a third of the ones
/// decayed 0.45 +- 0.014.
const DIFFERING: f64 = 0.40;

/// By how much bits at different places in bytes or words may differ in how often they are set, as
/// chi-square. It is 6 and 29 in most schedules, damaged or not; of 15,000 AES-192 schedules, whose bits
/// depend on each other the most, it was 59 and 120 at most. Of code, text and tables most is beyond, and
/// the rest comes last.
const UNEVEN: [(usize, f64); 2] = [(8, 60.0), (32, 130.0)];

/// Whether memory is not like the 176 bytes of a schedule, damaged or not.
pub(crate) fn is_regular(memory: &[u8]) -> bool {
    if DISTANCES
        .into_iter()
        .any(|by| differing(memory, by) < DIFFERING)
    {
        return true;
    }
    let mut counts = [0u8; 256];
    for &byte in memory {
        counts[usize::from(byte)] += 1;
    }
    let distinct = counts.iter().filter(|&&count| count != 0).count();
    if distinct < DISTINCT || counts.iter().any(|&count| count > MOST) {
        return true;
    }
    let mut words = [[0; 4]; 44];
    for (word, bytes) in words.iter_mut().zip(memory.chunks_exact(4)) {
        word.copy_from_slice(bytes);
    }
    words.sort_unstable();
    let repeated = words.windows(2).filter(|pair| pair[0] == pair[1]).count();
    repeated > REPEATED
}

/// By how much bits are set more often in some places of bytes and 32-bit words than in others: the sum of
/// both chi-squares; `None` if that is more than in any schedule.
pub(crate) fn uneven(memory: &[u8]) -> Option<f64> {
    let mut counts = [0u32; 32];
    for word in memory.chunks_exact(4) {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        for (bit, count) in counts.iter_mut().enumerate() {
            *count += word >> bit & 1;
        }
    }
    let words = (memory.len() / 4) as f64;
    let share = f64::from(counts.iter().sum::<u32>()) / (32.0 * words);
    let mut sum = 0.0;
    for (places, limit) in UNEVEN {
        let bits = words * (32 / places) as f64;
        let (mean, variance) = (bits * share, bits * share * (1.0 - share));
        let chi_square: f64 = (0..places)
            .map(|place| {
                let count: u32 = counts.iter().skip(place).step_by(places).sum();
                (f64::from(count) - mean).powi(2) / variance
            })
            .sum();
        // Bits that are all alike are no schedule either, and give no number.
        if chi_square.is_nan() || chi_square > limit {
            return None;
        }
        sum += chi_square;
    }
    Some(sum)
}

/// Share of bits that differ from those `by` bytes on.
fn differing(memory: &[u8], by: usize) -> f64 {
    let word = |w: &[u8]| w.try_into().map_or(0, u64::from_ne_bytes);
    let words = memory.chunks_exact(8).zip(memory[by..].chunks_exact(8));
    let (ones, bits) = words.fold((0, 0), |(ones, bits), (a, b)| {
        (ones + (word(a) ^ word(b)).count_ones(), bits + 64)
    });
    f64::from(ones) / f64::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_pass_and_text_code_and_zeros_do_not() {
        for seed in 0..200u32 {
            let key: Vec<u8> = (0..32u32)
                .map(|i| ((seed * 32 + i).wrapping_mul(0x9e37_79b1) >> 21) as u8)
                .collect();
            for len in [16, 24, 32] {
                let schedule = crate::aes::Schedule::expand(&key[..len]);
                let memory = schedule.as_ref().map_or(&[][..], |s| s.as_bytes());
                assert!(!is_regular(&memory[..176]) && uneven(memory).is_some());
            }
        }
        let text: Vec<u8> = include_bytes!("regular.rs")[..240].to_vec();
        assert!(uneven(&text).is_none());
        assert!(is_regular(&[0; 176]) && uneven(&[0; 240]).is_none());
    }
}
