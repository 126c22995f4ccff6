// SPDX-License-Identifier: GPL-2.0-or-later

//! Follows DR_c = M xor S_c of each CPU through its refreshes.

use std::collections::{HashMap, VecDeque};

use crate::filter::{sample, Counts, STRIDE};
use crate::forms::{Form, MIN_RUN};
use crate::needles::{samples, Needles, Run};
use crate::ram::Ram;
use crate::wire::ShareLine;

/// Bytes in M and in each share.
pub const SHARE: usize = 32;
/// Values of a share that are looked for: a refresh changes S_c in four steps, so the last six whole
/// ones and those in between.
const KEPT: usize = 24;

/// The shares of all CPUs.
#[derive(Default)]
pub struct Shares {
    m: [u8; SHARE],
    lines: Vec<Line>,
    /// How many values have each sample: the filter lets some per cent of all stores through.
    samples: HashMap<u64, u32>,
}

struct Line {
    place: ShareLine,
    values: VecDeque<[u8; SHARE]>,
}

impl Shares {
    /// Follows these from now on, and nothing that was followed before.
    pub fn follow(&mut self, m: [u8; SHARE], places: Vec<ShareLine>, filter: &Counts) {
        for value in self.lines.iter().flat_map(|line| &line.values) {
            samples(value).for_each(|(_, sample)| filter.remove(sample));
        }
        let line = |place| Line {
            place,
            values: VecDeque::new(),
        };
        *self = Self {
            m,
            lines: places.into_iter().map(line).collect(),
            samples: HashMap::new(),
        };
    }

    /// CPUs whose S_c is among these bytes of RAM.
    pub fn at(&self, address: u64, len: usize) -> Vec<u32> {
        let hit = |line: &&Line| {
            line.place.address < address + len as u64 && address < line.place.address + SHARE as u64
        };
        self.lines
            .iter()
            .filter(hit)
            .map(|line| line.place.cpu)
            .collect()
    }

    /// Computes the share of a CPU anew from RAM; the value, if it is a new one.
    ///
    /// While S_c is being set up or erased there is no share: half a word of it, or more, is zero. (What is
    /// set up byte by byte has a last word with zeros at its end, where M itself would be taken for a share.)
    pub fn update(&mut self, cpu: u32, ram: &Ram, filter: &Counts) -> Option<[u8; SHARE]> {
        let line = self.lines.iter_mut().find(|line| line.place.cpu == cpu)?;
        let s = ram.get(line.place.address, SHARE);
        if s.chunks_exact(4).any(|half| half == [0; 4]) {
            return None;
        }
        let value = std::array::from_fn(|i| self.m[i] ^ s[i]);
        if line.values.contains(&value) {
            return None;
        }
        if line.values.len() == KEPT {
            if let Some(old) = line.values.pop_front() {
                for (_, sample) in samples(&old) {
                    filter.remove(sample);
                    if let Some(count) = self.samples.get_mut(&sample) {
                        *count -= 1;
                        if *count == 0 {
                            self.samples.remove(&sample);
                        }
                    }
                }
            }
        }
        line.values.push_back(value);
        for (_, sample) in samples(&value) {
            filter.insert(sample);
            *self.samples.entry(sample).or_default() += 1;
        }
        Some(value)
    }

    /// Whether any value has this sample.
    pub fn has(&self, sample: u64) -> bool {
        self.samples.contains_key(&sample)
    }

    /// Whether a run of the newest value of a CPU's share is one of no value before it.
    pub fn is_new(&self, cpu: u32, run: &Run) -> bool {
        let line = self.lines.iter().find(|line| line.place.cpu == cpu);
        let Some((newest, before)) = line.and_then(|line| {
            let newest = line.values.back()?;
            Some((newest, line.values.iter().rev().skip(1)))
        }) else {
            return false;
        };
        let span = run.offset..run.offset + run.len;
        before
            .map(|value| &value[span.clone()])
            .all(|old| old != &newest[span.clone()])
    }

    /// Runs of any of the values, as [`Needles::runs`] finds them, with the CPU whose share it is.
    pub fn runs(&self, bytes: &[u8], from: usize, to: usize) -> Vec<(u32, Run)> {
        let mut runs: Vec<(u32, Run)> = Vec::new();
        let mut places = from.saturating_sub(MIN_RUN - 1)..to + STRIDE - 1;
        if !places.any(|at| sample(bytes, at).is_some_and(|it| self.has(it))) {
            return runs;
        }
        for line in &self.lines {
            let cpu = line.place.cpu;
            for run in line
                .values
                .iter()
                .flat_map(|value| runs_of(value, bytes, from, to))
            {
                // Values in the middle of a refresh have words of both; the longest run says it all.
                let inside = |(other_cpu, other): &(u32, Run), run: &Run| {
                    *other_cpu == cpu
                        && other.start <= run.start
                        && run.start + run.len <= other.start + other.len
                };
                if !runs.iter().any(|other| inside(other, &run)) {
                    runs.retain(|(other_cpu, other)| {
                        *other_cpu != cpu || !inside(&(cpu, run), other)
                    });
                    runs.push((cpu, run));
                }
            }
        }
        runs
    }

    /// Every CPU.
    pub fn cpus(&self) -> Vec<u32> {
        self.lines.iter().map(|line| line.place.cpu).collect()
    }
}

/// Runs of one value.
pub fn runs_of(value: &[u8; SHARE], bytes: &[u8], from: usize, to: usize) -> Vec<Run> {
    let mut needles = Needles::default();
    needles.add(Form {
        name: String::new(),
        bytes: value.to_vec(),
    });
    needles.runs(bytes, from, to)
}

/// What hits call a share.
pub fn name(cpu: u32) -> String {
    format!("DR share of CPU {cpu}")
}
