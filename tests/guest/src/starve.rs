// SPDX-License-Identifier: GPL-2.0-or-later

//! Calls and direct I/O in which the kernel's allocations fail, one after another.
//!
//! A kernel with fault injection has the Nth allocation of a task fail if the task asks for that
//! (`Documentation/fault-injection/fault-injection.rst`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags};
use tresor_guest::pattern;
use tresor_uapi::{
    Check, Clear, SlotKey, Status, CLEAR, GENERATE, KEY_LEN, LOCK, SLOT_KEY, STATUS,
};

use crate::device::{call, open, LoadBuffer};
use crate::disk::Buffer;
use crate::{outcome, Args};

/// Bytes of one request.
const IO: usize = 4096;

/// Makes allocations of this task fail, and counts how what they failed in ended.
struct Starver {
    fail_nth: File,
    counts: BTreeMap<String, u64>,
    failed: u64,
}

impl Starver {
    fn new() -> Result<Self> {
        let path = "/proc/thread-self/fail-nth";
        Ok(Self {
            fail_nth: OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .with_context(|| format!("cannot open {path}"))?,
            counts: BTreeMap::new(),
            failed: 0,
        })
    }

    /// Has the `nth` allocation from here on fail; none with 0.
    fn set(&self, nth: u64) -> Result<()> {
        self.fail_nth
            .write_all_at(nth.to_string().as_bytes(), 0)
            .context("cannot set fail-nth")
    }

    /// How many allocations are still to come until one fails.
    fn left(&self) -> Result<u64> {
        let mut text = [0; 16];
        let len = self
            .fail_nth
            .read_at(&mut text, 0)
            .context("cannot read fail-nth")?;
        let text = String::from_utf8_lossy(&text[..len]);
        text.trim()
            .parse()
            .with_context(|| format!("fail-nth says {text:?}"))
    }

    /// Runs `action` with its first, second .. allocation failing, until it makes no more than that;
    /// `prepare` comes before each, undisturbed.
    fn every(
        &mut self,
        name: &str,
        mut prepare: impl FnMut() -> Result<()>,
        mut action: impl FnMut() -> nix::Result<()>,
    ) -> Result<()> {
        for nth in 1.. {
            prepare().with_context(|| format!("before {name}"))?;
            self.set(nth)?;
            let result = action();
            let left = self.left()?;
            self.set(0)?;
            *self
                .counts
                .entry(format!("{name} {}", outcome(result)))
                .or_default() += 1;
            if left != 0 {
                // Nothing failed this time, so it must have worked.
                ensure!(result.is_ok(), "{name}, undisturbed: {}", outcome(result));
                break;
            }
            self.failed += 1;
        }
        Ok(())
    }

    fn print(&self) {
        for (what, count) in &self.counts {
            println!("{what} {count}");
        }
        println!("allocations failed {}", self.failed);
    }
}

/// The `starve` command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut load = LoadBuffer::from_stdin()?;
    let mut starver = Starver::new()?;
    for _ in 0..args.number("rounds", 1)? {
        match args.get("dev") {
            Some(path) => requests(&mut starver, path, args.number("seed", 0)?)?,
            None => calls(&mut starver, &mut load)?,
        }
    }
    starver.print();
    Ok(())
}

/// Every call of the device, in the states in which it does something; no volume may be open.
fn calls(starver: &mut Starver, load: &mut LoadBuffer) -> Result<()> {
    let device = open().context("cannot open the device")?;
    let fd = device.as_raw_fd();
    let mut status = Status::default();
    let mut check = Check::default();
    let mut clear = Clear::default();
    let mut slot_key = SlotKey {
        uuid: *b"01234567-89ab-cdef-0123-456789abcdef",
        reserved: 0,
        key: [0; KEY_LEN],
    };
    let clear = &raw mut clear as usize;
    let load = RefCell::new(load);
    let send = || load.borrow_mut().send(fd);
    let empty = || call(fd, CLEAR, clear).context("CLEAR");

    starver.every("open", || Ok(()), || open().map(drop).map_err(errno))?;
    starver.every("LOAD", empty, send)?;
    let generated = &raw mut check as usize;
    starver.every("GENERATE", empty, || call(fd, GENERATE, generated))?;
    empty()?;
    let armed = || send().context("LOAD");
    starver.every("LOCK", armed, || call(fd, LOCK, 0))?;
    starver.every("CLEAR", armed, || call(fd, CLEAR, clear))?;
    let status = &raw mut status as usize;
    starver.every("STATUS", armed, || call(fd, STATUS, status))?;
    let slot_key = &raw mut slot_key as usize;
    starver.every("SLOT_KEY", armed, || call(fd, SLOT_KEY, slot_key))?;
    // LOAD where the key is there, and where it is locked.
    starver.every("LOAD", || Ok(()), send)?;
    let locked = || call(fd, LOCK, 0).context("LOCK");
    starver.every("LOAD", locked, send)
}

/// Reads and writes of the pattern, each a request; what is read must be what is there.
fn requests(starver: &mut Starver, path: &str, seed: u64) -> Result<()> {
    let disk = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .with_context(|| format!("cannot open {path}"))?;
    let mut plain = vec![0; IO];
    for block in 0..16 {
        let at = block * IO as u64;
        pattern(seed, at, &mut plain);
        let mut buffer = Buffer::new(IO, 0);
        buffer.get().copy_from_slice(&plain);
        let bytes = buffer.get();
        starver.every(
            "write",
            || Ok(()),
            || disk.write_all_at(bytes, at).map_err(errno),
        )?;
        let mut wrong = false;
        starver.every(
            "read",
            || Ok(()),
            || {
                bytes.fill(0);
                disk.read_exact_at(bytes, at).map_err(errno)?;
                wrong |= bytes != plain;
                Ok(())
            },
        )?;
        ensure!(!wrong, "a read gave something else");
    }
    Ok(())
}

/// The `starve-module` command: loads the module with its first allocation failing, the one `step` later, ..
pub(crate) fn module(args: &Args) -> Result<()> {
    let path = args.need("module")?;
    let module = File::open(path).with_context(|| format!("cannot open {path}"))?;
    let step = args.number("step", 1)?.max(1);
    let mut starver = Starver::new()?;
    for nth in (1..).step_by(usize::try_from(step)?) {
        starver.set(nth)?;
        let result = finit_module(&module, c"", ModuleInitFlags::empty());
        let left = starver.left()?;
        starver.set(0)?;
        *starver
            .counts
            .entry(format!("insert {}", outcome(result)))
            .or_default() += 1;
        if result.is_ok() {
            delete_module(c"tresor", DeleteModuleFlags::O_NONBLOCK).context("cannot unload it")?;
        }
        if left != 0 {
            ensure!(result.is_ok(), "undisturbed: {}", outcome(result));
            break;
        }
        starver.failed += 1;
    }
    starver.print();
    Ok(())
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}
