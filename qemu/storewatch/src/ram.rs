// SPDX-License-Identifier: GPL-2.0-or-later

//! The guest's RAM, which changes while it is read.

use std::fs::File;

use anyhow::{ensure, Context, Result};
use memmap2::{MmapOptions, MmapRaw};

/// Bytes of RAM searched at a time.
const CHUNK: usize = 64 << 10;
/// Bytes that a chunk shares with each neighbour: no run is longer.
pub const OVERLAP: usize = 512;

/// All of a guest's RAM; byte n is at guest-physical address n.
pub struct Ram {
    map: MmapRaw,
    len: u64,
}

impl Ram {
    /// Maps the file, which nobody shortens.
    ///
    /// # Errors
    /// If it is empty or cannot be mapped.
    pub fn map(file: &File) -> Result<Self> {
        let map = MmapOptions::new()
            .map_raw_read_only(file)
            .context("cannot map the guest's RAM")?;
        let len = map.len() as u64;
        ensure!(len >= 4096, "the guest's RAM is empty");
        Ok(Self { map, len })
    }

    /// Bytes of RAM.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    #[inline(always)]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Copies RAM from `address` on; what lies outside reads as zero.
    pub fn read(&self, address: u64, into: &mut [u8]) {
        into.fill(0);
        let within = self.len.saturating_sub(address).min(into.len() as u64) as usize;
        // SAFETY: `within` bytes from `address` are inside the map. The guest may write them
        // meanwhile; any mixture of old and new bytes is an answer.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.map.as_ptr().add(address.min(self.len) as usize),
                into.as_mut_ptr(),
                within,
            );
        }
    }

    /// `len` bytes from `address` on, as [`Ram::read`] gives them.
    pub fn get(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read(address, &mut bytes);
        bytes
    }

    /// Sixteen bytes as a little-endian number, not necessarily aligned.
    ///
    /// # Safety
    /// `address + 16` is at most [`Ram::len`].
    #[inline(always)]
    pub unsafe fn load16(&self, address: u64) -> u128 {
        // SAFETY: the caller's promise; see `read` for the rest.
        u128::from_le(unsafe {
            self.map
                .as_ptr()
                .add(address as usize)
                .cast::<u128>()
                .read_unaligned()
        })
    }

    /// Eight bytes as a little-endian number, not necessarily aligned.
    ///
    /// # Safety
    /// `address + 8` is at most [`Ram::len`].
    #[inline(always)]
    pub unsafe fn load8(&self, address: u64) -> u64 {
        // SAFETY: the caller's promise; see `read` for the rest.
        u64::from_le(unsafe {
            self.map
                .as_ptr()
                .add(address as usize)
                .cast::<u64>()
                .read_unaligned()
        })
    }

    /// Calls `look` with all of RAM piece by piece: the bytes, the address of the first, and the part
    /// of them that is this piece's own. Around it are up to [`OVERLAP`] bytes of the neighbours.
    /// Pieces of zeros are left out.
    pub fn pieces(&self, mut look: impl FnMut(&[u8], u64, std::ops::Range<usize>)) {
        let mut buffer = vec![0; CHUNK + 2 * OVERLAP];
        let mut own = 0u64;
        while own < self.len {
            let begin = own.saturating_sub(OVERLAP as u64);
            let end = (own + (CHUNK + OVERLAP) as u64).min(self.len);
            let bytes = &mut buffer[..(end - begin) as usize];
            self.read(begin, bytes);
            if bytes.iter().fold(0, |all, byte| all | byte) != 0 {
                let first = (own - begin) as usize;
                let last = (first + CHUNK).min(bytes.len());
                look(bytes, begin, first..last);
            }
            own += CHUNK as u64;
        }
    }
}
