// SPDX-License-Identifier: GPL-2.0-or-later

//! Asks for secrets on a terminal, without echo.

mod line;
mod question;

pub use line::{read_line, Line};
pub use question::{Answer, Interrupt, Silent};

use crate::error::{reason, Error};
use crate::process::SignalsHeld;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{tcflush, FlushArg};
use nix::unistd::{getpgrp, isatty, tcgetpgrp};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The terminal that controls the process, if there is one.
pub const CONTROLLING: &str = "/dev/tty";

/// The user's terminal, and the signals that end a question on it.
pub struct Terminal {
    fd: OwnedFd,
    signals: SignalFd,
    /// What its errors begin with.
    complaint: String,
    /// What its errors end with.
    advice: &'static str,
}

/// What [`Terminal::wait`] waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Something can be read from the terminal, or it is at its end.
    pub terminal: bool,
    /// Something can be read from the other file.
    pub other: bool,
}

impl Terminal {
    /// The controlling terminal, or standard input if that is one. The caller holds signals back
    /// ([`SignalsHeld`]), or an interrupt would leave echo off.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn open() -> Result<Self, Error> {
        let complaint = "cannot ask on a terminal".to_owned();
        let advice = "; use --passphrase-stdin, --key-file or --stdin in scripts";
        let none = |why: &str| failed(&complaint, why, advice);
        let fd = match File::options().read(true).write(true).open(CONTROLLING) {
            Ok(file) => OwnedFd::from(file),
            // A shell on a console may have no controlling terminal.
            Err(_) if io::stdin().is_terminal() => io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .map_err(|e| none(&reason(&e)))?,
            Err(_) => return Err(none("there is none")),
        };
        Self::with(fd, complaint, advice)
    }

    /// The terminal at `path`, which does not come to control the process, and on which no writing waits
    /// without noticing signals.
    ///
    /// # Errors
    ///
    /// It is none, or cannot be opened.
    pub fn open_at(path: &Path) -> Result<Self, Error> {
        let complaint = format!("cannot ask on {}", path.display());
        let advice = "; name a terminal with --terminal";
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(path)
            .map_err(|e| failed(&complaint, &reason(&e), advice))?;
        if !isatty(&file).unwrap_or(false) {
            return Err(failed(&complaint, "it is no terminal", advice));
        }
        Self::with(file.into(), complaint, advice)
    }

    fn with(fd: OwnedFd, complaint: String, advice: &'static str) -> Result<Self, Error> {
        let signals = SignalFd::with_flags(
            &SignalsHeld::fatal(),
            SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
        )
        .map_err(|e| failed(&complaint, e.desc(), advice))?;
        Ok(Self {
            fd,
            signals,
            complaint,
            advice,
        })
    }

    /// Turns echo off until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// The terminal cannot be set.
    pub fn silent(&self, interrupt: Interrupt) -> Result<Silent<'_>, Error> {
        Silent::new(self, interrupt)
    }

    /// Whether it controls the process, and others are in the foreground: they are who gets what is typed.
    pub fn is_background(&self) -> bool {
        // Fails for a terminal that does not control the process.
        tcgetpgrp(&self.fd).is_ok_and(|foreground| foreground != getpgrp())
    }

    /// Prints text.
    ///
    /// # Errors
    ///
    /// The terminal is gone, or a signal came while it could take no more.
    pub fn print(&self, text: &str) -> Result<(), Error> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match nix::unistd::write(&self.fd, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.poll(PollFlags::POLLOUT, None, PollTimeout::NONE)?;
                }
                Err(e) => return Err(self.failed(e.desc())),
            }
        }
        Ok(())
    }

    /// Discards what was typed and not read.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub fn discard(&self) -> Result<(), Error> {
        tcflush(&self.fd, FlushArg::TCIFLUSH).map_err(|e| self.failed(e.desc()))
    }

    /// Waits until something can be read: from the terminal if it is to be `heard`, or from `other`. It may
    /// also return early.
    ///
    /// # Errors
    ///
    /// A signal came, which the error carries.
    pub fn wait(
        &self,
        heard: bool,
        other: Option<BorrowedFd<'_>>,
        timeout: PollTimeout,
    ) -> Result<Ready, Error> {
        let flags = if heard {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        };
        self.poll(flags, other, timeout)
    }

    fn poll(
        &self,
        terminal: PollFlags,
        other: Option<BorrowedFd<'_>>,
        timeout: PollTimeout,
    ) -> Result<Ready, Error> {
        // In the place of a file that is not waited for there is one that is anyway.
        let mut files = [(); 3].map(|()| PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        if !terminal.is_empty() {
            files[1] = PollFd::new(self.fd.as_fd(), terminal);
        }
        if let Some(other) = other {
            files[2] = PollFd::new(other, PollFlags::POLLIN);
        }
        match poll(&mut files, timeout) {
            Err(Errno::EINTR) => {}
            result => {
                result.map_err(|e| self.failed(e.desc()))?;
            }
        }
        let signal = self
            .signals
            .read_signal()
            .map_err(|e| self.failed(e.desc()))?;
        if let Some(info) = signal {
            let signal = Signal::try_from(info.ssi_signo as i32).unwrap_or(Signal::SIGTERM);
            return Err(Error::interrupted(signal));
        }
        let ready = |at: usize| files[at].any().unwrap_or(true);
        Ok(Ready {
            terminal: !terminal.is_empty() && ready(1),
            other: other.is_some() && ready(2),
        })
    }

    /// Reads what is there; `None` if nothing is yet.
    fn read(&self, rest: &mut [u8]) -> Result<Option<usize>, Error> {
        match nix::unistd::read(&self.fd, rest) {
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(None),
            result => result.map(Some).map_err(|e| self.failed(e.desc())),
        }
    }

    fn failed(&self, why: &str) -> Error {
        failed(&self.complaint, why, self.advice)
    }
}

