// SPDX-License-Identifier: GPL-2.0-or-later

//! Dumps of every format: the same memory gives the same findings, whole or damaged.

mod common;

use common::{all, avml, elf, flatten, kdump, lime, random, Method, Runs, PAGE};
use keyscan::aes::Schedule;
use keyscan::{scan_file, Addresses, Damage, Error, Expand, Format, Needles, Options, Report};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

fn key() -> Vec<u8> {
    random(77, 32)
}

fn schedule() -> Vec<u8> {
    Schedule::expand(&key()).unwrap().as_bytes().to_vec()
}

fn needles() -> Needles {
    let mut needles = Needles::new();
    needles
        .add_secret("k", &random(78, 32), Expand::None)
        .unwrap();
    needles
}

fn scan(bytes: &[u8]) -> Result<Report, Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    scan_file(file.path(), &needles(), &Options::default(), &|_| ())
}

/// Runs of which two are neighbours, with something across that border, and at both ends of a third;
/// and where things are to be found.
fn memory() -> (Runs, Vec<u64>) {
    let mut first = random(1, 5 * PAGE);
    // Empty pages, and such as compress well.
    first[PAGE..2 * PAGE].fill(0);
    first[2 * PAGE..3 * PAGE].fill(0x41);
    let mut second = random(2, 3 * PAGE);
    let mut third = random(3, 600 * PAGE);
    third[7 * PAGE..40 * PAGE].fill(0);
    let (schedule, secret) = (schedule(), random(78, 32));
    let (at, border) = (0x10_0000, 0x10_0000 + 5 * PAGE as u64);
    let end = first.len();
    first[end - 100..].copy_from_slice(&schedule[..100]);
    second[..140].copy_from_slice(&schedule[100..]);
    second[2000..2008].copy_from_slice(&secret[8..16]);
    let far = 0x4000_0000;
    third[..240].copy_from_slice(&schedule);
    let end = third.len();
    third[end - 240..].copy_from_slice(&schedule);
    third[20 * PAGE + 3..][..32].copy_from_slice(&secret);
    let places = vec![
        border - 100,
        border + 2000,
        far,
        far + 20 * PAGE as u64 + 3,
        far + end as u64 - 240,
    ];
    (vec![(at, first), (border, second), (far, third)], places)
}

fn places(report: &Report) -> Vec<u64> {
    report.findings.iter().map(|f| f.offset).collect()
}

#[test]
fn the_same_memory_gives_the_same_findings_in_every_format() {
    let (runs, expected) = memory();
    let bytes: u64 = runs.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let whole = scan(&lime(&runs)).unwrap();
    for (name, dump) in all(&runs) {
        let report = scan(&dump).unwrap();
        assert_eq!(places(&report), expected, "{name}");
        assert_eq!(report.findings, whole.findings, "{name}");
        assert_eq!(report.bytes_scanned, bytes, "{name}");
        assert_eq!(report.addresses, Addresses::Physical, "{name}");
        assert!(report.is_complete(), "{name}: {:?}", report.problems);
        assert_eq!(report.flattened, name.contains("flattened"), "{name}");
    }
}

#[test]
fn the_format_is_known_by_content_and_what_is_none_is_raw() {
    let runs: Runs = vec![(0, random(1, 2 * PAGE))];
    for (bytes, format) in [
        (elf(&runs, false), Format::Elf),
        (lime(&runs), Format::Lime),
        (avml(&runs), Format::Avml),
        (kdump(&runs, Method::Zlib), Format::Kdump),
        (flatten(&kdump(&runs, Method::Zlib), 4096), Format::Kdump),
        (random(5, 1000), Format::Raw),
        // A program is no dump: its bytes are searched as they are.
        (
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec(),
            Format::Raw,
        ),
        (b"EMi".to_vec(), Format::Raw),
        (Vec::new(), Format::Raw),
    ] {
        assert_eq!(scan(&bytes).unwrap().format, format);
    }
}

#[test]
fn the_core_of_a_process_has_virtual_addresses() {
    let mut core = elf(&vec![(0x1000, schedule()), (0x2000, schedule())], false);
    for segment in 0..3 {
        // p_paddr
        core[64 + 56 * segment + 24..][..8].fill(0);
    }
    let report = scan(&core).unwrap();
    assert_eq!(report.addresses, Addresses::Virtual);
    assert_eq!(places(&report), [0x1_c000_1000, 0x1_c000_2000]);
}

#[test]
fn a_file_that_was_cut_off_says_where_and_gives_what_it_has() {
    let (runs, expected) = memory();
    for (name, dump) in all(&runs) {
        for cut in [
            1,
            5,
            100,
            5000,
            dump.len() / 3,
            dump.len() / 2,
            dump.len() - 70,
        ] {
            let len = dump.len() - cut;
            match scan(&dump[..len]) {
                Ok(report) => {
                    assert!(!report.is_complete(), "{name} without {cut} bytes");
                    let at = report.problems[0].offset;
                    assert!(at <= len as u64, "{name}: {:?}", report.problems);
                    let found = places(&report);
                    assert!(found.iter().all(|place| expected.contains(place)), "{name}");
                    // What lies at the very end of the file is in every format among the last pages.
                    assert!(
                        cut >= 5000 || found.len() >= 4,
                        "{name} without {cut}: {found:x?}"
                    );
                }
                Err(Error::Format { problem, .. }) => {
                    assert!(
                        cut >= 5000 && problem.offset <= len as u64,
                        "{name}: {problem}"
                    );
                }
                Err(other) => panic!("{name}: {other}"),
            }
        }
    }
}

