// SPDX-License-Identifier: GPL-2.0-or-later

//! Users of the CPU's breakpoints: a debugger, and perf.

use std::mem::offset_of;

use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{raise, Signal};
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{fork, ForkResult, Pid};

use crate::{hold, outcome, Args};

/// DR7: watch writes of 8 bytes at DR0's address, in this task (Intel SDM volume 3, section
/// 19.2.4): L0, R/W0 = 01, LEN0 = 10.
const WATCH_WRITES: i64 = 1 | 1 << 16 | 2 << 18;

static WATCHED: u64 = 0;

/// Offset of a debug register in `struct user`.
pub(crate) fn register(number: usize) -> ptrace::AddressType {
    (offset_of!(libc::user, u_debugreg) + 8 * number) as ptrace::AddressType
}

/// The `watch` command.
pub(crate) fn watch(args: &Args) -> Result<()> {
    // SAFETY: there is one thread; the child calls only what is safe after a fork.
    let child = match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let _ = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP));
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) }
        }
    };
    let result = debug(child, args);
    ptrace::kill(child).context("cannot end the child")?;
    waitpid(child, None).context("cannot wait for the child")?;
    result
}

fn debug(child: Pid, args: &Args) -> Result<()> {
    let stopped = waitpid(child, None).context("cannot wait for the child")?;
    ensure!(
        matches!(stopped, WaitStatus::Stopped(..)),
        "the child does not stop: {stopped:?}"
    );
    let address = &raw const WATCHED as i64;
    println!(
        "poke-dr0 {}",
        outcome(ptrace::write_user(child, register(0), address))
    );
    println!(
        "poke-dr7 {}",
        outcome(ptrace::write_user(child, register(7), WATCH_WRITES))
    );
    for number in [0, 1, 2, 3] {
        match ptrace::read_user(child, register(number)) {
            Ok(0) => println!("peek-dr{number} zero"),
            Ok(value) if value == address => println!("peek-dr{number} address"),
            Ok(_) => println!("peek-dr{number} other"),
            Err(error) => println!("peek-dr{number} {error:?}"),
        }
    }
    hold(args)
}

/// `struct perf_event_attr` as of its second published size (`PERF_ATTR_SIZE_VER1`).
#[repr(C)]
#[derive(Default)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    bp_addr: u64,
    bp_len: u64,
}

const _: () = assert!(size_of::<PerfEventAttr>() == 72);

/// `PERF_TYPE_BREAKPOINT` and `HW_BREAKPOINT_W`.
const BREAKPOINT: u32 = 5;
const WRITES: u32 = 2;

/// The `perf` command.
pub(crate) fn perf() -> Result<()> {
    for (name, pid, cpu) in [("task", 0, -1), ("cpu", -1, 0)] {
        let attr = PerfEventAttr {
            kind: BREAKPOINT,
            size: size_of::<PerfEventAttr>() as u32,
            sample_period: 1,
            bp_type: WRITES,
            bp_addr: &raw const WATCHED as u64,
            bp_len: 8,
            ..PerfEventAttr::default()
        };
        // SAFETY: the structure lives through the call. The descriptor closes with the process.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                pid,
                cpu,
                -1i32,
                0u64,
            )
        };
        println!("{name} {}", outcome(Errno::result(fd)));
    }
    Ok(())
}
