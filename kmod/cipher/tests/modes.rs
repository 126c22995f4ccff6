// SPDX-License-Identifier: GPL-2.0-or-later

//! Every variant, mode, key size and direction against RustCrypto: any key, IV, length, cut, alignment,
//! in place or not. A few tests for each of them, by name, also for those that this CPU cannot run, which
//! say why.

mod common;
#[path = "common/pages.rs"]
mod pages;

use common::{armed, Hash, Row};
use libtest_mimic::{run, Arguments, Completion, Failed, Trial};
use pages::Pages;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::process::ExitCode;
use tresor_cipher::{
    crypt, CheckValue, Direction, KeySize, Mode, NotHeld, Share, VolumeKey, SECTION_MAX,
};

/// Bytes before and behind a destination that must stay what they are.
const GUARD: usize = 160;

/// A volume, open on a CPU that holds its M.
struct Volume {
    row: Row,
    m: [u8; 32],
    blob: Vec<u8>,
    share: Box<Share>,
    key: VolumeKey,
}

impl Volume {
    fn new(row: Row, m: [u8; 32], s: [u8; 32], blob: &[u8]) -> Self {
        let blob = &blob[..row.blob_len()];
        let (share, check) = armed(&m, &s);
        Self {
            row,
            m,
            blob: blob.to_vec(),
            share,
            key: VolumeKey::new::<Hash>(row.mode, check, blob).expect("a blob of the mode"),
        }
    }

    /// One that is always the same.
    fn fixed(row: Row) -> Self {
        let blob: Vec<u8> = (0..64).map(|i| i * 3 + 1).collect();
        Self::new(row, [0x42; 32], [0x99; 32], &blob)
    }

    /// What RustCrypto makes of a whole request.
    fn expected(&self, iv: &[u8; 16], data: &[u8]) -> Vec<u8> {
        let mut data = data.to_vec();
        let Row {
            mode, direction, ..
        } = self.row;
        common::crypt(&self.m, mode, &self.blob, iv, direction, &mut data);
        data
    }

    /// One section.
    fn section(
        &self,
        iv: &[u8; 16],
        block: u64,
        dst: &mut [u8],
        src: Option<&[u8]>,
    ) -> Result<(), NotHeld> {
        let to = dst.as_mut_ptr();
        let from = src.map_or(to.cast_const(), |src| {
            assert_eq!(src.len(), dst.len());
            src.as_ptr()
        });
        let Row {
            engine, direction, ..
        } = self.row;
        let (share, key, len) = (&self.share, &self.key, dst.len());
        // SAFETY: nobody else uses the share; both ranges are `len` bytes, equal or disjoint.
        unsafe { crypt(engine, direction, share, key, iv, block, to, from, len) }
    }

    /// A request in sections of as many blocks as `cuts` says, in turn; the last takes what is left of
    /// the last block. `offsets` shift destination and source in memory.
    fn request(
        &self,
        iv: &[u8; 16],
        data: &[u8],
        cuts: &[usize],
        offsets: (usize, usize),
        in_place: bool,
    ) -> Result<Vec<u8>, String> {
        let at = GUARD + offsets.0;
        let mut out = vec![0xa5u8; at + data.len() + GUARD];
        let mut src = vec![0x3cu8; offsets.1 + data.len()];
        src[offsets.1..].copy_from_slice(data);
        if in_place {
            out[at..][..data.len()].copy_from_slice(data);
        }
        let (mut done, mut chain) = (0, *iv);
        for cut in cuts.iter().cycle() {
            let left = data.len() - done;
            if left == 0 {
                break;
            }
            let mut len = (16 * cut).min(left).min(SECTION_MAX);
            // Ciphertext stealing wants the last whole block and the rest in one section.
            if self.row.mode == Mode::Xts && left - len > 0 && left - len < 16 {
                if len + 16 > SECTION_MAX {
                    len -= 16;
                } else {
                    len = left;
                }
            }
            let before = out.clone();
            let from = &src[offsets.1 + done..][..len];
            let to = &mut out[at + done..][..len];
            let block = done as u64 / 16;
            self.section(&chain, block, to, (!in_place).then_some(from))
                .map_err(|error| format!("{len} bytes at {done}: {error}"))?;
            if out[..at + done] != before[..at + done]
                || out[at + done + len..] != before[at + done + len..]
            {
                return Err(format!("{len} bytes at {done}: changed something else"));
            }
            if matches!(self.row.mode, Mode::Cbc | Mode::EssivCbc) {
                let ciphertext = match self.row.direction {
                    Direction::Encrypt => &out[at + done..][..len],
                    Direction::Decrypt => &data[done..][..len],
                };
                chain = ciphertext[len - 16..].try_into().expect("16 bytes");
            }
            done += len;
        }
        Ok(out[at..][..data.len()].to_vec())
    }
}

