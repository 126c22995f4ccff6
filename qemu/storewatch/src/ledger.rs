// SPDX-License-Identifier: GPL-2.0-or-later

//! What was found, joined, and what became of it.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use crate::filter::Lines;
use crate::forms::MIN_RUN;
use crate::ram::Ram;
use crate::wire::{By, Overwritten, RawHit};
use crate::words::WORD;

/// Hits kept apart.
const RECORDS: usize = 4096;
/// Places in RAM that are followed.
const PLACES: usize = 1 << 16;

/// Which bytes were found: the number of a form or of a CPU's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// A form of a secret.
    Form(usize),
    /// The share of a CPU that is in its debug registers.
    Share(u32),
}

/// Bytes of a secret in RAM.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub what: What,
    /// Its name.
    pub name: String,
    /// Offset of the first byte in the secret.
    pub offset: usize,
    /// Guest-physical address of the first byte.
    pub address: u64,
    /// Bytes in a row, as reported.
    pub len: usize,
    /// Those of them that are at `address` physically; the others are on another page.
    pub bytes: Vec<u8>,
}

/// Who did it.
#[derive(Clone, Debug)]
pub struct Culprit {
    /// How.
    pub by: By,
    /// CPU.
    pub cpu: u32,
    /// Address of the instruction.
    pub pc: u64,
    /// Name of the current task.
    pub process: String,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    what: What,
    by: By,
    pc: u64,
    process: String,
}

/// A place is named by the secret and by where its first byte would be.
type PlaceKey = (What, u64);

struct Place {
    address: u64,
    bytes: Vec<u8>,
    record: usize,
    since: Instant,
    /// Fewer of the bytes are no longer of interest.
    least: usize,
}

/// All hits of a run.
#[derive(Default)]
pub struct Ledger {
    records: Vec<RawHit>,
    by_key: HashMap<Key, usize>,
    places: HashMap<PlaceKey, Place>,
    by_line: HashMap<u64, Vec<PlaceKey>>,
    /// Lines that stay marked for another reason.
    pinned: HashSet<u64>,
    omitted: u64,
}

impl Ledger {
    /// Keeps a line marked.
    pub fn pin(&mut self, line: u64, lines: &Lines) {
        self.pinned.insert(line);
        lines.insert(line);
    }

    /// Notes a hit, and from now on what becomes of these bytes.
    pub fn hit(&mut self, found: Found, culprit: Culprit, lines: &Lines) {
        let key = Key {
            what: found.what,
            by: culprit.by,
            pc: culprit.pc,
            process: culprit.process.clone(),
        };
        let record = match self.by_key.get(&key) {
            Some(&record) => record,
            None if self.records.len() == RECORDS => {
                self.omitted += 1;
                return;
            }
            None => {
                self.records.push(RawHit {
                    secret: found.name.clone(),
                    by: culprit.by,
                    cpu: culprit.cpu,
                    pc: culprit.pc,
                    process: culprit.process,
                    address: found.address,
                    bytes: 0,
                    resident: false,
                    overwritten: None,
                    count: 0,
                });
                self.by_key.insert(key, self.records.len() - 1);
                self.records.len() - 1
            }
        };
        let hit = &mut self.records[record];
        hit.count += 1;
        hit.cpu = culprit.cpu;
        hit.address = found.address;
        hit.bytes = hit.bytes.max(found.len);
        let least = match culprit.by {
            By::Words => WORD,
            _ => MIN_RUN.min(found.bytes.len()),
        };
        self.follow(found, record, least, lines);
    }

    fn follow(&mut self, found: Found, record: usize, least: usize, lines: &Lines) {
        let key = (found.what, found.address.wrapping_sub(found.offset as u64));
        self.forget(key, lines);
        if self.places.len() == PLACES {
            // The search of RAM at the next report finds what is dropped here, if it stays.
            return;
        }
        for line in lines_of(found.address, found.bytes.len()) {
            self.by_line.entry(line).or_default().push(key);
            lines.insert(line);
        }
        self.places.insert(
            key,
            Place {
                address: found.address,
                bytes: found.bytes,
                record,
                since: Instant::now(),
                least,
            },
        );
    }

    fn forget(&mut self, key: PlaceKey, lines: &Lines) {
        let Some(place) = self.places.remove(&key) else {
            return;
        };
        for line in lines_of(place.address, place.bytes.len()) {
            if let Some(keys) = self.by_line.get_mut(&line) {
                keys.retain(|other| *other != key);
                if keys.is_empty() {
                    self.by_line.remove(&line);
                    if !self.pinned.contains(&line) {
                        lines.remove(line);
                    }
                }
            }
        }
    }

    /// Looks, after a store of `len` bytes, at what was followed there.
    pub fn written(
        &mut self,
        ram: &Ram,
        lines: &Lines,
        address: u64,
        len: usize,
        culprit: &mut dyn FnMut() -> (u64, String),
    ) {
        let mut keys: Vec<PlaceKey> = lines_of(address, len)
            .filter_map(|line| self.by_line.get(&line))
            .flatten()
            .copied()
            .collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let Some(place) = self.places.get(&key) else {
                continue;
            };
            if place.address >= address + len as u64
                || address >= place.address + place.bytes.len() as u64
            {
                continue;
            }
            if longest_left(ram, place) < place.least {
                let (pc, process) = culprit();
                let after = place.since.elapsed().as_micros() as u64;
                self.records[place.record].overwritten = Some(Overwritten { pc, process, after });
                self.forget(key, lines);
            }
        }
    }

    /// Whether these bytes are followed already.
    pub fn knows(&self, what: What, origin: u64) -> bool {
        self.places.contains_key(&(what, origin))
    }

    /// All hits, with what is resident now, and how many were not kept apart.
    pub fn state(&mut self, ram: &Ram) -> (Vec<RawHit>, u64) {
        for hit in &mut self.records {
            hit.resident = false;
        }
        for place in self.places.values() {
            if longest_left(ram, place) >= place.least {
                self.records[place.record].resident = true;
            }
        }
        // A store that ran while RAM was searched may have been found before it was checked.
        let stays = |hit: &&RawHit| hit.by != By::Unseen || hit.resident;
        (
            self.records.iter().filter(stays).cloned().collect(),
            self.omitted,
        )
    }
}

/// Most bytes in a row that are still there.
fn longest_left(ram: &Ram, place: &Place) -> usize {
    let now = ram.get(place.address, place.bytes.len());
    let (mut longest, mut run) = (0, 0);
    for (was, is) in place.bytes.iter().zip(&now) {
        run = if was == is { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

fn lines_of(address: u64, len: usize) -> std::ops::RangeInclusive<u64> {
    let last = address + (len as u64).saturating_sub(1);
    address >> Lines::SHIFT..=last >> Lines::SHIFT
}
