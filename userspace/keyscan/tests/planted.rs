// SPDX-License-Identifier: GPL-2.0-or-later

//! Plants keys in memory of several kinds and sees that a scan finds these and nothing else.

use keyscan::aes::Schedule;
use keyscan::{scan_bytes, scan_file, Expand, Needles, Options, Order, Report, What};
use proptest::prelude::*;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

const MIB: usize = 1 << 20;
/// Bytes that one thread searches at a time.
const CHUNK: usize = 512 << 10;
/// Bytes that one thread reads at a time.
const WINDOW: usize = 8 * CHUNK;

fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

fn expand(key: &[u8]) -> Vec<u8> {
    Schedule::expand(key).unwrap().as_bytes().to_vec()
}

fn swap32(bytes: &[u8]) -> Vec<u8> {
    bytes
        .chunks(4)
        .flat_map(|w| w.iter().rev().copied().collect::<Vec<_>>())
        .collect()
}

fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

fn plant(memory: &mut [u8], at: usize, bytes: &[u8]) {
    memory[at..at + bytes.len()].copy_from_slice(bytes);
}

fn scan(memory: &[u8], needles: &Needles) -> Report {
    scan_bytes(memory, needles, &Options::default(), &|_| ())
}

fn schedules_at(report: &Report) -> Vec<(u64, Order, Vec<u8>)> {
    report
        .findings
        .iter()
        .map(|f| match &f.what {
            What::Schedule { key, .. } => (f.offset, f.order, key.expose().to_vec()),
            other => panic!("unexpected finding: {other}"),
        })
        .collect()
}

