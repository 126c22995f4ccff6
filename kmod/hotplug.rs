// SPDX-License-Identifier: GPL-2.0-or-later

//! CPUs that come and go.
//!
//! C header: [`include/linux/cpuhotplug.h`](srctree/include/linux/cpuhotplug.h)

use crate::{
    breakpoints::Events,
    cipher, keeper,
    percpu::{self, Holding},
};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use kernel::{bindings, prelude::*};

/// Where the callbacks find the events.
static EVENTS: AtomicPtr<Events> = AtomicPtr::new(core::ptr::null_mut());

/// Whether the module is loaded already: a CPU that comes online later is not refused.
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// The registered callbacks, and the breakpoint slots that they reserve.
pub(crate) struct Hotplug {
    state: bindings::cpuhp_state,
    // Pinned on the heap: the callbacks reach it through `EVENTS`.
    _events: KBox<Events>,
}

impl Hotplug {
    /// Reserves the breakpoint slots of every CPU that is online, and from now on of every CPU that
    /// comes online. Refuses, with a reason in the kernel log, if a slot is in use.
    pub(crate) fn register() -> Result<Self> {
        let events = KBox::new(Events::new()?, GFP_KERNEL)?;
        EVENTS.store((&raw const *events).cast_mut(), Ordering::Release);
        // SAFETY: The callbacks are safe to call on any CPU, and the events live until after the
        // state is removed.
        let ret = unsafe {
            bindings::__cpuhp_setup_state(
                bindings::cpuhp_state_CPUHP_AP_ONLINE_DYN,
                c"tresor:online".as_ptr().cast(),
                true,
                Some(online),
                Some(offline),
                false,
            )
        };
        if ret < 0 {
            EVENTS.store(core::ptr::null_mut(), Ordering::Release);
            let error = Error::from_errno(ret);
            if error == ENOSPC {
                pr_err!("refusing to load: a hardware breakpoint is in use (by a debugger, ptrace or perf); end it and try again\n");
            } else {
                pr_err!("refusing to load: reserving the breakpoint slots failed ({error:?})\n");
            }
            return Err(error);
        }
        REGISTERED.store(true, Ordering::Relaxed);
        Ok(Self {
            state: ret as bindings::cpuhp_state,
            _events: events,
        })
    }
}

impl Drop for Hotplug {
    fn drop(&mut self) {
        // SAFETY: The state was set up in `register()`. Calls `offline()` on every CPU.
        unsafe { bindings::__cpuhp_remove_state(self.state, true) };
        EVENTS.store(core::ptr::null_mut(), Ordering::Release);
    }
}

/// Runs on the CPU that comes online, and on every CPU at registration.
unsafe extern "C" fn online(cpu: u32) -> i32 {
    // SAFETY: Set before the callbacks were registered, and valid until they are removed.
    let Some(events) = (unsafe { EVENTS.load(Ordering::Acquire).as_ref() }) else {
        return ENODEV.to_errno();
    };
    if let Some(slot) = percpu::slots().get(cpu as usize) {
        slot.set(Holding::NotYet);
    }
    match events.reserve(cpu as usize) {
        Ok(()) => {
            // Never armed from here: that stops the machine.
            keeper::wake();
            0
        }
        Err(error) if REGISTERED.load(Ordering::Relaxed) => {
            pr_warn!("CPU {cpu} stays without the key: a hardware breakpoint is in use there ({error:?})\n");
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// Runs on the CPU that goes offline, and on every CPU at removal.
unsafe extern "C" fn offline(cpu: u32) -> i32 {
    if let Some(slot) = percpu::slots().get(cpu as usize) {
        slot.share.erase();
        slot.set(Holding::Offline);
        if slot.reserved.load(Ordering::Relaxed) {
            // SAFETY: Runs on `cpu`, in a thread bound to it, and its breakpoint slots are ours.
            unsafe { cipher::wipe(&slot.share) };
        }
    }
    0
}
