// SPDX-License-Identifier: GPL-2.0-or-later

//! The one kernel buffer through which a key passes.

use core::sync::atomic::{compiler_fence, Ordering};
use kernel::{
    bindings,
    prelude::*,
    sync::{global_lock, GlobalGuard},
    uaccess::UserPtr,
};

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;

/// One cache line, so that flushing it touches nothing else.
#[repr(C, align(64))]
struct Line([u8; 64]);

global_lock! {
    // SAFETY: `init()` is called before anything else of this module.
    unsafe(uninit) static KEY: Mutex<Line> = Line([0; 64]);
}

/// Exclusive use of the buffer. Dropping it wipes the buffer and flushes its cache line.
pub(crate) struct KeyBuffer(GlobalGuard<KEY>);

/// Makes the buffer usable.
///
/// # Safety
///
/// To be called exactly once, before any other function of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By this function's own contract.
    unsafe { KEY.init() };
}

impl KeyBuffer {
    /// Waits for the buffer.
    pub(crate) fn take() -> Self {
        Self(KEY.lock())
    }

    /// The key, readable for [`KEY_LEN`] bytes.
    pub(crate) fn as_ptr(&self) -> *const [u8; KEY_LEN] {
        self.0 .0.as_ptr().cast()
    }

    /// The key, writable for [`KEY_LEN`] bytes.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut [u8; KEY_LEN] {
        self.0 .0.as_mut_ptr().cast()
    }

    /// Fills the buffer with a random key.
    pub(crate) fn draw(&mut self) {
        // SAFETY: The pointer is valid for KEY_LEN bytes.
        unsafe { bindings::get_random_bytes(self.as_mut_ptr().cast(), KEY_LEN) };
    }

    /// Copies a key from user space.
    pub(crate) fn copy_from_user(&mut self, from: UserPtr) -> Result {
        // SAFETY: The destination is valid for KEY_LEN bytes; any user address is allowed.
        let left = unsafe {
            bindings::copy_from_user(
                self.as_mut_ptr().cast(),
                from.as_const_ptr().cast(),
                KEY_LEN as _,
            )
        };
        if left == 0 {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }

    /// Copies the key to user space.
    pub(crate) fn copy_to_user(&self, to: UserPtr) -> Result {
        // SAFETY: The source is valid for KEY_LEN bytes; any user address is allowed.
        let left = unsafe {
            bindings::copy_to_user(
                to.as_const_ptr().cast_mut().cast(),
                self.as_ptr().cast(),
                KEY_LEN as _,
            )
        };
        if left == 0 {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }
}

impl Drop for KeyBuffer {
    fn drop(&mut self) {
        for byte in &mut self.0 .0 {
            // SAFETY: A plain reference to our own byte; volatile, so that it is not optimised out.
            unsafe { core::ptr::write_volatile(byte, 0) };
        }
        compiler_fence(Ordering::SeqCst);
        // SAFETY: The line is valid memory of the module.
        unsafe { bindings::clflush_cache_range(self.0 .0.as_mut_ptr().cast(), 64) };
    }
}
