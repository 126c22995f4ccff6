// SPDX-License-Identifier: GPL-2.0-or-later

//! ELF core files: `dump-guest-memory`, `/proc/vmcore`, `makedumpfile -E`, cores of processes.

use super::bytes::Bytes;
use super::extents::{Extent, MAX};
use super::problem::{Problem, Problems};
use super::Addresses;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod::{from_bytes, slice_from_bytes};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::Endianness;

/// Program headers that are read at a time.
const BATCH: u64 = 1024;

/// Whether a file that begins so is an ELF core.
pub(crate) fn is_core(head: &[u8]) -> bool {
    let kind = match (head.get(16..18), head.get(5)) {
        (Some(&[a, b]), Some(&elf::ELFDATA2MSB)) => u16::from_be_bytes([a, b]),
        (Some(&[a, b]), _) => u16::from_le_bytes([a, b]),
        _ => return false,
    };
    head.starts_with(&elf::ELFMAG) && kind == elf::ET_CORE
}

/// The memory in a core.
pub(crate) fn read(
    bytes: &Bytes,
    problems: &Problems,
) -> Result<(Vec<Extent>, Addresses), Problem> {
    let class: [u8; 6] = bytes.array(0)?;
    match class[4] {
        elf::ELFCLASS32 => segments::<FileHeader32<Endianness>, 52>(bytes, problems),
        elf::ELFCLASS64 => segments::<FileHeader64<Endianness>, 64>(bytes, problems),
        _ => Err(Problem::new(4, "the ELF header is corrupt")),
    }
}

fn segments<H: FileHeader<Endian = Endianness>, const N: usize>(
    bytes: &Bytes,
    problems: &Problems,
) -> Result<(Vec<Extent>, Addresses), Problem> {
    let corrupt = |at: u64, what: &str| Problem::new(bytes.place(at), what);
    let head = Aligned::read(bytes, 0, N)?;
    let (header, _) =
        from_bytes::<H>(head.bytes()).map_err(|()| corrupt(0, "the ELF header is corrupt"))?;
    let endian = header
        .endian()
        .map_err(|_| corrupt(5, "the ELF header is corrupt"))?;
    let size = size_of::<H::ProgramHeader>();
    if usize::from(header.e_phentsize(endian)) != size {
        return Err(corrupt(0, "the ELF header names no program headers"));
    }
    let mut count = u64::from(header.e_phnum(endian));
    if count == u64::from(elf::PN_XNUM) {
        // The number is in the first section header (gABI, "ELF Header").
        let at: u64 = header.e_shoff(endian).into();
        let section = Aligned::read(bytes, at, size_of::<H::SectionHeader>())?;
        let (section, _) = from_bytes::<H::SectionHeader>(section.bytes())
            .map_err(|()| corrupt(at, "the number of program headers is missing"))?;
        count = u64::from(section.sh_info(endian));
    }
    let table: u64 = header.e_phoff(endian).into();
    let mut loads = Vec::new();
    let mut all = 0u64;
    'batches: for first in (0..count).step_by(BATCH as usize) {
        let here = BATCH.min(count - first) as usize;
        let at = table.saturating_add(first * size as u64);
        let batch = match Aligned::read(bytes, at, here * size) {
            Ok(batch) => batch,
            Err(problem) => {
                problems.add(problem);
                break;
            }
        };
        let (headers, _) = slice_from_bytes::<H::ProgramHeader>(batch.bytes(), here)
            .map_err(|()| corrupt(at, "the program headers are corrupt"))?;
        for header in headers {
            if header.p_type(endian) != elf::PT_LOAD {
                continue;
            }
            let load = Load {
                physical: header.p_paddr(endian).into(),
                virtual_: header.p_vaddr(endian).into(),
                at: header.p_offset(endian).into(),
                len: header.p_filesz(endian).into(),
            };
            // Segments of a core do not share bytes, but those that /proc/vmcore has twice: a file whose
            // segments add up to much more than it has would keep a scan busy for ever.
            all = all.saturating_add(load.len.min(bytes.len()));
            if loads.len() == MAX || all > bytes.stored().saturating_mul(4) {
                problems.add(corrupt(at, "the segments are more than the file can hold"));
                break 'batches;
            }
            loads.push(load);
        }
    }
    if loads.is_empty() {
        return Err(corrupt(table, "the ELF core has no memory in it"));
    }
    // In the core of a process they are all 0 (Linux) or what the virtual ones are.
    let physical = loads.iter().any(|load| load.physical != 0) || loads.len() == 1;
    let extents = loads.iter().map(|load| {
        let there = load.len.min(bytes.len().saturating_sub(load.at));
        if there < load.len {
            let what = format!(
                "the file ends here: {} bytes of the segment at {:#x} are missing",
                load.len - there,
                load.physical
            );
            problems.add(Problem::new(bytes.place(bytes.len()), what));
        }
        Extent {
            address: if physical {
                load.physical
            } else {
                load.virtual_
            },
            len: there,
            at: load.at,
            frames: 0,
        }
    });
    let kind = if physical {
        Addresses::Physical
    } else {
        Addresses::Virtual
    };
    Ok((extents.collect(), kind))
}

/// A PT_LOAD segment.
struct Load {
    physical: u64,
    virtual_: u64,
    at: u64,
    len: u64,
}

/// Bytes of the file where integers are aligned.
struct Aligned {
    words: Vec<u64>,
    len: usize,
}

impl Aligned {
    fn read(bytes: &Bytes, at: u64, len: usize) -> Result<Self, Problem> {
        let mut words = vec![0; len.div_ceil(8)];
        bytes.read(&mut object::pod::bytes_of_slice_mut(&mut words)[..len], at)?;
        Ok(Self { words, len })
    }

    fn bytes(&self) -> &[u8] {
        &object::pod::bytes_of_slice(&self.words)[..self.len]
    }
}
