// SPDX-License-Identifier: GPL-2.0-or-later

//! Tells user space of each state that the key store enters, in order: a desktop or a service may ask for
//! the passphrase then.
//!
//! The platform device `tresor` sends `change` with `TRESOR_STATE` (`empty`, `armed` or `locked`) and
//! `TRESOR_KEY_ID` (16 hex digits, absent if empty).
//!
//! C header: [`include/linux/kobject.h`](srctree/include/linux/kobject.h)

use crate::{
    bindings,
    store::{self, State},
};
use core::{
    fmt::Write,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::bindings::kobject;

static KOBJECT: AtomicPtr<kobject> = AtomicPtr::new(ptr::null_mut());

/// Whose events they are; null: nobody's. Valid until another is set and [`send`] is not running.
pub(crate) fn set_kobject(kobject: *mut kobject) {
    KOBJECT.store(kobject, Ordering::Release);
}

/// A NUL-terminated `NAME=value`.
struct Variable {
    text: [u8; 40],
    len: usize,
}

impl Variable {
    fn new() -> Self {
        Self {
            text: [0; 40],
            len: 0,
        }
    }

    fn as_ptr(&mut self) -> *mut kernel::ffi::c_char {
        self.text.as_mut_ptr().cast()
    }
}

impl Write for Variable {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        // The last byte stays NUL.
        let room = self.text.len() - 1;
        for byte in s.bytes() {
            if self.len == room {
                return Err(core::fmt::Error);
            }
            self.text[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// Sends what is new. May wait for memory: to be called without locks.
pub(crate) fn send() {
    while let Some(entered) = store::next_event() {
        let (name, check) = match entered {
            State::Empty => ("empty", None),
            State::Armed(check) => ("armed", Some(check)),
            State::Locked(check) => ("locked", Some(check)),
        };
        let (mut state, mut id) = (Variable::new(), Variable::new());
        // Both fit.
        let _ = write!(state, "TRESOR_STATE={name}");
        let mut variables = [state.as_ptr(), ptr::null_mut(), ptr::null_mut()];
        if let Some(check) = check {
            let _ = write!(id, "TRESOR_KEY_ID=");
            for byte in &check.0[..8] {
                let _ = write!(id, "{byte:02x}");
            }
            variables[1] = id.as_ptr();
        }
        let kobject = KOBJECT.load(Ordering::Acquire);
        if !kobject.is_null() {
            // SAFETY: The object is valid, see `set_kobject()`; the variables are NUL-terminated, their list
            // ends with null.
            unsafe {
                bindings::kobject_uevent_env(
                    kobject,
                    bindings::kobject_action_KOBJ_CHANGE,
                    variables.as_mut_ptr(),
                )
            };
        }
    }
}
