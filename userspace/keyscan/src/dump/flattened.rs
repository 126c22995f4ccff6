// SPDX-License-Identifier: GPL-2.0-or-later

//! Flattened dumps: what `makedumpfile -F` and QEMU write to a pipe, which cannot seek.
//!
//! After a header of 4096 bytes (`struct makedump_file_header`: signature, type, version, big-endian)
//! come records, each of an offset, a length (`struct makedump_data_header`, big-endian), and that many
//! bytes for that offset. Both -1 end the file. Later records overwrite earlier ones.

use super::bytes::{Bytes, Fields};
use super::problem::{Problem, Problems};
use std::collections::BTreeMap;
use std::ops::Range;

/// First bytes of a flattened file.
pub(crate) const MAGIC: &[u8] = b"makedumpfile\0";
const HEADER: u64 = 4096;
/// Most records that are kept, for bounded memory (about 100 MB). makedumpfile writes 4 KiB or more in
/// most of them.
const MAX: usize = 1 << 21;

/// A run of bytes: its length, and where in the file it lies.
#[derive(Clone, Copy)]
struct Run {
    len: u64,
    at: u64,
}

/// Which bytes the records of a flattened file hold.
pub(crate) struct Records {
    /// By offset, none overlapping.
    runs: BTreeMap<u64, Run>,
    len: u64,
}

impl Records {
    /// Reads the headers of all records of `file`.
    pub fn index(file: &Bytes, problems: &Problems) -> Self {
        let mut records = Self {
            runs: BTreeMap::new(),
            len: 0,
        };
        let mut at = HEADER;
        loop {
            let header: [u8; 16] = match file.array(at) {
                Ok(header) => header,
                Err(problem) => {
                    problems.add(problem);
                    return records;
                }
            };
            let header = Fields {
                bytes: &header,
                big_endian: true,
            };
            let (offset, len) = (header.u64(0), header.u64(8));
            if offset == u64::MAX && len == u64::MAX {
                return records;
            }
            let end = offset
                .checked_add(len)
                .filter(|end| *end <= i64::MAX as u64);
            let Some(end) = end else {
                problems.add(Problem::new(at, "the header of a record is corrupt"));
                return records;
            };
            at += 16;
            let there = len.min(file.len().saturating_sub(at));
            records.insert(offset, Run { len: there, at });
            // Also of what is missing: a reader then learns where.
            records.len = records.len.max(end);
            if there < len {
                problems.add(Problem::new(file.len(), "the file ends within a record"));
                return records;
            }
            if records.runs.len() >= MAX {
                let what = "there are more records than can be kept: put them in order with \
                            makedumpfile -R, and scan that";
                problems.add(Problem::new(at, what));
                return records;
            }
            at += len;
        }
    }

    /// Adds a run; it replaces what is there already.
    fn insert(&mut self, offset: u64, run: Run) {
        if run.len == 0 {
            return;
        }
        let end = offset + run.len;
        // The one before may reach into it, or beyond.
        if let Some((&start, before)) = self.runs.range_mut(..offset).next_back() {
            let old = *before;
            if start + old.len > offset {
                before.len = offset - start;
                if start + old.len > end {
                    let skip = end - start;
                    let rest = Run {
                        len: old.len - skip,
                        at: old.at + skip,
                    };
                    self.runs.insert(end, rest);
                }
            }
        }
        while let Some((&start, &old)) = self.runs.range(offset..end).next() {
            self.runs.remove(&start);
            if start + old.len > end {
                let skip = end - start;
                let rest = Run {
                    len: old.len - skip,
                    at: old.at + skip,
                };
                self.runs.insert(end, rest);
            }
        }
        self.runs.insert(offset, run);
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where in the file the byte at `offset` lies, or would.
    pub fn place(&self, offset: u64) -> u64 {
        let run = self.runs.range(..=offset).next_back();
        run.map_or(0, |(start, run)| run.at + (offset - start).min(run.len))
    }

    /// The parts of `len` bytes at `offset` that records hold, and where each lies in the file.
    pub fn pieces(
        &self,
        offset: u64,
        len: usize,
    ) -> impl Iterator<Item = (Range<usize>, u64)> + '_ {
        let end = offset + len as u64;
        let first = self
            .runs
            .range(..offset)
            .next_back()
            .map(|(start, _)| *start);
        let from = first.unwrap_or(offset);
        self.runs.range(from..end).filter_map(move |(&start, run)| {
            let (low, high) = (start.max(offset), (start + run.len).min(end));
            (low < high).then(|| {
                let within = (low - offset) as usize..(high - offset) as usize;
                (within, run.at + (low - start))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn later_records_overwrite_earlier_ones(
            records in prop::collection::vec((0u64..60, 0u64..25), 0..20),
            offset in 0u64..70,
            len in 0usize..40,
        ) {
            let mut naive = [None; 160];
            let mut index = Records { runs: BTreeMap::new(), len: 0 };
            for (n, (offset, len)) in records.into_iter().enumerate() {
                let at = 1000 * n as u64;
                for i in 0..len {
                    naive[(offset + i) as usize] = Some(at + i);
                }
                index.insert(offset, Run { len, at });
            }
            let mut found = vec![None; len];
            for (within, at) in index.pieces(offset, len) {
                for (i, slot) in found[within].iter_mut().enumerate() {
                    prop_assert!(slot.replace(at + i as u64).is_none());
                }
            }
            prop_assert_eq!(&found[..], &naive[offset as usize..offset as usize + len]);
        }
    }
}
