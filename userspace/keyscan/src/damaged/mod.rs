// SPDX-License-Identifier: GPL-2.0-or-later

//! Finds and recovers schedules in damaged memory.

mod decoder;
mod evidence;
mod graph;
mod rate;
mod sieve;
mod spectrum;
mod suspect;

pub use rate::Damage;

pub(crate) use evidence::Evidence;
pub(crate) use suspect::Suspects;

use crate::aes::{Schedule, Step};
use crate::family::Family;
use crate::form::Form;
use decoder::Decoder;
use graph::{Channel, Graph};
use rayon::prelude::*;
use sieve::Sieve;
use std::collections::HashMap;
use std::ops::Range;
use suspect::{Candidate, Suspect};

/// Passes of messages over each candidate of a cluster: a few for all, and if that was in vain more.
const PASSES: [usize; 2] = [8, 40];
/// Hypotheses of a cluster that are decoded, best first: a schedule shows in its family at every
/// round, and only the right start can be decoded.
const TRIES: usize = 4;
/// Places that are decoded before the budget is looked at again.
const BATCH: usize = 16;
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

/// A schedule that was recovered.
pub(crate) struct Hit {
    pub address: u64,
    pub form: Form,
    pub schedule: Schedule,
    pub evidence: Evidence,
}

/// Searches for damaged schedules.
pub(crate) struct Search {
    damage: Damage,
    sieve: Sieve,
}

impl Search {
    pub fn new(damage: Damage) -> Self {
        Self {
            damage,
            sieve: Sieve::new(damage.rate()),
        }
    }

    /// Adds every place within `starts` of `data`, which begins at `base` in the dump, where a damaged
    /// schedule may begin. Undamaged ones lie at `exact`, in order; what overlaps them is no candidate.
    pub fn find(
        &self,
        data: &[u8],
        base: u64,
        starts: Range<usize>,
        exact: &[Range<usize>],
        suspects: &mut Suspects,
    ) {
        let mut clusters: HashMap<*const Family, Suspect> = HashMap::new();
        self.sieve.find(data, starts, &mut |start, family| {
            let Some(memory) = data.get(start..start + family.size.schedule_len()) else {
                return;
            };
            let known = exact.partition_point(|known| known.end <= start);
            if exact
                .get(known)
                .is_some_and(|known| known.start < start + memory.len())
            {
                return;
            }
            if is_regular(&memory[..176]) {
                return;
            }
            let (among_inner, outer) = residual(memory, family);
            let ones = among_inner.share();
            let bits = f64::from(among_inner.bits);
            if ones > sieve::limit(self.damage.rate(), bits, sieve::RANDOM_ALL) {
                return;
            }
            let address = base + start as u64;
            let cluster = clusters.entry(family).or_default();
            if cluster.ends_before(address) {
                suspects.add(std::mem::take(cluster));
            }
            for inner in [false, true] {
                let q = ones.clamp(0.01, 0.45);
                let more = if inner { 0.0 } else { outer.score(q) };
                cluster.add(Candidate {
                    address,
                    family,
                    inner,
                    ones,
                    score: among_inner.score(q) + more,
                    memory: Box::<[u8]>::from(memory).into(),
                });
            }
        });
        for cluster in clusters.into_values() {
            suspects.add(cluster);
        }
    }

    /// Decodes what was found, the likeliest first, until `budget` passes of messages were in vain. Tells
    /// also how many places were left.
    pub fn decode(&self, suspects: Suspects, budget: u64) -> (Vec<Hit>, u64) {
        let (mut left, mut undecoded) = suspects.into_sorted();
        let (mut hits, mut spent) = (Vec::new(), 0);
        for (round, passes) in PASSES.into_iter().enumerate() {
            let mut unsolved = Vec::new();
            let mut rest = left.into_iter();
            let limit = if round == 0 { budget / 2 } else { budget };
            // All of a batch is decoded, so that the result does not depend on the number of threads.
            while spent < limit {
                let batch: Vec<Suspect> = rest.by_ref().take(BATCH).collect();
                if batch.is_empty() {
                    break;
                }
                let results: Vec<_> = batch
                    .into_par_iter()
                    .map_init(Decoders::default, |decoders, suspect| {
                        let (found, vain) = self.decode_one(&suspect, decoders, passes);
                        (suspect, found, vain)
                    })
                    .collect();
                for (suspect, found, vain) in results {
                    if found.is_empty() {
                        spent += vain;
                        unsolved.push(suspect);
                    }
                    hits.extend(found);
                }
            }
            let not_tried = rest.count() as u64;
            undecoded += not_tried;
            // Of the last round, all that is left was tried.
            left = if round + 1 < PASSES.len() {
                unsolved
            } else {
                Vec::new()
            };
        }
        (hits, undecoded)
    }

    /// Decodes the best candidates of one place; also says how many passes were in vain.
    fn decode_one(
        &self,
        suspect: &Suspect,
        decoders: &mut Decoders,
        passes: usize,
    ) -> (Vec<Hit>, u64) {
        let mut found: Vec<Range<u64>> = Vec::new();
        let (mut hits, mut vain, mut left) = (Vec::new(), 0, TRIES);
        for candidate in suspect.by_score() {
            let end = candidate.address + candidate.memory.len() as u64;
            // A long cluster may hold several schedules, and what overlaps one is no other.
            if left == 0
                || found
                    .iter()
                    .any(|f| f.start < end && candidate.address < f.end)
            {
                continue;
            }
            match self.recover(candidate, decoders, passes) {
                Some(recovered) => {
                    found.push(candidate.address..end);
                    left = TRIES;
                    hits.push(recovered);
                }
                None => {
                    vain += 2 * passes as u64;
                    left -= 1;
                }
            }
        }
        (hits, vain)
    }

