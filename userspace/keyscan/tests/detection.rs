// SPDX-License-Identifier: GPL-2.0-or-later

//! Schedules of every form and damage, planted and found.

use keyscan::aes::Schedule;
use keyscan::{
    recover, scan_bytes, self_test, Damage, Harm, Layout, Needles, Options, Order, Place, Report,
    What,
};
use proptest::prelude::*;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// The schedule in some form, written down independently of the library's tables of forms.
fn image(key: &[u8], layout: Layout, swapped: bool) -> Vec<u8> {
    let forward = Schedule::expand(key).unwrap();
    let schedule = if matches!(layout, Layout::Decryption | Layout::DecryptionForward) {
        forward.equivalent_inverse()
    } else {
        forward
    };
    let mut rounds: Vec<&[u8]> = schedule.round_keys().collect();
    if matches!(layout, Layout::Decryption | Layout::EncryptionReversed) {
        rounds.reverse();
    }
    let mut image = rounds.concat();
    if swapped {
        image.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    }
    image
}

/// A finding: offset, layout, whether swapped, key.
type Found = (usize, Layout, bool, Vec<u8>);

/// The slow way: at every offset, every key that could be there, expanded and compared.
fn naive(memory: &[u8]) -> Vec<Found> {
    let mut all = Vec::new();
    for at in 0..memory.len() {
        for key_len in [16, 24, 32] {
            for layout in Layout::ALL {
                for swapped in [false, true] {
                    let end = at + 4 * (key_len + 28);
                    let Some(there) = memory.get(at..end) else {
                        continue;
                    };
                    // The key is what is stored first; of a reversed schedule take the words from the
                    // encryption schedule that the candidate would be the reverse of.
                    let reversed =
                        matches!(layout, Layout::Decryption | Layout::EncryptionReversed);
                    let mut plain = there.to_vec();
                    if swapped {
                        plain.chunks_exact_mut(4).for_each(<[u8]>::reverse);
                    }
                    let mut rounds: Vec<&[u8]> = plain.chunks_exact(16).collect();
                    if reversed {
                        rounds.reverse();
                    }
                    let mut key = rounds.concat();
                    if matches!(layout, Layout::Decryption | Layout::DecryptionForward)
                        && key_len > 16
                    {
                        // Round key 1 is stored gone through InvMixColumns; MixColumns undoes that.
                        for column in key[16..32].chunks_exact_mut(4) {
                            let c = [column[0], column[1], column[2], column[3]];
                            let double = |x: u8| (x << 1) ^ if x > 127 { 0x1b } else { 0 };
                            for i in 0..4 {
                                let (a, b) = (c[i], c[(i + 1) % 4]);
                                column[i] =
                                    double(a) ^ double(b) ^ b ^ c[(i + 2) % 4] ^ c[(i + 3) % 4];
                            }
                        }
                    }
                    let key = key[..key_len].to_vec();
                    if image(&key, layout, swapped) == there {
                        all.push((at, layout, swapped, key));
                    }
                }
            }
        }
    }
    all
}

fn found(report: &Report) -> Vec<Found> {
    let findings = report.findings.iter().map(|f| match &f.what {
        What::Schedule { layout, key, .. } => (
            f.offset as usize,
            *layout,
            f.order == Order::Words32Swapped,
            key.expose().to_vec(),
        ),
        other => panic!("unexpected finding: {other}"),
    });
    findings.collect()
}

fn scan(memory: &[u8], damage: Option<Damage>) -> Report {
    let options = Options {
        damage,
        ..Options::default()
    };
    scan_bytes(memory, &Needles::new(), &options, &|_| ())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_scan_finds_what_the_slow_way_finds(
        seed: u64,
        key_len in prop::sample::select(vec![16usize, 24, 32]),
        layout in prop::sample::select(Layout::ALL.to_vec()),
        swapped: bool,
        at in 0usize..200,
        tail in 0usize..60,
        random_around: bool,
    ) {
        let key = random(!seed, key_len);
        let image = image(&key, layout, swapped);
        let len = at + image.len() + tail;
        let mut memory = if random_around { random(seed, len) } else { vec![0; len] };
        memory[at..at + image.len()].copy_from_slice(&image);
        prop_assert_eq!(naive(&memory), vec![(at, layout, swapped, key)]);
        prop_assert_eq!(found(&scan(&memory, None)), naive(&memory));
        prop_assert_eq!(found(&scan(&memory, Some(Damage::flips(0.05)))), naive(&memory));
    }

    #[test]
    fn ten_wrong_bits_are_corrected_and_counted(
        seed: u64,
        key_len in prop::sample::select(vec![16usize, 24, 32]),
        layout in prop::sample::select(Layout::ALL.to_vec()),
        swapped: bool,
        at in 0usize..200,
        bits in prop::collection::btree_set(0usize..176 * 8, 10),
    ) {
        let key = random(!seed, key_len);
        let mut image = image(&key, layout, swapped);
        for bit in bits {
            image[bit / 8] ^= 1 << (bit % 8);
        }
        let mut memory = random(seed, at + image.len() + 50);
        memory[at..at + image.len()].copy_from_slice(&image);
        let report = scan(&memory, Some(Damage::flips(0.02)));
        prop_assert_eq!(found(&report), vec![(at, layout, swapped, key)]);
        match report.findings[0].what {
            What::Schedule { fallen, risen, .. } => prop_assert_eq!(fallen + risen, 10),
            _ => unreachable!(),
        }
    }
}

