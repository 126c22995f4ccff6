// SPDX-License-Identifier: GPL-2.0-or-later

//! The kernel thread that tends the key store once a second, and tells of what became of it.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::{bindings, power, store, uevent};
use core::{
    ffi::c_void,
    sync::atomic::{AtomicBool, Ordering},
};
use kernel::{
    bindings::{completion, task_struct},
    error::from_err_ptr,
    prelude::*,
    types::Opaque,
};

/// Least time between two rounds, in milliseconds: a machine on which something takes the registers
/// over and over must not be stopped over and over to give them back.
const PAUSE_MS: u32 = 50;

/// Complete when there is something to do. The module's own, so that it may be used at any time.
static WORK: Work = Work(Opaque::uninit());

struct Work(Opaque<completion>);

// SAFETY: A completion has a lock of its own.
unsafe impl Sync for Work {}

/// Makes [`wake`] usable.
///
/// # Safety
///
/// To be called exactly once, before any other function of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By this function's own contract.
    unsafe { bindings::tresor_init_completion(WORK.0.get()) };
}

/// Has the thread tend the store now rather than at its next second. Any context but NMI.
pub(crate) fn wake() {
    // SAFETY: Initialised by `init()`.
    unsafe { bindings::complete(WORK.0.get()) };
}

/// The running thread. Dropping it ends the thread and waits for that.
///
/// It holds the device that the events are of.
pub(crate) struct Keeper(
    *mut task_struct,
    #[allow(dead_code, reason = "held")] power::Device,
);

// SAFETY: The task is only handed to `kthread_stop()`, which may be called from any task.
unsafe impl Send for Keeper {}
// SAFETY: There are no methods.
unsafe impl Sync for Keeper {}

impl Keeper {
    /// Starts the thread. What it tells, `device` tells.
    pub(crate) fn start(device: power::Device) -> Result<Self> {
        uevent::set_kobject(device.kobject());
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
        Ok(Self(task, device))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        STOPPING.store(true, Ordering::Release);
        wake();
        // SAFETY: The thread runs until this call.
        unsafe { bindings::kthread_stop(self.0) };
    }
}

/// Whether the thread is not to wait any more: who stops it cannot end its waiting.
static STOPPING: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn run(_data: *mut c_void) -> i32 {
    // What frees memory may be waiting for this thread.
    // SAFETY: For all of this thread's life.
    unsafe { bindings::tresor_memalloc_noio() };
    // SAFETY: Called from the kernel thread itself, here and below.
    while !unsafe { bindings::kthread_should_stop() } {
        if !STOPPING.load(Ordering::Acquire) {
            // SAFETY: Process context without locks; initialised by `init()`.
            unsafe {
                bindings::wait_for_completion_interruptible_timeout(
                    WORK.0.get(),
                    bindings::tresor_hz() as _,
                );
                bindings::tresor_reinit_completion(WORK.0.get());
            }
        }
        store::tend_all();
        uevent::send();
        power::keep_awake();
        // SAFETY: As above.
        unsafe { bindings::msleep(PAUSE_MS) };
    }
    0
}
