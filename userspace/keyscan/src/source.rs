// SPDX-License-Identifier: GPL-2.0-or-later

//! Where the bytes come from: a mapped file, or windows read from one that may still change.

use crate::Error;
use memmap2::{Advice, Mmap};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How a file is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// [`Read`](Self::Read) for what lies on tmpfs or hugetlbfs (a VM's RAM is kept there) or is
    /// not a regular file, else [`Map`](Self::Map).
    #[default]
    Auto,
    /// Map it. The file must not change meanwhile: a file that is cut short ends the process with
    /// SIGBUS.
    Map,
    /// Read it in windows, with memory use bounded by the number of threads. Right for the RAM of a
    /// running VM, and does not fill the holes of a tmpfs file, as touching a mapping would.
    Read,
}

/// An opened dump.
pub(crate) struct Source {
    path: PathBuf,
    file: File,
    len: u64,
    map: Option<Mmap>,
}

impl Source {
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self, Error> {
        let failed = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        // A block device has no length of its own; a pipe cannot seek and is refused here.
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let map = match access {
            Access::Map => true,
            Access::Read => false,
            Access::Auto => meta.is_file() && !in_memory(&file).map_err(failed)?,
        };
        let map = if map && len != 0 {
            // SAFETY: The mapping is shared and read-only. That nobody writes to or truncates the
            // file meanwhile is the caller's promise with `Access::Map`, and as good as the file
            // system can make it with `Access::Auto`; `Access::Read` exists for the rest.
            let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
            // Only a hint.
            let _ = map.advise(Advice::Sequential);
            Some(map)
        } else {
            None
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
            map,
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The whole file, if it is mapped.
    pub(crate) fn mapped(&self) -> Option<&[u8]> {
        self.map.as_deref()
    }

    /// Fills `window` from `offset`; all of it must lie within the file.
    pub(crate) fn read(&self, window: &mut [u8], offset: u64) -> Result<(), Error> {
        let mut done = 0;
        while done < window.len() {
            let at = offset + done as u64;
            let failed = |source| Error::Read {
                path: self.path.clone(),
                offset: at,
                source,
            };
            match self.file.read_at(&mut window[done..], at) {
                Ok(0) => {
                    return Err(failed(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the file became shorter while it was scanned",
                    )))
                }
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(())
    }
}

/// Whether the file lives in memory: TMPFS_MAGIC or HUGETLBFS_MAGIC of `linux/magic.h`.
fn in_memory(file: &File) -> io::Result<bool> {
    let kind = rustix::fs::fstatfs(file)?.f_type as u32;
    Ok(matches!(kind, 0x0102_1994 | 0x9584_58f6))
}
