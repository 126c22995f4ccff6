// SPDX-License-Identifier: GPL-2.0-or-later

//! The guest's instructions, counted by a plugin in QEMU between marks that a guest program executes.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;

use anyhow::{ensure, Context, Result};
use nix::sys::memfd::{memfd_create, MFdFlags};

/// What the plugin writes its counts to.
pub(crate) struct Marks {
    file: File,
    /// Counts already taken.
    taken: u64,
}

impl Marks {
    pub(crate) fn new() -> Result<Self> {
        let fd = memfd_create(c"tresor-marks", MFdFlags::MFD_CLOEXEC)
            .context("cannot make an anonymous file for the counts of instructions")?;
        Ok(Self {
            file: File::from(fd),
            taken: 0,
        })
    }

    /// The descriptor that QEMU inherits.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// How many instructions all CPUs had begun at each mark since the last call.
    pub(crate) fn take(&mut self) -> Result<Vec<u64>> {
        const SIZE: u64 = size_of::<u64>() as u64;
        let len = self.file.metadata()?.len();
        ensure!(len % SIZE == 0, "the plugin left half a count");
        let mut bytes = vec![0; (len - self.taken * SIZE) as usize];
        self.file.read_exact_at(&mut bytes, self.taken * SIZE)?;
        self.taken = len / SIZE;
        let counts = bytes.chunks_exact(SIZE as usize);
        Ok(counts
            .map(|count| u64::from_le_bytes(count.try_into().unwrap_or_default()))
            .collect())
    }
}
