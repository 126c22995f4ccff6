// SPDX-License-Identifier: GPL-2.0-or-later

//! The one kernel buffer through which a key passes.

use crate::{bindings, cipher::Line, section::Section};
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

    /// Fills the buffer with a random key. Fails as [`Section::enter`] does.
    pub(crate) fn draw(&mut self) -> Result {
        // With interrupts off, since the generator has the key in general registers on its way.
        let _section = Section::enter()?;
        // SAFETY: The pointer is valid for KEY_LEN bytes.
        unsafe { bindings::get_random_bytes(self.as_mut_ptr().cast(), KEY_LEN) };
        Ok(())
    }

    /// A key from user space, copied through vector registers alone. `EFAULT` unless the memory is
    /// readable and writable: its owner is to wipe it.
    pub(crate) fn from_user(from: UserPtr) -> Result<Self> {
        with_user_memory(from, || {
            let mut key = Self::take();
            let line = key.as_mut_ptr().cast();
            let section = Section::enter()?;
            // SAFETY: In a section; the line is aligned and valid for KEY_LEN bytes; any user address is
            // allowed.
            let done = unsafe { bindings::tresor_key_from_user(line, from.as_const_ptr()) };
            drop(section);
            Ok(done.then_some(key))
        })
    }

    /// Copies the key that `make` puts into the buffer to user space, through vector registers alone.
    pub(crate) fn to_user(to: UserPtr, make: impl Fn(&mut Self) -> Result) -> Result {
        with_user_memory(to, || {
            let mut key = Self::take();
            make(&mut key)?;
            let _section = Section::enter()?;
            // SAFETY: As above.
            let done = unsafe {
                bindings::tresor_key_to_user(to.as_const_ptr().cast_mut(), key.as_ptr().cast())
            };
            Ok(done.then_some(()))
        })
    }
}

/// Has `copy` copy the KEY_LEN bytes at `at` in a section, where no page can be brought in; it gives
/// nothing if they were not all there. They are brought in while nobody has the buffer: it may take a
/// volume whose key is still to be loaded.
fn with_user_memory<T>(at: UserPtr, copy: impl Fn() -> Result<Option<T>>) -> Result<T> {
    // Pages that were just brought in may go again, but hardly time after time.
    for _ in 0..8 {
        if let Some(copied) = copy()? {
            return Ok(copied);
        }
        // Brings in the pages without reading a byte of them, which a general register would hold.
        // SAFETY: Process context; any user address is allowed.
        let missing =
            unsafe { bindings::fault_in_safe_writeable(at.as_const_ptr().cast(), KEY_LEN) };
        if missing != 0 {
            break;
        }
    }
    Err(EFAULT)
}

impl Drop for KeyBuffer {
    fn drop(&mut self) {
        erase();
    }
}
