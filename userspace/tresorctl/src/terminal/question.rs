// SPDX-License-Identifier: GPL-2.0-or-later

//! Questions whose answers are secret: a terminal without echo.

use super::line::{too_long, Filled};
use super::{Line, Ready, Terminal};
use crate::error::Error;
use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::termios::{
    cfmakeraw, tcgetattr, tcsetattr, LocalFlags, SetArg, SpecialCharacterIndices, Termios,
};
use std::os::fd::{AsRawFd, BorrowedFd};

/// What Ctrl-C does at a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// It sends a signal, which ends the question and the process.
    AsSignal,
    /// It ends the question. On a terminal that does not control the process there is no other way.
    AsCharacter,
}

/// How a question ended that need not be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With an answer.
    Line,
    /// With more than a line can have.
    TooLong,
    /// By Ctrl-C or Ctrl-D.
    Declined,
    /// It was no longer of interest.
    Obsolete,
}

/// Why no line was read.
enum Stop {
    Declined,
    Obsolete,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Ctrl-C, where the terminal has no other key for it.
const CTRL_C: u8 = 3;

/// A terminal with echo off until this is dropped.
///
/// It stays in line mode: only then, and only with echo off, does the kernel's terminal layer wipe
/// its own buffers of what was typed (`drivers/tty/n_tty.c` and `tty_buffer.c`).
pub struct Silent<'a> {
    terminal: &'a Terminal,
    before: Termios,
    /// The character that ends a line and means that it is no answer.
    interrupt: Option<u8>,
}

impl<'a> Silent<'a> {
    /// Turns echo off. What was typed before was visible, and is discarded: it is no answer to a question
    /// not yet asked.
    pub(super) fn new(terminal: &'a Terminal, interrupt: Interrupt) -> Result<Self, Error> {
        let failed = |e: Errno| terminal.failed(e.desc());
        let before = tcgetattr(&terminal.fd).map_err(failed)?;
        let mut silent = before.clone();
        silent
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        silent
            .local_flags
            .insert(LocalFlags::ICANON | LocalFlags::ISIG);
        let mut character = None;
        if interrupt == Interrupt::AsCharacter {
            silent.local_flags.remove(LocalFlags::ISIG);
            let key = match before.control_chars[SpecialCharacterIndices::VINTR as usize] {
                0 => CTRL_C,
                key => key,
            };
            silent.control_chars[SpecialCharacterIndices::VEOL as usize] = key;
            character = Some(key);
        }
        tcsetattr(&terminal.fd, SetArg::TCSAFLUSH, &silent).map_err(failed)?;
        Ok(Self {
            terminal,
            before,
            interrupt: character,
        })
    }

    /// Prints `question` and reads the answer.
    ///
    /// # Errors
    ///
    /// The terminal is gone or at its end, the line is too long, or the user interrupted: the
    /// error then carries the signal.
    pub fn ask(&self, question: &str) -> Result<Line, Error> {
        self.terminal.print(question)?;
        let mut line = Line::new()?;
        let answered = line.fill(|rest| loop {
            let ready = self.terminal.wait(true, None, PollTimeout::NONE)?;
            if ready.terminal {
                if let Some(count) = self.terminal.read(rest)? {
                    return Ok::<_, Error>(count);
                }
            }
        });
        self.terminal.print("\n")?;
        match answered? {
            Filled::Line => Ok(line),
            Filled::Nothing => Err(Error::new(
                "the input ended before an answer; nothing was changed",
            )),
            Filled::TooLong => Err(too_long()),
        }
    }

    /// Prints `question` and reads the answer into `line`, unless `obsolete`, which is called whenever
    /// `other` is readable, says that there is no need for one any more.
    ///
    /// # Errors
    ///
    /// The terminal is gone, or a signal came, which the error then carries; those of `obsolete`.
    pub fn ask_unless(
        &self,
        question: &str,
        line: &mut Line,
        other: BorrowedFd<'_>,
        mut obsolete: impl FnMut() -> Result<bool, Error>,
    ) -> Result<Answer, Error> {
        self.terminal.print(question)?;
        let answered = line.fill(|rest| loop {
            let Ready {
                terminal: typed,
                other: news,
            } = self.terminal.wait(true, Some(other), PollTimeout::NONE)?;
            if news && obsolete()? {
                return Err(Stop::Obsolete);
            }
            if !typed {
                continue;
            }
            match self.terminal.read(rest)? {
                None => {}
                Some(0) => {
                    // Either Ctrl-D, or nobody is there any more.
                    tcgetattr(&self.terminal.fd).map_err(|e| self.terminal.failed(e.desc()))?;
                    return Err(Stop::Declined);
                }
                Some(count) if rest[..count].last().copied() == self.interrupt => {
                    return Err(Stop::Declined);
                }
                Some(count) => return Ok(count),
            }
        });
        let answer = match answered {
            Ok(Filled::Line) => Ok(Answer::Line),
            Ok(Filled::Nothing) | Err(Stop::Declined) => Ok(Answer::Declined),
            Ok(Filled::TooLong) => {
                // The rest of it is no answer to the next question.
                self.terminal.discard().map(|()| Answer::TooLong)
            }
            Err(Stop::Obsolete) => Ok(Answer::Obsolete),
            Err(Stop::Failed(error)) => Err(error),
        };
        if !matches!(answer, Ok(Answer::Line)) {
            line.wipe();
        }
        self.terminal.print("\n")?;
        answer
    }
}

/// Size of the kernel's buffer for what was typed (`N_TTY_BUF_SIZE` in `drivers/tty/n_tty.c`).
const TYPED: usize = 4096;

nix::ioctl_write_ptr_bad!(type_byte, libc::TIOCSTI, u8);

impl Silent<'_> {
    /// Overwrites the kernel's buffer of what was typed. The kernel wipes only what is read from it:
    /// not what was erased with the backspace key, nor the beginning of an answer that was broken
    /// off by an interrupt.
    fn overwrite_typed(&self) -> nix::Result<()> {
        let fd = &self.terminal.fd;
        let mut raw = self.before.clone();
        cfmakeraw(&mut raw);
        // Should somebody else empty the buffer, no read may wait.
        raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 1;
        tcsetattr(fd, SetArg::TCSAFLUSH, &raw)?;
        // Half of the buffer fits into it at any time, and it goes round.
        let mut half = [0; TYPED / 2];
        for _ in 0..2 {
            for byte in &half {
                // SAFETY: The kernel reads one byte.
                unsafe { type_byte(fd.as_raw_fd(), byte)? };
            }
            let mut count = 0;
            while count < half.len() {
                match nix::unistd::read(fd, &mut half[count..]) {
                    Ok(0) | Err(Errno::EAGAIN) => return Ok(()),
                    Ok(more) => count += more,
                    Err(e) => return Err(e),
                }
            }
            half.fill(0);
        }
        Ok(())
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // Needs CAP_SYS_ADMIN, as the module does.
        let _ = self.overwrite_typed();
        // Nothing can be done if the terminal is gone.
        let _ = tcsetattr(&self.terminal.fd, SetArg::TCSAFLUSH, &self.before);
    }
}
