// SPDX-License-Identifier: GPL-2.0-or-later

//! A debugger that follows a process from one system call to the next.

use std::fs;

use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;

use crate::breakpoints::register;
use crate::{make_hold, Args};

/// What it saw.
#[derive(Default)]
struct Seen {
    stops: u64,
    /// System calls that `at=` names.
    hits: u64,
    /// Debug registers that were not zero, over all stops.
    debug_registers: u64,
}

/// The `trace` command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let pid = Pid::from_raw(args.number("pid", 0)? as i32);
    let at = args
        .get("at")
        .map(|text| u64::from_str_radix(text, 16))
        .transpose()
        .context("at= is not hex")?;
    let signal = args.number("signal", 0)? as i32;
    let signal = (signal != 0)
        .then(|| Signal::try_from(signal))
        .transpose()?;
    let options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEEXIT;
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = Pid::from_raw(entry?.file_name().to_string_lossy().parse()?);
        ptrace::seize(thread, options).with_context(|| format!("cannot attach to {thread}"))?;
        ptrace::interrupt(thread)?;
    }
    if let Some(path) = args.get("hold") {
        make_hold(path.as_ref())?;
    }
    let mut seen = Seen::default();
    let mut again = false;
    loop {
        let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Err(Errno::ECHILD) => break,
            Err(Errno::EINTR) => continue,
            status => status.context("cannot wait")?,
        };
        let (thread, pass) = match status {
            WaitStatus::PtraceSyscall(thread) => {
                if let Some(at) = at {
                    let Ok(registers) = ptrace::getregs(thread) else {
                        // It was killed meanwhile.
                        continue;
                    };
                    if registers.orig_rax == libc::SYS_ioctl as u64 && registers.rsi == at {
                        seen.hits += 1;
                        // At its entry: it runs, and the signal is there when it ends.
                        if let (1, Some(signal)) = (seen.hits, signal) {
                            kill(pid, signal)?;
                        }
                    }
                }
                (thread, None)
            }
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            _ => continue,
        };
        if status == WaitStatus::Stopped(thread, Signal::SIGSEGV) && !again {
            // A handler of Rust's runtime takes the first one for a fault that will come again.
            again = true;
            kill(pid, Signal::SIGSEGV)?;
        }
        seen.stops += 1;
        // The kernel has no DR4 and DR5, and DR6 is a status with bits that are always set.
        for number in [0, 1, 2, 3, 7] {
            match ptrace::read_user(thread, register(number)) {
                Ok(0) | Err(Errno::ESRCH) => {}
                Ok(_) => seen.debug_registers += 1,
                Err(error) => return Err(error).context("cannot read a debug register"),
            }
        }
        match ptrace::syscall(thread, pass) {
            // It was killed meanwhile.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("cannot let it go on"),
        }
    }
    ensure!(seen.stops > 0, "it never stopped");
    println!(
        "stops={} hits={} debug-registers={}",
        seen.stops, seen.hits, seen.debug_registers
    );
    Ok(())
}
