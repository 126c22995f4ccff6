// SPDX-License-Identifier: GPL-2.0-or-later

//! Calls of `/dev/tresor`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::ptr::NonNull;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::mman::{mlockall, MlockAllFlags};
use nix::unistd::{setgroups, setresgid, setresuid, Gid, Uid};
use tresor_guest::mask;
use tresor_uapi::{
    Check, Clear, Load, SlotKey, Status, CHECK_LEN, CLEAR, DEVICE, GENERATE, KEY_LEN, LOAD, LOCK,
    SLOT_KEY, STATUS, UUID_LEN,
};

use crate::{check, hold, outcome, Args};

/// An address that no process has mapped (`vm.mmap_min_addr`).
const BAD: usize = 8;

pub(crate) fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(DEVICE)
}

/// One ioctl on whatever `arg` points to.
pub(crate) fn call(fd: RawFd, nr: u32, arg: usize) -> nix::Result<()> {
    // SAFETY: the kernel checks the address; callers pass a buffer of the call's size, or nothing.
    check(unsafe { libc::ioctl(fd, nr.into(), arg) }).map(drop)
}

/// The `ioctl` command.
pub(crate) fn ioctl(args: &Args) -> Result<()> {
    let nr = u32::from_str_radix(args.need("nr")?, 16).context("nr= is not hex")?;
    // Room for whatever a wrong number might make the kernel write.
    let mut buffer = vec![0; 16384];
    let mut len = 0;
    let arg = match args.get("arg") {
        None | Some("null") => 0,
        Some("bad") => BAD,
        Some(_) => {
            let bytes = args.bytes("arg")?;
            len = bytes.len();
            buffer[..len].copy_from_slice(&bytes);
            buffer.as_mut_ptr() as usize
        }
    };
    let device = open().context("cannot open the device")?;
    match call(device.as_raw_fd(), nr, arg) {
        Ok(()) => println!("ok {}", hex::encode(&buffer[..len])),
        Err(error) => println!("{error:?}"),
    }
    Ok(())
}

/// A `Load` in memory that is never swapped, wiped when dropped.
pub(crate) struct LoadBuffer(NonNull<Load>);

impl LoadBuffer {
    /// Reads the masked key from standard input straight into the buffer, and unmasks it there.
    pub(crate) fn from_stdin() -> Result<Self> {
        mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
            .context("cannot lock the memory")?;
        let load = Box::leak(Box::new(Load {
            key: [0; KEY_LEN],
            expected: [0; CHECK_LEN],
            flags: 0,
            reserved: 0,
        }));
        let mut buffer = Self(NonNull::from(load));
        // `Stdin` would leave a copy in its buffer: a file has none.
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        let mut stdin = File::from(stdin.context("cannot read standard input")?);
        let key = &mut buffer.load().key;
        stdin
            .read_exact(key)
            .context("the key is not on standard input")?;
        mask(key);
        Ok(buffer)
    }

    pub(crate) fn load(&mut self) -> &mut Load {
        // SAFETY: the box was leaked, and is reached through `self` only.
        unsafe { self.0.as_mut() }
    }

    /// The LOAD ioctl.
    pub(crate) fn send(&mut self, fd: RawFd) -> nix::Result<()> {
        call(fd, LOAD, self.0.as_ptr() as usize)
    }
}

impl Drop for LoadBuffer {
    fn drop(&mut self) {
        for byte in &mut self.load().key {
            let byte: *mut u8 = byte;
            // SAFETY: the pointer comes from a reference; volatile, so that it is not left out.
            unsafe { byte.write_volatile(0) };
        }
    }
}

/// The `load` command.
pub(crate) fn load(args: &Args) -> Result<()> {
    let mut buffer = LoadBuffer::from_stdin()?;
    let load = buffer.load();
    load.flags = args.number("flags", 0)? as u32;
    load.reserved = args.number("reserved", 0)? as u32;
    if args.get("expected").is_some() {
        let expected = args.bytes("expected")?;
        load.expected = expected
            .try_into()
            .ok()
            .context("expected= has a wrong length")?;
    }
    let device = open().context("cannot open the device")?;
    println!("{}", outcome(buffer.send(device.as_raw_fd())));
    hold(args)
}

/// The `unprivileged` command.
pub(crate) fn unprivileged() -> Result<()> {
    let device = open().context("cannot open the device as root")?;
    let (uid, gid) = (Uid::from_raw(1000), Gid::from_raw(1000));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    // Leaving root also drops every capability.
    setresuid(uid, uid, uid)?;
    let again = open()
        .map(drop)
        .map_err(|error| match error.raw_os_error() {
            Some(number) => Errno::from_raw(number),
            None => Errno::UnknownErrno,
        });
    println!("open {}", outcome(again));

    let mut load = Load {
        key: [0x5a; KEY_LEN],
        expected: [0; CHECK_LEN],
        flags: 0,
        reserved: 0,
    };
    let mut check = Check::default();
    let mut clear = Clear::default();
    let mut slot_key = SlotKey {
        uuid: *b"01234567-89ab-cdef-0123-456789abcdef",
        reserved: 0,
        key: [0; KEY_LEN],
    };
    const { assert!(offset_of!(SlotKey, key) == UUID_LEN + 4) };
    let mut status = Status::default();
    let calls: [(&str, u32, usize); 7] = [
        ("LOAD", LOAD, &raw mut load as usize),
        ("GENERATE", GENERATE, &raw mut check as usize),
        ("LOCK", LOCK, 0),
        ("CLEAR", CLEAR, &raw mut clear as usize),
        ("SLOT_KEY", SLOT_KEY, &raw mut slot_key as usize),
        ("unknown", LOCK + 0x40, 0),
        ("STATUS", STATUS, &raw mut status as usize),
    ];
    for (name, nr, arg) in calls {
        println!("{name} {}", outcome(call(device.as_raw_fd(), nr, arg)));
    }
    let leaked = slot_key.key != [0; KEY_LEN] || check != Check::default();
    println!("leaked {leaked}");
    Ok(())
}
