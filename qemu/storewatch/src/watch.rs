// SPDX-License-Identifier: GPL-2.0-or-later

//! One guest under watch.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::{ensure, Result};

use crate::filter::{Bits, Counts, Lines, SAMPLE_MASK, STRIDE};
use crate::forms::{forms, MIN_RUN};
use crate::ledger::{Culprit, Found, Ledger, What};
use crate::needles::{samples, Needles, Run};
use crate::ram::{Ram, OVERLAP};
use crate::shares::{self, Shares, SHARE};
use crate::wire::{By, Forms, ShareLine, State};
use crate::words::{History, Seen, Words, WORD};

/// CPUs that a guest may have.
pub const CPUS: usize = 64;
/// Bytes around a store that are looked at once it is suspicious: the longest form and more.
const AROUND: usize = 256;
/// Stores that are remembered while shares are followed.
const RECENT: usize = 512;
const PAGE: u64 = 4096;

/// One store of a guest's CPU, or the part of it on one page. It has been executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes, 1 to 16.
    pub size: usize,
    /// What was stored, in the order of memory, as a little-endian number.
    pub value: u128,
    /// Guest-virtual address of the instruction.
    pub pc: u64,
}

/// What belongs to one CPU; only its own thread adds to it.
#[repr(align(128))]
#[derive(Default)]
struct Cpu {
    seen: AtomicU64,
    checked: AtomicU64,
    devices: AtomicU64,
    unknown: AtomicU64,
    history: Mutex<History>,
    recent: Recent,
}

/// The last stores, since a share may be stored before S_c tells that it is one. Written and read by
/// the CPU's own thread; atomic so that nothing worse than nonsense could come of another's look.
struct Recent {
    stores: Vec<[AtomicU64; 5]>,
    next: AtomicU64,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            stores: (0..RECENT).map(|_| Default::default()).collect(),
            next: AtomicU64::new(0),
        }
    }
}

impl Recent {
    #[inline(always)]
    fn push(&self, store: &Store) {
        let next = self.next.load(Ordering::Relaxed);
        self.next.store(next + 1, Ordering::Relaxed);
        let fields = [
            store.address,
            store.size as u64,
            store.value as u64,
            (store.value >> 64) as u64,
            store.pc,
        ];
        for (slot, field) in self.stores[next as usize % RECENT].iter().zip(fields) {
            slot.store(field, Ordering::Relaxed);
        }
    }

    fn all(&self) -> Vec<Store> {
        let get = |slot: &[AtomicU64; 5]| {
            let [address, size, low, high, pc] =
                std::array::from_fn(|i| slot[i].load(Ordering::Relaxed));
            Store {
                address,
                size: (size as usize).min(16),
                value: u128::from(low) | u128::from(high) << 64,
                pc,
            }
        };
        let stores = self.stores.iter().map(get);
        stores.filter(|store| store.size != 0).collect()
    }
}

/// Everything about one guest.
pub struct Watch {
    ram: Ram,
    cpus: Vec<Cpu>,
    /// Whether there is any secret.
    active: AtomicBool,
    /// Whether shares are followed.
    following: AtomicBool,
    filter: Bits,
    share_filter: Counts,
    word_filter: Bits,
    lines: Lines,
    needles: RwLock<(Needles, Words, Vec<String>)>,
    shares: Mutex<Shares>,
    ledger: Mutex<Ledger>,
}

/// Tells the name of the task that a CPU runs; asked for only when there is something to report.
pub type Process<'a> = &'a dyn Fn() -> String;

impl Watch {
    /// Watches a guest with this RAM.
    pub fn new(ram: Ram) -> Self {
        let lines = Lines::new(ram.len());
        Self {
            ram,
            cpus: (0..CPUS).map(|_| Cpu::default()).collect(),
            active: AtomicBool::new(false),
            following: AtomicBool::new(false),
            // A pair of XTS keys with all round keys sets 3000 bits.
            filter: Bits::new(21),
            share_filter: Counts::new(16),
            word_filter: Bits::new(18),
            lines,
            needles: RwLock::default(),
            shares: Mutex::default(),
            ledger: Mutex::default(),
        }
    }

    /// Counts a store, and says whether it is to be checked.
    #[inline(always)]
    pub fn count(&self, cpu: usize) -> bool {
        let cpu = &self.cpus[cpu % CPUS];
        add_one(&cpu.seen);
        self.active.load(Ordering::Relaxed)
    }

    /// Counts a store to a device.
    pub fn count_device(&self, cpu: usize) {
        add_one(&self.cpus[cpu % CPUS].devices);
    }