/// Fails with what was expected and what was there, if they differ.
fn same(got: &[u8], expected: &[u8], place: &str) -> Result<(), String> {
    match got.iter().zip(expected).position(|(a, b)| a != b) {
        None if got.len() == expected.len() => Ok(()),
        at => Err(format!(
            "{place}: wrong at byte {at:?} of {}",
            expected.len()
        )),
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * i) >> 3) as u8 ^ i as u8).collect()
}

/// Lengths of requests that the mode has, from `least` to `most`.
fn lengths(mode: Mode, least: usize, most: usize) -> impl Iterator<Item = usize> {
    (least..=most).filter(move |len| mode.allows(*len))
}

/// Any request under any key.
fn as_rustcrypto(row: Row) -> Result<(), String> {
    let data = vec(any::<u8>(), 17..=8192).prop_map(move |mut data| {
        if matches!(row.mode, Mode::Cbc | Mode::EssivCbc | Mode::Ecb) {
            data.truncate(data.len() / 16 * 16);
        }
        data
    });
    // A counter is about to carry into its higher bytes as often as not.
    let iv = prop_oneof![
        any::<[u8; 16]>(),
        (any::<[u8; 16]>(), 0usize..=16, 0u8..=250).prop_map(|(mut iv, ones, last)| {
            iv[16 - ones..].fill(0xff);
            iv[15] -= if ones > 0 { last } else { 0 };
            iv
        })
    ];
    let cuts = vec(1usize..=256, 1..6);
    let request = (data, iv, cuts, (0usize..64, 0usize..64), any::<bool>());
    let key = (any::<[u8; 32]>(), any::<[u8; 32]>(), vec(any::<u8>(), 64));
    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(
            &(key, request),
            |((m, s, blob), (data, iv, cuts, offsets, in_place))| {
                let volume = Volume::new(row, m, s, &blob);
                let got = volume
                    .request(&iv, &data, &cuts, offsets, in_place)
                    .map_err(TestCaseError::fail)?;
                same(&got, &volume.expected(&iv, &data), "the request").map_err(TestCaseError::fail)
            },
        )
        .map_err(|error| error.to_string())
}

/// Every length of a section, at the edge of memory: a byte read or written outside faults.
fn within_its_text(row: Row) -> Result<(), String> {
    let volume = Volume::fixed(row);
    let iv = [0xfe; 16];
    let data = bytes(SECTION_MAX);
    let (mut from, mut to) = (Pages::new(), Pages::new());
    let short = lengths(row.mode, 1, 700);
    let long = lengths(row.mode, 701, SECTION_MAX).filter(|len| len % 113 < 16);
    for len in short.chain(long).chain([SECTION_MAX]) {
        let data = &data[..len];
        let expected = volume.expected(&iv, data);
        for (place, in_place) in [
            ("in front", false),
            ("in front", true),
            ("at the end", false),
            ("at the end", true),
        ] {
            let place_of = |pages| -> *mut [u8] {
                let pages: &mut Pages = pages;
                if place == "in front" {
                    pages.first(len)
                } else {
                    pages.last(len)
                }
            };
            to.all().fill(0x5a);
            from.all().fill(0xc3);
            let (src, dst) = (place_of(&mut from), place_of(&mut to));
            // SAFETY: slices of different mappings, which live until the end of the function.
            let (src, dst) = unsafe { (&mut *src, &mut *dst) };
            src.copy_from_slice(data);
            if in_place {
                dst.copy_from_slice(data);
            }
            let src: &[u8] = src;
            volume
                .section(&iv, 0, dst, (!in_place).then_some(src))
                .map_err(|error| error.to_string())?;
            let what = format!("{len} bytes {place} of a page, in place: {in_place}");
            same(dst, &expected, &what)?;
            if !in_place {
                same(src, data, &format!("{what}: the source"))?;
            }
            let changed = to.all().iter().filter(|b| **b != 0x5a).count();
            if changed > len {
                return Err(format!("{what}: {changed} bytes changed"));
            }
        }
    }
    Ok(())
}

