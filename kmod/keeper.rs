// SPDX-License-Identifier: GPL-2.0-or-later

//! The kernel thread that tends the key store once a second.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::{bindings, store};
use core::ffi::c_void;
use kernel::{bindings::task_struct, error::from_err_ptr, prelude::*};

/// The running thread. Dropping it ends the thread and waits for that.
pub(crate) struct Keeper(*mut task_struct);

// SAFETY: The task is only handed to `kthread_stop()`, which may be called from any task.
unsafe impl Send for Keeper {}
// SAFETY: There are no methods.
unsafe impl Sync for Keeper {}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Self> {
        // SAFETY: The thread function takes no data; it returns only when asked to stop.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(run),
                core::ptr::null_mut(),
                bindings::NUMA_NO_NODE,
                c"tresor".as_ptr().cast(),
            )
        })?;
        // SAFETY: `task` is a new thread that was not woken yet.
        unsafe { bindings::wake_up_process(task) };
        Ok(Self(task))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // SAFETY: The thread runs until this call.
        unsafe { bindings::kthread_stop(self.0) };
    }
}

unsafe extern "C" fn run(_data: *mut c_void) -> i32 {
    // SAFETY: Called from the kernel thread itself, here and below.
    while !unsafe { bindings::kthread_should_stop() } {
        // SAFETY: Process context without locks.
        unsafe { bindings::schedule_timeout_interruptible(bindings::tresor_hz()) };
        store::tend_all();
    }
    0
}
