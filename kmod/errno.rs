// SPDX-License-Identifier: GPL-2.0-or-later

//! Error codes of `include/uapi/asm-generic/errno.h` that the kernel crate does not name.

use kernel::{bindings, error::Error};

/// `ENOKEY`: required key not available.
pub(crate) fn no_key() -> Error {
    Error::from_errno(-(bindings::ENOKEY as i32))
}

/// `EKEYREVOKED`: key has been revoked.
pub(crate) fn key_revoked() -> Error {
    Error::from_errno(-(bindings::EKEYREVOKED as i32))
}

/// `EINPROGRESS`: operation now in progress.
pub(crate) fn in_progress() -> Error {
    Error::from_errno(-(bindings::EINPROGRESS as i32))
}

/// `EKEYREJECTED`: key was rejected by service.
pub(crate) fn key_rejected() -> Error {
    Error::from_errno(-(bindings::EKEYREJECTED as i32))
}