/// A request cut in two after each of its blocks.
fn cut_anywhere(row: Row) -> Result<(), String> {
    let volume = Volume::fixed(row);
    let iv = *b"sixteen bytes iv";
    for len in lengths(row.mode, 16 * 37, 16 * 38) {
        let data = bytes(len);
        let expected = volume.expected(&iv, &data);
        for first in 1..=37 {
            for in_place in [false, true] {
                let got = volume.request(&iv, &data, &[first, 38], (3, 1), in_place)?;
                same(
                    &got,
                    &expected,
                    &format!("{len} bytes cut after {first} blocks"),
                )?;
            }
        }
    }
    Ok(())
}

/// What happens to a destination when the registers do not hold the key's M.
fn refused(volume: &Volume) -> Result<(), String> {
    for len in [16, 112, 128, 144, 512, 4096, 1, 31, 131] {
        if !volume.row.mode.allows(len) {
            continue;
        }
        let mut out = vec![0x77u8; len];
        let done = volume.section(&[0; 16], 5, &mut out, Some(&bytes(len)));
        if done != Err(NotHeld) || out.iter().any(|b| *b != 0x77) {
            return Err(format!("{len} bytes: {done:?}, or the destination changed"));
        }
    }
    Ok(())
}

/// Wrong registers, an erased share, a key of another M, lengths that the mode has not.
fn nothing_without_key(row: Row) -> Result<(), String> {
    let mut volume = Volume::fixed(row);
    let registers = volume.share.registers();
    for bit in 0..256 {
        let mut wrong = registers;
        wrong[bit / 8] ^= 1 << (bit % 8);
        volume.share.set_registers(&wrong);
        refused(&volume)?;
    }
    volume.share.set_registers(&registers);
    // The control: with the right registers the same call works.
    let mut out = [0; 16];
    volume
        .section(&[0; 16], 5, &mut out, Some(&[1; 16]))
        .map_err(|error| error.to_string())?;
    let mut buffer = vec![0x55u8; 3 * SECTION_MAX];
    for len in (0..=SECTION_MAX + 17).chain([2 * SECTION_MAX]) {
        if row.mode.allows(len) {
            continue;
        }
        let done = volume.section(&[0; 16], 0, &mut buffer[..len], None);
        if done != Err(NotHeld) || buffer.iter().any(|b| *b != 0x55) {
            return Err(format!("{len} bytes: {done:?}, or the text changed"));
        }
    }
    let check = *volume.key.check();
    for bit in 0..128 {
        let mut other = check;
        other.0[bit / 8] ^= 1 << (bit % 8);
        volume.key = VolumeKey::new::<Hash>(row.mode, other, &volume.blob).expect("a blob");
        refused(&volume)?;
    }
    volume.key = VolumeKey::new::<Hash>(row.mode, check, &volume.blob).expect("a blob");
    volume.share.erase();
    refused(&volume)
}

/// What a section of `text` from block `block` of a request becomes.
fn expected_from(volume: &Volume, iv: [u8; 16], block: u64, text: &[u8]) -> Vec<u8> {
    let row = volume.row;
    match row.mode {
        // The end of a data unit whose other blocks are zero.
        Mode::Xts => {
            let mut unit = vec![0u8; 16 * block as usize];
            unit.extend(text);
            volume.expected(&iv, &unit).split_off(16 * block as usize)
        }
        // The counter is the IV plus the block.
        Mode::Ctr => {
            let counter = u128::from_be_bytes(iv).wrapping_add(u128::from(block));
            volume.expected(&counter.to_be_bytes(), text)
        }
        // The block is not used, but by ESSIV, which is then chained to the IV itself.
        Mode::Cbc | Mode::EssivCbc | Mode::Ecb | Mode::None => {
            let key = common::volume_key(&volume.m, row.mode, &volume.blob);
            common::under_key(row.mode, &key, iv, row.direction, text)
        }
    }
}