fn failed(complaint: &str, why: &str, advice: &str) -> Error {
    Error::new(format!("{complaint}: {why}; nothing was changed{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::{openpty, OpenptyResult};
    use nix::sys::termios::{tcgetattr, LocalFlags};
    use std::io::{Read, Write};

    fn echo_is_on(fd: &OwnedFd) -> bool {
        tcgetattr(fd)
            .unwrap()
            .local_flags
            .contains(LocalFlags::ECHO)
    }

    fn terminal(fd: OwnedFd) -> Terminal {
        Terminal::with(fd, "cannot ask here".into(), "").unwrap()
    }

    /// Reads from a terminal's other side up to these words.
    fn read_until(master: &mut File, end: &[u8]) -> Vec<u8> {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(end) {
            master.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
        seen
    }

    #[test]
    fn an_answer_is_read_without_echo_and_echo_is_on_again_afterwards() {
        let pty = openpty(None, None).unwrap();
        let mut master = File::from(pty.master);
        let watch = pty.slave.try_clone().unwrap();
        let asking = std::thread::spawn(move || {
            let terminal = terminal(pty.slave);
            let silent = terminal.silent(Interrupt::AsSignal).unwrap();
            let first = silent.ask("Passphrase: ").unwrap();
            let second = silent.ask("Repeat: ").unwrap();
            (first.as_bytes().to_vec(), second.as_bytes().to_vec())
        });
        assert_eq!(read_until(&mut master, b"Passphrase: "), b"Passphrase: ");
        assert!(!echo_is_on(&watch));
        master.write_all(b"correct horse\n").unwrap();
        assert_eq!(read_until(&mut master, b"Repeat: "), b"\r\nRepeat: ");
        master.write_all(b"correct horse\n").unwrap();
        let answers = asking.join().unwrap();
        assert_eq!(
            answers,
            (b"correct horse".to_vec(), b"correct horse".to_vec())
        );
        assert!(echo_is_on(&watch));
    }

    #[test]
    fn an_interrupt_is_an_error_and_echo_is_on_again() {
        let pty = openpty(None, None).unwrap();
        let watch = pty.slave.try_clone().unwrap();
        // The signal goes to the thread that asks: with the whole process it would end the tests.
        let (send, receive) = std::sync::mpsc::channel();
        let asking = std::thread::spawn(move || {
            let _held = SignalsHeld::new().unwrap();
            let terminal = terminal(pty.slave);
            let silent = terminal.silent(Interrupt::AsSignal).unwrap();
            // SAFETY: Asks for this thread's own id.
            send.send(unsafe { libc::pthread_self() }).unwrap();
            silent.ask("Passphrase: ").err().unwrap()
        });
        let thread = receive.recv().unwrap();
        assert!(!echo_is_on(&watch));
        // SAFETY: The thread runs until it has got the signal.
        unsafe { libc::pthread_kill(thread, libc::SIGTERM) };
        let error = asking.join().unwrap();
        assert_eq!(error.to_string(), "interrupted; nothing was changed");
        assert_eq!(error.signal, Some(Signal::SIGTERM));
        assert!(echo_is_on(&watch));
    }

    /// Asks, types, and returns how the question ended with what was the answer.
    fn asked(typed: &'static [u8], obsolete: bool) -> (Answer, Vec<u8>) {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let mut master = File::from(master);
        let watch = slave.try_clone().unwrap();
        let (news, tell) = nix::unistd::pipe().unwrap();
        let asking = std::thread::spawn(move || {
            let terminal = terminal(slave);
            let silent = terminal.silent(Interrupt::AsCharacter).unwrap();
            let mut line = Line::new().unwrap();
            let mut calls = 0;
            let answer = silent.ask_unless("Passphrase: ", &mut line, news.as_fd(), || {
                nix::unistd::read(&news, &mut [0]).unwrap();
                calls += 1;
                // At first it is something else that happens.
                Ok(calls == 2)
            });
            (answer.unwrap(), line.as_bytes().to_vec())
        });
        read_until(&mut master, b"Passphrase: ");
        master.write_all(typed).unwrap();
        if obsolete {
            for _ in 0..2 {
                nix::unistd::write(&tell, b"x").unwrap();
            }
        }
        assert_eq!(read_until(&mut master, b"\n"), b"\r\n");
        let result = asking.join().unwrap();
        assert!(echo_is_on(&watch));
        result
    }

    #[test]
    fn a_question_ends_with_an_answer_by_ctrl_c_or_d_or_when_it_is_obsolete() {
        let nothing = Vec::new();
        assert_eq!(asked(b"horse\n", false), (Answer::Line, b"horse".to_vec()));
        assert_eq!(asked(b"ho\x03", false), (Answer::Declined, nothing.clone()));
        assert_eq!(asked(b"\x04", false), (Answer::Declined, nothing.clone()));
        assert_eq!(asked(b"ho", true), (Answer::Obsolete, nothing));
    }

    #[test]
    fn a_terminal_whose_other_side_is_gone_is_an_error_and_no_refusal() {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let (news, _tell) = nix::unistd::pipe().unwrap();
        let terminal = terminal(slave);
        let silent = terminal.silent(Interrupt::AsCharacter).unwrap();
        drop(master);
        let mut line = Line::new().unwrap();
        let error = silent.ask_unless("", &mut line, news.as_fd(), || Ok(true));
        assert_eq!(
            error.unwrap_err().to_string(),
            "cannot ask here: I/O error; nothing was changed"
        );
    }

    #[test]
    fn a_file_is_no_terminal() {
        assert_eq!(
            Terminal::open_at(Path::new("/dev/null"))
                .err()
                .unwrap()
                .to_string(),
            "cannot ask on /dev/null: it is no terminal; nothing was changed; name a terminal with --terminal"
        );
    }
}
