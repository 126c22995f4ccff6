// SPDX-License-Identifier: GPL-2.0-or-later

//! What the process as a whole does so that secrets do not leave it.

use crate::error::{reason, Error};
use crate::secret::{check_secret_memory, on_own_stack};
use nix::sys::mman::{mlockall, MlockAllFlags};
use nix::sys::resource::{setrlimit, Resource, RLIM_INFINITY};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use std::io;

/// Makes the process leave no core dump and not be traced by other users.
pub fn harden() -> Result<(), Error> {
    nix::sys::prctl::set_dumpable(false)
        .and_then(|()| setrlimit(Resource::RLIMIT_CORE, 0, 0))
        .map_err(|e| {
            Error::new(format!(
                "cannot turn core dumps off: {}; stopped before any secret was read",
                e.desc()
            ))
        })
}

/// Runs `work`, which handles secrets, with all memory locked, signals held back, and on a stack
/// that is wiped afterwards.
pub fn with_secrets<R>(work: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    lock_memory()?;
    let _held = SignalsHeld::new()?;
    on_own_stack(work).map_err(|e| no_memory(&e))?
}

/// Has all memory of the process stay in RAM, also what it will get.
pub fn lock_memory() -> Result<(), Error> {
    // Root may; for others the limit that they have must do.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    if let Err(e) = check_secret_memory() {
        eprintln!(
            "warning: there is no memory for secrets that the kernel wipes (memfd_secret: {}): do not \
             kill this process, and expect copies if the kernel moves its memory",
            reason(&e)
        );
    }
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
        .map_err(|e| no_memory(&e.into()))
}

/// How much stack and heap [`settle`] brings in. The heap keeps what is given back below 128 KiB
/// (`M_TRIM_THRESHOLD` of mallopt(3)).
const STACK: usize = 256 << 10;
const HEAP: usize = 96 << 10;

/// `PR_SET_IO_FLUSHER` of `include/uapi/linux/prctl.h`.
const PR_SET_IO_FLUSHER: libc::c_int = 57;

/// Prepares a process whose memory is locked to go on when nothing can be read from a disk and nothing
/// written to one: stack and heap for what it does are in RAM, and where it needs more nevertheless, the
/// kernel does not try to get it by writing.
pub fn settle() {
    #[inline(never)]
    fn touch_stack() {
        std::hint::black_box(&mut [1u8; STACK]);
    }
    touch_stack();
    drop(std::hint::black_box(vec![1u8; HEAP]));
    // SAFETY: Changes how the kernel gets memory for this thread. Needs CAP_SYS_RESOURCE and Linux 5.6, and
    // does without.
    let _ = unsafe { libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) };
}

/// For memory that should hold a secret.
pub fn no_memory(error: &io::Error) -> Error {
    Error::new(format!(
        "no locked memory for secrets: {}; nothing was changed; run as root, or raise the limit \
         (ulimit -l)",
        reason(error)
    ))
}

/// The signals that end a process from the keyboard or on the way down, held back so that none
/// ends it while secrets are in memory. They arrive when this is dropped.
pub struct SignalsHeld {
    before: SigSet,
}

impl SignalsHeld {
    /// Holds them back in this thread and those that it starts, with the one by which the keyboard stops it.
    pub fn new() -> Result<Self, Error> {
        Self::with(&[Signal::SIGTSTP])
    }

    /// Also those by which a terminal stops who uses it from the background.
    pub fn resident() -> Result<Self, Error> {
        Self::with(&[Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU])
    }

    fn with(more: &[Signal]) -> Result<Self, Error> {
        let mut held = Self::fatal();
        held.extend(more.iter().copied());
        let before = held
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .map_err(|e| Error::new(format!("cannot hold signals back: {}", e.desc())))?;
        Ok(Self { before })
    }

    /// Those that end the process.
    pub fn fatal() -> SigSet {
        [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
        ]
        .into_iter()
        .collect()
    }
}

impl Drop for SignalsHeld {
    fn drop(&mut self) {
        // Cannot fail with a mask that the kernel gave.
        let _ = self.before.thread_set_mask();
    }
}
