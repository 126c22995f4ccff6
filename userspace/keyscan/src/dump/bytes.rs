// SPDX-License-Identifier: GPL-2.0-or-later

//! The bytes of a dump: those of a file, or those that a flattened file describes.

use super::flattened::Records;
use super::problem::{Problem, Problems};
use crate::Error;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is given up around a byte that the device cannot read.
const SECTOR: u64 = 4096;

/// Random access to the bytes of a dump, from any thread.
pub(crate) struct Bytes {
    file: File,
    /// Length of the file.
    stored: u64,
    /// In a flattened file, which bytes its records hold.
    records: Option<Records>,
}

impl Bytes {
    /// Opens a file, a block device, or anything else that can be read at any offset.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        // A block device has no length of its own; a pipe cannot seek and is refused here.
        let stored = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self {
            file,
            stored,
            records: None,
        })
    }

    /// Reads the records if the file is flattened.
    pub fn unflatten(&mut self, problems: &Problems) {
        self.records = Some(Records::index(self, problems));
    }

    pub fn is_flattened(&self) -> bool {
        self.records.is_some()
    }

    /// Number of bytes.
    pub fn len(&self) -> u64 {
        self.records.as_ref().map_or(self.stored, Records::len)
    }

    /// Length of the file itself, which is the most that it can hold.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Where a byte lies in the file: what a message should name.
    pub fn place(&self, offset: u64) -> u64 {
        match &self.records {
            Some(records) => records.place(offset),
            None => offset,
        }
    }

    /// Fills `buffer` from `offset`, or says where the first byte is that is not there.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), Problem> {
        let Some(records) = &self.records else {
            return self.read_file(buffer, offset);
        };
        if offset.saturating_add(buffer.len() as u64) > records.len() {
            return Err(Problem::new(
                self.stored,
                "the file ends in the middle of what it describes",
            ));
        }
        // What no record holds is a hole: zeros.
        buffer.fill(0);
        for (within, at) in records.pieces(offset, buffer.len()) {
            self.read_file(&mut buffer[within], at)?;
        }
        Ok(())
    }

    fn read_file(&self, buffer: &mut [u8], offset: u64) -> Result<(), Problem> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset.saturating_add(done as u64);
            // Offsets beyond i64::MAX are refused by the system with EINVAL.
            if at >= self.stored {
                return Err(Problem::new(at, "the file ends here"));
            }
            match self.file.read_at(&mut buffer[done..], at) {
                Ok(0) => return Err(Problem::new(at, "the file ends here")),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Problem::new(at, format!("cannot be read: {e}"))),
            }
        }
        Ok(())
    }

    /// `N` bytes at `offset`.
    pub fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], Problem> {
        let mut array = [0; N];
        self.read(&mut array, offset)?;
        Ok(array)
    }

    /// Fills `buffer` from `offset` as far as that is possible, goes on behind what cannot be read, and
    /// tells which bytes are missing.
    pub fn salvage(
        &self,
        buffer: &mut [u8],
        offset: u64,
        problems: &Problems,
        missing: &mut dyn FnMut(Range<usize>),
    ) {
        let mut from = 0;
        while from < buffer.len() {
            let Err(problem) = self.read(&mut buffer[from..], offset + from as u64) else {
                return;
            };
            let (len, ends) = (buffer.len(), problem.offset >= self.stored);
            let bad = match (&self.records, problem.offset.checked_sub(offset)) {
                (None, Some(bad)) if !ends => (bad as usize).clamp(from, len),
                (None, Some(bad)) => {
                    missing((bad as usize).clamp(from, len)..len);
                    problems.add(problem);
                    return;
                }
                // Of a flattened file, what is around is given up.
                _ => {
                    missing(from..len);
                    problems.add(problem);
                    return;
                }
            };
            let next = (offset + bad as u64 + 1).next_multiple_of(SECTOR) - offset;
            let next = len.min(next as usize);
            missing(bad..next);
            problems.add(problem);
            from = next;
        }
    }

    /// Whether the file system knows these bytes to be a hole.
    pub fn is_hole(&self, range: &Range<u64>) -> bool {
        self.records.is_none()
            && match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(range.start)) {
                Ok(data) => data >= range.end,
                // No data from there to the end, which may have come nearer.
                Err(e) => {
                    e == rustix::io::Errno::NXIO
                        && rustix::fs::seek(&self.file, rustix::fs::SeekFrom::End(0))
                            .is_ok_and(|end| range.end <= end)
                }
            }
    }
}

/// Integers of a given byte order at a given place in a header.
pub(crate) struct Fields<'a> {
    pub bytes: &'a [u8],
    pub big_endian: bool,
}

impl Fields<'_> {
    /// The 32-bit integer at `at`; 0 beyond the end.
    pub fn u32(&self, at: usize) -> u32 {
        let bytes = self.bytes.get(at..at + 4);
        let bytes = bytes.and_then(|b| b.try_into().ok()).unwrap_or_default();
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    /// The 64-bit integer at `at`; 0 beyond the end.
    pub fn u64(&self, at: usize) -> u64 {
        let bytes = self.bytes.get(at..at + 8);
        let bytes = bytes.and_then(|b| b.try_into().ok()).unwrap_or_default();
        if self.big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        }
    }
}
