// SPDX-License-Identifier: GPL-2.0-or-later

//! Suspend, hibernation, reboot and kexec: M is erased before any of them.
//!
//! C headers: [`include/linux/suspend.h`](srctree/include/linux/suspend.h),
//! [`include/linux/reboot.h`](srctree/include/linux/reboot.h)

use crate::{bindings, store};
use core::{cell::UnsafeCell, ffi::c_void};
use kernel::{bindings::notifier_block, error::to_result, prelude::*};

/// `NOTIFY_OK` and `NOTIFY_STOP_MASK` of `include/linux/notifier.h`.
const NOTIFY_OK: i32 = 0x0001;
const NOTIFY_STOP_MASK: i32 = 0x8000;

struct Notifier(UnsafeCell<notifier_block>);

// SAFETY: While registered, only the notifier chain touches the block, under its own lock.
unsafe impl Sync for Notifier {}

impl Notifier {
    const fn new(
        call: unsafe extern "C" fn(*mut notifier_block, usize, *mut c_void) -> i32,
        priority: i32,
    ) -> Self {
        Self(UnsafeCell::new(notifier_block {
            notifier_call: Some(call),
            next: core::ptr::null_mut(),
            priority,
        }))
    }
}

static SUSPEND: Notifier = Notifier::new(on_suspend, 0);
/// Last of its chain: others may still need their disks.
static REBOOT: Notifier = Notifier::new(on_reboot, i32::MIN);

/// The registered notifiers.
pub(crate) struct Notifiers(());

impl Notifiers {
    /// Registers both.
    pub(crate) fn register() -> Result<Self> {
        // SAFETY: The block is static and not registered.
        to_result(unsafe { bindings::register_pm_notifier(SUSPEND.0.get()) })?;
        // SAFETY: As above.
        let result = to_result(unsafe { bindings::register_reboot_notifier(REBOOT.0.get()) });
        if result.is_err() {
            // SAFETY: Registered just above.
            unsafe { bindings::unregister_pm_notifier(SUSPEND.0.get()) };
        }
        result.map(|()| Self(()))
    }
}

impl Drop for Notifiers {
    fn drop(&mut self) {
        // SAFETY: Both were registered.
        unsafe {
            bindings::unregister_reboot_notifier(REBOOT.0.get());
            bindings::unregister_pm_notifier(SUSPEND.0.get());
        }
    }
}

unsafe extern "C" fn on_suspend(_: *mut notifier_block, event: usize, _: *mut c_void) -> i32 {
    match event as u32 {
        bindings::PM_SUSPEND_PREPARE
        | bindings::PM_HIBERNATION_PREPARE
        | bindings::PM_RESTORE_PREPARE => {
            if let Err(error) = store::suspend_begin() {
                pr_warn!("suspend refused: volumes are open; close them first\n");
                // notifier_from_errno()
                return NOTIFY_STOP_MASK | (NOTIFY_OK - error.to_errno());
            }
        }
        bindings::PM_POST_SUSPEND | bindings::PM_POST_HIBERNATION | bindings::PM_POST_RESTORE => {
            store::suspend_end()
        }
        _ => {}
    }
    NOTIFY_OK
}

unsafe extern "C" fn on_reboot(_: *mut notifier_block, _: usize, _: *mut c_void) -> i32 {
    store::doom_everywhere();
    NOTIFY_OK
}
