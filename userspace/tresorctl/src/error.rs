// SPDX-License-Identifier: GPL-2.0-or-later

//! Errors for people, and exit codes for scripts.

use nix::sys::signal::Signal;
use std::fmt;
use std::process::ExitCode;

/// How the program ends. Documented in `--help` and in the user guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; for `scan`: nothing was found.
    Ok = 0,
    /// The answer is no; for `scan`: something was found.
    No = 1,
    /// It failed; nothing was changed unless the message says so. Also bad usage.
    Error = 2,
    /// The module is not loaded.
    NoModule = 3,
    /// The key or passphrase is not the right one.
    WrongKey = 4,
    /// `scan` found nothing, but not all of the dump could be read, or decoded.
    Incomplete = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A sentence for the user: what happened, what was left untouched, what to do.
#[derive(Debug)]
pub struct Error {
    /// How the program ends.
    pub exit: Exit,
    /// The signal that ends the program instead, once everything is wiped and restored.
    pub signal: Option<Signal>,
    message: String,
}

impl Error {
    /// An ordinary error.
    pub fn new(message: impl Into<String>) -> Self {
        Self::with_exit(Exit::Error, message)
    }

    /// An error with an exit code of its own.
    pub fn with_exit(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            signal: None,
            message: message.into(),
        }
    }

    /// The user, or the system, ended the program with `signal` before it did anything.
    pub fn interrupted(signal: Signal) -> Self {
        Self {
            signal: Some(signal),
            ..Self::new("interrupted; nothing was changed")
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<keyscan::Error> for Error {
    fn from(error: keyscan::Error) -> Self {
        Self::new(match error {
            keyscan::Error::Open { path, source } => {
                format!(
                    "cannot open {}: {}; it was not scanned",
                    path.display(),
                    reason(&source)
                )
            }
            keyscan::Error::Format { path, problem } => format!(
                "cannot read {}: {problem}; nothing of it was scanned; to search its bytes as they are, use \
                 --raw",
                path.display()
            ),
            other => other.to_string(),
        })
    }
}

/// The system's words for an error, without Rust's "(os error N)".
pub fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => nix::errno::Errno::from_raw(errno).desc().to_owned(),
        None => error.to_string(),
    }
}
