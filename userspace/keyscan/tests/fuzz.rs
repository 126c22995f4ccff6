// SPDX-License-Identifier: GPL-2.0-or-later

//! Mutated dumps of every format: no panic, and no more memory than is promised.

mod common;

use common::{all, random, Runs, PAGE};
use keyscan::{scan_file, Error, Needles, Options};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::LazyLock;

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: All is done by the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: The caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: The caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Most bytes that a scan of a file of a few 100 KiB may take, of all threads.
const MOST: usize = 150 << 20;

static DUMPS: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let mut random = random(1, 20 * PAGE);
    random[3 * PAGE..6 * PAGE].fill(0);
    let runs: Runs = vec![(0x1000, random.clone()), (0x4000_0000, random)];
    all(&runs)
});

/// A change to a file.
#[derive(Clone, Debug)]
enum Change {
    Byte(usize, u8),
    /// What a length or an offset may claim, of 4 or 8 bytes, in either byte order.
    Number(usize, u64, bool, bool),
    Copy(usize, usize, usize),
    Cut(usize),
}

fn change() -> impl Strategy<Value = Change> {
    // Most of what can go wrong is in the first bytes.
    let place = || prop_oneof![0usize..600, 0usize..20_000, any::<usize>()];
    let number = prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(u64::MAX - 4095),
        Just(i64::MAX as u64),
        Just(1 << 32),
        Just(1 << 40),
        Just(1 << 52),
        any::<u64>(),
        0u64..200_000,
    ];
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (place(), number, any::<bool>(), any::<bool>())
            .prop_map(|(at, number, wide, big)| Change::Number(at, number, wide, big)),
        (place(), place(), 0usize..300).prop_map(|(to, from, len)| Change::Copy(to, from, len)),
        place().prop_map(Change::Cut),
    ]
}

fn apply(dump: &mut Vec<u8>, change: &Change) {
    let len = dump.len().max(1);
    match *change {
        Change::Byte(at, byte) => {
            if let Some(there) = dump.get_mut(at % len) {
                *there = byte;
            }
        }
        Change::Number(at, number, wide, big) => {
            // Where numbers lie.
            let at = at % len / 4 * 4;
            let bytes = match (wide, big) {
                (true, false) => number.to_le_bytes().to_vec(),
                (true, true) => number.to_be_bytes().to_vec(),
                (false, false) => (number as u32).to_le_bytes().to_vec(),
                (false, true) => (number as u32).to_be_bytes().to_vec(),
            };
            for (to, from) in dump.iter_mut().skip(at).zip(bytes) {
                *to = from;
            }
        }
        Change::Copy(to, from, count) => {
            let from = from % len;
            let copy = dump[from.min(dump.len())..dump.len().min(from + count)].to_vec();
            for (to, from) in dump.iter_mut().skip(to % len).zip(copy) {
                *to = from;
            }
        }
        Change::Cut(at) => dump.truncate(at % len),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_file_makes_a_scan_panic_or_take_much_memory(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..5),
    ) {
        let (name, dump) = which.get(&DUMPS);
        let mut dump = dump.clone();
        for change in &changes {
            apply(&mut dump, change);
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&dump).unwrap();
        PEAK.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
        let before = NOW.load(Ordering::Relaxed);
        match scan_file(file.path(), &Needles::new(), &Options::default(), &|_| ()) {
            Ok(report) => prop_assert!(report.bytes_scanned <= 64 << 20, "{name}"),
            Err(Error::Format { .. }) => {}
            Err(other) => prop_assert!(false, "{name}: {other}"),
        }
        let taken = PEAK.load(Ordering::Relaxed).saturating_sub(before);
        prop_assert!(taken < MOST, "{name}: {taken} bytes");
    }
}
