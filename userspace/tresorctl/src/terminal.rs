// SPDX-License-Identifier: GPL-2.0-or-later

//! Asks for secrets on a terminal, without echo.

use crate::error::{reason, Error};
use crate::process::{no_memory, SignalsHeld};
use crate::secret::Secret;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{
    cfmakeraw, tcgetattr, tcsetattr, LocalFlags, SetArg, SpecialCharacterIndices, Termios,
};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Longest line that is taken, in bytes.
pub const MAX_LINE: usize = 1023;

/// A line of text that is secret.
pub struct Line {
    buffer: Secret<[u8; MAX_LINE + 1]>,
    len: usize,
}

impl Line {
    fn new() -> Result<Self, Error> {
        let buffer = Secret::new().map_err(|e| no_memory(&e))?;
        Ok(Self { buffer, len: 0 })
    }

    /// The line without its end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Reads up to the end of the line with `read`, which gets the rest of the buffer; a final
    /// line without an end counts. `None` if there is nothing at all.
    fn fill(
        mut self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, Error>,
    ) -> Result<Option<Self>, Error> {
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                return Err(Error::new(format!(
                    "the line is longer than {MAX_LINE} bytes; nothing was changed"
                )));
            }
            let count = read(&mut self.buffer[filled..])?;
            if let Some(end) = self.buffer[filled..filled + count]
                .iter()
                .position(|b| *b == b'\n')
            {
                self.len = filled + end;
                return Ok(Some(self));
            }
            filled += count;
            if count == 0 {
                self.len = filled;
                return Ok((filled != 0).then_some(self));
            }
        }
    }
}

/// Reads one line from `input`, byte by byte, so that what follows is left for others.
pub fn read_line(input: BorrowedFd<'_>) -> Result<Option<Line>, Error> {
    Line::new()?.fill(|rest| loop {
        match nix::unistd::read(input, &mut rest[..1]) {
            Err(Errno::EINTR) => {}
            result => {
                return result.map_err(|e| {
                    Error::new(format!(
                        "cannot read standard input: {}; nothing was changed",
                        e.desc()
                    ))
                })
            }
        }
    })
}

/// The user's terminal, with echo off until this is dropped.
///
/// It stays in line mode: only then, and only with echo off, does the kernel's terminal layer wipe
/// its own buffers of what was typed (`drivers/tty/n_tty.c` and `tty_buffer.c`).
pub struct Terminal {
    fd: OwnedFd,
    before: Termios,
    signals: SignalFd,
}

impl Terminal {
    /// The controlling terminal, or standard input if that is one. The caller holds signals back
    /// ([`SignalsHeld`]), or an interrupt would leave echo off.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be set.
    pub fn open() -> Result<Self, Error> {
        let fd = match File::options().read(true).write(true).open("/dev/tty") {
            Ok(file) => OwnedFd::from(file),
            // A shell on a console may have no controlling terminal.
            Err(_) if io::stdin().is_terminal() => io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .map_err(|e| no_terminal(&reason(&e)))?,
            Err(_) => return Err(no_terminal("there is none")),
        };
        Self::with(fd)
    }

    fn with(fd: OwnedFd) -> Result<Self, Error> {
        let failed = |e: Errno| no_terminal(e.desc());
        let signals = SignalFd::with_flags(
            &SignalsHeld::fatal(),
            SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
        )
        .map_err(failed)?;
        let before = tcgetattr(&fd).map_err(failed)?;
        let mut silent = before.clone();
        silent
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        silent
            .local_flags
            .insert(LocalFlags::ICANON | LocalFlags::ISIG);
        // What was typed before was visible: it is no answer to a question not yet asked.
        tcsetattr(&fd, SetArg::TCSAFLUSH, &silent).map_err(failed)?;
        Ok(Self {
            fd,
            before,
            signals,
        })
    }

    /// Prints `question` and reads the answer.
    ///
    /// # Errors
    ///
    /// The terminal is gone or at its end, the line is too long, or the user interrupted: the
    /// error then carries the signal.
    pub fn ask(&self, question: &str) -> Result<Line, Error> {
        self.print(question)?;
        let line = Line::new()?.fill(|rest| self.read(rest));
        self.print("\n")?;
        line?.ok_or_else(|| Error::new("the input ended before an answer; nothing was changed"))
    }

    fn print(&self, text: &str) -> Result<(), Error> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match nix::unistd::write(&self.fd, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::EINTR) => {}
                Err(e) => return Err(no_terminal(e.desc())),
            }
        }
        Ok(())
    }

    fn read(&self, rest: &mut [u8]) -> Result<usize, Error> {
        let failed = |e: Errno| no_terminal(e.desc());
        loop {
            let mut both = [
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.fd.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut both, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result.map_err(failed)?,
            };
            if let Some(info) = self.signals.read_signal().map_err(failed)? {
                let signal = Signal::try_from(info.ssi_signo as i32).unwrap_or(Signal::SIGTERM);
                return Err(Error::interrupted(signal));
            }
            if both[1].any().unwrap_or(true) {
                match nix::unistd::read(&self.fd, rest) {
                    Err(Errno::EINTR | Errno::EAGAIN) => {}
                    result => return result.map_err(failed),
                }
            }
        }
    }
}

