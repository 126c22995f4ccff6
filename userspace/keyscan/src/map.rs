// SPDX-License-Identifier: GPL-2.0-or-later

//! What the addresses of a dump hold, coarsely.

use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Unit in which memory is found to be empty or in use.
const PAGE: u64 = 4096;

/// A map of a dump, in cells of equal size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryMap {
    /// Bytes in a cell: a power of two, 4096 at least.
    pub cell: u64,
    /// The cells that the dump has, by address; in between it has none.
    pub parts: Vec<MapPart>,
}

/// Cells side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapPart {
    /// Address of the first cell, a multiple of its size.
    pub start: u64,
    /// Bytes that were read in each cell; the rest are holes.
    pub read: Vec<u64>,
    /// Bytes of those in pages that are not all zero.
    pub used: Vec<u64>,
}

/// A map that threads draw together.
pub(crate) struct Map {
    cell: u64,
    parts: Vec<Part>,
}

struct Part {
    start: u64,
    read: Vec<AtomicU64>,
    used: Vec<AtomicU64>,
}

impl Map {
    /// Of these addresses, in order, with at most `cells` cells; none if that is 0.
    pub fn new(ranges: &[Range<u64>], cells: usize) -> Self {
        let mut cell = PAGE;
        let mut runs = Self::runs(ranges, cell);
        while cells != 0 && count(&runs) > cells as u64 && cell < 1 << 63 {
            cell *= 2;
            runs = Self::runs(ranges, cell);
        }
        if count(&runs) > cells as u64 {
            runs.clear();
        }
        let zeros = |run: &Range<u64>| run.clone().map(|_| AtomicU64::new(0)).collect();
        let parts = runs.iter().map(|run| Part {
            start: run.start * cell,
            read: zeros(run),
            used: zeros(run),
        });
        Self {
            cell,
            parts: parts.collect(),
        }
    }

    /// The numbers of the cells that the ranges touch, as runs.
    fn runs(ranges: &[Range<u64>], cell: u64) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            let (first, end) = (range.start / cell, (range.end - 1) / cell + 1);
            match runs.last_mut() {
                Some(last) if first <= last.end => last.end = end,
                _ => runs.push(first..end),
            }
        }
        runs
    }

    /// Enters memory that was read; it lies within one of the ranges.
    pub fn add(&self, address: u64, data: &[u8]) {
        let after = self.parts.partition_point(|part| part.start <= address);
        let Some(part) = after.checked_sub(1).and_then(|at| self.parts.get(at)) else {
            return;
        };
        let mut rest = data;
        let mut at = address;
        while !rest.is_empty() {
            let len = (PAGE - at % PAGE).min(rest.len() as u64);
            let (page, after) = rest.split_at(len as usize);
            let cell = ((at - part.start) / self.cell) as usize;
            if let (Some(read), Some(used)) = (part.read.get(cell), part.used.get(cell)) {
                read.fetch_add(len, Ordering::Relaxed);
                if page
                    .chunks(64)
                    .any(|c| c.iter().fold(0, |any, b| any | b) != 0)
                {
                    used.fetch_add(len, Ordering::Relaxed);
                }
            }
            rest = after;
            at += len;
        }
    }

    /// What was drawn, if anything was wanted.
    pub fn take(&self) -> Option<MemoryMap> {
        let sums = |cells: &[AtomicU64]| cells.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        let parts = self.parts.iter().map(|part| MapPart {
            start: part.start,
            read: sums(&part.read),
            used: sums(&part.used),
        });
        (!self.parts.is_empty()).then(|| MemoryMap {
            cell: self.cell,
            parts: parts.collect(),
        })
    }
}

fn count(runs: &[Range<u64>]) -> u64 {
    runs.iter().map(|run| run.end - run.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_what_was_read_and_what_of_it_is_in_use_without_what_lies_between() {
        let map = Map::new(&[0x5800..0x1_5000, 1 << 40..(1 << 40) + 1], 4);
        let mut data = vec![0; 0x5000];
        data[0x2801] = 1;
        map.add(0x5800, &data);
        map.add(1 << 40, &[1]);
        let map = map.take().unwrap();
        assert_eq!((map.cell, map.parts.len()), (0x8000, 2));
        assert_eq!((map.parts[0].start, map.parts[1].start), (0, 1 << 40));
        assert_eq!(map.parts[0].read, [0x2800, 0x2800, 0]);
        assert_eq!(map.parts[0].used.iter().sum::<u64>(), 0x1000);
        assert_eq!((map.parts[1].read[0], map.parts[1].used[0]), (1, 1));
        assert!(
            Map::new(std::slice::from_ref(&(0..100)), 0)
                .take()
                .is_none()
                && Map::new(&[], 9).take().is_none()
        );
        let all = Map::new(std::slice::from_ref(&(0..u64::MAX)), 16)
            .take()
            .unwrap();
        assert_eq!(all.parts[0].read.len(), 16);
    }
}
