// SPDX-License-Identifier: GPL-2.0-or-later

//! Speed of the searches on one core: random memory, empty memory, a mix of pointers, small numbers and
//! zeros as kernel heaps have it, and the first 64 MiB of the dump that `KEYSCAN_DUMP` names.

// `criterion_group!` makes a public function without a doc.
#![allow(missing_docs)]

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use keyscan::{scan_bytes, Damage, Expand, Needles, Options};
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs::File;
use std::io::Read;

const LEN: usize = 64 << 20;

fn memories() -> Vec<(&'static str, Vec<u8>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut random = vec![0; LEN];
    rng.fill_bytes(&mut random);
    let heap = (0..LEN / 8)
        .flat_map(|_| {
            let draw = rng.next_u32();
            match draw % 4 {
                0 => 0xffff_8880_0000_0000 | u64::from(draw),
                1 => u64::from(draw >> 24),
                _ => 0,
            }
            .to_le_bytes()
        })
        .collect();
    let mut memories = vec![("random", random), ("empty", vec![0; LEN]), ("heap", heap)];
    if let Some(path) = std::env::var_os("KEYSCAN_DUMP") {
        let mut dump = Vec::new();
        File::open(path)
            .and_then(|file| file.take(LEN as u64).read_to_end(&mut dump))
            .expect("KEYSCAN_DUMP names a readable file");
        dump.resize(LEN, 0);
        memories.push(("dump", dump));
    }
    memories
}

fn needles() -> Needles {
    let mut needles = Needles::new();
    for i in 0..4 {
        let mut secret = [0; 64];
        ChaCha8Rng::seed_from_u64(100 + i).fill_bytes(&mut secret);
        needles
            .add_secret(&format!("k{i}"), &secret, Expand::Xts)
            .expect("random bytes are not regular");
    }
    needles
}

fn bench(c: &mut Criterion) {
    let one_core = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("one thread");
    let known = needles();
    let none = Needles::new();
    let mut group = c.benchmark_group("scan");
    group
        .throughput(Throughput::Bytes(LEN as u64))
        .sample_size(10);
    for (name, memory) in memories() {
        for (search, needles, schedules, damage) in [
            ("schedules", &none, true, None),
            ("needles", &known, false, None),
            ("both", &known, true, None),
            ("5 % flips", &none, true, Some(Damage::flips(0.05))),
            ("30 % decay", &none, true, Some(Damage::decay(0.3))),
        ] {
            let options = Options {
                schedules,
                damage,
                ..Options::default()
            };
            group.bench_function(format!("{search}/{name}"), |b| {
                b.iter(|| one_core.install(|| scan_bytes(&memory, needles, &options, &|_| ())));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
