// SPDX-License-Identifier: GPL-2.0-or-later

//! Finds and recovers schedules in damaged memory.

mod decoder;
mod evidence;
mod graph;
mod rate;
mod sieve;
mod spectrum;

pub use rate::Damage;

pub(crate) use evidence::Evidence;

use crate::aes::{Schedule, Step};
use crate::family::Family;
use crate::form::Form;
use decoder::Decoder;
use graph::{Channel, Graph};
use sieve::Sieve;
use std::collections::HashMap;
use std::ops::Range;

/// Passes of messages over a candidate: nearly all that are ever recovered are in 10.
const PASSES: usize = 24;
/// Candidates of a cluster that are decoded, best first: a schedule shows in its family at every
/// round, and only the right start can be decoded.
const TRIES: usize = 3;
/// Distinct byte values that 176 bytes have at least. Random ones have 127 +- 6, with a third of the
/// ones decayed still more than 90; regular memory has few.
const DISTINCT: usize = 64;

/// A schedule that was recovered, at `start` in the window.
pub(crate) struct Hit {
    pub start: usize,
    pub form: Form,
    pub schedule: Schedule,
    pub evidence: Evidence,
}

/// An offset that the sieve let through.
struct Candidate {
    start: usize,
    family: &'static Family,
    /// Share of ones in all of z between inner words.
    ones: f64,
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

    /// Calls `hit` for every damaged schedule that begins within `starts` and ends within `data`.
    /// Those that begin at one of the places `exact`, in order, are known; what overlaps them is no
    /// candidate.
    pub fn find(
        &self,
        data: &[u8],
        starts: Range<usize>,
        exact: &[Range<usize>],
        hit: &mut dyn FnMut(Hit),
    ) {
        let mut clusters: HashMap<*const Family, Vec<Candidate>> = HashMap::new();
        let mut decoders = Decoders::default();
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
            if distinct(&memory[..176]) < DISTINCT {
                return;
            }
            let (ones, bits) = residual(memory, family);
            let ones = f64::from(ones) / f64::from(bits);
            if ones > sieve::limit(self.damage.rate(), f64::from(bits)) {
                return;
            }
            let cluster = clusters.entry(family).or_default();
            let last = cluster.last().map_or(start, |last| last.start);
            if start - last > family.size.schedule_len() {
                self.decode(data, cluster, &mut decoders, hit);
            }
            cluster.push(Candidate {
                start,
                family,
                ones,
            });
        });
        for cluster in clusters.values_mut() {
            self.decode(data, cluster, &mut decoders, hit);
        }
    }

    /// Decodes the best candidates of a cluster and empties it.
    fn decode(
        &self,
        data: &[u8],
        cluster: &mut Vec<Candidate>,
        decoders: &mut Decoders,
        hit: &mut dyn FnMut(Hit),
    ) {
        cluster.sort_by(|a, b| a.ones.total_cmp(&b.ones));
        let mut left = TRIES;
        let mut found: Vec<Range<usize>> = Vec::new();
        for candidate in cluster.drain(..) {
            let range = candidate.start..candidate.start + candidate.family.size.schedule_len();
            // A long cluster may hold several schedules, and what overlaps one is no other.
            if left == 0
                || found
                    .iter()
                    .any(|f| f.start < range.end && range.start < f.end)
            {
                continue;
            }
            let memory = &data[range.clone()];
            let channel = rate::estimate(memory, candidate.ones);
            let recovered = candidate.family.forms().find_map(|form| {
                let recovered = decoders.of(form).recover(memory, channel, PASSES)?;
                let plausible = self.damage.allows(recovered.evidence, memory.len());
                plausible.then_some((form, recovered))
            });
            match recovered {
                Some((form, recovered)) => {
                    found.push(range);
                    left = TRIES;
                    hit(Hit {
                        start: candidate.start,
                        form,
                        schedule: recovered.schedule,
                        evidence: recovered.evidence,
                    });
                }
                None => left -= 1,
            }
        }
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

fn distinct(memory: &[u8]) -> usize {
    let mut seen = [false; 256];
    for &byte in memory {
        seen[usize::from(byte)] = true;
    }
    seen.iter().filter(|&&seen| seen).count()
}

/// Ones in z over all linear steps among inner words, and the number of bits that these have.
fn residual(memory: &[u8], family: &Family) -> (u32, u32) {
    // The byte order inside words does not matter here.
    let Some(form) = family.forms().find(|f| !f.swapped) else {
        return (0, 0);
    };
    let nk = form.size.words();
    let word = |i: usize| {
        let at = form.at(i, 0);
        u32::from_ne_bytes([memory[at], memory[at + 1], memory[at + 2], memory[at + 3]])
    };
    let inner = 4 + nk..form.words() - 4;
    inner
        .filter(|&i| form.size.step_kind(i) == Step::Linear)
        .fold((0, 0), |(ones, bits), i| {
            let z = word(i) ^ word(i - 1) ^ word(i - nk);
            (ones + z.count_ones(), bits + 32)
        })
}
