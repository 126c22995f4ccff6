// SPDX-License-Identifier: GPL-2.0-or-later

//! Lines of text that are secret.

use crate::error::Error;
use crate::process::no_memory;
use crate::secret::Secret;
use nix::errno::Errno;
use std::os::fd::BorrowedFd;

/// Longest line that is taken, in bytes.
pub const MAX_LINE: usize = 1023;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// A line.
    Line,
    /// The end.
    Nothing,
    /// More than [`MAX_LINE`] bytes.
    TooLong,
}

pub(super) fn too_long() -> Error {
    Error::new(format!(
        "the line is longer than {MAX_LINE} bytes; nothing was changed"
    ))
}

/// A line of text that is secret.
pub struct Line {
    buffer: Secret<[u8; MAX_LINE + 1]>,
    len: usize,
}

impl Line {
    /// Memory for a line; empty at first.
    ///
    /// # Errors
    ///
    /// There is none that may be locked.
    pub fn new() -> Result<Self, Error> {
        let buffer = Secret::new().map_err(|e| no_memory(&e))?;
        Ok(Self { buffer, len: 0 })
    }

    /// The line without its end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Makes it empty, to be used again.
    pub fn wipe(&mut self) {
        self.buffer.wipe();
        self.len = 0;
    }

    /// Reads up to the end of the line with `read`, which gets the rest of the buffer; a final line
    /// without an end counts.
    pub(super) fn fill<E>(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Filled, E> {
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                return Ok(Filled::TooLong);
            }
            let count = read(&mut self.buffer[filled..])?;
            if let Some(end) = self.buffer[filled..filled + count]
                .iter()
                .position(|b| *b == b'\n')
            {
                self.len = filled + end;
                return Ok(Filled::Line);
            }
            filled += count;
            if count == 0 {
                self.len = filled;
                return Ok(if filled == 0 {
                    Filled::Nothing
                } else {
                    Filled::Line
                });
            }
        }
    }
}

/// Reads one line from `input`, byte by byte, so that what follows is left for others. `None` if there
/// is nothing at all.
pub fn read_line(input: BorrowedFd<'_>) -> Result<Option<Line>, Error> {
    let mut line = Line::new()?;
    let filled = line.fill(|rest| loop {
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
    })?;
    match filled {
        Filled::Line => Ok(Some(line)),
        Filled::Nothing => Ok(None),
        Filled::TooLong => Err(too_long()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;

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
}
