// SPDX-License-Identifier: GPL-2.0-or-later

//! The table of per-CPU shares.
//!
//! It is reached through a static pointer, since the hooks that erase it run in contexts that can
//! neither take a lock nor be handed anything.

use crate::{bindings, cipher::Share, section::Section};
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
};
use kernel::prelude::*;

/// What the store keeps for one CPU.
#[repr(C)]
pub(crate) struct Slot {
    /// The share S_c, alone in its cache line.
    pub(crate) share: Share,
    /// Whether the CPU held M when it was last looked at. A hint for choosing a giver and for
    /// `status`: a request always checks the registers themselves.
    pub(crate) armed: AtomicBool,
    /// Whether all breakpoint slots of this CPU are ours. Without them it is never armed.
    pub(crate) reserved: AtomicBool,
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

/// Runs `f` in a section of CPU `cpu`, and returns what it returns. May sleep.
///
/// `f` gets the slot of the CPU that it really runs on, another one if `cpu` goes offline
/// meanwhile. False also if `cpu` is offline already.
pub(crate) fn run_on<F: FnMut(&Slot) -> bool + Send>(cpu: usize, mut f: F) -> bool {
    /// # Safety
    ///
    /// `f` must point to an `F` that nobody else uses.
    unsafe extern "C" fn call<F: FnMut(&Slot) -> bool + Send>(f: *mut c_void) -> i32 {
        // SAFETY: By this function's own contract.
        let f = unsafe { &mut *f.cast::<F>() };
        let Ok(section) = Section::enter() else {
            return 1;
        };
        let held = slots().get(section.cpu()).is_some_and(|slot| f(slot));
        i32::from(!held)
    }
    // SAFETY: `call` gets the `F` that it expects, which outlives the call: the function waits.
    let ret = unsafe {
        bindings::smp_call_on_cpu(cpu as u32, Some(call::<F>), (&raw mut f).cast(), false)
    };
    ret == 0
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
                    armed: AtomicBool::new(false),
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
