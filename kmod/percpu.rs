// SPDX-License-Identifier: GPL-2.0-or-later

//! The table of per-CPU shares.
//!
//! It is reached through a static pointer, since the hooks that erase it run in contexts that can
//! neither take a lock nor be handed anything.

use crate::{bindings, cipher::Share, section::Section, workers};
use core::{
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering},
};
use kernel::prelude::*;

/// Whether a CPU holds M, and if not, why.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// It has come online, and was not armed yet.
    NotYet = 0,
    /// It holds M.
    Armed = 1,
    /// Something overwrote its registers: a guest of KVM, or code that does not ask.
    Lost = 2,
    /// M was erased: locked, cleared, or asleep.
    Erased = 3,
    /// It went offline; both its shares are erased.
    Offline = 4,
}

impl Holding {
    const ALL: [Self; 5] = [
        Self::NotYet,
        Self::Armed,
        Self::Lost,
        Self::Erased,
        Self::Offline,
    ];
}

/// What the store keeps for one CPU.
#[repr(C)]
pub(crate) struct Slot {
    /// The share S_c, alone in its cache line.
    pub(crate) share: Share,
    /// A [`Holding`]: whether the CPU held M when it was last looked at. A hint for choosing a CPU and for
    /// `status`: a request always checks the registers themselves.
    holding: AtomicU8,
    /// Whether all breakpoint slots of this CPU are ours. Without them it is never armed.
    pub(crate) reserved: AtomicBool,
}

impl Slot {
    /// Whether the CPU held M when it was last looked at, and if not, why.
    pub(crate) fn holding(&self) -> Holding {
        let holding = self.holding.load(Ordering::Relaxed);
        Holding::ALL[usize::from(holding) % Holding::ALL.len()]
    }

    /// Whether the CPU held M when it was last looked at.
    pub(crate) fn is_armed(&self) -> bool {
        self.holding() == Holding::Armed
    }

    /// Notes what was found, or made so.
    pub(crate) fn set(&self, holding: Holding) {
        self.holding.store(holding as u8, Ordering::Relaxed);
    }

    /// Notes that the CPU does not hold M any more; whether that is news.
    pub(crate) fn lose(&self) -> bool {
        let (from, to) = (Holding::Armed as u8, Holding::Lost as u8);
        self.holding
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

static TABLE: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());
static LEN: AtomicUsize = AtomicUsize::new(0);

/// All slots, by CPU number; empty before the table is made and after it is gone.
pub(crate) fn slots() -> &'static [Slot] {
    let table = TABLE.load(Ordering::Acquire);
    if table.is_null() {
        return &[];
    }
    // SAFETY: `Table` publishes a pointer to `LEN` initialised slots, and takes it back only after
    // everything that could call this function is gone.
    unsafe { core::slice::from_raw_parts(table, LEN.load(Ordering::Relaxed)) }
}

/// Overwrites every S_c with zeros and flushes it from the caches. Any context.
pub(crate) fn erase_all() {
    for slot in slots() {
        slot.share.erase();
    }
}

/// Numbers of the online CPUs, as of now.
pub(crate) fn online() -> impl Iterator<Item = usize> {
    let mut after = -1;
    core::iter::from_fn(move || {
        // SAFETY: Reads the online mask.
        let next = unsafe { bindings::tresor_next_online_cpu(after) };
        after = next as i32;
        (next < kernel::cpu::nr_cpu_ids()).then_some(next as usize)
    })
}

/// Numbers of the online CPUs that lack M and may be given it.
pub(crate) fn lacking() -> impl Iterator<Item = usize> {
    online().filter(|&cpu| {
        slots()
            .get(cpu)
            .is_some_and(|slot| !slot.is_armed() && slot.reserved.load(Ordering::Relaxed))
    })
}

/// Runs `f` in a section of CPU `cpu`, and returns what it returns. May sleep.
///
/// `f` gets the slot of the CPU that it really runs on, another one if `cpu` goes offline
/// meanwhile. False also if `cpu` is offline already.
pub(crate) fn run_on(cpu: usize, mut f: impl FnMut(&Slot) -> bool + Send) -> bool {
    let mut held = false;
    if online().any(|online| online == cpu) {
        workers::run_on(cpu, &mut || {
            let Ok(section) = Section::enter() else {
                return;
            };
            held = slots().get(section.cpu()).is_some_and(&mut f);
        });
    }
    held
}

/// Runs `f` as [`run_on`] does, on one online CPU after another until it returns true.
pub(crate) fn first_online_that(mut f: impl FnMut(&Slot) -> bool + Send) -> bool {
    online().any(|cpu| run_on(cpu, &mut f))
}

/// Owner of the table.
///
/// It must be the last thing of the module to be dropped.
pub(crate) struct Table(#[allow(dead_code, reason = "owns the memory")] KVVec<Slot>);

impl Table {
    /// Makes the table, one slot for each possible CPU, and publishes it.
    pub(crate) fn new() -> Result<Self> {
        let len = kernel::cpu::nr_cpu_ids() as usize;
        let mut slots = KVVec::with_capacity(len, GFP_KERNEL)?;
        for _ in 0..len {
            slots.push(
                Slot {
                    share: Share::new(),
                    holding: AtomicU8::new(Holding::NotYet as u8),
                    reserved: AtomicBool::new(false),
                },
                GFP_KERNEL,
            )?;
        }
        LEN.store(len, Ordering::Relaxed);
        TABLE.store(slots.as_mut_ptr(), Ordering::Release);
        Ok(Self(slots))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        erase_all();
        TABLE.store(ptr::null_mut(), Ordering::Release);
    }
}
