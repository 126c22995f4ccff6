// SPDX-License-Identifier: GPL-2.0-or-later

//! The kdump-compressed format of makedumpfile and QEMU.
//!
//! Blocks of one page: a header (`struct disk_dump_header`), a sub-header (`struct kdump_sub_header`),
//! two bitmaps of page frames (which exist, which are in the file), and for each page in the file, in
//! order, a descriptor (`struct page_desc`: offset, size, flags). The structures are those of
//! makedumpfile's `diskdump_mod.h`, of a 64-bit machine in either byte order.

use super::bytes::{Bytes, Fields};
use super::codec::Codec;
use super::problem::{Problem, Problems};
use std::ops::Range;

/// First bytes of the format.
pub(crate) const MAGIC: &[u8] = b"KDUMP   ";

/// Bytes in a page descriptor.
const DESCRIPTOR: usize = 24;
/// Bytes of the bitmap whose ones are counted together: page frames of 2 GiB.
const GROUP: u64 = 65536;
/// Most page frames: physical addresses have 52 bits (Intel SDM volume 3, section 5.1.4), pages 12.
const MAX_FRAMES: u64 = 1 << 40;
/// `DUMP_DH_COMPRESSED_INCOMPLETE`: the dumper ran out of space.
const INCOMPLETE: u32 = 0x8;
/// What is read at once for the pages that follow each other in the file.
const READ_AHEAD: usize = 256 << 10;

/// An opened kdump-compressed file.
pub(crate) struct Kdump {
    /// Bytes in a page.
    page: u64,
    /// Where the bitmap of the pages in the file lies.
    bitmap: u64,
    /// Page frames that may be in the file.
    frames: Range<u64>,
    big_endian: bool,
    /// Where the descriptors lie.
    descriptors: u64,
    /// Pages in the file before each group of the bitmap, and before its end.
    before: Vec<u64>,
}

/// What one thread keeps while it reads.
#[derive(Default)]
pub(crate) struct Buffers {
    codec: Codec,
    bitmap: Vec<u8>,
    descriptors: Vec<u8>,
    stored: Vec<u8>,
    stored_at: u64,
}

impl Kdump {
    /// Reads the headers and counts the pages.
    pub fn open(bytes: &Bytes, problems: &Problems) -> Result<Self, Problem> {
        let corrupt = |at, what: &str| Problem::new(bytes.place(at), what);
        let header: [u8; 464] = bytes.array(0)?;
        let version = [header[8], header[9], header[10], header[11]];
        let big_endian = u32::from_le_bytes(version) > 0xff;
        let header = Fields {
            bytes: &header,
            big_endian,
        };
        let (version, status, page) = (header.u32(8), header.u32(424), header.u32(428));
        if !(512..=1 << 20).contains(&page) || !page.is_power_of_two() {
            let what = "the page size is none: the header is corrupt, or of a 32-bit machine";
            return Err(corrupt(428, what));
        }
        let page = u64::from(page);
        let (sub, bitmaps) = (u64::from(header.u32(432)), u64::from(header.u32(436)));
        let mut count = u64::from(header.u32(440));
        let mut split = None;
        if version >= 2 {
            let sub: [u8; 104] = bytes.array(page)?;
            let sub = Fields {
                bytes: &sub,
                big_endian,
            };
            if version >= 6 {
                count = sub.u64(96);
            }
            if sub.u32(12) != 0 {
                let at = if version >= 6 { 80 } else { 16 };
                split = Some(sub.u64(at)..sub.u64(at + 8));
            }
        }
        if status & INCOMPLETE != 0 {
            problems.add(corrupt(424, "the dumper says that it could not write all"));
        }
        let half = bitmaps / 2 * page;
        let fits = count.div_ceil(8) <= half && half <= bytes.stored();
        if count == 0 || count > MAX_FRAMES || !fits {
            return Err(corrupt(440, "the number of pages and the bitmap differ"));
        }
        let bitmap = (1 + sub) * page + half;
        let mut kdump = Self {
            page,
            bitmap,
            frames: split.map_or(0..count, |part| part.start.min(count)..part.end.min(count)),
            big_endian,
            descriptors: bitmap + half,
            before: Vec::new(),
        };
        if kdump.descriptors > bytes.len() {
            return Err(Problem::new(
                bytes.place(bytes.len()),
                "the file ends before the first page",
            ));
        }
        kdump.count(bytes)?;
        Ok(kdump)
    }

    /// Counts the pages in the file, by groups of the bitmap.
    fn count(&mut self, bytes: &Bytes) -> Result<(), Problem> {
        let mut buffer = vec![0; GROUP as usize];
        let mut all = 0;
        for group in 0..self.frames.end.div_ceil(8 * GROUP) {
            self.before.push(all);
            let part = self.bits(
                bytes,
                group * 8 * GROUP..(group + 1) * 8 * GROUP,
                &mut buffer,
            )?;
            all += part.iter().map(|b| u64::from(b.count_ones())).sum::<u64>();
        }
        self.before.push(all);
        Ok(())
    }

