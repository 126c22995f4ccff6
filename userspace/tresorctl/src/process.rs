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
        .map_err(|e| no_memory(&e.into()))?;
    let _held = SignalsHeld::new()?;
    on_own_stack(work).map_err(|e| no_memory(&e))?
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
    /// Holds them back in this thread and those that it starts.
    pub fn new() -> Result<Self, Error> {
        let mut stop = Self::fatal();
        stop.add(Signal::SIGTSTP);
        let before = stop
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