    /// Counts a store that was checked.
    #[inline(always)]
    pub fn count_checked(&self, cpu: usize) {
        add_one(&self.cpus[cpu % CPUS].checked);
    }

    /// Checks a store that [`Watch::count`] wants checked.
    #[inline(always)]
    pub fn store(&self, cpu: usize, store: Store, process: Process<'_>) {
        if self.is_suspicious(cpu, &store) {
            self.examine(cpu, &store, process);
        }
    }

    /// Whether RAM holds what was stored. If not, another has been there since, or the caller has
    /// the bytes in the wrong order.
    #[inline(always)]
    pub fn holds(&self, store: &Store) -> bool {
        let Store { address, size, .. } = *store;
        if address.saturating_add(16) > self.ram.len() {
            let there = self.ram.get(address, size);
            return there == store.value.to_le_bytes()[..size];
        }
        // SAFETY: 16 bytes follow.
        let there = unsafe { self.ram.load16(address) };
        (there ^ store.value) & low_bytes(size) == 0
    }

    /// Bytes of RAM: physical addresses from here on are devices'.
    #[inline(always)]
    pub fn ram_len(&self) -> u64 {
        self.ram.len()
    }

    #[inline(always)]
    fn is_suspicious(&self, cpu: usize, store: &Store) -> bool {
        let Store { address, size, .. } = *store;
        let last = address + size as u64 - 1;
        if address < 16 || last + 32 > self.ram.len() {
            return true;
        }
        let following = self.following.load(Ordering::Relaxed);
        if following {
            self.cpus[cpu % CPUS].recent.push(store);
        }
        // Another CPU, or a device, may have been there since.
        if !self.holds(store) {
            return true;
        }
        let mut suspicious = self.lines.contains(address) | self.lines.contains(last);
        // The first aligned sample that a run of 8 bytes with the store's first byte may need to
        // have, and the last that one with its last byte may.
        let mut at = (address - (MIN_RUN - STRIDE) as u64) & !(STRIDE as u64 - 1);
        while at < last + STRIDE as u64 {
            // SAFETY: `at` is at most 3 behind `last`, and 31 bytes follow that.
            let sample = unsafe { self.ram.load8(at) } & SAMPLE_MASK;
            suspicious |= self.filter.may_contain(sample);
            if following {
                suspicious |= self.share_filter.may_contain(sample);
            }
            at += STRIDE as u64;
        }
        if size >= WORD {
            let mut value = store.value;
            for _ in 0..size / WORD {
                suspicious |= self.word_filter.may_contain(u64::from(value as u32));
                value >>= 8 * WORD;
            }
        }
        suspicious
    }

    /// Decides on a suspicious store with the exact tables.
    #[cold]
    #[inline(never)]
    fn examine(&self, cpu: usize, store: &Store, process: Process<'_>) {
        let Store { address, size, .. } = *store;
        if self.lines.contains(address) || self.lines.contains(address + size as u64 - 1) {
            let mut culprit = || (store.pc, process());
            locked(&self.ledger).written(&self.ram, &self.lines, address, size, &mut culprit);
            if self.following.load(Ordering::Relaxed) {
                let cpus = locked(&self.shares).at(address, size);
                for owner in cpus {
                    self.share_changed(cpu, owner, process);
                }
            }
        }
        let (bytes, first) = self.surroundings(store);
        self.examine_bytes(cpu, store, &bytes, (address - first) as usize, process);
    }

    /// RAM around the store as it was right after it, and the address of the first byte.
    fn surroundings(&self, store: &Store) -> (Vec<u8>, u64) {
        let first = store.address.saturating_sub(AROUND as u64);
        let at = (store.address - first) as usize;
        let mut bytes = self.ram.get(first, at + store.size + AROUND);
        bytes[at..at + store.size].copy_from_slice(&store.value.to_le_bytes()[..store.size]);
        (bytes, first)
    }

    /// Decides on a store by the bytes around it; those at `at` are the store's own.
    ///
    /// Where these are not neighbours in physical memory, but in virtual, the caller has them.
    pub fn examine_bytes(
        &self,
        cpu: usize,
        store: &Store,
        bytes: &[u8],
        at: usize,
        process: Process<'_>,
    ) {
        let to = at + store.size;
        let mut hits = Vec::new();
        let mut pairs = Vec::new();
        {
            let guard = self.needles.read().unwrap_or_else(PoisonError::into_inner);
            let (needles, words, _) = &*guard;
            for run in needles.runs(bytes, at, to) {
                let name = needles.forms()[run.form].name.clone();
                hits.push(found(What::Form(run.form), name, run, bytes, store, at));
            }
            if hits.is_empty() && store.size >= WORD {
                pairs = self.pairs(cpu, store, words, needles);
            }
        }
        if self.following.load(Ordering::Relaxed) {
            for (owner, run) in locked(&self.shares).runs(bytes, at, to) {
                let (what, name) = (What::Share(owner), shares::name(owner));
                hits.push(found(what, name, run, bytes, store, at));
            }
        }
        if hits.is_empty() && pairs.is_empty() {
            return;
        }
        let process = process();
        let culprit = |by| Culprit {
            by,
            cpu: cpu as u32,
            pc: store.pc,
            process: process.clone(),
        };
        let mut ledger = locked(&self.ledger);
        for hit in hits {
            ledger.hit(hit, culprit(By::Store), &self.lines);
        }
        for pair in pairs {
            ledger.hit(pair, culprit(By::Words), &self.lines);
        }
    }

