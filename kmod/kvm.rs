// SPDX-License-Identifier: GPL-2.0-or-later

//! Keeps KVM from giving DR0-DR3 to guests that merely write them, as every guest does while it boots.
//!
//! What KVM loads there for a guest stays there. At a guest's first access it lets the guest have the
//! registers of the CPU (`dr_interception()` of kvm_amd, `handle_dr()` of kvm_intel), unless the guest is
//! being debugged from outside: then it emulates each access, and the CPU's registers are not touched. A
//! hook on these functions has it believe the latter, by a bit of `guest_debug` that means nothing else.
//!
//! A guest that enables a breakpoint still gets the registers, and the CPU loses the key.
//!
//! C header: [`include/linux/kvm_host.h`](srctree/include/linux/kvm_host.h)

use crate::{bindings, hooks::Hook, power::Notifier, store};
use core::{
    ffi::c_void,
    sync::atomic::{AtomicBool, Ordering},
};
use kernel::{
    bindings::{ftrace_ops, ftrace_regs, notifier_block},
    error::to_result,
    prelude::*,
    str::CStr,
    sync::global_lock,
};

/// One of KVM's modules.
struct Vendor {
    /// Its name.
    module: &'static CStr,
    /// What it calls when a guest accesses a debug register.
    function: &'static CStr,
    hook: Hook,
    /// Whether the hook is registered. Changed under [`HOOKING`].
    hooked: AtomicBool,
}

impl Vendor {
    const fn new(module: &'static CStr, function: &'static CStr) -> Self {
        Self {
            module,
            function,
            hook: Hook::new(),
            hooked: AtomicBool::new(false),
        }
    }

    /// Hooks the function, which must be there.
    fn attach(&'static self) {
        let _alone = HOOKING.lock();
        if self.hooked.load(Ordering::Relaxed) {
            return;
        }
        match self.hook.register(&[self.function], emulate) {
            Ok(()) => self.hooked.store(true, Ordering::Relaxed),
            Err(error) => pr_warn!(
                "{:?} cannot be hooked ({error:?}): a CPU loses its key to every guest of KVM that boots there\n",
                self.function
            ),
        }
    }

    fn detach(&'static self) {
        let _alone = HOOKING.lock();
        if self.hooked.load(Ordering::Relaxed) && self.hook.try_unregister().is_ok() {
            self.hooked.store(false, Ordering::Relaxed);
        }
    }
}

static VENDORS: [Vendor; 2] = [
    Vendor::new(c"kvm_amd", c"dr_interception"),
    Vendor::new(c"kvm_intel", c"handle_dr"),
];

global_lock! {
    // SAFETY: `init()` is called before anything else of this module.
    unsafe(uninit) static HOOKING: Mutex<()> = ();
}

/// Makes the mutex usable.
///
/// # Safety
///
/// To be called exactly once, before any other function of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By this function's own contract.
    unsafe { HOOKING.init() };
}

static MODULES: Notifier = Notifier::new(on_module, 0);

/// The hooks, in whatever of KVM is loaded now or later.
pub(crate) struct Hooks(());

impl Hooks {
    /// Hooks what is there, with a warning of what guests can do nevertheless.
    pub(crate) fn register(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: The block is static, and registered once.
        to_result(unsafe { bindings::register_module_notifier(MODULES.get()) })?;
        let this = Self(());
        for vendor in &VENDORS {
            if module_present(module, vendor.module) {
                pr_warn!("KVM is loaded: a CPU loses its key to a guest that uses hardware breakpoints until it is armed again, and SEV-ES guests can read its share\n");
                vendor.attach();
            }
        }
        Ok(this)
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        // SAFETY: Registered in `register()`. No call is running afterwards.
        unsafe { bindings::unregister_module_notifier(MODULES.get()) };
        for vendor in &VENDORS {
            if vendor.hooked.swap(false, Ordering::Relaxed) {
                vendor.hook.unregister();
            }
        }
    }
}

unsafe extern "C" fn on_module(_: *mut notifier_block, state: usize, module: *mut c_void) -> i32 {
    // SAFETY: The chain hands over the module that comes or goes.
    let name = unsafe { CStr::from_char_ptr((*module.cast::<bindings::module>()).name.as_ptr()) };
    if let Some(vendor) = VENDORS.iter().find(|vendor| vendor.module == name) {
        match state as u32 {
            bindings::module_state_MODULE_STATE_COMING => {
                // Should it still be on one that is gone.
                vendor.detach();
                vendor.attach();
            }
            bindings::module_state_MODULE_STATE_GOING => vendor.detach(),
            _ => {}
        }
    }
    0
}

unsafe extern "C" fn emulate(
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
    // SAFETY: NULL, or the registers at the function's entry.
    if let Some(regs) = unsafe { regs.as_ref() } {
        // SAFETY: The first argument of these functions is the virtual CPU, which the caller runs.
        unsafe { bindings::tresor_kvm_emulate_debug_registers(regs.di as *mut _) };
    }
}

/// Whether `/sys/module/<name>` exists.
fn module_present(module: &'static ThisModule, name: &CStr) -> bool {
    // SAFETY: `module` is this module, whose kobject lies in the kset of /sys/module.
    let kset = unsafe { bindings::tresor_module_kset(module.as_ptr()) };
    // SAFETY: `kset` is valid as long as this module is, `name` is NUL-terminated.
    let kobject = unsafe { bindings::kset_find_obj(kset, name.as_ptr().cast()) };
    if kobject.is_null() {
        return false;
    }
    // SAFETY: `kset_find_obj()` took a reference.
    unsafe { bindings::kobject_put(kobject) };
    true
}