/// Memory as it is found: empty, random, counters, pointers, text, one repeated byte.
fn memory(kind: usize, seed: u64, len: usize) -> Vec<u8> {
    let each = |f: &dyn Fn(usize) -> [u8; 8]| (0..len / 8 + 1).flat_map(f).take(len).collect();
    match kind {
        0 => vec![0; len],
        1 => random(seed, len),
        2 => each(&|i| (i as u64).to_le_bytes()),
        3 => each(&|i| (0xffff_8880_0000_0000 | (i as u64 * 0x40)).to_le_bytes()),
        4 => each(&|i| *[b"the key ", b"schedule", b" is here"][i % 3]),
        _ => vec![seed as u8 | 1; len],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_schedule_is_found_at_any_offset_in_any_memory(
        kind in 0usize..6,
        seed: u64,
        key_len in prop::sample::select(vec![16usize, 24, 32]),
        swapped: bool,
        at in 0usize..3000,
        tail in 0usize..300,
    ) {
        let key = random(!seed, key_len);
        let native = expand(&key);
        let planted = if swapped { swap32(&native) } else { native };
        let mut memory = memory(kind, seed, at + planted.len() + tail);
        plant(&mut memory, at, &planted);
        let order = if swapped { Order::Words32Swapped } else { Order::Native };
        prop_assert_eq!(
            schedules_at(&scan(&memory, &Needles::new())),
            vec![(at as u64, order, key)]
        );
    }

    #[test]
    fn one_wrong_bit_in_a_schedule_is_no_schedule(seed: u64, bit in 0usize..240 * 8) {
        let mut schedule = expand(&random(seed, 32));
        schedule[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(scan(&schedule, &Needles::new()).is_clean());
    }

    #[test]
    fn every_part_of_a_secret_is_found_at_any_offset_in_any_memory(
        kind in 0usize..6,
        seed: u64,
        at in 0usize..3000,
        tail in 0usize..40,
        part in 0usize..32,
        order in 0usize..4,
    ) {
        let secret = random(!seed, 32);
        let mut needles = Needles::new();
        needles.add_secret("k", &secret, Expand::Aes).unwrap();
        let schedule = Schedule::expand(&secret).unwrap();
        let inverse = schedule.equivalent_inverse();
        let bytes = match part {
            0..4 => secret[8 * part..][..8].to_vec(),
            4..18 => schedule.round_keys().nth(part - 3).unwrap().to_vec(),
            18..31 => inverse.round_keys().nth(part - 17).unwrap().to_vec(),
            _ => secret.clone(),
        };
        let (order, bytes) = match order {
            0 => (Order::Native, bytes),
            1 => (Order::Reversed, reversed(&bytes)),
            2 => (Order::Words32Swapped, swap32(&bytes)),
            // Reversing a single word is the same thing.
            _ if part < 4 => (Order::Reversed, reversed(&bytes)),
            _ => (Order::Words64Swapped, bytes.chunks(8).flat_map(reversed).collect()),
        };
        let mut memory = memory(kind, seed, at + bytes.len() + tail);
        plant(&mut memory, at, &bytes);
        let report = scan(&memory, &needles);
        prop_assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
        let found = &report.findings[0];
        prop_assert_eq!((found.offset, found.length), (at as u64, bytes.len()));
        prop_assert_eq!(found.order, order);
        prop_assert_eq!(report.found("k"), Some(1));
        let expected = match part {
            0..4 => What::Word { name: "k".into(), index: part },
            4..18 => round_key(part - 3, false),
            18..31 => round_key(part - 17, true),
            _ => What::Whole { name: "k".into() },
        };
        prop_assert_eq!(&found.what, &expected);
    }
}

fn round_key(round: usize, inverse: bool) -> What {
    What::RoundKey {
        name: "k".into(),
        half: 0,
        round,
        inverse,
    }
}

/// Memory larger than a window, with a schedule and a word across or beside every border.
fn across_borders() -> (Vec<u8>, Needles, Vec<u64>, Vec<u64>) {
    let secret = random(7, 32);
    let mut needles = Needles::new();
    needles.add_secret("k", &secret, Expand::None).unwrap();
    let key = random(8, 32);
    let len = 2 * WINDOW + CHUNK + 12_345;
    let mut memory = random(9, len);
    let (mut schedules, mut words) = (Vec::new(), Vec::new());
    let borders = (CHUNK..len).step_by(CHUNK).chain([len]);
    for (i, border) in borders.enumerate() {
        // 17 and 240 have no common factor: all distances from 1 to 240 come up, but for the end of
        // the file, where the schedule is the last thing.
        let before = if border == len { 240 } else { 1 + 17 * i % 240 };
        plant(&mut memory, border - before, &expand(&key));
        schedules.push((border - before) as u64);
        let word = border - 1000 - i % 8;
        plant(&mut memory, word, &secret[8..16]);
        words.push(word as u64);
        if border < len {
            let word = border + 500;
            plant(&mut memory, word, &secret[24..]);
            words.push(word as u64);
        }
    }
    words.sort_unstable();
    (memory, needles, schedules, words)
}

fn check_borders(report: &Report, schedules: &[u64], words: &[u64]) {
    let (of_secret, of_key): (Vec<_>, Vec<_>) = report
        .findings
        .iter()
        .partition(|f| f.what.name().is_some());
    assert_eq!(
        of_key.iter().map(|f| f.offset).collect::<Vec<_>>(),
        schedules
    );
    assert_eq!(
        of_secret.iter().map(|f| f.offset).collect::<Vec<_>>(),
        words
    );
    assert_eq!(report.schedules, Some(schedules.len() as u64));
    assert_eq!(report.found("k"), Some(words.len() as u64));
}

#[test]
fn nothing_is_lost_or_doubled_at_borders_between_chunks() {
    let (memory, needles, schedules, words) = across_borders();
    check_borders(&scan(&memory, &needles), &schedules, &words);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&memory).unwrap();
    let done = AtomicU64::new(0);
    let progress = |bytes| {
        done.fetch_add(bytes, Ordering::Relaxed);
    };
    let report = scan_file(file.path(), &needles, &Options::default(), &progress).unwrap();
    check_borders(&report, &schedules, &words);
    assert_eq!(report.bytes_scanned, memory.len() as u64);
    assert_eq!(done.into_inner(), memory.len() as u64);
}

#[test]
fn a_secret_and_its_round_keys_are_found_at_every_distance_from_a_border() {
    let secret = random(21, 32);
    let mut needles = Needles::new();
    needles.add_secret("k", &secret, Expand::Aes).unwrap();
    let round_key = expand(&secret)[80..96].to_vec();
    let mut memory = vec![0; CHUNK + 100];
    for planted in [&secret, &round_key] {
        for at in CHUNK - 40..CHUNK + 8 {
            plant(&mut memory, at, planted);
            let report = scan(&memory, &needles);
            assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
            assert_eq!(
                (report.findings[0].offset, report.found("k")),
                (at as u64, Some(1))
            );
            memory[at..at + planted.len()].fill(0);
        }
    }
}

#[test]
fn random_memory_has_no_findings_but_the_control() {
    let secrets: Vec<Vec<u8>> = (0..4).map(|i| random(100 + i, 64)).collect();
    let mut needles = Needles::new();
    for (i, secret) in secrets.iter().enumerate() {
        needles
            .add_secret(&format!("k{i}"), secret, Expand::Xts)
            .unwrap();
    }
    for seed in 0..4 {
        let mut memory = random(seed, 64 * MIB);
        plant(&mut memory, 33 * MIB + 1, &expand(&random(200, 24)));
        plant(&mut memory, 34 * MIB + 3, &secrets[2][40..48]);
        let report = scan(&memory, &needles);
        let found: Vec<_> = report.findings.iter().map(|f| f.offset as usize).collect();
        assert_eq!(found, [33 * MIB + 1, 34 * MIB + 3], "{:?}", report.findings);
    }
}

#[test]
fn regular_memory_has_no_findings_but_the_control() {
    let secret = random(1031, 32);
    let mut needles = Needles::new();
    needles.add_secret("k", &secret, Expand::Aes).unwrap();
    for kind in [0, 2, 3, 4, 5] {
        let mut memory = memory(kind, 0x41, 8 * MIB);
        plant(&mut memory, 8 * MIB - 8, &secret[..8]);
        let report = scan(&memory, &needles);
        assert_eq!(report.findings.len(), 1, "memory of kind {kind}");
    }
    // Every period from 1 to 64 bytes: a relation between neighbouring words may hold by repetition.
    for period in 1..=64 {
        let pattern = random(period, period as usize);
        let memory: Vec<u8> = pattern.iter().copied().cycle().take(40_000).collect();
        let report = scan(&memory, &needles);
        assert!(
            report.is_clean(),
            "period {period}: {:?}",
            report.findings.first()
        );
    }
}

#[test]
fn the_schedule_of_a_key_of_zeros_is_found_in_empty_memory() {
    for len in [16, 24, 32] {
        let mut memory = vec![0; 100_000];
        plant(&mut memory, 54_321, &expand(&vec![0; len]));
        assert_eq!(
            schedules_at(&scan(&memory, &Needles::new())),
            [(54_321, Order::Native, vec![0; len])]
        );
    }
}

#[test]
fn a_whole_secret_counts_once_and_a_stray_word_beside_it_counts_too() {
    let secret = random(41, 64);
    let mut needles = Needles::new();
    needles.add_secret("pair", &secret, Expand::Xts).unwrap();
    needles
        .add_secret("first", &secret[..32], Expand::Aes)
        .unwrap();
    let mut memory = vec![0; 5000];
    plant(&mut memory, 1001, &secret);
    plant(&mut memory, 2003, &secret[56..]);
    let report = scan(&memory, &needles);
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|f| (f.offset, f.what.to_string()))
        .collect();
    let expected = [
        (1001, "all of \"pair\"".to_owned()),
        (1001, "all of \"first\"".to_owned()),
        (2003, "word 7 of \"pair\"".to_owned()),
    ];
    assert_eq!(found, expected);
    assert_eq!(
        (report.found("pair"), report.found("first")),
        (Some(2), Some(1))
    );
    assert_eq!(report.found("unknown"), None);
}

