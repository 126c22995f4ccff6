// SPDX-License-Identifier: GPL-2.0-or-later

//! Leaves secrets behind on purpose, one kind of place at a time: what a test must find.

use std::arch::asm;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::process::Command;
use std::ptr;

use anyhow::{bail, ensure, Context, Result};
use nix::fcntl::OFlag;
use nix::pty::openpty;
use nix::sys::mman::{mmap_anonymous, MapFlags, ProtFlags};
use nix::sys::termios::{cfmakeraw, tcgetattr, tcsetattr, SetArg};
use nix::unistd::pipe2;
use tresor_uapi::KEY_LEN;

use crate::device::LoadBuffer;
use crate::{hold, Args};

/// Where `tests/kmod/tresor_test.c` takes commands.
const TEST_MODULE: &str = "/proc/tresor_test";

/// Pages that the kind `freed` fills: some are used again at once.
const PAGES: usize = 64;

/// The `plant` command. The secret is in the place named, and nowhere else of this process.
pub(crate) fn plant(args: &Args) -> Result<()> {
    let mut buffer = LoadBuffer::from_stdin()?;
    let secret = &mut buffer.load().key;
    match args.need("kind")? {
        "stack" => {
            let mut copy = [0; KEY_LEN];
            copy_to(&mut copy, secret);
            drop(buffer);
            hold(args)?;
            black_box(&copy);
        }
        "heap" => {
            let mut copy = Box::new([0; KEY_LEN]);
            copy_to(&mut copy, secret);
            drop(buffer);
            hold(args)?;
            black_box(&copy);
        }
        "freed" => {
            let len = NonZeroUsize::MIN.saturating_add(PAGES * 4096 - 1);
            let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            // SAFETY: a new mapping, at an address that the kernel chooses.
            let start = unsafe { mmap_anonymous(None, len, access, MapFlags::MAP_PRIVATE)? };
            for page in 0..PAGES {
                // SAFETY: within the mapping, which has this many pages.
                let copy = unsafe { start.byte_add(page * 4096 + 512).cast().as_mut() };
                copy_to(copy, secret);
            }
            drop(buffer);
            // The pages are freed when this process ends.
            hold(args)?;
        }
        "fpu" => {
            make_hold(args)?;
            // SAFETY: reads and zeroes the 32 bytes of the buffer; `nanosleep` is given a time.
            unsafe {
                asm!(
                    "movdqu xmm14, [r8]",
                    "movdqu xmm15, [r8 + 16]",
                    "pxor xmm0, xmm0",
                    "movdqu [r8], xmm0",
                    "movdqu [r8 + 16], xmm0",
                    "syscall",
                    inout("rax") libc::SYS_nanosleep => _,
                    in("rdi") &LONG,
                    in("rsi") 0,
                    in("r8") secret.as_mut_ptr(),
                    clobber_abi("sysv64"),
                );
            }
        }
        "frame" => {
            make_hold(args)?;
            // SAFETY: as above.
            unsafe {
                asm!(
                    "mov r12, [r8]",
                    "mov r13, [r8 + 8]",
                    "mov r14, [r8 + 16]",
                    "mov r15, [r8 + 24]",
                    "pxor xmm0, xmm0",
                    "movdqu [r8], xmm0",
                    "movdqu [r8 + 16], xmm0",
                    "syscall",
                    inout("rax") libc::SYS_nanosleep => _,
                    in("rdi") &LONG,
                    in("rsi") 0,
                    in("r8") secret.as_mut_ptr(),
                    out("r12") _, out("r13") _, out("r14") _, out("r15") _,
                    clobber_abi("sysv64"),
                );
            }
        }
        "pipe" => {
            let (from, to) = pipe2(OFlag::O_CLOEXEC)?;
            let (mut from, mut to) = (File::from(from), File::from(to));
            to.write_all(secret)?;
            // Read to its end, so that no byte is left in the pipe but in its freed page.
            from.read_exact(secret)?;
            drop(buffer);
            hold(args)?;
        }
        "tty" => {
            let pty = openpty(None, None)?;
            let mut raw = tcgetattr(&pty.slave)?;
            // Not read by lines, and so not wiped.
            cfmakeraw(&mut raw);
            tcsetattr(&pty.slave, SetArg::TCSANOW, &raw)?;
            let (mut master, mut slave) = (File::from(pty.master), File::from(pty.slave));
            master.write_all(secret)?;
            slave.read_exact(secret)?;
            drop(buffer);
            hold(args)?;
        }
        kind @ ("slab" | "kernel-stack") => {
            let mut request = [0; 8 + KEY_LEN];
            request[..4].copy_from_slice(&kind.as_bytes()[..4]);
            copy_to((&mut request[8..]).try_into()?, secret);
            drop(buffer);
            let written = File::create(TEST_MODULE)?.write_all(&request);
            copy_to((&mut request[8..]).try_into()?, &[0; KEY_LEN]);
            written.with_context(|| format!("{TEST_MODULE} does not take it"))?;
            hold(args)?;
        }
        kind => bail!("kind={kind} is not known"),
    }
    Ok(())
}

/// Longer than any test.
const LONG: libc::timespec = libc::timespec {
    tv_sec: 3600,
    tv_nsec: 0,
};

/// The `feed` command: gives the key to `tresorctl load` through a pipe, which is kept for as long as
/// `hold=` says, or through a file, which is removed.
pub(crate) fn feed(args: &Args) -> Result<()> {
    let mut buffer = LoadBuffer::from_stdin()?;
    let mut tresorctl = Command::new("tresorctl");
    tresorctl.arg("load");
    let status = match args.get("file") {
        None => {
            let (from, to) = pipe2(OFlag::O_CLOEXEC)?;
            let kept = from.try_clone()?;
            let mut child = tresorctl.arg("--stdin").stdin(from).spawn()?;
            File::from(to).write_all(&buffer.load().key)?;
            drop(buffer);
            let status = child.wait()?;
            hold(args)?;
            drop(kept);
            status
        }
        Some(path) => {
            fs::write(path, buffer.load().key.as_slice())?;
            drop(buffer);
            let status = tresorctl.args(["--key-file", path]).status()?;
            fs::remove_file(path)?;
            status
        }
    };
    ensure!(status.success(), "tresorctl ended with {status}");
    Ok(())
}

fn make_hold(args: &Args) -> Result<()> {
    let path = args.need("hold")?;
    fs::write(path, "").with_context(|| format!("cannot make {path}"))
}

/// Copies byte by byte, so that no register holds more of it.
fn copy_to(to: &mut [u8; KEY_LEN], from: &[u8; KEY_LEN]) {
    for (to, from) in to.iter_mut().zip(from) {
        // SAFETY: both come from references; volatile, so that bytes are not put together.
        unsafe { ptr::write_volatile(to, ptr::read_volatile(from)) };
    }
}
