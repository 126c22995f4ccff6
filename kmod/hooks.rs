// SPDX-License-Identifier: GPL-2.0-or-later

//! ftrace hooks on the kernel functions that would expose or outlive the shares.
//!
//! - `__show_regs()` prints DR0-DR3 into the kernel log for every kernel-mode WARN, oops and NMI
//!   backtrace. While shares may be in the registers, the full print is made the short one.
//! - `vpanic()` and `__crash_kexec()` lead into a crash kernel before any panic notifier runs. The
//!   shares are erased at their entry.
//!
//! The ops save all registers (changing one takes effect on return), are permanent (`ftrace_enabled`
//! cannot be switched off under them), and ask for no recursion protection, which would let a
//! function be missed when it is reached from inside another tracer.
//!
//! C header: [`include/linux/ftrace.h`](srctree/include/linux/ftrace.h)

use crate::{bindings, store};
use core::cell::UnsafeCell;
use kernel::{
    bindings::{ftrace_ops, ftrace_regs},
    error::to_result,
    prelude::*,
};

/// What a hook calls.
pub(crate) type Callback =
    unsafe extern "C" fn(ip: usize, parent: usize, ops: *mut ftrace_ops, regs: *mut ftrace_regs);

/// A static ftrace hook: it may still be reached for a moment after it was unregistered.
pub(crate) struct Hook(UnsafeCell<ftrace_ops>);

// SAFETY: While registered, only ftrace touches the ops, under its own locks; before and after,
// only whoever registers and unregisters it, one at a time.
unsafe impl Sync for Hook {}

impl Hook {
    pub(crate) const fn new() -> Self {
        // SAFETY: An all-zero `ftrace_ops` is a valid unregistered one.
        Self(UnsafeCell::new(unsafe {
            core::mem::MaybeUninit::zeroed().assume_init()
        }))
    }

    /// Has `callback` called at the entry of these functions.
    pub(crate) fn register(&'static self, functions: &[&CStr], callback: Callback) -> Result {
        let ops = self.0.get();
        // SAFETY: The ops are not registered, so nobody else uses them.
        unsafe {
            (*ops).func = Some(core::mem::transmute::<Callback, _>(callback));
            (*ops).flags =
                (bindings::FTRACE_OPS_FL_SAVE_REGS | bindings::FTRACE_OPS_FL_PERMANENT) as _;
        }
        let result = Self::filter(ops, functions).and_then(|()| {
            // SAFETY: The ops are static and filled in.
            to_result(unsafe { bindings::register_ftrace_function(ops) })
        });
        if result.is_err() {
            // SAFETY: The ops are not registered.
            unsafe { bindings::ftrace_free_filter(ops) };
        }
        result
    }

    /// Limits the ops to these functions.
    fn filter(ops: *mut ftrace_ops, functions: &[&CStr]) -> Result {
        for function in functions {
            // SAFETY: The name is valid for `len` bytes; ftrace copies what it needs.
            to_result(unsafe {
                bindings::ftrace_set_filter(
                    ops,
                    function.as_ptr().cast_mut().cast(),
                    function.to_bytes().len() as i32,
                    0,
                )
            })?;
        }
        Ok(())
    }

    /// Removes the hook, which must be registered. It stays if ftrace refuses.
    pub(crate) fn try_unregister(&'static self) -> Result {
        // SAFETY: The ops were registered.
        to_result(unsafe { bindings::unregister_ftrace_function(self.0.get()) })?;
        // SAFETY: The ops are not registered any more.
        unsafe { bindings::ftrace_free_filter(self.0.get()) };
        Ok(())
    }

    /// Removes the hook. Never returns while ftrace might still call it.
    pub(crate) fn unregister(&'static self) {
        if let Err(error) = self.try_unregister() {
            // After ftrace_kill() nothing can be unregistered any more, and the code that the
            // trampoline calls must not go away.
            pr_emerg!(
                "ftrace refuses to remove a hook ({error:?}): the module stays until reboot\n"
            );
            loop {
                // SAFETY: Runs in the process context of module removal.
                unsafe { bindings::msleep(60_000) };
            }
        }
    }
}

static SHOW_REGS: Hook = Hook::new();
static CRASH: Hook = Hook::new();

/// The registered hook on `__show_regs()`.
pub(crate) struct ShowRegsHook(());

impl ShowRegsHook {
    /// Registers the hook; refuses, with a reason in the log, where that is impossible.
    pub(crate) fn register() -> Result<Self> {
        SHOW_REGS
            .register(&[c"__show_regs"], show_regs)
            .inspect_err(|error| {
                pr_err!("refusing to load: __show_regs, which prints the debug registers into the log, cannot be hooked ({error:?}); is ftrace enabled?\n");
            })?;
        Ok(Self(()))
    }
}

impl Drop for ShowRegsHook {
    fn drop(&mut self) {
        SHOW_REGS.unregister();
    }
}

/// The registered hook on the ways into a crash kernel.
pub(crate) struct CrashHook(());

impl CrashHook {
    /// Registers the hook; refuses, with a reason in the log, where that is impossible.
    pub(crate) fn register() -> Result<Self> {
        CRASH
            .register(&[c"vpanic", c"__crash_kexec"], crash)
            .inspect_err(|error| {
                pr_err!(
                    "refusing to load: the way into a crash kernel cannot be hooked ({error:?})\n"
                );
            })?;
        Ok(Self(()))
    }
}

impl Drop for CrashHook {
    fn drop(&mut self) {
        CRASH.unregister();
    }
}

unsafe extern "C" fn show_regs(
    _ip: usize,
    _parent: usize,
    _ops: *mut ftrace_ops,
    regs: *mut ftrace_regs,
) {
    if !store::may_hold_shares() {
        return;
    }
    // SAFETY: ftrace hands over the registers of this call.
    let regs = unsafe { bindings::tresor_ftrace_get_regs(regs.cast()) };
    // SAFETY: NULL, or the registers at the function's entry, ours to change.
    if let Some(regs) = unsafe { regs.as_mut() } {
        // The second argument, `enum show_regs_mode`.
        if regs.si as u32 == bindings::show_regs_mode_SHOW_REGS_ALL {
            regs.si = bindings::show_regs_mode_SHOW_REGS_USER as usize;
        }
    }
}

unsafe extern "C" fn crash(
    _ip: usize,
    _parent: usize,
    _ops: *mut ftrace_ops,
    _regs: *mut ftrace_regs,
) {
    store::doom();
}