    fn recover(
        &self,
        candidate: &Candidate,
        decoders: &mut Decoders,
        passes: usize,
    ) -> Option<Hit> {
        let memory = &candidate.memory[..];
        let channel = rate::estimate(memory, candidate.ones);
        let forms = candidate
            .family
            .forms()
            .into_iter()
            .filter(|form| form.layout.is_decryption() == candidate.inner);
        for form in forms {
            let Some(recovered) = decoders.of(form).recover(memory, channel, passes) else {
                continue;
            };
            if self.damage.allows(recovered.evidence, memory.len()) {
                return Some(Hit {
                    address: candidate.address,
                    form,
                    schedule: recovered.schedule,
                    evidence: recovered.evidence,
                });
            }
        }
        None
    }
}

/// Recovers a schedule from `memory`, where one is known to lie, whatever the damage: for images that
/// are damaged beyond what a [scan](crate::scan_bytes) can tell from other memory.
///
/// `fall` is the share of ones that are expected to be read as zeros, `rise` that of zeros read as
/// ones. `passes` bounds the time: one takes about a millisecond. The key is returned, and how many
/// bits had fallen and risen; `None` if nothing was found that is proved by what was read.
pub fn recover(
    memory: &[u8],
    place: &Place,
    fall: f64,
    rise: f64,
    passes: usize,
) -> Option<(crate::FoundKey, u32, u32)> {
    let size = crate::aes::KeySize::from_key_len(usize::from(place.bits) / 8)?;
    let form = Form {
        size,
        layout: place.layout,
        swapped: place.swapped,
    };
    let memory = memory.get(..form.len())?;
    let bound = |p: f64| p.clamp(1e-3, 0.99);
    let channel = Channel {
        fall: bound(fall),
        rise: bound(rise),
    };
    let found = Decoder::new(Graph::new(form)).recover(memory, channel, passes)?;
    let key = found.schedule.as_bytes()[..size.key_len()].to_vec();
    Some((
        crate::FoundKey(zeroize::Zeroizing::new(key)),
        found.evidence.fallen,
        found.evidence.risen,
    ))
}

/// What lies at a place given to [`recover`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Key size in bits.
    pub bits: u16,
    /// Which schedule.
    pub layout: crate::Layout,
    /// The bytes of each 32-bit word are reversed.
    pub swapped: bool,
}

/// The decoders used so far: building one is dearer than using it.
#[derive(Default)]
struct Decoders(Vec<Decoder>);

impl Decoders {
    fn of(&mut self, form: Form) -> &mut Decoder {
        let known = self.0.iter().position(|d| d.graph.form == form);
        let at = known.unwrap_or_else(|| {
            self.0.push(Decoder::new(Graph::new(form)));
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

/// Whether memory is not like the 176 bytes of a schedule, damaged or not.
fn is_regular(memory: &[u8]) -> bool {
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

/// Share of bits that differ from those `by` bytes on.
fn differing(memory: &[u8], by: usize) -> f64 {
    let word = |w: &[u8]| w.try_into().map_or(0, u64::from_ne_bytes);
    let words = memory.chunks_exact(8).zip(memory[by..].chunks_exact(8));
    let (ones, bits) = words.fold((0, 0), |(ones, bits), (a, b)| {
        (ones + (word(a) ^ word(b)).count_ones(), bits + 64)
    });
    f64::from(ones) / f64::from(bits)
}

/// Ones among bits of z.
#[derive(Clone, Copy, Default)]
struct Ones {
    ones: u32,
    bits: u32,
}

impl Ones {
    fn share(self) -> f64 {
        f64::from(self.ones) / f64::from(self.bits)
    }

    /// By how much, in bits, they are likelier if each is one with probability `q` than with 1/2.
    fn score(self, q: f64) -> f64 {
        f64::from(self.ones) * (2.0 * q).log2()
            + f64::from(self.bits - self.ones) * (2.0 * (1.0 - q)).log2()
    }
}

/// z over all linear steps among inner words, and over those with outer ones.
fn residual(memory: &[u8], family: &Family) -> (Ones, Ones) {
    let (mut among_inner, mut outer) = (Ones::default(), Ones::default());
    // The byte order inside words does not matter here.
    let [form, ..] = family.forms();
    let (nk, words) = (form.size.words(), form.words());
    let word = |i: usize| {
        let at = form.at(i, 0);
        u32::from_ne_bytes([memory[at], memory[at + 1], memory[at + 2], memory[at + 3]])
    };
    for i in (nk..words).filter(|&i| form.size.step_kind(i) == Step::Linear) {
        let sum = if (4 + nk..words - 4).contains(&i) {
            &mut among_inner
        } else {
            &mut outer
        };
        sum.ones += (word(i) ^ word(i - 1) ^ word(i - nk)).count_ones();
        sum.bits += 32;
    }
    (among_inner, outer)
}