#[test]
fn a_corrupt_page_is_named_and_the_others_are_searched() {
    let (runs, expected) = memory();
    for method in [Method::Zlib, Method::Lzo, Method::Snappy, Method::Zstd] {
        let mut dump = kdump(&runs, method);
        // The third page, of one letter, is the only small one but those of zeros.
        let descriptor = (0..dump.len() / 8)
            .map(|n| 8 * n)
            .filter(|at| at + 16 <= dump.len())
            .find(|&at| {
                let size = u32::from_le_bytes(dump[at + 8..at + 12].try_into().unwrap());
                let flags = u32::from_le_bytes(dump[at + 12..at + 16].try_into().unwrap());
                let to = u64::from_le_bytes(dump[at..at + 8].try_into().unwrap());
                flags != 0 && flags < 64 && size < 300 && to < dump.len() as u64 && to > 9000
            })
            .unwrap();
        let to = u64::from_le_bytes(dump[descriptor..descriptor + 8].try_into().unwrap());
        let size = u32::from_le_bytes(dump[descriptor + 8..descriptor + 12].try_into().unwrap());
        dump[to as usize..to as usize + size as usize].fill(0xee);
        let report = scan(&dump).unwrap();
        assert_eq!(places(&report), expected, "{method:?}");
        assert_eq!(
            report.problems.len(),
            1,
            "{method:?}: {:?}",
            report.problems
        );
        assert_eq!(report.problems[0].offset, to);
        assert!(report.problems[0].what.starts_with("the page at 0x10"));
    }
    let mut dump = avml(&runs);
    dump[2000] ^= 1;
    let report = scan(&dump).unwrap();
    assert_eq!(places(&report), expected[1..]);
    assert!(
        report.problems[0].what.contains("corrupt"),
        "{:?}",
        report.problems
    );
}

#[test]
fn what_lies_beyond_4_gib_is_found_in_every_format() {
    let (far, schedule) = (9 << 30, schedule());
    let mut page = vec![0; PAGE];
    page[PAGE - 240..].copy_from_slice(&schedule);
    // With a file as large as its memory, but for the kdump-compressed one.
    let file = tempfile::NamedTempFile::new().unwrap();
    let put = |bytes: &[u8], at: u64| file.as_file().write_all_at(bytes, at).unwrap();
    let check = |offset: u64, span: u64| {
        let report = scan_file(file.path(), &needles(), &Options::default(), &|_| ()).unwrap();
        assert_eq!(places(&report), [offset], "{}", report.format);
        assert_eq!(report.bytes_scanned, span, "{}", report.format);
        assert!(report.is_complete());
        file.as_file().set_len(0).unwrap();
    };
    // Across the border of 4 GiB, where an offset of 32 bits would begin anew.
    put(&schedule, (1 << 32) - 100);
    file.as_file().set_len((1 << 32) + 1000).unwrap();
    check((1 << 32) - 100, (1 << 32) + 1000);
    let runs: Runs = vec![(far, page.clone())];
    put(&kdump(&runs, Method::Zstd), 0);
    check(far + PAGE as u64 - 240, PAGE as u64);
    let head = elf(&runs, false);
    put(&head[..head.len() - PAGE], 0);
    put(&(5u64 << 30).to_le_bytes(), 64 + 56 + 8);
    put(&page, 5 << 30);
    check(far + PAGE as u64 - 240, PAGE as u64);
    let len = (4 << 30) + 2 * PAGE;
    put(&lime(&vec![(far, vec![0; 1])])[..32], 0);
    put(&(far + len as u64 - 1).to_le_bytes(), 16);
    put(&page, 32 + (len - PAGE) as u64);
    check(far + len as u64 - 240, len as u64);
}

#[test]
fn damaged_schedules_are_found_in_a_compressed_dump() {
    let mut memory = random(11, 40 * PAGE);
    let mut image = schedule();
    for bit in (0..image.len() * 8).step_by(30) {
        image[bit / 8] ^= 1 << (bit % 8);
    }
    let at = 17 * PAGE - 77;
    memory[at..at + 240].copy_from_slice(&image);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&kdump(&vec![(0x8000_0000, memory)], Method::Lzo))
        .unwrap();
    let options = |budget| Options {
        damage: Some(Damage::flips(0.05)),
        budget,
        ..Options::default()
    };
    let scan = |budget| scan_file(file.path(), &needles(), &options(budget), &|_| ()).unwrap();
    let report = scan(1000);
    assert_eq!(places(&report), [0x8000_0000 + at as u64]);
    assert!(report.is_complete());
    // Without a budget the place is known, but not decoded: and the report says so.
    let report = scan(0);
    assert!(report.findings.is_empty() && report.undecoded == 1 && !report.is_complete());
}

#[test]
fn a_device_that_fails_in_the_middle_is_read_around_it() {
    // A file that becomes shorter while it is scanned is the failure that a test can have.
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all_at(&schedule(), 1 << 20).unwrap();
    file.as_file().set_len(20 << 20).unwrap();
    let dump = keyscan::Dump::open(file.path()).unwrap();
    File::options()
        .write(true)
        .open(file.path())
        .unwrap()
        .set_len(9 << 20)
        .unwrap();
    let report = keyscan::scan_dump(&dump, &needles(), &Options::default(), &|_| ());
    assert_eq!(places(&report), [1 << 20]);
    assert_eq!(report.problems[0].offset, 9 << 20);
    assert_eq!(report.bytes_scanned, 9 << 20);
}
