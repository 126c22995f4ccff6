// SPDX-License-Identifier: GPL-2.0-or-later

//! Refreshing the shares of every CPU, and handing M to a CPU that lacks it.
//!
//! M crosses RAM only here and when it is loaded, and never as a whole: under `stop_machine()`, on
//! the giving and the receiving CPU, through one cache line that carries first a pad Q and, once
//! the receiver has taken that into its registers and erased the line, M xor Q.
//!
//! ```text
//! receiver: lacks M -> WANTED              DR = Q, line = 0 -> PAD_TAKEN
//! giver:               line = Q -> PAD                                line = M^Q -> MASKED
//! receiver:                                                M = DR^line, line = 0, DR = M^S -> DONE
//! ```
//!
//! C header: [`include/linux/stop_machine.h`](srctree/include/linux/stop_machine.h)

use crate::{
    bindings,
    cipher::{self, CheckValue, Input, Line, Purpose, Share},
    percpu::{self, online, Holding, Slot},
    section::Section,
    store,
};
use core::{
    ffi::c_void,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
use kernel::{prelude::*, str::CStr, sync::global_lock};

global_lock! {
    // SAFETY: `init()` is called before anything else of this module.
    unsafe(uninit) static ARMING: Mutex<()> = ();
}

/// Makes the mutex usable.
///
/// # Safety
///
/// To be called exactly once, before any other function of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By this function's own contract.
    unsafe { ARMING.init() };
}

/// Whether a CPU may be armed from another one at any time, or only when the key is loaded.
static ANY_TIME: AtomicBool = AtomicBool::new(true);

/// Reads the module parameter `rearm`. Refuses, with the reason in the kernel log, what it does not know.
pub(crate) fn choose() -> Result {
    // SAFETY: The parameter is a NUL-terminated string, set before the module is initialised and
    // never changed.
    let rearm = unsafe { CStr::from_char_ptr(bindings::tresor_rearm_parameter()) };
    let any_time = match rearm.to_bytes() {
        b"always" => true,
        b"never" => false,
        _ => {
            pr_err!("refusing to load: rearm is always or never, not {rearm:?}\n");
            return Err(EINVAL);
        }
    };
    ANY_TIME.store(any_time, Ordering::Relaxed);
    Ok(())
}

/// Whether a CPU may be armed from another one although no key is being loaded.
pub(crate) fn any_time() -> bool {
    ANY_TIME.load(Ordering::Relaxed)
}

/// Public bytes that never repeat, for the context of a pad or a mask.
fn fresh() -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: `bytes` is writable for its length.
    unsafe { bindings::get_random_bytes(bytes.as_mut_ptr().cast(), bytes.len()) };
    bytes
}

/// Refreshes the shares of every online CPU that holds the key, and returns how many those are.
///
/// May sleep.
pub(crate) fn refresh_all(check: &CheckValue) -> u32 {
    let mut refreshed = 0;
    for cpu in online() {
        let mut context = [0; 20];
        context[..4].copy_from_slice(&(cpu as u32).to_le_bytes());
        context[4..].copy_from_slice(&fresh());
        let inputs = store::inputs(Purpose::Refresh, &context);
        let held = percpu::run_on(cpu, |slot| {
            // SAFETY: In a section of the CPU that owns `slot`.
            let held = unsafe { cipher::refresh(&slot.share, check, &inputs) }.is_ok();
            if held {
                slot.set(Holding::Armed);
            } else {
                store::note_loss(slot);
            }
            held
        });
        refreshed += u32::from(held);
    }
    refreshed
}

/// Arms every online CPU that lacks the key, and returns how often M crossed RAM for it.
///
/// May sleep. A CPU that could not be armed stays as it was; the next call tries again. It may be long until
/// CPUs that go on- or offline have done so: the store's mutex must not be held.
pub(crate) fn arm_missing(check: &CheckValue) -> u32 {
    let _alone = ARMING.lock();
    let slots = percpu::slots();
    let mut armings = 0;
    for receiver in percpu::lacking() {
        let Some(giver) = online().find(|&cpu| slots[cpu].is_armed()) else {
            break;
        };
        match hand_over(check, giver, receiver, &slots[receiver]) {
            Ok(()) => armings += 1,
            Err(error) => pr_debug!("arming CPU {receiver} failed: {error:?}\n"),
        }
    }
    armings
}

/// How far a transfer has come.
mod phase {
    pub(super) const START: u32 = 0;
    pub(super) const WANTED: u32 = 1;
    pub(super) const PAD: u32 = 2;
    pub(super) const PAD_TAKEN: u32 = 3;
    pub(super) const MASKED: u32 = 4;
    pub(super) const DONE: u32 = 5;
    /// Final: neither CPU goes on from here.
    pub(super) const FAILED: u32 = 6;
}

/// The one line that M crosses, as pad and masked key. It is used only under `stop_machine()`, by
/// the CPU whose turn the phase says it is; transfers are serialised by [`ARMING`].
static LINE: Line = Line::new();

/// Zeroes the line that M crosses. Any context.
pub(crate) fn erase_line() {
    LINE.erase();
}