    /// The bitmap of some page frames, which begin at a multiple of 8; those that are not in this file
    /// are zero.
    fn bits<'a>(
        &self,
        bytes: &Bytes,
        frames: Range<u64>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], Problem> {
        let end = frames.end.min(self.frames.end);
        let first = frames.start;
        buffer.resize(end.saturating_sub(first).div_ceil(8) as usize, 0);
        bytes.read(buffer, self.bitmap + first / 8)?;
        for (n, byte) in buffer.iter_mut().enumerate() {
            let at = first + 8 * n as u64;
            if at < self.frames.start || at + 8 > end {
                for bit in 0..8 {
                    if !(self.frames.start..end).contains(&(at + bit)) {
                        *byte &= !(1 << bit);
                    }
                }
            }
        }
        Ok(buffer)
    }

    /// Addresses where there may be pages.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let size = 8 * GROUP * self.page;
        let end = self.frames.end * self.page;
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (n, pair) in (0u64..).zip(self.before.windows(2)) {
            let (start, stop) = (n * size, end.min((n + 1) * size));
            match ranges.last_mut() {
                _ if pair[0] == pair[1] => {}
                Some(last) if last.end == start => last.end = stop,
                _ => ranges.push(start..stop),
            }
        }
        ranges
    }

    /// Reads memory that lies within one of the [ranges](Self::ranges).
    pub fn read(
        &self,
        bytes: &Bytes,
        address: u64,
        buffer: &mut [u8],
        buffers: &mut Buffers,
        problems: &Problems,
        missing: &mut dyn FnMut(Range<usize>),
    ) {
        let end = address + buffer.len() as u64;
        let frames = address / self.page..end.div_ceil(self.page);
        let group = frames.start / (8 * GROUP);
        let aligned = group * 8 * GROUP..frames.end;
        let Buffers {
            bitmap,
            descriptors,
            stored,
            stored_at,
            codec,
        } = buffers;
        let bits = match self.bits(bytes, aligned.clone(), bitmap) {
            Ok(bits) => bits,
            Err(problem) => {
                problems.add(problem);
                missing(0..buffer.len());
                return;
            }
        };
        let is_there = |frame: u64| {
            let at = frame - aligned.start;
            bits.get((at / 8) as usize)
                .is_some_and(|byte| byte >> (at % 8) & 1 == 1)
        };
        let ahead = frames.start - aligned.start;
        let whole = &bits[..bits.len().min((ahead / 8) as usize)];
        let ones = whole.iter().map(|b| u64::from(b.count_ones())).sum::<u64>()
            + (frames.start - ahead % 8..frames.start)
                .filter(|&frame| is_there(frame))
                .count() as u64;
        let here = frames.clone().filter(|&frame| is_there(frame)).count();
        let first = self.before[group as usize] + ones;
        let table = self.descriptors + first * DESCRIPTOR as u64;
        descriptors.resize(here * DESCRIPTOR, 0);
        if let Err(problem) = bytes.read(descriptors, table) {
            problems.add(problem);
            missing(0..buffer.len());
            return;
        }
        let mut pages = descriptors.chunks_exact(DESCRIPTOR).zip(0u64..);
        let mut page = vec![0; self.page as usize];
        let mut in_page = None;
        for frame in frames {
            let low = (frame * self.page).max(address);
            let high = ((frame + 1) * self.page).min(end);
            let within = (low - address) as usize..(high - address) as usize;
            let descriptor = if is_there(frame) { pages.next() } else { None };
            let Some((descriptor, n)) = descriptor else {
                missing(within);
                continue;
            };
            let descriptor = Fields {
                bytes: descriptor,
                big_endian: self.big_endian,
            };
            let (at, size) = (descriptor.u64(0), u64::from(descriptor.u32(8)));
            // QEMU has all pages of zeros in one place.
            if in_page != Some(at) {
                let read = fetch(bytes, stored, stored_at, at, size.min(self.page));
                let good = read.and_then(|stored| {
                    let whole = size <= self.page;
                    (whole && codec.page(descriptor.u32(12), stored, &mut page))
                        .then_some(())
                        .ok_or_else(|| {
                            let what = format!("the page at {:#x} is corrupt", frame * self.page);
                            let place = if whole {
                                at
                            } else {
                                table + n * DESCRIPTOR as u64
                            };
                            Problem::new(bytes.place(place), what)
                        })
                });
                in_page = good.is_ok().then_some(at);
                if let Err(problem) = good {
                    problems.add(problem);
                    missing(within);
                    continue;
                }
            }
            let skip = (low - frame * self.page) as usize;
            buffer[within.clone()].copy_from_slice(&page[skip..skip + within.len()]);
        }
    }
}

/// `size` bytes of the file at `at`, from what was read ahead if they are there.
fn fetch<'a>(
    bytes: &Bytes,
    stored: &'a mut Vec<u8>,
    stored_at: &mut u64,
    at: u64,
    size: u64,
) -> Result<&'a [u8], Problem> {
    let held = *stored_at..*stored_at + stored.len() as u64;
    let end = at
        .checked_add(size)
        .ok_or_else(|| Problem::new(bytes.place(at), "the file ends here"))?;
    if at < held.start || end > held.end {
        let ahead = bytes.len().saturating_sub(at).min(READ_AHEAD as u64);
        stored.resize(ahead.max(size) as usize, 0);
        *stored_at = at;
        if bytes.read(stored, at).is_err() {
            // Less may be there.
            stored.resize(size as usize, 0);
            if let Err(problem) = bytes.read(stored, at) {
                stored.clear();
                return Err(problem);
            }
        }
    }
    let from = (at - *stored_at) as usize;
    Ok(&stored[from..from + size as usize])
}
