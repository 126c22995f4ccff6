// SPDX-License-Identifier: GPL-2.0-or-later

//! The NMI guard: keeps a share that an NMI caught in a general register out of RAM.
//!
//! The CPU pushes no general register on an NMI, but the kernel's entry code saves them all on the
//! stack. If the interrupted instruction lies in one of the engine's windows, the saved copy of the
//! share is zeroed here and in DRAM, and the engine is told to run the window again. Changing general registers
//! in the saved frame takes effect on return; changing the instruction pointer would not (the IRET
//! frame is another copy).
//!
//! kdump's own handler, which stops the other CPUs, runs instead of this one and may save a word of
//! a DR share; the hooks on the way there have erased the shares that fit by then. A machine check
//! in a window saves such a word too, which the next refresh makes worthless.
//!
//! C header: `arch/x86/include/asm/nmi.h`

use crate::{
    bindings,
    cipher::{self, WindowKind},
};
use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU64, Ordering},
};
use kernel::{error::to_result, prelude::*};

/// Handlers of this type see every NMI.
const NMI_LOCAL: u32 = bindings::tresor_nmi_TRESOR_NMI_LOCAL;
/// This handler claims no NMI.
const NMI_DONE: i32 = bindings::tresor_nmi_TRESOR_NMI_DONE as i32;

const NAME: &CStr = c"tresor";

static RESTARTS: AtomicU64 = AtomicU64::new(0);

/// How many windows were run again.
pub(crate) fn restarts() -> u64 {
    RESTARTS.load(Ordering::Relaxed)
}

struct Action(UnsafeCell<bindings::nmiaction>);

// SAFETY: Only the kernel's NMI code touches the action while it is registered, and only
// `Guard` registers it.
unsafe impl Sync for Action {}

static ACTION: Action = Action(UnsafeCell::new(
    // SAFETY: All fields may be zero until `Guard::register()` fills them.
    unsafe { core::mem::MaybeUninit::zeroed().assume_init() },
));

/// The registered NMI handler.
pub(crate) struct Guard(());

impl Guard {
    /// Registers the handler, to be called before all others of its type.
    pub(crate) fn register() -> Result<Self> {
        let action = ACTION.0.get();
        // SAFETY: Nobody else uses the action: it is not registered, and this function runs once,
        // from the module's initialisation.
        unsafe {
            (*action).list.next = &raw mut (*action).list;
            (*action).list.prev = &raw mut (*action).list;
            (*action).handler = Some(handle);
            (*action).flags = bindings::NMI_FLAG_FIRST as usize;
            (*action).name = NAME.as_ptr().cast();
        }
        // SAFETY: `action` is static and initialised.
        to_result(unsafe { bindings::__register_nmi_handler(NMI_LOCAL, action) })?;
        Ok(Self(()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: Registered under this name and type in `register()`. Waits for running handlers.
        unsafe { bindings::unregister_nmi_handler(NMI_LOCAL, NAME.as_ptr().cast()) };
    }
}

unsafe extern "C" fn handle(_kind: core::ffi::c_uint, regs: *mut bindings::pt_regs) -> i32 {
    // SAFETY: The kernel hands every handler the frame of the interrupted context, which is this
    // CPU's alone.
    let regs = unsafe { &mut *regs };
    let Some(kind) = cipher::window_at(regs.ip as u64) else {
        return NMI_DONE;
    };
    regs.ax = 0;
    // The saved word may have been evicted to DRAM already.
    cipher::flush(&regs.ax);
    if kind == WindowKind::Redo {
        regs.r11 = 1;
        RESTARTS.fetch_add(1, Ordering::Relaxed);
    }
    NMI_DONE
}