/// Sections that begin anywhere in a long request.
fn far_into_a_request(row: Row) -> Result<(), String> {
    let volume = Volume::fixed(row);
    let iv = [0xf7; 16];
    let blocks: &[u64] = match row.mode {
        Mode::Xts => &[1, 2, 63, 64, 127, 128, 129, 1000, 65_535, 65_536, 69_999],
        _ => &[1, 255, 256, u32::MAX as u64, 1 << 32, u64::MAX],
    };
    for block in blocks {
        let text = bytes(48);
        let mut out = [0; 48];
        volume
            .section(&iv, *block, &mut out, Some(&text))
            .map_err(|error| error.to_string())?;
        let expected = expected_from(&volume, iv, *block, &text);
        same(&out, &expected, &format!("from block {block}"))?;
    }
    Ok(())
}

/// Counters that carry into the higher 32, 64 and 96 bits, and wrap, at every block of a section.
fn counters_carry(row: Row) -> Result<(), String> {
    let volume = Volume::fixed(row);
    let data = bytes(16 * 35 + 7);
    for bits in [8, 32, 64, 96, 127, 128] {
        for before in 0..=36u128 {
            let start = 1u128.checked_shl(bits).unwrap_or(0).wrapping_sub(before);
            let iv = start.to_be_bytes();
            let got = volume.request(&iv, &data, &[36], (0, 5), before % 2 == 0)?;
            let place = format!("{before} blocks before 2^{bits}");
            same(&got, &volume.expected(&iv, &data), &place)?;
        }
    }
    Ok(())
}

fn only_blobs_that_make_a_key_are_taken() -> Result<(), Failed> {
    for mode in Mode::ALL {
        for len in 0..200 {
            let made = VolumeKey::new::<Hash>(mode, CheckValue::default(), &vec![1; len]);
            let (good, lengths): (&[usize], _) = match mode {
                Mode::Xts => (&[32, 64], "32 or 64"),
                _ => (&[16, 24, 32], "16, 24 or 32"),
            };
            let expected = format!("a blob for {mode} is {lengths} bytes, not {len}");
            match made {
                Ok(_) if good.contains(&len) => {}
                Err(error) if !good.contains(&len) && error.to_string() == expected => {}
                other => return Err(format!("{mode}, {len} bytes: {other:?}").into()),
            }
        }
    }
    let none = VolumeKey::new::<Hash>(Mode::None, CheckValue::default(), &[1; 32]);
    none.is_err()
        .then_some(())
        .ok_or("a key for no mode".into())
}

fn a_key_of_each_size_and_mode_is_another() -> Result<(), Failed> {
    let key = |mode, len| common::volume_key(&[7; 32], mode, &vec![9; len])[..16].to_vec();
    let mut seen = std::collections::HashSet::new();
    for mode in Mode::ALL {
        for size in KeySize::ALL {
            seen.insert(key(mode, size.bytes()));
        }
    }
    (seen.len() == 15)
        .then_some(())
        .ok_or("two modes or sizes have a key in common".into())
}

fn main() -> ExitCode {
    let mut trials = vec![
        Trial::test(
            "only_blobs_that_make_a_key_are_taken",
            only_blobs_that_make_a_key_are_taken,
        ),
        Trial::test(
            "a_key_of_each_size_and_mode_is_another",
            a_key_of_each_size_and_mode_is_another,
        ),
    ];
    for row in Row::all() {
        let mut add = |what: &str, test: fn(Row) -> Result<(), String>| {
            let body = move || match row.engine.lacks() {
                Some(lack) => Ok(Completion::ignored_with(format!("this CPU lacks {lack}"))),
                None => test(row)
                    .map(|()| Completion::Completed)
                    .map_err(Failed::from),
            };
            trials.push(Trial::ignorable_test(
                format!("{}_{what}", row.name()),
                body,
            ));
        };
        add("any_request_as_rustcrypto_does", as_rustcrypto);
        add("every_length_touching_nothing_else", within_its_text);
        add("the_same_cut_anywhere", cut_anywhere);
        add("from_any_block_of_a_request", far_into_a_request);
        add(
            "nothing_without_its_key_or_of_a_wrong_length",
            nothing_without_key,
        );
        if row.mode == Mode::Ctr {
            add("over_every_carry_of_its_counter", counters_carry);
        }
    }
    run(&Arguments::from_args(), trials).exit_code()
}
