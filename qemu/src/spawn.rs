// SPDX-License-Identifier: GPL-2.0-or-later

//! Starts QEMU so that it cannot outlive its user.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, OnceLock};
use std::thread;

use anyhow::{Context, Result};
use nix::fcntl::{fcntl, FcntlArg, FdFlag};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

struct Request {
    command: Command,
    answer: Sender<io::Result<Child>>,
}

/// Starts `command` with the descriptors `inherited` open under the same numbers.
///
/// The kernel kills the process when this one ends, however it ends. That signal is tied to the
/// thread that forked, so one thread that lives as long as this process starts them all.
///
/// # Errors
/// If the program cannot be started.
pub(crate) fn spawn(mut command: Command, inherited: Vec<RawFd>) -> Result<Child> {
    let program = command.get_program().to_owned();
    // SAFETY: between fork and exec the closure calls only prctl and fcntl, which are safe there,
    // and allocates nothing; the descriptors are open, since the caller owns them.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            for &fd in &inherited {
                let fd = std::os::fd::BorrowedFd::borrow_raw(fd);
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
    let (answer, result) = mpsc::channel();
    let spawner = spawner()
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    spawner
        .send(Request { command, answer })
        .context("the thread that starts VMs is gone")?;
    let child = result
        .recv()
        .context("the thread that starts VMs is gone")?;
    child.with_context(|| format!("cannot start {}", program.to_string_lossy()))
}

fn spawner() -> &'static Mutex<Sender<Request>> {
    static SPAWNER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for mut request in requests {
                // A caller that gave up needs no answer.
                let _ = request.answer.send(request.command.spawn());
            }
        });
        Mutex::new(sender)
    })
}
