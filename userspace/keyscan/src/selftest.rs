// SPDX-License-Identifier: GPL-2.0-or-later

//! Plants schedules of every kind and damage in random data, scans it, and counts what is found.

use crate::aes::{KeySize, Schedule};
use crate::form::Form;
use crate::report::{FoundKey, Layout, Order, What};
use crate::{scan_bytes, Damage, Needles, Options};
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Bytes of random data for each schedule planted.
const SPACE: usize = 4096;

/// What is done to a schedule before it is planted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Harm {
    /// Nothing.
    None,
    /// This many bits, at random, are wrong.
    Bits(u32),
    /// Each bit is wrong with this probability.
    Flips(f64),
    /// Each one becomes zero with this probability, and one zero in 1000 becomes one.
    DecayToZero(f64),
    /// Each zero becomes one with this probability, and one in 1000 becomes zero.
    DecayToOne(f64),
}

impl Harm {
    /// Those that a self-test goes through: what a scan promises, and beyond.
    pub const ALL: [Self; 11] = [
        Self::None,
        Self::Bits(3),
        Self::Bits(10),
        Self::Flips(0.05),
        Self::Flips(0.10),
        Self::Flips(0.14),
        Self::DecayToZero(0.10),
        Self::DecayToZero(0.20),
        Self::DecayToOne(0.20),
        Self::DecayToZero(0.30),
        Self::DecayToOne(0.30),
    ];

    /// The damage that a scan must be told to find it; `None` for an exact scan.
    pub fn damage(self) -> Option<Damage> {
        match self {
            Self::None => None,
            Self::Bits(_) => Some(Damage::flips(0.02)),
            Self::Flips(rate) => Some(Damage::flips(rate)),
            Self::DecayToZero(rate) | Self::DecayToOne(rate) => Some(Damage::decay(rate)),
        }
    }

    fn apply(self, memory: &mut [u8], rng: &mut ChaCha8Rng) {
        let (fall, rise) = match self {
            Self::None => return,
            Self::Bits(count) => {
                let mut left = count;
                let mut done = vec![false; 8 * memory.len()];
                while left != 0 {
                    let bit = rng.next_u32() as usize % done.len();
                    if !std::mem::replace(&mut done[bit], true) {
                        memory[bit / 8] ^= 1 << (bit % 8);
                        left -= 1;
                    }
                }
                return;
            }
            Self::Flips(rate) => (rate, rate),
            Self::DecayToZero(rate) => (rate, 0.001),
            Self::DecayToOne(rate) => (0.001, rate),
        };
        for byte in memory {
            for bit in 0..8 {
                let rate = if *byte >> bit & 1 == 1 { fall } else { rise };
                if f64::from(rng.next_u32()) < rate * f64::from(u32::MAX) {
                    *byte ^= 1 << bit;
                }
            }
        }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::None => "undamaged".to_owned(),
            Self::Bits(count) => format!("{count} bits wrong"),
            Self::Flips(rate) => format!("{:.0} % of bits wrong", 100.0 * rate),
            Self::DecayToZero(rate) => format!("{:.0} % decay to 0", 100.0 * rate),
            Self::DecayToOne(rate) => format!("{:.0} % decay to 1", 100.0 * rate),
        };
        f.pad(&text)
    }
}

/// How many schedules of one kind and damage were found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detection {
    /// Key size in bits.
    pub bits: u16,
    /// Which schedule, and the order of its rounds.
    pub layout: Layout,
    /// The damage done.
    pub harm: Harm,
    /// Schedules planted, half of them with the bytes of each word reversed.
    pub planted: u32,
    /// Found where they were, with the right key.
    pub found: u32,
    /// Found where they were, with a key that differs: the damage left more than one that fits.
    pub wrong_key: u32,
    /// Reported where none was.
    pub false_reports: u32,
    /// Time that the scan took.
    pub time: Duration,
}

/// Plants `count` schedules of each size and layout with each of `harms`, at any offset in random
/// data of 4 KiB each, and scans that. `seed` gives other keys, offsets and damage.
pub fn self_test(harms: &[Harm], count: u32, seed: u64) -> Vec<Detection> {
    let mut table = Vec::new();
    for &harm in harms {
        for size in KeySize::ALL {
            for layout in Layout::ALL {
                let line = table.len() as u64;
                let seed = seed ^ line.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                table.extend(detect(size.bits(), layout, harm, count, seed));
            }
        }
    }
    table
}

/// What a scan of random data gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FalseReports {
    /// Bytes scanned.
    pub bytes: u64,
    /// Share of wrong bits that was searched for; 0 for undamaged schedules alone.
    pub rate: f64,
    /// Schedules reported.
    pub reports: u64,
    /// Places that were not decoded.
    pub undecoded: u64,
    /// Time that the scan took.
    pub time: Duration,
}

