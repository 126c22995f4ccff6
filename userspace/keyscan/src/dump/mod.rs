// SPDX-License-Identifier: GPL-2.0-or-later

//! Memory dumps: which format a file has, and the memory in it.

mod bytes;
mod codec;
mod elf;
mod extents;
mod flattened;
mod kdump;
mod lime;
mod problem;

pub use problem::Problem;

use crate::Error;
use bytes::Bytes;
use extents::{Extent, Extents};
use kdump::Kdump;
use problem::Problems;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The format of a dump, told by its first bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// Memory and nothing else: also what no other format is.
    #[default]
    Raw,
    /// An ELF core: of QEMU's `dump-guest-memory`, `/proc/vmcore`, `makedumpfile -E`, or of a process.
    Elf,
    /// The compressed format of makedumpfile and QEMU.
    Kdump,
    /// LiME, or uncompressed AVML.
    Lime,
    /// AVML with Snappy frames.
    Avml,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Raw => "raw",
            Self::Elf => "ELF core",
            Self::Kdump => "kdump-compressed",
            Self::Lime => "LiME",
            Self::Avml => "AVML",
        })
    }
}

/// What the offsets of findings are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addresses {
    /// Offsets in the file: physical addresses only if it begins at address 0.
    #[default]
    File,
    /// Physical addresses.
    Physical,
    /// Virtual addresses of the process whose core it is.
    Virtual,
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::File => "offsets in the file",
            Self::Physical => "physical addresses",
            Self::Virtual => "virtual addresses",
        })
    }
}

/// A dump opened for scanning. What of it cannot be read is noted, and the rest is read: see
/// [`Report::problems`](crate::Report::problems).
///
/// Memory use is bounded whatever the file says: some 100 MB at most for the places of its pieces, and
/// some MiB for each thread. The file may change while it is scanned, or become shorter.
pub struct Dump {
    path: PathBuf,
    bytes: Bytes,
    memory: Memory,
    ranges: Vec<Range<u64>>,
    format: Format,
    addresses: Addresses,
    pub(crate) problems: Problems,
}

/// How memory lies in the file.
enum Memory {
    Extents(Extents),
    Kdump(Kdump),
}

/// What one thread keeps while it reads a dump.
#[derive(Default)]
pub(crate) struct Buffers(kdump::Buffers);

impl Dump {
    /// Opens a dump of any [`Format`].
    ///
    /// # Errors
    ///
    /// [`Error::Open`]; [`Error::Format`] if the file is of a known format, but so damaged at its
    /// beginning that nothing in it can be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut bytes = Bytes::open(path)?;
        let problems = Problems::default();
        let corrupt = |problem| Error::Format {
            path: path.to_owned(),
            problem,
        };
        let mut head = head(&bytes).map_err(corrupt)?;
        if head.starts_with(flattened::MAGIC) {
            bytes.unflatten(&problems);
            head = self::head(&bytes).map_err(corrupt)?;
            if !head.starts_with(kdump::MAGIC) && !elf::is_core(&head) {
                let what = "the flattened file holds neither a kdump-compressed nor an ELF core";
                return Err(corrupt(Problem::new(bytes.place(0), what)));
            }
        }
        let plain = |list| Memory::Extents(Extents::new(list));
        let (format, memory, addresses) = if head.starts_with(kdump::MAGIC) {
            let kdump = Kdump::open(&bytes, &problems).map_err(corrupt)?;
            (Format::Kdump, Memory::Kdump(kdump), Addresses::Physical)
        } else if elf::is_core(&head) {
            let (list, addresses) = elf::read(&bytes, &problems).map_err(corrupt)?;
            (Format::Elf, plain(list), addresses)
        } else if head.starts_with(lime::LIME) || head.starts_with(lime::AVML) {
            let format = if head.starts_with(lime::LIME) {
                Format::Lime
            } else {
                Format::Avml
            };
            let list = lime::read(&bytes, &problems).map_err(corrupt)?;
            (format, plain(list), Addresses::Physical)
        } else {
            (Format::Raw, plain(vec![all(&bytes)]), Addresses::File)
        };
        Ok(Self::new(path, bytes, memory, format, addresses, problems))
    }

    /// Opens a file as [`Format::Raw`], whatever is in it.
    ///
    /// # Errors
    ///
    /// [`Error::Open`].
    pub fn open_raw(path: &Path) -> Result<Self, Error> {
        let bytes = Bytes::open(path)?;
        let memory = Memory::Extents(Extents::new(vec![all(&bytes)]));
        let problems = Problems::default();
        let (format, addresses) = (Format::Raw, Addresses::File);
        Ok(Self::new(path, bytes, memory, format, addresses, problems))
    }

    fn new(
        path: &Path,
        bytes: Bytes,
        memory: Memory,
        format: Format,
        addresses: Addresses,
        problems: Problems,
    ) -> Self {
        let ranges = match &memory {
            Memory::Extents(extents) => extents.ranges(),
            Memory::Kdump(kdump) => kdump.ranges(),
        };
        Self {
            path: path.to_owned(),
            bytes,
            memory,
            ranges,
            format,
            addresses,
            problems,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether it is a flattened file around one of that format.
    pub fn is_flattened(&self) -> bool {
        self.bytes.is_flattened()
    }

    /// What the offsets of findings will be.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The addresses that the dump goes through, by address; in between nothing is known of memory,
    /// within there may be holes.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Number of addresses in the [ranges](Self::ranges): what a scan's progress adds up to.
    pub fn span(&self) -> u64 {
        self.ranges
            .iter()
            .fold(0, |sum, r| sum.saturating_add(r.end - r.start))
    }

    /// Reads memory that lies within one of the ranges, and tells which bytes are missing.
    pub(crate) fn read(
        &self,
        address: u64,
        buffer: &mut [u8],
        buffers: &mut Buffers,
        missing: &mut dyn FnMut(Range<usize>),
    ) {
        let (bytes, problems) = (&self.bytes, &self.problems);
        match &self.memory {
            Memory::Extents(extents) => extents.read(bytes, address, buffer, problems, missing),
            Memory::Kdump(kdump) => {
                kdump.read(bytes, address, buffer, &mut buffers.0, problems, missing);
            }
        }
    }
}

/// The first bytes, up to 64 of them.
fn head(bytes: &Bytes) -> Result<Vec<u8>, Problem> {
    let mut head = vec![0; bytes.len().min(64) as usize];
    bytes.read(&mut head, 0)?;
    Ok(head)
}

/// All of a file as memory.
fn all(bytes: &Bytes) -> Extent {
    Extent {
        address: 0,
        len: bytes.len(),
        at: 0,
        frames: 0,
    }
}
