// SPDX-License-Identifier: GPL-2.0-or-later

//! The kernel thread that tends the key store once a second.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::{bindings, store};
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{bindings::task_struct, error::from_err_ptr, prelude::*};

/// Least time between two rounds, in milliseconds: a machine on which something takes the registers
/// over and over must not be stopped over and over to give them back.
const PAUSE_MS: u32 = 50;

static TASK: AtomicPtr<task_struct> = AtomicPtr::new(ptr::null_mut());

/// Has the thread tend the store now rather than at its next second. Any context but NMI, on a path
/// that [`Keeper::drop`] waits for: a request of our algorithm, or a CPU hotplug callback.
pub(crate) fn wake() {
    let task = TASK.load(Ordering::Acquire);
    if !task.is_null() {
        // SAFETY: The task is alive as long as `TASK` names it, and `Keeper::drop()` waits for
        // callers that have read it.
        unsafe { bindings::wake_up_process(task) };
    }
}

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
        TASK.store(task, Ordering::Release);
        Ok(Self(task))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        TASK.store(ptr::null_mut(), Ordering::Release);
        // No request is left: the algorithm is gone before the keeper. A hotplug callback that has
        // read the pointer ends before this lock is had.
        // SAFETY: Process context; paired.
        unsafe {
            bindings::cpus_read_lock();
            bindings::cpus_read_unlock();
        }
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
        // SAFETY: As above.
        unsafe { bindings::msleep(PAUSE_MS) };
    }
    0
}
