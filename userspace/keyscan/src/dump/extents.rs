// SPDX-License-Identifier: GPL-2.0-or-later

//! Memory that lies in a file in long pieces, plain or as Snappy frames.

use super::bytes::Bytes;
use super::problem::{Problem, Problems};
use std::io::Read;
use std::ops::Range;

/// Most pieces that are kept, for bounded memory (about 80 MB).
pub(crate) const MAX: usize = 1 << 21;

/// What opens a Snappy stream (framing format, section 4.1), which a piece in the middle lacks.
pub(crate) const STREAM_IDENTIFIER: [u8; 10] = *b"\xff\x06\0\0sNaPpY";

/// A run of memory: its address and length, and where in the file it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub address: u64,
    pub len: u64,
    pub at: u64,
    /// 0 if it lies there as it is, else the length of the Snappy frames.
    pub frames: u32,
}

impl Extent {
    fn end(&self) -> u64 {
        self.address + self.len
    }
}

/// All memory of a dump.
pub(crate) struct Extents {
    /// By address, none overlapping.
    list: Vec<Extent>,
}

impl Extents {
    /// Of memory that the file has more than once, what comes first in it counts: kernels list the
    /// memory of their own code twice in /proc/vmcore.
    pub fn new(mut list: Vec<Extent>) -> Self {
        list.retain(|extent| extent.len != 0 && extent.address.checked_add(extent.len).is_some());
        list.sort_by_key(|extent| (extent.address, std::cmp::Reverse(extent.len)));
        let mut end = 0;
        list.retain_mut(|extent| {
            let known = end.max(extent.address) - extent.address;
            // Of frames the beginning cannot be left out, and need not: no dumper repeats itself so.
            if known >= extent.len || (known != 0 && extent.frames != 0) {
                return false;
            }
            extent.address += known;
            extent.at += known;
            extent.len -= known;
            end = extent.end();
            true
        });
        Self { list }
    }

    /// The addresses that there are, neighbours as one.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for extent in &self.list {
            match ranges.last_mut() {
                Some(last) if last.end == extent.address => last.end = extent.end(),
                _ => ranges.push(extent.address..extent.end()),
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
        problems: &Problems,
        missing: &mut dyn FnMut(Range<usize>),
    ) {
        let end = address + buffer.len() as u64;
        let first = self.list.partition_point(|extent| extent.end() <= address);
        for extent in self.list[first..].iter().take_while(|e| e.address < end) {
            let low = extent.address.max(address);
            let high = extent.end().min(end);
            let within = (low - address) as usize..(high - address) as usize;
            let skip = low - extent.address;
            let start = within.start;
            let mut missing = |part: Range<usize>| missing(start + part.start..start + part.end);
            let part = &mut buffer[within];
            if extent.frames == 0 {
                let at = extent.at + skip;
                if bytes.is_hole(&(at..at + part.len() as u64)) {
                    // Zeros may be part of something that begins or ends beside them.
                    part.fill(0);
                } else {
                    bytes.salvage(part, at, problems, &mut missing);
                }
            } else {
                inflate(bytes, extent, skip, part, problems, &mut missing);
            }
        }
    }
}

/// Reads a part of an extent of Snappy frames, `skip` bytes from its beginning.
fn inflate(
    bytes: &Bytes,
    extent: &Extent,
    skip: u64,
    part: &mut [u8],
    problems: &Problems,
    missing: &mut dyn FnMut(Range<usize>),
) {
    let mut frames = vec![0; extent.frames as usize];
    if let Err(problem) = bytes.read(&mut frames, extent.at) {
        problems.add(problem);
        missing(0..part.len());
        return;
    }
    let stream = STREAM_IDENTIFIER.chain(&frames[..]);
    let mut reader = snap::read::FrameDecoder::new(stream);
    let skipped = std::io::copy(&mut reader.by_ref().take(skip), &mut std::io::sink());
    let mut done = 0;
    let result = skipped.and_then(|_| loop {
        match reader.read(&mut part[done..])? {
            0 => return Ok(()),
            n => done += n,
        }
    });
    if done < part.len() {
        let what = match result {
            Ok(()) => "the compressed data is shorter than it says".to_owned(),
            Err(e) => format!("the compressed data is corrupt: {e}"),
        };
        problems.add(Problem::new(extent.at, what));
        missing(done..part.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_there_twice_is_read_once_and_neighbours_are_one_range() {
        let plain = |address, len, at| Extent {
            address,
            len,
            at,
            frames: 0,
        };
        let extents = Extents::new(vec![
            plain(0x3000, 0x1000, 50),
            plain(0x1000, 0x2000, 100),
            plain(0x1800, 0x400, 200),
            plain(0x3800, 0x1000, 300),
            plain(0x9000, 1, 400),
            plain(u64::MAX, 5, 500),
        ]);
        assert_eq!(extents.ranges(), [0x1000..0x4800, 0x9000..0x9001]);
        let kept = extents.list.iter().map(|e| (e.address, e.len, e.at));
        assert!(kept.eq([
            (0x1000, 0x2000, 100),
            (0x3000, 0x1000, 50),
            (0x4000, 0x800, 0x800 + 300),
            (0x9000, 1, 400),
        ]));
    }
}
