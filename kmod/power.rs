// SPDX-License-Identifier: GPL-2.0-or-later

//! Suspend, hibernation, reboot and kexec: M is gone before the machine sleeps or another kernel runs.
//!
//! A machine that is suspended is locked in the last moment in which all CPUs run, the noirq stage of
//! devices: earlier, what stops tasks and writes their data would wait for a key that is gone. Which
//! callbacks of a device run when, in order:
//!
//! | transition | kernel | callbacks |
//! |---|---|---|
//! | suspend to RAM or to idle | | `suspend_noirq`, sleep, `resume_noirq` |
//! | hibernation | the one that is saved | `freeze_noirq`, image made, `thaw_noirq`, image written, power off |
//! | | the one that loads the image | `freeze_noirq`, jump |
//! | | the one that was saved | `restore_noirq`; also of one that fails late to make its image |
//!
//! A machine that hibernates is locked when it has come back. Its image holds no debug register: of the
//! key it has one share of the boot CPU, whose other share is replaced right behind it, and the power is
//! cut from the registers. To lock it earlier would make the image's writing wait, onto swap that is on a
//! volume of ours, with everybody stopped who could load the key.
//!
//! C headers: [`include/linux/pm.h`](srctree/include/linux/pm.h),
//! [`include/linux/suspend.h`](srctree/include/linux/suspend.h),
//! [`include/linux/platform_device.h`](srctree/include/linux/platform_device.h),
//! [`include/linux/reboot.h`](srctree/include/linux/reboot.h)

use crate::{bindings, keeper, store};
use core::{
    cell::UnsafeCell,
    ffi::{c_int, c_void},
    sync::atomic::{AtomicBool, Ordering},
};
use kernel::{
    bindings::{
        dev_pm_ops, device, kobject, notifier_block, platform_device, platform_device_info,
        platform_driver,
    },
    error::{from_err_ptr, to_result},
    prelude::*,
};

/// `NOTIFY_OK` and `NOTIFY_STOP_MASK` of `include/linux/notifier.h`.
const NOTIFY_OK: i32 = 0x0001;
const NOTIFY_STOP_MASK: i32 = 0x8000;

/// The CPU that stays when all others go offline.
const BOOT_CPU: usize = 0;

/// A static block of a notifier chain.
pub(crate) struct Notifier(UnsafeCell<notifier_block>);

// SAFETY: While registered, only the notifier chain touches the block, under its own lock.
unsafe impl Sync for Notifier {}

impl Notifier {
    /// One that has `call` called.
    pub(crate) const fn new(
        call: unsafe extern "C" fn(*mut notifier_block, usize, *mut c_void) -> i32,
        priority: i32,
    ) -> Self {
        Self(UnsafeCell::new(notifier_block {
            notifier_call: Some(call),
            next: core::ptr::null_mut(),
            priority,
        }))
    }

    /// The block, for the chain.
    pub(crate) fn get(&self) -> *mut notifier_block {
        self.0.get()
    }
}

static SLEEP: Notifier = Notifier::new(on_sleep, 0);
/// Last of its chain: others may still need their disks.
static REBOOT: Notifier = Notifier::new(on_reboot, i32::MIN);

/// The registered notifiers.
pub(crate) struct Notifiers(());

impl Notifiers {
    /// Registers both.
    pub(crate) fn register() -> Result<Self> {
        // SAFETY: The block is static and not registered.
        to_result(unsafe { bindings::register_pm_notifier(SLEEP.get()) })?;
        // SAFETY: As above.
        let result = to_result(unsafe { bindings::register_reboot_notifier(REBOOT.get()) });
        if result.is_err() {
            // SAFETY: Registered just above.
            unsafe { bindings::unregister_pm_notifier(SLEEP.get()) };
        }
        result.map(|()| Self(()))
    }
}

impl Drop for Notifiers {
    fn drop(&mut self) {
        // SAFETY: Both were registered.
        unsafe {
            bindings::unregister_reboot_notifier(REBOOT.get());
            bindings::unregister_pm_notifier(SLEEP.get());
        }
    }
}

struct Driver(UnsafeCell<platform_driver>);

// SAFETY: While registered, only the driver core touches it, under its own locks.
unsafe impl Sync for Driver {}

struct Operations(dev_pm_ops);

// SAFETY: Never changed.
unsafe impl Sync for Operations {}

static OPERATIONS: Operations = Operations(dev_pm_ops {
    suspend_noirq: Some(suspend_noirq),
    resume_noirq: Some(resume_noirq),
    freeze_noirq: Some(freeze_noirq),
    thaw_noirq: Some(thaw_noirq),
    restore_noirq: Some(restore_noirq),
    // SAFETY: All callbacks may be absent.
    ..unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
});

static DRIVER: Driver = Driver(UnsafeCell::new(
    // SAFETY: All fields may be zero until `Device::register()` fills them.
    unsafe { core::mem::MaybeUninit::zeroed().assume_init() },
));

/// The platform device whose callbacks lock, with its driver. Its uevents tell of the store's state.
pub(crate) struct Device(*mut platform_device);

// SAFETY: The driver core has its own locks.
unsafe impl Send for Device {}
// SAFETY: As above.
unsafe impl Sync for Device {}