    fn pairs(&self, cpu: usize, store: &Store, words: &Words, needles: &Needles) -> Vec<Found> {
        let mut pairs = Vec::new();
        let value = store.value.to_le_bytes();
        let own = &self.cpus[cpu % CPUS];
        for (at, word) in value[..store.size].chunks_exact(WORD).enumerate() {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            for &(form, offset) in words.find(word) {
                let seen = Seen {
                    form,
                    word,
                    address: store.address + (WORD * at) as u64,
                    store: own.seen.load(Ordering::Relaxed),
                };
                if locked(&own.history).note(seen).is_some() {
                    pairs.push(Found {
                        what: What::Form(form),
                        name: needles.forms()[form].name.clone(),
                        offset,
                        address: seen.address,
                        len: WORD,
                        bytes: word.to_le_bytes().to_vec(),
                    });
                }
            }
        }
        pairs
    }

    /// S_c of `owner` was stored to: its share is a new one, which `cpu` may have stored already.
    fn share_changed(&self, cpu: usize, owner: u32, process: Process<'_>) {
        let Some(value) = locked(&self.shares).update(owner, &self.ram, &self.share_filter) else {
            return;
        };
        let recent = self.cpus[cpu % CPUS].recent.all();
        for store in recent {
            let (bytes, first) = self.surroundings(&store);
            let at = (store.address - first) as usize;
            for run in shares::runs_of(&value, &bytes, at, at + store.size) {
                if !locked(&self.shares).is_new(owner, &run) {
                    continue;
                }
                let (what, name) = (What::Share(owner), shares::name(owner));
                let hit = found(what, name, run, &bytes, &store, at);
                let culprit = Culprit {
                    by: By::Store,
                    cpu: cpu as u32,
                    pc: store.pc,
                    process: process(),
                };
                let mut ledger = locked(&self.ledger);
                ledger.hit(hit, culprit, &self.lines);
                // It may be gone already, but who overwrote it was not watched.
            }
        }
    }

    /// Checks a store whose physical address is not known, by the bytes around it.
    pub fn store_nowhere(&self, cpu: usize, store: &Store, process: Process<'_>) {
        add_one(&self.cpus[cpu % CPUS].unknown);
        let value = store.value.to_le_bytes();
        self.examine_bytes(cpu, store, &value[..store.size], 0, process);
    }

    /// Looks for a secret from now on, and once for what of it is in RAM already.
    ///
    /// # Errors
    /// If the name is taken, or the secret is refused by [`forms`]; nothing has changed then.
    pub fn add_secret(&self, name: &str, bytes: &[u8], kind: Forms) -> Result<()> {
        let forms = forms(name, bytes, kind)?;
        let first;
        {
            let mut guard = self.needles.write().unwrap_or_else(PoisonError::into_inner);
            let (needles, words, names) = &mut *guard;
            ensure!(
                !names.iter().any(|known| known == name),
                "a secret is called {name} already; give each a name of its own"
            );
            names.push(name.to_owned());
            first = needles.forms().len();
            for form in forms {
                for (_, sample) in samples(&form.bytes) {
                    self.filter.insert(sample);
                }
                let index = needles.add(form.clone());
                for word in words.add(index, &form) {
                    self.word_filter.insert(u64::from(word));
                }
            }
        }
        self.active.store(true, Ordering::SeqCst);
        self.search(
            By::Before,
            |what| matches!(what, What::Form(form) if form >= first),
        );
        Ok(())
    }

