// SPDX-License-Identifier: GPL-2.0-or-later

//! The guest's RAM as memory that the host maps too.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use memmap2::Mmap;
use nix::sys::memfd::{memfd_create, MFdFlags};

/// Largest RAM for which offset equals physical address: the machine types put RAM from 0 upward in
/// one piece as long as all of it fits below their hole for PCI devices, which starts at 2 GiB on
/// `q35` and higher up on `pc`.
pub const MAX_MIB: u64 = 2048;

const PAGE: usize = 4096;

/// RAM of one guest: an anonymous file, so that nothing stays behind when host and guest are gone.
///
/// Byte `n` of it is the byte at guest-physical address `n`.
pub(crate) struct Ram {
    file: File,
    map: Mmap,
}

impl Ram {
    /// Makes `mib` MiB of zeros.
    ///
    /// # Errors
    /// If `mib` is 0 or above [`MAX_MIB`], or the host has not enough memory.
    pub(crate) fn new(mib: u64) -> Result<Self> {
        ensure!(
            (1..=MAX_MIB).contains(&mib),
            "{mib} MiB of guest RAM: between 1 and {MAX_MIB} are supported, since beyond that \
             offsets in it are no longer physical addresses"
        );
        let fd: OwnedFd = memfd_create(c"tresor-guest-ram", MFdFlags::MFD_CLOEXEC)
            .context("cannot make an anonymous file for the guest's RAM")?;
        let file = File::from(fd);
        file.set_len(mib << 20)
            .context("cannot set the size of the guest's RAM")?;
        // SAFETY: only the VM writes to this file and nobody shortens it; `Vm::ram` gives the bytes
        // away only while the VM is stopped.
        let map = unsafe { Mmap::map(&file) }.context("cannot map the guest's RAM")?;
        Ok(Self { file, map })
    }

    /// The descriptor that QEMU inherits.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// All bytes. The VM must be stopped, or be gone, for as long as they are borrowed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Writes all bytes to a new file, leaving holes for pages of zeros.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn dump_to(&self, path: &Path) -> Result<()> {
        write_sparse(self.bytes(), path)
            .with_context(|| format!("cannot write the guest's RAM to {}", path.display()))
    }
}

fn write_sparse(bytes: &[u8], path: &Path) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(bytes.len() as u64)?;
    let is_zero = |page: &[u8]| page.iter().fold(0, |acc, &byte| acc | byte) == 0;
    let mut at = 0;
    while at < bytes.len() {
        let run: usize = bytes[at..]
            .chunks(PAGE)
            .take_while(|page| !is_zero(page))
            .map(<[u8]>::len)
            .sum();
        if run > 0 {
            file.write_all_at(&bytes[at..at + run], at as u64)?;
        }
        // The page that ended the run is a page of zeros.
        at += run + PAGE;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_file_reads_back_as_it_was() {
        use std::os::unix::fs::MetadataExt;
        let mut bytes = vec![0u8; 64 * PAGE + 17];
        bytes[5 * PAGE + 3] = 1;
        bytes[6 * PAGE] = 2;
        *bytes.last_mut().unwrap() = 3;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump");
        write_sparse(&bytes, &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < bytes.len() as u64 / 2);
    }

    #[test]
    fn more_ram_than_has_flat_addresses_is_refused() {
        let error = Ram::new(4096).err().unwrap();
        assert!(
            error.to_string().contains("no longer physical addresses"),
            "{error}"
        );
    }
}