impl FalseReports {
    /// What was searched for, in words.
    pub fn sought(&self) -> String {
        if self.rate == 0.0 {
            "undamaged".to_owned()
        } else {
            format!("up to {:.1} % of bits wrong", 100.0 * self.rate)
        }
    }
}

/// Scans about `bytes` of random data, where every report is a false one.
pub fn false_reports(bytes: u64, damage: Option<Damage>, seed: u64) -> FalseReports {
    const PIECE: u64 = 64 << 20;
    let mut result = FalseReports {
        bytes: 0,
        rate: damage.map_or(0.0, Damage::rate),
        reports: 0,
        undecoded: 0,
        time: Duration::ZERO,
    };
    let mut memory = Vec::new();
    for piece in 0..bytes.div_ceil(PIECE) {
        memory.resize(PIECE.min(bytes - piece * PIECE) as usize, 0);
        memory
            .par_chunks_mut(1 << 20)
            .enumerate()
            .for_each(|(n, part)| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(piece << 32 | n as u64);
                rng.fill_bytes(part);
            });
        let options = Options {
            damage,
            ..Options::default()
        };
        let start = Instant::now();
        let report = scan_bytes(&memory, &Needles::new(), &options, &|_| ());
        result.time += start.elapsed();
        result.bytes += memory.len() as u64;
        result.reports += report.schedules.unwrap_or(0);
        result.undecoded += report.undecoded;
    }
    result
}

/// A schedule that was planted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planted {
    /// Offset of its first byte.
    pub offset: u64,
    /// Which schedule.
    pub layout: Layout,
    /// Its byte order.
    pub order: Order,
    /// Its key.
    pub key: FoundKey,
}

/// Random data with `count` schedules, one at any offset of each 4 KiB: of keys of `bits` bits, in each of
/// the `orders` in turn ([`Order::Native`] or [`Order::Words32Swapped`]), and harmed. `None` if there are
/// no such keys or orders.
pub fn plant(
    bits: u16,
    layout: Layout,
    orders: &[Order],
    harm: Harm,
    count: u32,
    seed: u64,
) -> Option<(Vec<u8>, Vec<Planted>)> {
    let size = KeySize::from_key_len(usize::from(bits) / 8)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut memory = vec![0; count as usize * SPACE];
    rng.fill_bytes(&mut memory);
    let mut all = Vec::new();
    let spaces = memory.chunks_exact_mut(SPACE).enumerate();
    for ((n, space), &order) in spaces.zip(orders.iter().cycle()) {
        let swapped = match order {
            Order::Native => false,
            Order::Words32Swapped => true,
            _ => return None,
        };
        let form = Form {
            size,
            layout,
            swapped,
        };
        let mut key = Zeroizing::new(vec![0; size.key_len()]);
        rng.fill_bytes(&mut key);
        let mut image = form.encode(&Schedule::expand(&key)?);
        harm.apply(&mut image, &mut rng);
        let at = rng.next_u32() as usize % (SPACE - form.len() + 1);
        space[at..at + form.len()].copy_from_slice(&image);
        all.push(Planted {
            offset: (n * SPACE + at) as u64,
            layout,
            order,
            key: FoundKey(key),
        });
    }
    (all.len() == count as usize).then_some((memory, all))
}

fn detect(bits: u16, layout: Layout, harm: Harm, count: u32, seed: u64) -> Option<Detection> {
    let orders = [Order::Native, Order::Words32Swapped];
    let (memory, planted) = plant(bits, layout, &orders, harm, count, seed)?;
    let options = Options {
        damage: harm.damage(),
        // Each place holds a schedule: nothing is to be left out.
        budget: u64::MAX,
        ..Options::default()
    };
    let start = Instant::now();
    let report = scan_bytes(&memory, &Needles::new(), &options, &|_| ());
    let mut detection = Detection {
        bits,
        layout,
        harm,
        planted: count,
        found: 0,
        wrong_key: 0,
        false_reports: 0,
        time: start.elapsed(),
    };
    for finding in &report.findings {
        let What::Schedule { layout, key, .. } = &finding.what else {
            continue;
        };
        let there = planted
            .iter()
            .find(|p| (p.offset, p.layout, p.order) == (finding.offset, *layout, finding.order));
        match there {
            Some(planted) if planted.key == *key => detection.found += 1,
            Some(_) => detection.wrong_key += 1,
            None => detection.false_reports += 1,
        }
    }
    Some(detection)
}
