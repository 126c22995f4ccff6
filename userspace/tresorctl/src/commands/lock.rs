// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl lock` and `tresorctl clear`.

use super::print;
use crate::device::{key_id, Device};
use crate::error::{Error, Exit};
use std::path::Path;

/// Erases the key but keeps its check value.
pub fn lock(device: &Path) -> Result<Exit, Error> {
    let device = Device::open(device)?;
    device.lock()?;
    let status = device.status()?;
    print(&format!(
        "locked: key {} is gone from all CPUs; only it can be loaded again\n",
        key_id(&status.check)
    ))?;
    Ok(Exit::Ok)
}

/// Erases the key and its check value.
pub fn clear(device: &Path, force: bool) -> Result<Exit, Error> {
    Device::open(device)?.clear(force)?;
    print("cleared: no key is loaded\n")?;
    Ok(Exit::Ok)
}
