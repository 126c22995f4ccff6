// SPDX-License-Identifier: GPL-2.0-or-later

//! Reservation of the four breakpoint slots of every CPU.
//!
//! Each slot is taken by a perf event that is created disabled and stays so. The kernel then hands
//! no slot to anybody else (ptrace, perf and gdb get its ordinary `ENOSPC`), and has no reason of
//! its own to write DR0-DR3.
//!
//! C header: [`include/linux/perf_event.h`](srctree/include/linux/perf_event.h)

use crate::{bindings, percpu};
use core::sync::atomic::{AtomicPtr, Ordering};
use kernel::{bindings::perf_event, prelude::*};

/// `HBP_NUM` of `arch/x86/include/asm/hw_breakpoint.h`.
const SLOTS: usize = 4;

/// What the events nominally watch. They are never enabled.
static WATCHED: u64 = 0;

type CpuEvents = [AtomicPtr<perf_event>; SLOTS];

/// The events of all CPUs. An event outlives its CPU's going offline, since its slot does too.
pub(crate) struct Events(KVVec<CpuEvents>);

impl Events {
    /// Makes room for every possible CPU, and reserves nothing yet.
    pub(crate) fn new() -> Result<Self> {
        let len = kernel::cpu::nr_cpu_ids() as usize;
        let mut events = KVVec::with_capacity(len, GFP_KERNEL)?;
        for _ in 0..len {
            events.push(Default::default(), GFP_KERNEL)?;
        }
        Ok(Self(events))
    }

    /// Reserves the slots of `cpu`, which is online, unless they are reserved already.
    ///
    /// `ENOSPC`: somebody has a slot in use. What was reserved by this call is given back.
    pub(crate) fn reserve(&self, cpu: usize) -> Result {
        let (Some(events), Some(slot)) = (self.0.get(cpu), percpu::slots().get(cpu)) else {
            return Err(EINVAL);
        };
        if slot.reserved.load(Ordering::Relaxed) {
            return Ok(());
        }
        for event in events {
            match create(cpu) {
                Ok(created) => event.store(created, Ordering::Relaxed),
                Err(error) => {
                    release(events);
                    return Err(error);
                }
            }
        }
        slot.reserved.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        for (events, slot) in self.0.iter().zip(percpu::slots()) {
            slot.reserved.store(false, Ordering::Relaxed);
            release(events);
        }
    }
}

fn create(cpu: usize) -> Result<*mut perf_event> {
    let mut attr = bindings::perf_event_attr::default();
    // SAFETY: `attr` is valid for writes.
    unsafe { bindings::tresor_disabled_breakpoint(&mut attr, &raw const WATCHED as usize as _) };
    // SAFETY: `attr` describes a disabled breakpoint of one CPU, of no task. Without a handler, the
    // kernel's default one is used; it never runs, since the event is never enabled.
    let event = unsafe {
        bindings::perf_event_create_kernel_counter(
            &mut attr,
            cpu as i32,
            core::ptr::null_mut(),
            None,
            core::ptr::null_mut(),
        )
    };
    kernel::error::from_err_ptr(event)
}

fn release(events: &CpuEvents) {
    for event in events {
        let event = event.swap(core::ptr::null_mut(), Ordering::Relaxed);
        if !event.is_null() {
            // SAFETY: The event was created by `create()` and is released once.
            unsafe { bindings::perf_event_release_kernel(event) };
        }
    }
}