struct Transfer<'a> {
    giver: usize,
    receiver: usize,
    slot: &'a Slot,
    check: &'a CheckValue,
    inputs: [Input; 2],
    phase: AtomicU32,
}

fn hand_over(check: &CheckValue, giver: usize, receiver: usize, slot: &Slot) -> Result {
    let transfer = Transfer {
        giver,
        receiver,
        slot,
        check,
        inputs: store::inputs(Purpose::Transport, &fresh()),
        phase: AtomicU32::new(phase::START),
    };
    // If one of the two goes offline before the machine stops, the callback sees that and gives up.
    // SAFETY: The callback gets the `Transfer` that it expects, which outlives the call.
    let ret = unsafe {
        bindings::stop_machine(
            Some(transfer_on_cpu),
            (&raw const transfer).cast_mut().cast(),
            bindings::tresor_cpu_online_mask(),
        )
    };
    // A transfer that failed half-way may have left a pad.
    erase_line();
    kernel::error::to_result(ret)?;
    match transfer.phase.load(Ordering::Acquire) {
        phase::DONE => Ok(()),
        _ => Err(ENODATA),
    }
}

/// Plays the part of the CPU that it runs on.
///
/// # Safety
///
/// `transfer` must point to a `Transfer`; under `stop_machine()` only.
unsafe extern "C" fn transfer_on_cpu(transfer: *mut c_void) -> i32 {
    // SAFETY: By this function's own contract.
    let transfer = unsafe { &*transfer.cast::<Transfer<'_>>() };
    // Nobody goes on- or offline while the machine is stopped.
    if !online().any(|cpu| cpu == transfer.giver) || !online().any(|cpu| cpu == transfer.receiver) {
        return ENODEV.to_errno();
    }
    // Nor does the key change. Another one may have been loaded since, and the receiver hold that.
    if !store::is_held(transfer.check) {
        return ECANCELED.to_errno();
    }
    let result = Section::enter().and_then(|section| {
        if section.cpu() == transfer.giver {
            transfer.give()
        } else if section.cpu() == transfer.receiver {
            transfer.take(&section)
        } else {
            Ok(())
        }
    });
    match result {
        Ok(()) => 0,
        Err(error) => {
            transfer.phase.store(phase::FAILED, Ordering::Release);
            error.to_errno()
        }
    }
}

impl Transfer<'_> {
    /// Waits, with interrupts off, until the other CPU has reached `wanted`.
    fn wait_for(&self, wanted: u32) -> Result {
        loop {
            match self.phase.load(Ordering::Acquire) {
                reached if reached == wanted => return Ok(()),
                phase::FAILED => return Err(ECANCELED),
                // SAFETY: Always safe.
                _ => unsafe { bindings::tresor_cpu_relax() },
            }
        }
    }

    /// Goes from one phase to the next, unless the other CPU has failed meanwhile.
    fn advance(&self, from: u32, to: u32) -> Result {
        self.phase
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
            .map_err(|_| ECANCELED)
    }

    fn give(&self) -> Result {
        let slot = &percpu::slots()[self.giver];
        let share = &slot.share;
        let line = LINE.as_ptr();
        self.wait_for(phase::WANTED)?;
        // SAFETY: In a section of the giver, which owns `share`; WANTED is the giver's turn.
        unsafe { cipher::give_pad(share, self.check, &self.inputs, line) }.map_err(|_| {
            store::note_loss(slot);
            ENODATA
        })?;
        self.advance(phase::WANTED, phase::PAD)?;
        self.wait_for(phase::PAD_TAKEN)?;
        // SAFETY: As above; PAD_TAKEN is the giver's turn.
        unsafe { cipher::give_masked(share, self.check, &self.inputs, line) }
            .map_err(|_| ENODATA)?;
        self.advance(phase::PAD_TAKEN, phase::MASKED)?;
        self.wait_for(phase::DONE)
    }

    fn take(&self, section: &Section) -> Result {
        let share = &self.slot.share;
        // SAFETY: In a section of the receiver, which owns `share`.
        if unsafe { cipher::check(share, self.check) }.is_ok() {
            // It was only thought to have lost the key. Its share must not be touched.
            self.slot.set(Holding::Armed);
            return Err(EALREADY);
        }
        store::draw_share(self.slot);
        let taken = self
            .take_into(share)
            .and_then(|()| store::keep_or_wipe(section));
        if taken.is_err() {
            share.erase();
            // SAFETY: The registers of this CPU are ours.
            unsafe { cipher::wipe(share) };
            return taken;
        }
        self.slot.set(Holding::Armed);
        self.advance(phase::MASKED, phase::DONE)
    }

    fn take_into(&self, share: &Share) -> Result {
        let line = LINE.as_ptr();
        self.advance(phase::START, phase::WANTED)?;
        self.wait_for(phase::PAD)?;
        // SAFETY: In a section of the receiver, whose breakpoint slots are ours; PAD is its turn.
        unsafe { cipher::take_pad(share, line) };
        self.advance(phase::PAD, phase::PAD_TAKEN)?;
        self.wait_for(phase::MASKED)?;
        // SAFETY: As above; MASKED is the receiver's turn.
        unsafe { cipher::take_masked(share, self.check, line) }.map_err(|_| ENODATA)
    }
}