#[test]
fn the_schedules_of_an_xts_pair_are_known_by_all_their_round_keys() {
    let secret = random(51, 64);
    let mut needles = Needles::new();
    needles.add_secret("k", &secret, Expand::Xts).unwrap();
    let mut memory = vec![0; 3000];
    plant(&mut memory, 77, &expand(&secret[32..]));
    let report = scan(&memory, &needles);
    assert_eq!((report.schedules, report.found("k")), (Some(1), Some(15)));
    assert!(report
        .findings
        .iter()
        .filter(|f| f.what.name().is_some())
        .all(
            |f| matches!(&f.what, What::RoundKey { half: 1, inverse: false, round, .. }
            if f.offset == 77 + 16 * *round as u64)
        ));
}

#[test]
fn more_findings_than_may_be_listed_are_counted() {
    let secret = random(61, 16);
    let mut needles = Needles::new();
    needles.add_secret("k", &secret, Expand::None).unwrap();
    let memory: Vec<u8> = secret.iter().copied().cycle().take(3 * CHUNK).collect();
    let options = Options {
        max_findings: 10,
        ..Options::default()
    };
    let report = scan_bytes(&memory, &needles, &options, &|_| ());
    assert_eq!(report.found("k"), Some(3 * CHUNK as u64 / 16));
    assert_eq!(
        (report.findings.len(), report.omitted),
        (10, 3 * CHUNK as u64 / 16 - 10)
    );
    assert_eq!(report.findings[9].offset, 9 * 16);
}

#[test]
fn a_report_goes_through_json_without_the_key() {
    let key = random(71, 16);
    let mut memory = vec![0; 1000];
    plant(&mut memory, 100, &expand(&key));
    let report = scan(&memory, &Needles::new());
    let json = serde_json::to_string(&report).unwrap();
    assert!(
        json.contains(r#""offset":100,"length":176,"order":"native","kind":"schedule","bits":128"#)
    );
    assert!(!json.contains(&hex::encode(&key[..4])), "{json}");
    let back: Report = serde_json::from_str(&json).unwrap();
    assert_eq!(back.findings[0].offset, 100);
    assert!(back.schedule_keys().all(|key| key.expose().is_empty()));
    assert_eq!(report.schedule_keys().next().unwrap().expose(), key);
    assert!(!format!("{report:?}").contains(&format!("{}", key[0])) || key[0] < 10);
}

#[test]
fn an_empty_file_is_clean_and_a_folder_or_missing_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, b"").unwrap();
    let scan =
        |path: &std::path::Path| scan_file(path, &Needles::new(), &Options::default(), &|_| ());
    let report = scan(&empty).unwrap();
    assert!(report.is_clean() && report.bytes_scanned == 0);
    assert!(scan(folder.path())
        .unwrap_err()
        .to_string()
        .ends_with("is a directory"));
    let missing = scan(&folder.path().join("none")).unwrap_err().to_string();
    assert!(
        missing.starts_with("cannot open ") && missing.contains("No such file"),
        "{missing}"
    );
}
