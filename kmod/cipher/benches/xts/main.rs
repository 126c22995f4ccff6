// SPDX-License-Identifier: GPL-2.0-or-later

//! How fast a whole XTS request is: shares, check value, keys, tweak, data, wipe. Not in it are the
//! debug registers themselves, the FPU section and the masking of interrupts.
//!
//! Linux's own code is no part of this repository: it is assembled from the kernel tree that
//! `scripts/setup` has unpacked, or the one that `TRESOR_LINUX_SOURCE` names. Requests to both
//! alternate, each followed by an LFENCE, so that none hides in the next one.

#[path = "../../tests/common/mod.rs"]
mod common;
mod linux;
#[path = "../../tests/common/secrets.rs"]
mod secrets;

use common::{armed, engines, volume_key, Hash};
use criterion::{BenchmarkId, Criterion, Throughput};
use linux::{linux_name, Linux};
use std::arch::x86_64::_mm_lfence;
use std::hint::black_box;
use std::time::{Duration, Instant};
use tresor_cipher::{crypt, Direction, Engine, Mode, Share, VolumeKey};

const M: [u8; 32] = [0x3a; 32];
const LENGTHS: [usize; 2] = [512, 4096];
/// Pairs of timings for each row of the table.
const PAIRS: usize = 101;
/// Length of one timing.
const SLICE: Duration = Duration::from_micros(400);

/// A request to the engine.
struct Tresor {
    engine: Engine,
    share: Box<Share>,
    key: VolumeKey,
    direction: Direction,
}

impl Tresor {
    fn new(engine: Engine, blob: &[u8], direction: Direction) -> Self {
        let (share, check) = armed(&M, &[0x77; 32]);
        let key = VolumeKey::new::<Hash>(Mode::Xts, check, blob).expect("a blob of 32 or 64 bytes");
        Self {
            engine,
            share,
            key,
            direction,
        }
    }

    fn request(&self, iv: &[u8; 16], dst: &mut [u8], src: &[u8]) {
        assert_eq!(dst.len(), src.len());
        // SAFETY: only engines that the CPU supports are asked for; the share is this struct's own;
        // both slices are `len` bytes and disjoint.
        unsafe {
            crypt(
                self.engine,
                self.direction,
                &self.share,
                &self.key,
                iv,
                0,
                dst.as_mut_ptr(),
                src.as_ptr(),
                src.len(),
            )
        }
        .expect("M is armed");
    }
}

/// Buffers of a page each, aligned as dm-crypt's are.
#[repr(C, align(4096))]
struct Pages {
    src: [u8; 4096],
    dst: [u8; 4096],
}

/// Nanoseconds per request.
fn time(requests: u32, mut request: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..requests {
        request();
        // SAFETY: every x86-64 CPU has LFENCE.
        unsafe { _mm_lfence() };
    }
    start.elapsed().as_nanos() as f64 / f64::from(requests)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One row: alternates both, returns the medians of their times and of the pairs' ratios.
fn compare(mut ours: impl FnMut(), mut theirs: impl FnMut()) -> (f64, f64, f64) {
    let requests = |ns: f64| (SLICE.as_nanos() as f64 / ns).max(1.0) as u32;
    let (n, k) = (
        requests(time(2000, &mut ours)),
        requests(time(2000, &mut theirs)),
    );
    let (mut a, mut b, mut ratios) = (vec![], vec![], vec![]);
    for pair in 0..PAIRS {
        let (ours, theirs) = if pair % 2 == 0 {
            let first = time(n, &mut ours);
            (first, time(k, &mut theirs))
        } else {
            let first = time(k, &mut theirs);
            (time(n, &mut ours), first)
        };
        a.push(ours);
        b.push(theirs);
        ratios.push(theirs / ours);
    }
    (median(a), median(b), median(ratios))
}

fn table(linux: &Linux, engine: Engine) {
    println!(
        "\n{} against Linux's {}: medians of {PAIRS} pairs",
        engine.name(),
        linux_name(engine)
    );
    println!(
        "{:<24}{:>6}{:>12}{:>12}{:>10}",
        "", "bytes", "tresor", "Linux", "speed"
    );
    for (name, blob) in [
        ("XTS-AES-256", &[9u8; 64][..]),
        ("XTS-AES-128", &[8u8; 32][..]),
    ] {
        let keys = linux.key(&volume_key(&M, blob));
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            let tresor = Tresor::new(engine, blob, direction);
            for len in LENGTHS {
                let mut pages = Box::new(Pages {
                    src: [0x5f; 4096],
                    dst: [0; 4096],
                });
                let mut other = Box::new([0u8; 4096]);
                let iv = [3; 16];
                // A comparison of two codes that do not compute the same would mean nothing.
                tresor.request(&iv, &mut pages.dst[..len], &pages.src[..len]);
                let out = &mut other[..len];
                linux.request(engine, direction, &keys, &iv, out, &pages.src[..len]);
                assert_eq!(
                    pages.dst[..len],
                    other[..len],
                    "Linux computes something else"
                );
                let Pages { src, dst } = &mut *pages;
                let (a, b, ratio) = compare(
                    || tresor.request(black_box(&iv), &mut dst[..len], &src[..len]),
                    || {
                        linux.request(
                            engine,
                            direction,
                            &keys,
                            black_box(&iv),
                            &mut other[..len],
                            &src[..len],
                        )
                    },
                );
                println!(
                    "{:<24}{len:>6}{a:>9.0} ns{b:>9.0} ns{ratio:>10.3}",
                    format!("{name} {direction:?}").to_lowercase()
                );
            }
        }
    }
}

fn throughput(c: &mut Criterion) {
    let mut group = c.benchmark_group("XTS-AES-256");
    let blob = [9u8; 64];
    for len in LENGTHS {
        group.throughput(Throughput::Bytes(len as u64));
        let mut pages = Box::new(Pages {
            src: [0x5f; 4096],
            dst: [0; 4096],
        });
        for engine in engines() {
            for direction in [Direction::Encrypt, Direction::Decrypt] {
                let tresor = Tresor::new(engine, &blob, direction);
                let name = format!("tresor {} {direction:?}", engine.name()).to_lowercase();
                let Pages { src, dst } = &mut *pages;
                group.bench_function(BenchmarkId::new(name, len), |b| {
                    b.iter(|| tresor.request(black_box(&[3; 16]), &mut dst[..len], &src[..len]));
                });
            }
        }
        let key = volume_key(&M, &blob);
        let rustcrypto = common::xts_cipher(key[..].try_into().expect("64 bytes"));
        group.bench_function(BenchmarkId::new("RustCrypto encrypt", len), |b| {
            b.iter(|| rustcrypto.encrypt_sector(&mut pages.dst[..len], black_box([3; 16])));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    throughput(&mut criterion);
    criterion.final_summary();
    if std::env::args().any(|arg| arg == "--test") {
        println!("comparison with Linux's aes-xts-avx skipped: it measures, and tests nothing");
        return;
    }
    match Linux::assemble() {
        Ok(linux) => engines()
            .into_iter()
            .for_each(|engine| table(&linux, engine)),
        Err(why) => println!("\ncomparison with Linux's aes-xts-avx skipped: {why}"),
    }
}