    /// Follows the shares at these places from now on.
    ///
    /// # Errors
    /// If a place is not in RAM; nothing has changed then.
    pub fn follow_shares(&self, m: [u8; SHARE], places: Vec<ShareLine>) -> Result<()> {
        for place in &places {
            ensure!(
                place.address.saturating_add(SHARE as u64) <= self.ram.len(),
                "the share of CPU {} would be at {:#x}, which is not in RAM",
                place.cpu,
                place.address
            );
        }
        {
            let mut ledger = locked(&self.ledger);
            for place in &places {
                ledger.pin(place.address >> Lines::SHIFT, &self.lines);
                let last = place.address + SHARE as u64 - 1;
                ledger.pin(last >> Lines::SHIFT, &self.lines);
            }
        }
        {
            let mut shares = locked(&self.shares);
            shares.follow(m, places, &self.share_filter);
            self.following.store(true, Ordering::SeqCst);
            for cpu in shares.cpus() {
                shares.update(cpu, &self.ram, &self.share_filter);
            }
        }
        self.active.store(true, Ordering::SeqCst);
        self.search(By::Before, |what| matches!(what, What::Share(_)));
        Ok(())
    }

    /// The state, after a search of RAM for what no store left there.
    pub fn state(&self) -> State {
        self.search(By::Unseen, |_| true);
        let sum = |counter: fn(&Cpu) -> &AtomicU64| {
            let values = self
                .cpus
                .iter()
                .map(|cpu| counter(cpu).load(Ordering::SeqCst));
            values.sum()
        };
        let (hits, omitted) = locked(&self.ledger).state(&self.ram);
        State {
            stores_seen: sum(|cpu| &cpu.seen),
            stores_checked: sum(|cpu| &cpu.checked),
            stores_to_devices: sum(|cpu| &cpu.devices),
            stores_without_address: sum(|cpu| &cpu.unknown),
            hits,
            omitted,
        }
    }

    /// Searches all of RAM for what is not followed yet.
    fn search(&self, by: By, wanted: impl Fn(What) -> bool) {
        self.ram.pieces(|bytes, first, own| {
            let mut hits: Vec<(What, String, Run)> = Vec::new();
            let skip = own.start.next_multiple_of(STRIDE);
            for at in (skip..own.end + STRIDE).step_by(STRIDE) {
                let Some(eight) = bytes.get(at..at + 8) else {
                    break;
                };
                let mut word = [0; 8];
                word.copy_from_slice(eight);
                let sample = u64::from_le_bytes(word) & SAMPLE_MASK;
                if self.filter.may_contain(sample) {
                    let guard = self.needles.read().unwrap_or_else(PoisonError::into_inner);
                    let mut runs = Vec::new();
                    guard.0.runs_at(bytes, at, own.start, own.end, &mut runs);
                    for run in runs {
                        let name = guard.0.forms()[run.form].name.clone();
                        hits.push((What::Form(run.form), name, run));
                    }
                }
                if self.share_filter.may_contain(sample) && locked(&self.shares).has(sample) {
                    let runs = locked(&self.shares).runs(bytes, at, at + 1);
                    for (cpu, run) in runs {
                        hits.push((What::Share(cpu), shares::name(cpu), run));
                    }
                }
            }
            let mut ledger = locked(&self.ledger);
            for (what, name, run) in hits {
                let address = first + run.start as u64;
                let origin = address.wrapping_sub(run.offset as u64);
                if !wanted(what) || ledger.knows(what, origin) {
                    continue;
                }
                let found = Found {
                    what,
                    name,
                    offset: run.offset,
                    address,
                    len: run.len,
                    bytes: bytes[run.start..run.start + run.len].to_vec(),
                };
                let culprit = Culprit {
                    by,
                    cpu: 0,
                    pc: 0,
                    process: String::new(),
                };
                ledger.hit(found, culprit, &self.lines);
            }
        });
    }
}

/// A run in the bytes around a store as a place in RAM; of what lies on another page only the length
/// is told.
fn found(what: What, name: String, run: Run, bytes: &[u8], store: &Store, at: usize) -> Found {
    let page = store.address & !(PAGE - 1);
    // Where the byte 0 would be, if all were neighbours; may lie before address 0.
    let zero = store.address as i128 - at as i128;
    let begin = (zero + run.start as i128).max(page.into());
    let end = (zero + (run.start + run.len) as i128).min((page + PAGE).into());
    let skipped = (begin - zero) as usize - run.start;
    let here = &bytes[(begin - zero) as usize..(end - zero) as usize];
    Found {
        what,
        name,
        offset: run.offset + skipped,
        address: begin as u64,
        len: run.len,
        bytes: here.to_vec(),
    }
}

/// A counter that one thread alone adds to.
#[inline(always)]
fn add_one(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

#[inline(always)]
fn low_bytes(size: usize) -> u128 {
    u128::MAX >> (128 - 8 * size.clamp(1, 16))
}

/// The lock, also after a panic of another thread: what it guards is never half changed for long.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const _: () = assert!(AROUND <= OVERLAP);
