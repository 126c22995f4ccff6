// SPDX-License-Identifier: GPL-2.0-or-later

//! The one kernel buffer through which a key passes.

use crate::{bindings, cipher::Line};
use kernel::{
    prelude::*,
    sync::{global_lock, GlobalGuard},
    uaccess::UserPtr,
};

/// Bytes of a key.
const KEY_LEN: usize = 32;

/// One cache line, so that flushing it touches nothing else.
static BUFFER: Line = Line::new();

global_lock! {
    // SAFETY: `init()` is called before anything else of this module.
    unsafe(uninit) static OWNER: Mutex<()> = ();
}

/// Exclusive use of the buffer. Dropping it wipes the buffer and flushes its cache line.
pub(crate) struct KeyBuffer(#[allow(dead_code, reason = "held")] GlobalGuard<OWNER>);

/// Makes the buffer usable.
///
/// # Safety
///
/// To be called exactly once, before any other function of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By this function's own contract.
    unsafe { OWNER.init() };
}

/// Wipes the buffer under whoever uses it. Any context.
pub(crate) fn erase() {
    BUFFER.erase();
}

impl KeyBuffer {
    /// Waits for the buffer.
    pub(crate) fn take() -> Self {
        Self(OWNER.lock())
    }

    /// The key, readable for 32 bytes.
    pub(crate) fn as_ptr(&self) -> *const [u8; KEY_LEN] {
        BUFFER.as_ptr().cast()
    }

    /// The key, writable for 32 bytes.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut [u8; KEY_LEN] {
        BUFFER.as_ptr().cast()
    }

    /// Fills the buffer with a random key.
    pub(crate) fn draw(&mut self) {
        // SAFETY: The pointer is valid for KEY_LEN bytes.
        unsafe { bindings::get_random_bytes(self.as_mut_ptr().cast(), KEY_LEN) };
    }

    /// Copies a key from user space.
    pub(crate) fn copy_from_user(&mut self, from: UserPtr) -> Result {
        let to = self.as_mut_ptr().cast();
        // SAFETY: The destination is valid for KEY_LEN bytes; any user address is allowed.
        let left = unsafe { bindings::copy_from_user(to, from.as_const_ptr(), KEY_LEN as _) };
        if left == 0 {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }

    /// Copies the key to user space.
    pub(crate) fn copy_to_user(&self, to: UserPtr) -> Result {
        let to = to.as_const_ptr().cast_mut();
        // SAFETY: The source is valid for KEY_LEN bytes; any user address is allowed.
        let left = unsafe { bindings::copy_to_user(to, self.as_ptr().cast(), KEY_LEN as _) };
        if left == 0 {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }
}

impl Drop for KeyBuffer {
    fn drop(&mut self) {
        erase();
    }
}