/// Size of the kernel's buffer for what was typed (`N_TTY_BUF_SIZE` in `drivers/tty/n_tty.c`).
const TYPED: usize = 4096;

nix::ioctl_write_ptr_bad!(type_byte, libc::TIOCSTI, u8);

impl Terminal {
    /// Overwrites the kernel's buffer of what was typed. The kernel wipes only what is read from it:
    /// not what was erased with the backspace key, nor the beginning of an answer that was broken
    /// off by an interrupt.
    fn overwrite_typed(&self) -> nix::Result<()> {
        let mut raw = self.before.clone();
        cfmakeraw(&mut raw);
        // Should somebody else empty the buffer, no read may wait.
        raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 1;
        tcsetattr(&self.fd, SetArg::TCSAFLUSH, &raw)?;
        // Half of the buffer fits into it at any time, and it goes round.
        let mut half = [0; TYPED / 2];
        for _ in 0..2 {
            for byte in &half {
                // SAFETY: The kernel reads one byte.
                unsafe { type_byte(self.fd.as_raw_fd(), byte)? };
            }
            let mut count = 0;
            while count < half.len() {
                match nix::unistd::read(&self.fd, &mut half[count..])? {
                    0 => return Ok(()),
                    more => count += more,
                }
            }
            half.fill(0);
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Needs CAP_SYS_ADMIN, as the module does.
        let _ = self.overwrite_typed();
        // Nothing can be done if the terminal is gone.
        let _ = tcsetattr(&self.fd, SetArg::TCSAFLUSH, &self.before);
    }
}

fn no_terminal(why: &str) -> Error {
    Error::new(format!(
        "cannot ask on a terminal: {why}; nothing was changed; use --passphrase-stdin, --key-file or \
         --stdin in scripts"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;
    use std::io::{Read, Write};

    fn echo_is_on(fd: &OwnedFd) -> bool {
        tcgetattr(fd)
            .unwrap()
            .local_flags
            .contains(LocalFlags::ECHO)
    }

    #[test]
    fn an_answer_is_read_without_echo_and_echo_is_on_again_afterwards() {
        let pty = openpty(None, None).unwrap();
        let mut master = File::from(pty.master);
        let watch = pty.slave.try_clone().unwrap();
        let asking = std::thread::spawn(move || {
            let terminal = Terminal::with(pty.slave).unwrap();
            let first = terminal.ask("Passphrase: ").unwrap();
            let second = terminal.ask("Repeat: ").unwrap();
            (first.as_bytes().to_vec(), second.as_bytes().to_vec())
        });
        let mut seen = Vec::new();
        let mut read_until = |end: &[u8]| {
            let mut byte = [0];
            while !seen.ends_with(end) {
                master.read_exact(&mut byte).unwrap();
                seen.push(byte[0]);
            }
            master.write_all(b"correct horse\n").unwrap();
        };
        read_until(b"Passphrase: ");
        assert!(!echo_is_on(&watch));
        read_until(b"Repeat: ");
        let answers = asking.join().unwrap();
        assert_eq!(
            answers,
            (b"correct horse".to_vec(), b"correct horse".to_vec())
        );
        assert!(echo_is_on(&watch));
        assert_eq!(seen, b"Passphrase: \r\nRepeat: ");
    }

    #[test]
    fn a_line_that_is_too_long_is_refused() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        File::from(writer).write_all(&[b'a'; 2000]).unwrap();
        let error = read_line(reader.as_fd()).err().unwrap().to_string();
        assert_eq!(
            error,
            "the line is longer than 1023 bytes; nothing was changed"
        );
    }

    #[test]
    fn lines_from_a_pipe_end_at_the_newline_or_the_end_and_leave_the_rest() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        File::from(writer).write_all(b"one\n\nlast").unwrap();
        let next = || {
            read_line(reader.as_fd())
                .unwrap()
                .map(|l| l.as_bytes().to_vec())
        };
        assert_eq!(next(), Some(b"one".to_vec()));
        assert_eq!(next(), Some(Vec::new()));
        assert_eq!(next(), Some(b"last".to_vec()));
        assert_eq!(next(), None);
    }

    #[test]
    fn an_interrupt_is_an_error_and_echo_is_on_again() {
        let pty = openpty(None, None).unwrap();
        let watch = pty.slave.try_clone().unwrap();
        // The signal goes to the thread that asks: with the whole process it would end the tests.
        let (send, receive) = std::sync::mpsc::channel();
        let asking = std::thread::spawn(move || {
            let _held = SignalsHeld::new().unwrap();
            let terminal = Terminal::with(pty.slave).unwrap();
            // SAFETY: Asks for this thread's own id.
            send.send(unsafe { libc::pthread_self() }).unwrap();
            terminal.ask("Passphrase: ").err().unwrap()
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
}