#[test]
fn what_is_promised_is_found() {
    for (harm, count, share) in [
        (Harm::None, 20, 1.0),
        (Harm::Bits(10), 20, 1.0),
        (Harm::Flips(0.05), 20, 0.95),
        (Harm::DecayToZero(0.2), 10, 0.9),
        (Harm::DecayToOne(0.2), 10, 0.9),
    ] {
        let lines = self_test(&[harm], count, 7);
        let found: u32 = lines.iter().map(|line| line.found).sum();
        let planted: u32 = lines.iter().map(|line| line.planted).sum();
        assert_eq!(planted, 12 * count);
        let least = share * f64::from(planted);
        assert!(f64::from(found) >= least, "{harm}: {found} of {planted}");
        assert!(lines
            .iter()
            .all(|line| line.false_reports + line.wrong_key == 0));
    }
}

#[test]
fn a_cold_boot_image_at_a_known_place_is_recovered() {
    for (bits, decay) in [(128u16, 0.3), (256, 0.2)] {
        let key = random(u64::from(bits), usize::from(bits / 8));
        let mut memory = image(&key, Layout::Encryption, false);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for byte in &mut memory {
            for bit in 0..8 {
                if f64::from(rng.next_u32()) < decay * f64::from(u32::MAX) {
                    *byte &= !(1 << bit);
                }
            }
        }
        let place = Place {
            bits,
            layout: Layout::Encryption,
            swapped: false,
        };
        let (found, fallen, risen) = recover(&memory, &place, decay, 0.001, 50).unwrap();
        assert_eq!(found.expose(), key);
        assert!(fallen > 100 && risen == 0);
    }
}

#[test]
fn two_schedules_side_by_side_are_an_xts_pair_and_distant_ones_are_not() {
    let keys = [random(1, 32), random(2, 32), random(3, 16)];
    // As Linux has it: both directions of one key, a length, and the same of the other.
    let mut memory = vec![0; 4096];
    for (i, key) in keys[..2].iter().enumerate() {
        for (j, layout) in [Layout::Encryption, Layout::Decryption]
            .into_iter()
            .enumerate()
        {
            memory[64 + 496 * i + 240 * j..][..240].copy_from_slice(&image(key, layout, false));
        }
    }
    memory[2048..2224].copy_from_slice(&image(&keys[2], Layout::Encryption, false));
    let report = scan(&memory, None);
    assert_eq!(report.findings.len(), 5);
    assert_eq!(report.xts_pairs.len(), 1);
    let pair = &report.xts_pairs[0];
    assert_eq!((pair.bits, pair.first, pair.second), (256, 64, 560));
}

#[test]
fn random_memory_has_no_damaged_schedules_but_the_control() {
    let mut memory = random(5, 32 << 20);
    let key = random(6, 32);
    let mut planted = image(&key, Layout::Decryption, true);
    for bit in (0..planted.len() * 8).step_by(25) {
        planted[bit / 8] ^= 1 << (bit % 8);
    }
    memory[12_345_677..][..240].copy_from_slice(&planted);
    let report = scan(&memory, Some(Damage::flips(0.05)));
    assert_eq!(
        found(&report),
        [(12_345_677, Layout::Decryption, true, key)]
    );
}

/// How much decay a schedule at a known place may have: `cargo test --release -p keyscan --test
/// detection recovery_at -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn recovery_at_a_known_place_is_shown() {
    for (layout, bits) in [Layout::Encryption, Layout::Decryption]
        .into_iter()
        .flat_map(|layout| [128u16, 192, 256].map(|bits| (layout, bits)))
    {
        for decay in [0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7] {
            let (count, start) = (10, std::time::Instant::now());
            let found = (0..count).filter(|&seed| {
                let key = random(seed + 1000, usize::from(bits / 8));
                let mut memory = image(&key, layout, false);
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                for byte in &mut memory {
                    for bit in 0..8 {
                        let rate = if *byte >> bit & 1 == 1 { decay } else { 0.001 };
                        if f64::from(rng.next_u32()) < rate * f64::from(u32::MAX) {
                            *byte ^= 1 << bit;
                        }
                    }
                }
                let place = Place {
                    bits,
                    layout,
                    swapped: false,
                };
                let recovered = recover(&memory, &place, decay, 0.001, 60);
                recovered.is_some_and(|(k, ..)| {
                    assert_eq!(k.expose(), key, "another key than the one that decayed");
                    true
                })
            });
            let found = found.count();
            println!(
                "AES-{bits} {layout}, {:.0} % decay: {found}/{count}, {:.2?} each",
                100.0 * decay,
                start.elapsed() / count as u32
            );
            // Decryption schedules carry less; what is promised is the other kind.
            assert!(found as u64 == count || decay > 0.3 || layout != Layout::Encryption);
        }
    }
}

/// The whole table: `KEYSCAN_COUNT=100 cargo test --release -p keyscan --test detection -- --ignored
/// --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn the_detection_table_is_shown() {
    let count = std::env::var("KEYSCAN_COUNT").map_or(50, |n| n.parse().unwrap());
    for harm in Harm::ALL {
        for line in self_test(&[harm], count, 1) {
            println!(
                "{harm:22} AES-{} {:40} {:4}/{} wrong {} false {} {:.2?}",
                line.bits,
                line.layout.to_string(),
                line.found,
                line.planted,
                line.wrong_key,
                line.false_reports,
                line.time
            );
            assert_eq!((line.wrong_key, line.false_reports), (0, 0));
        }
    }
}
