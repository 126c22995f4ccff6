// SPDX-License-Identifier: GPL-2.0-or-later

//! Random calls, to be run by several processes at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::kmod::{delete_module, DeleteModuleFlags};
use tresor_guest::mixed;
use tresor_uapi::{
    Check, Clear, SlotKey, Status, CLEAR, CLEAR_FORCE, GENERATE, KEY_LEN, LOCK, SLOT_KEY, STATUS,
};

use crate::device::{call, open, LoadBuffer};
use crate::{outcome, Args};

/// What this process may do beside the calls that harm nobody.
struct Allowed {
    /// Forced clearing and unloading would end a volume, which the caller wants to keep.
    destroy: bool,
}

/// The `race` command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut load = LoadBuffer::from_stdin()?;
    let end = Instant::now() + Duration::from_secs(args.number("seconds", 1)?);
    let allowed = Allowed {
        destroy: args.number("volume", 0)? == 0,
    };
    let mut state = args.number("seed", 0)?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    while Instant::now() < end {
        state = mixed(state);
        let (name, outcome) = one(state % 16, state >> 16 & 3 == 0, &allowed, &mut load)?;
        if allowed.destroy {
            // Nobody can unload what is in use all the time.
            thread::sleep(Duration::from_millis(state >> 32 & 15));
        }
        *counts.entry(format!("{name} {outcome}")).or_default() += 1;
    }
    for (what, count) in counts {
        println!("{what} {count}");
    }
    Ok(())
}

/// Unloads the module; tries until nobody happens to have the device open, but not for long.
fn unload() -> nix::Result<()> {
    let mut tries = 0;
    loop {
        match delete_module(c"tresor", DeleteModuleFlags::O_NONBLOCK) {
            Err(Errno::EAGAIN) if tries < 100 => tries += 1,
            result => return result,
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn one(
    choice: u64,
    rare: bool,
    allowed: &Allowed,
    load: &mut LoadBuffer,
) -> Result<(&'static str, String)> {
    if choice == 0 && allowed.destroy && rare {
        return Ok(("rmmod", outcome(unload())));
    }
    if choice == 1 {
        // Two CPUs at most, so that some CPU keeps the key most of the time.
        fs::write("/proc/tresor_test", "clobber 1").context("cannot clobber")?;
        return Ok(("clobber", "ok".into()));
    }
    // Opened for each call: an open device keeps the module.
    let device = match open() {
        Ok(device) => device,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Somebody is about to load it again.
            thread::sleep(Duration::from_millis(20));
            return Ok(("open", outcome::<()>(Err(Errno::ENOENT))));
        }
        Err(error) => {
            let number = error.raw_os_error().unwrap_or(0);
            return Ok(("open", outcome::<()>(Err(Errno::from_raw(number)))));
        }
    };
    let fd = device.as_raw_fd();
    let mut status = Status::default();
    let mut check = Check::default();
    let mut slot_key = SlotKey {
        uuid: *b"01234567-89ab-cdef-0123-456789abcdef",
        reserved: 0,
        key: [0; KEY_LEN],
    };
    let mut clear = Clear::default();
    let (name, result) = match choice {
        2 | 3 => ("LOCK", call(fd, LOCK, 0)),
        4 => ("CLEAR", call(fd, CLEAR, &raw mut clear as usize)),
        5 if allowed.destroy => {
            clear.flags = CLEAR_FORCE;
            ("CLEAR-FORCE", call(fd, CLEAR, &raw mut clear as usize))
        }
        6 if allowed.destroy => ("GENERATE", call(fd, GENERATE, &raw mut check as usize)),
        7..=9 => ("STATUS", call(fd, STATUS, &raw mut status as usize)),
        10..=11 => ("SLOT_KEY", call(fd, SLOT_KEY, &raw mut slot_key as usize)),
        _ => ("LOAD", load.send(fd)),
    };
    Ok((name, outcome(result)))
}
