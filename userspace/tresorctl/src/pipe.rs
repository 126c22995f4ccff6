// SPDX-License-Identifier: GPL-2.0-or-later

//! Removes what a secret that came through a pipe left in it.

use nix::errno::Errno;
use nix::fcntl::{fcntl, open, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::stat::{fstat, Mode, SFlag};
use std::os::fd::{AsRawFd, BorrowedFd};

/// If `input` is a pipe that is empty and whose writers are gone: overwrites the pages that the kernel
/// keeps for it. What is no pipe, or still somebody else's, is left alone.
pub fn overwrite(input: BorrowedFd<'_>) -> nix::Result<()> {
    if SFlag::from_bits_truncate(fstat(input)?.st_mode) & SFlag::S_IFMT != SFlag::S_IFIFO {
        return Ok(());
    }
    let mut state = [PollFd::new(input, PollFlags::POLLIN)];
    poll(&mut state, PollTimeout::ZERO)?;
    if state[0].revents() != Some(PollFlags::POLLHUP) {
        return Ok(());
    }
    // The other end of the same pipe. Pages that were read are used again first (`fs/pipe.c`).
    let path = format!("/proc/self/fd/{}", input.as_raw_fd());
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let output = open(path.as_str(), flags, Mode::empty())?;
    let mut page = [0; 4096];
    let pages = fcntl(input, FcntlArg::F_GETPIPE_SZ)? as usize / page.len();
    for count in 0..=pages {
        match nix::unistd::write(&output, &page) {
            Ok(_) if count < pages => {}
            Ok(_) | Err(Errno::EAGAIN) => break,
            Err(e) => return Err(e),
        }
    }
    drop(output);
    while nix::unistd::read(input, &mut page)? != 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{pipe, read, write};
    use std::os::fd::AsFd;

    #[test]
    fn a_pipe_without_writers_is_empty_afterwards_and_others_are_left_alone() {
        let (from, to) = pipe().unwrap();
        let mut byte = [0];
        write(&to, b"ab").unwrap();
        read(&from, &mut byte).unwrap();
        overwrite(from.as_fd()).unwrap();
        read(&from, &mut byte).unwrap();
        assert_eq!(&byte, b"b");
        drop(to);
        overwrite(from.as_fd()).unwrap();
        assert_eq!(read(&from, &mut byte), Ok(0));
        let file = tempfile::tempfile().unwrap();
        overwrite(file.as_fd()).unwrap();
    }
}
