// SPDX-License-Identifier: GPL-2.0-or-later

//! What the addresses of a dump hold, coarsely.

use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Unit in which memory is found to be empty or in use.
const PAGE: u64 = 4096;

/// A map of a dump: the addresses from `start` on in cells of equal size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryMap {
    /// Address of the first cell, a multiple of `cell`.
    pub start: u64,
    /// Bytes in a cell: a power of two, 4096 at least.
    pub cell: u64,
    /// Bytes that were read in each cell; the rest are holes.
    pub read: Vec<u64>,
    /// Bytes of those in pages that are not all zero.
    pub used: Vec<u64>,
}

/// A map that threads draw together.
pub(crate) struct Map {
    start: u64,
    cell: u64,
    read: Vec<AtomicU64>,
    used: Vec<AtomicU64>,
}

impl Map {
    /// Of these addresses, with at most `cells` cells; none if that is 0.
    pub fn new(addresses: Range<u64>, cells: usize) -> Self {
        let mut cell = PAGE;
        let count = |cell: u64| match addresses.end.checked_sub(1) {
            Some(last) if !addresses.is_empty() => last / cell - addresses.start / cell + 1,
            _ => 0,
        };
        while count(cell) > cells as u64 && cell < 1 << 63 {
            cell *= 2;
        }
        let zeros = || {
            let count = count(cell).min(cells as u64);
            (0..count).map(|_| AtomicU64::new(0)).collect()
        };
        Self {
            start: addresses.start / cell * cell,
            cell,
            read: zeros(),
            used: zeros(),
        }
    }

    /// Enters memory that was read.
    pub fn add(&self, address: u64, data: &[u8]) {
        if self.read.is_empty() {
            return;
        }
        let mut rest = data;
        let mut at = address;
        while !rest.is_empty() {
            let len = (PAGE - at % PAGE).min(rest.len() as u64);
            let (page, after) = rest.split_at(len as usize);
            let cell = ((at - self.start) / self.cell) as usize;
            if let (Some(read), Some(used)) = (self.read.get(cell), self.used.get(cell)) {
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
        (!self.read.is_empty()).then(|| MemoryMap {
            start: self.start,
            cell: self.cell,
            read: sums(&self.read),
            used: sums(&self.used),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_what_was_read_and_what_of_it_is_in_use() {
        let map = Map::new(0x5800..0x1_5000, 4);
        let mut data = vec![0; 0x5000];
        data[0x2801] = 1;
        map.add(0x5800, &data);
        let map = map.take().unwrap();
        assert_eq!((map.start, map.cell), (0, 0x8000));
        assert_eq!(map.read.iter().sum::<u64>(), 0x5000);
        assert_eq!(map.used.iter().sum::<u64>(), 0x1000);
        assert!(Map::new(0..100, 0).take().is_none() && Map::new(0..0, 9).take().is_none());
        assert_eq!(Map::new(0..u64::MAX, 16).take().unwrap().read.len(), 16);
    }
}
