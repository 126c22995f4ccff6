// SPDX-License-Identifier: GPL-2.0-or-later

//! Keeps KVM from giving DR0-DR3 to guests that merely write them, as every guest does while it boots.
//!
//! What KVM loads there for a guest stays there. At a guest's first access it lets the guest have the
//! registers of the CPU (`dr_interception()` of kvm_amd, `handle_dr()` of kvm_intel), unless the guest is
//! being debugged from outside: then it emulates each access, and the CPU's registers are not touched. A
//! hook on these functions has it believe the latter, by a bit of `guest_debug` that means nothing else.
//!
//! A guest that enables a breakpoint still gets the registers, and the CPU loses the key. The bit stays with a
//! virtual CPU as long as that lives.
//!
//! C header: [`include/linux/kvm_host.h`](srctree/include/linux/kvm_host.h)

use crate::{bindings, hooks::Hook, power::Notifier, store};
use core::{
    ffi::c_void,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
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
    /// Where the module's code is: from the first address to before the second. The hook is on every function
    /// of the name, and another module may have one.
    text: [AtomicUsize; 2],
}

impl Vendor {
    const fn new(module: &'static CStr, function: &'static CStr) -> Self {
        Self {
            module,
            function,
            hook: Hook::new(),
            hooked: AtomicBool::new(false),
            text: [const { AtomicUsize::new(0) }; 2],
        }
    }

    /// Hooks the function of this module, unless that is on its way out.
    ///
    /// # Safety
    ///
    /// `module` must be valid, and this vendor's.
    unsafe fn attach(&'static self, module: *mut bindings::module) {
        let _alone = HOOKING.lock();
        // SAFETY: By this function's own contract.
        let going = unsafe { (*module).state } == bindings::module_state_MODULE_STATE_GOING;
        if going || self.hooked.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: As above.
        let (start, len) = unsafe {
            (
                bindings::tresor_module_text(module) as usize,
                bindings::tresor_module_text_size(module) as usize,
            )
        };
        self.text[0].store(start, Ordering::Relaxed);
        self.text[1].store(start + len, Ordering::Relaxed);
        match self.hook.register(&[self.function], emulate) {
            Ok(()) => self.hooked.store(true, Ordering::Relaxed),
            Err(error) => pr_warn!(
                "{:?} cannot be hooked ({error:?}): a CPU loses its key to every guest of KVM that boots there\n",
                self.function
            ),
        }
    }

    /// Hooks the function if its module is loaded already.
    fn attach_if_present(&'static self, this: &'static ThisModule) {
        // SAFETY: `this` is this module, whose kobject lies in the kset of /sys/module.
        let kset = unsafe { bindings::tresor_module_kset(this.as_ptr()) };
        // SAFETY: `kset` is valid as long as this module is, the name is NUL-terminated.
        let kobject = unsafe { bindings::kset_find_obj(kset, self.module.as_ptr().cast()) };
        if kobject.is_null() {
            return;
        }
        pr_warn!("KVM is loaded: a CPU loses its key to a guest that uses hardware breakpoints until it is armed again, and SEV-ES guests can read its share\n");
        // SAFETY: `kset_find_obj()` took a reference, which keeps the module, named as it should be.
        unsafe {
            self.attach(bindings::tresor_module_of(kobject));
            bindings::kobject_put(kobject);
        }
    }

    fn has(&self, ip: usize) -> bool {
        (self.text[0].load(Ordering::Relaxed)..self.text[1].load(Ordering::Relaxed)).contains(&ip)
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
            vendor.attach_if_present(module);
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
                // SAFETY: It is the vendor's module, by its name.
                unsafe { vendor.attach(module.cast()) };
            }
            // This module may have come between the two.
            // SAFETY: As above.
            bindings::module_state_MODULE_STATE_LIVE => unsafe { vendor.attach(module.cast()) },
            bindings::module_state_MODULE_STATE_GOING => vendor.detach(),
            _ => {}
        }
    }
    0
}

unsafe extern "C" fn emulate(
    ip: usize,
    _parent: usize,
    _ops: *mut ftrace_ops,
    regs: *mut ftrace_regs,
) {
    if !store::may_hold_shares() || !VENDORS.iter().any(|vendor| vendor.has(ip)) {
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
