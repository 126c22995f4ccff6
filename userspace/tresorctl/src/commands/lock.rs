// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl lock` and `tresorctl clear`.

use super::{count, print};
use crate::device::{key_id, Device};
use crate::error::{Error, Exit};
use std::path::Path;

/// Erases the key but keeps its check value.
pub fn lock(device: &Path) -> Result<Exit, Error> {
    let device = Device::open(device)?;
    device.lock()?;
    let status = device.status()?;
    print(&locked(&key_id(&status.check), status.volumes))?;
    Ok(Exit::Ok)
}

fn locked(key_id: &str, volumes: u32) -> String {
    let wait = match volumes {
        0 => String::new(),
        1 => "1 volume is open: its I/O waits until `tresorctl load`\n".to_owned(),
        more => format!(
            "{} are open: their I/O waits until `tresorctl load`\n",
            count(more, "volume")
        ),
    };
    format!("locked: key {key_id} is gone from all CPUs; only it can be loaded again\n{wait}")
}

/// Erases the key and its check value.
pub fn clear(device: &Path, force: bool) -> Result<Exit, Error> {
    Device::open(device)?.clear(force)?;
    print("cleared: no key is loaded\n")?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_locks_hears_how_many_volumes_wait() {
        let first = "locked: key 0011 is gone from all CPUs; only it can be loaded again\n";
        for (volumes, second) in [
            (0, ""),
            (
                1,
                "1 volume is open: its I/O waits until `tresorctl load`\n",
            ),
            (
                2,
                "2 volumes are open: their I/O waits until `tresorctl load`\n",
            ),
        ] {
            assert_eq!(locked("0011", volumes), format!("{first}{second}"));
        }
    }
}