impl Device {
    /// Registers driver and device.
    pub(crate) fn register(module: &'static ThisModule) -> Result<Self> {
        let driver = DRIVER.0.get();
        // SAFETY: Nobody else uses the driver: it is not registered.
        unsafe {
            (*driver).driver.name = c"tresor".as_ptr().cast();
            (*driver).driver.pm = &raw const OPERATIONS.0;
            (*driver).driver.suppress_bind_attrs = true;
            (*driver).driver.probe_type = bindings::probe_type_PROBE_FORCE_SYNCHRONOUS;
        }
        // SAFETY: The driver is static and filled in.
        to_result(unsafe {
            bindings::__platform_driver_register(driver, module.as_ptr(), c"tresor".as_ptr().cast())
        })?;
        let info = platform_device_info {
            name: c"tresor".as_ptr().cast(),
            id: bindings::PLATFORM_DEVID_NONE,
            ..Default::default()
        };
        // SAFETY: `info` is complete; what it points to is copied.
        let device = from_err_ptr(unsafe { bindings::platform_device_register_full(&info) });
        if device.is_err() {
            // SAFETY: Registered just above.
            unsafe { bindings::platform_driver_unregister(driver) };
        }
        let device = Self(device?);
        // SAFETY: The device was registered just above.
        if unsafe { (*device.0).dev.driver }.is_null() {
            pr_err!("refusing to load: the device that locks before a suspend has no driver\n");
            return Err(ENODEV);
        }
        Ok(device)
    }

    /// The device's kobject, valid as long as `self` is.
    pub(crate) fn kobject(&self) -> *mut kobject {
        // SAFETY: The device was registered in `register()`.
        unsafe { &raw mut (*self.0).dev.kobj }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: Both were registered in `register()`.
        unsafe {
            bindings::platform_device_unregister(self.0);
            bindings::platform_driver_unregister(DRIVER.0.get());
        }
    }
}

/// Whether the machine hibernates, or is about to.
static HIBERNATING: AtomicBool = AtomicBool::new(false);

/// Whether an image is about to be loaded into this kernel's place.
static RESTORING: AtomicBool = AtomicBool::new(false);

/// Whether devices are stopped, or have been for this hibernation.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Has a suspend that is under way given up, if requests wait for the key: it would wait for them, as long
/// as nobody can load it. To be called every second.
pub(crate) fn keep_awake() {
    let waits = store::locked().is_some_and(|locked| locked.requests != 0);
    if waits && !STOPPED.load(Ordering::SeqCst) {
        // SAFETY: Any context.
        unsafe { bindings::pm_system_wakeup() };
    }
}

fn lock() -> c_int {
    // Whoever sees the state that this leads to sees that it is no reason to stay awake.
    STOPPED.store(true, Ordering::SeqCst);
    // Without a key there is nothing to do.
    let _ = store::lock();
    0
}

unsafe extern "C" fn suspend_noirq(_: *mut device) -> c_int {
    if HIBERNATING.load(Ordering::Relaxed) {
        // Having saved the image, to swap that may be on a volume of ours. The machine is powered off.
        pr_warn!("no suspend behind an image: the key would be gone before the image is undone\n");
        return EBUSY.to_errno();
    }
    // SAFETY: Any context.
    if unsafe { bindings::pm_wakeup_pending() } {
        return EBUSY.to_errno();
    }
    lock()
}

unsafe extern "C" fn resume_noirq(_: *mut device) -> c_int {
    STOPPED.store(false, Ordering::SeqCst);
    0
}

unsafe extern "C" fn freeze_noirq(_: *mut device) -> c_int {
    if RESTORING.load(Ordering::Relaxed) {
        return lock();
    }
    STOPPED.store(true, Ordering::SeqCst);
    // Since the notifier looked it may have been locked. Nobody is left who could load it.
    if store::locked().is_some_and(|locked| locked.volumes != 0) {
        pr_warn!("hibernation refused: the key was locked meanwhile\n");
        return EBUSY.to_errno();
    }
    // All other CPUs go offline.
    if !store::is_safe_on(BOOT_CPU) {
        pr_warn!("hibernation refused: the boot CPU does not hold the key; load it again first\n");
        return EBUSY.to_errno();
    }
    0
}

unsafe extern "C" fn thaw_noirq(_: *mut device) -> c_int {
    // The share that is in the image is not to fit any longer.
    keeper::wake();
    0
}

unsafe extern "C" fn restore_noirq(_: *mut device) -> c_int {
    lock()
}

unsafe extern "C" fn on_sleep(_: *mut notifier_block, event: usize, _: *mut c_void) -> i32 {
    let event = event as u32;
    match event {
        bindings::PM_SUSPEND_PREPARE | bindings::PM_HIBERNATION_PREPARE => {
            let hibernation = event == bindings::PM_HIBERNATION_PREPARE;
            if let Some(store::Locked { requests, volumes }) = store::locked() {
                // The image could be on its way to one of the volumes.
                if requests != 0 || (hibernation && volumes != 0) {
                    pr_warn!("suspend refused: the key of {volumes} open volumes is locked, and {requests} requests wait for it; load it first, or clear it by force\n");
                    // notifier_from_errno()
                    return NOTIFY_STOP_MASK | (NOTIFY_OK - EBUSY.to_errno());
                }
            }
            HIBERNATING.store(hibernation, Ordering::Relaxed);
        }
        bindings::PM_RESTORE_PREPARE => RESTORING.store(true, Ordering::Relaxed),
        bindings::PM_POST_SUSPEND | bindings::PM_POST_HIBERNATION | bindings::PM_POST_RESTORE => {
            HIBERNATING.store(false, Ordering::Relaxed);
            RESTORING.store(false, Ordering::Relaxed);
            STOPPED.store(false, Ordering::SeqCst);
        }
        _ => {}
    }
    NOTIFY_OK
}

unsafe extern "C" fn on_reboot(_: *mut notifier_block, _: usize, _: *mut c_void) -> i32 {
    store::doom_everywhere();
    NOTIFY_OK
}
