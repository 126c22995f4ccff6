// SPDX-License-Identifier: GPL-2.0-or-later

//! XTS against RustCrypto: any key, IV, length, split, alignment, in place or not.

mod common;

use common::{armed, engines, Hash};
use proptest::collection::vec;
use proptest::prelude::*;
use tresor_cipher::{
    crypt, CheckValue, Direction, Engine, Mode, NotHeld, Share, VolumeKey, SECTION_MAX,
};

/// Bytes before and behind a destination that must stay what they are.
const GUARD: usize = 160;

fn blob() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 32), vec(any::<u8>(), 64)]
}

fn engine() -> impl Strategy<Value = Engine> {
    proptest::sample::select(engines())
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Encrypt), Just(Direction::Decrypt)]
}

/// `data` cut into sections of at most `cuts` blocks, in turn; `offsets` shift source and destination
/// in memory; `in_place` uses one buffer. Panics if a byte outside of the sections changes.
#[allow(clippy::too_many_arguments)] // what can vary, varies
fn in_sections(
    engine: Engine,
    share: &Share,
    key: &VolumeKey,
    iv: &[u8; 16],
    direction: Direction,
    data: &[u8],
    cuts: &[usize],
    offsets: (usize, usize),
    in_place: bool,
) -> Result<Vec<u8>, NotHeld> {
    let mut out = vec![0xa5u8; data.len() + 2 * GUARD + 64];
    let at = GUARD + offsets.0;
    let mut src = vec![0x3cu8; data.len() + 64];
    src[offsets.1..][..data.len()].copy_from_slice(data);
    if in_place {
        out[at..][..data.len()].copy_from_slice(data);
    }
    let mut done = 0;
    for cut in cuts.iter().cycle() {
        if done == data.len() {
            break;
        }
        let len = (16 * cut).min(data.len() - done).min(SECTION_MAX);
        let before = out.clone();
        let dst = out[at + done..][..len].as_mut_ptr();
        let from = if in_place {
            dst.cast_const()
        } else {
            src[offsets.1 + done..][..len].as_ptr()
        };
        // SAFETY: nobody else uses the share; both ranges are `len` bytes, equal or disjoint.
        unsafe {
            crypt(
                engine,
                direction,
                share,
                key,
                iv,
                done as u64 / 16,
                dst,
                from,
                len,
            )?
        };
        assert_eq!(out[..at + done], before[..at + done], "before the section");
        assert_eq!(
            out[at + done + len..],
            before[at + done + len..],
            "behind the section"
        );
        done += len;
    }
    Ok(out[at..][..data.len()].to_vec())
}

fn reference(
    m: &[u8; 32],
    blob: &[u8],
    iv: &[u8; 16],
    direction: Direction,
    data: &[u8],
) -> Vec<u8> {
    let mut data = data.to_vec();
    common::xts(m, blob, iv, direction, &mut data);
    data
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_section_under_any_key_is_what_rustcrypto_computes(
        engine in engine(), m: [u8; 32], s: [u8; 32], blob in blob(), iv: [u8; 16],
        direction in direction(), data in vec(any::<u8>(), 16..=8192).prop_map(|mut d| { d.truncate(d.len() / 16 * 16); d }),
        cuts in vec(1usize..=256, 1..6), offsets in (0usize..64, 0usize..64), in_place: bool,
    ) {
        let (share, check) = armed(&m, &s);
        let key = VolumeKey::new::<Hash>(Mode::Xts, check, &blob).unwrap();
        let out =
            in_sections(engine, &share, &key, &iv, direction, &data, &cuts, offsets, in_place);
        prop_assert_eq!(out, Ok(reference(&m, &blob, &iv, direction, &data)));
    }

    #[test]
    fn decryption_undoes_encryption(
        engine in engine(), m: [u8; 32], s: [u8; 32], blob in blob(), iv: [u8; 16],
        data in vec(any::<[u8; 16]>(), 1..=256).prop_map(|d| d.concat()),
    ) {
        let (share, check) = armed(&m, &s);
        let key = VolumeKey::new::<Hash>(Mode::Xts, check, &blob).unwrap();
        let whole = [256];
        let run = |direction, data: &[u8]| {
            in_sections(engine, &share, &key, &iv, direction, data, &whole, (0, 0), true).unwrap()
        };
        let there = run(Direction::Encrypt, &data);
        prop_assert_eq!(run(Direction::Decrypt, &there), data);
    }

    #[test]
    fn a_section_far_into_a_data_unit_starts_with_the_right_tweak(
        engine in engine(), m: [u8; 32], blob in blob(), iv: [u8; 16], skipped in 0usize..70_000,
    ) {
        let (share, check) = armed(&m, &[9; 32]);
        let key = VolumeKey::new::<Hash>(Mode::Xts, check, &blob).unwrap();
        let mut unit = vec![0u8; 16 * (skipped + 3)];
        let mut out = [0u8; 48];
        let src = unit[16 * skipped..].as_ptr();
        let (block, dst) = (skipped as u64, out.as_mut_ptr());
        // SAFETY: nobody else uses the share; both ranges are 48 bytes and disjoint.
        unsafe { crypt(engine, Direction::Encrypt, &share, &key, &iv, block, dst, src, 48) }.unwrap();
        common::xts(&m, &blob, &iv, Direction::Encrypt, &mut unit);
        prop_assert_eq!(&out[..], &unit[16 * skipped..]);
    }
}

#[test]
fn every_split_of_a_data_unit_gives_the_same_bytes() {
    let m = [0x42; 32];
    let iv = [7; 16];
    let data: Vec<u8> = (0..16 * 35u32).map(|i| ((i * i) >> 3) as u8).collect();
    for blob in [&[1u8; 32][..], &[2u8; 64][..]] {
        let (share, check) = armed(&m, &[0x99; 32]);
        let key = VolumeKey::new::<Hash>(Mode::Xts, check, blob).unwrap();
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            let expected = reference(&m, blob, &iv, direction, &data);
            for (engine, first) in engines()
                .into_iter()
                .flat_map(|e| (1..=35).map(move |n| (e, n)))
            {
                let got = in_sections(
                    engine,
                    &share,
                    &key,
                    &iv,
                    direction,
                    &data,
                    &[first, 35],
                    (0, 0),
                    false,
                );
                assert_eq!(
                    got.unwrap(),
                    expected,
                    "{engine:?}, split after {first} blocks"
                );
            }
        }
    }
}

#[test]
fn every_length_of_a_section_gives_the_right_bytes() {
    let m = [0x17; 32];
    let iv = [0xfe; 16];
    let data: Vec<u8> = (0..SECTION_MAX).map(|i| (i * 7) as u8).collect();
    for blob in [&[3u8; 32][..], &[4u8; 64][..]] {
        let (share, check) = armed(&m, &[0x11; 32]);
        let key = VolumeKey::new::<Hash>(Mode::Xts, check, blob).unwrap();
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            let expected = reference(&m, blob, &iv, direction, &data);
            for (engine, blocks) in engines()
                .into_iter()
                .flat_map(|e| (1..=256).map(move |n| (e, n)))
            {
                let len = 16 * blocks;
                let got = in_sections(
                    engine,
                    &share,
                    &key,
                    &iv,
                    direction,
                    &data[..len],
                    &[256],
                    (1, 3),
                    blocks % 2 == 0,
                );
                assert_eq!(got.unwrap(), expected[..len], "{engine:?}, {len} bytes");
            }
        }
    }
}

/// What happens to a destination when the registers do not hold the key's M.
fn refused(share: &Share, key: &VolumeKey) {
    for engine in engines() {
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            for len in [16, 112, 128, 144, 512, 4096] {
                let mut out = vec![0x77u8; len + 64];
                let data = vec![1u8; len];
                let (dst, src) = (out[32..].as_mut_ptr(), data.as_ptr());
                // SAFETY: nobody else uses the share; both ranges are `len` bytes and disjoint.
                let r = unsafe { crypt(engine, direction, share, key, &[0; 16], 5, dst, src, len) };
                assert_eq!(r, Err(NotHeld));
                assert!(out.iter().all(|b| *b == 0x77), "the destination changed");
            }
        }
    }
}

#[test]
fn without_the_key_in_the_registers_no_byte_is_written() {
    for blob in [&[5u8; 32][..], &[6u8; 64][..]] {
        let (share, check) = armed(&[0x31; 32], &[0x32; 32]);
        let key = VolumeKey::new::<Hash>(Mode::Xts, check, blob).unwrap();
        let registers = share.registers();
        for bit in 0..256 {
            let mut wrong = registers;
            wrong[bit / 8] ^= 1 << (bit % 8);
            share.set_registers(&wrong);
            refused(&share, &key);
        }
        share.set_registers(&registers);
        for engine in engines() {
            let mut out = [0u8; 16];
            let (dst, src) = (out.as_mut_ptr(), [1; 16]);
            let src = src.as_ptr();
            // The control: with the right registers the same call works.
            // SAFETY: nobody else uses the share; both ranges are 16 bytes and disjoint.
            unsafe {
                crypt(
                    engine,
                    Direction::Encrypt,
                    &share,
                    &key,
                    &[0; 16],
                    5,
                    dst,
                    src,
                    16,
                )
            }
            .unwrap();
        }
        share.erase();
        refused(&share, &key);
    }
}

#[test]
fn a_key_made_for_another_master_key_is_refused() {
    let (share, check) = armed(&[0x31; 32], &[0x32; 32]);
    for bit in 0..128 {
        let mut other = check;
        other.0[bit / 8] ^= 1 << (bit % 8);
        refused(
            &share,
            &VolumeKey::new::<Hash>(Mode::Xts, other, &[5; 64]).unwrap(),
        );
    }
    refused(
        &share,
        &VolumeKey::new::<Hash>(Mode::Xts, CheckValue([0; 16]), &[5; 32]).unwrap(),
    );
}

#[test]
fn a_length_outside_of_the_contract_writes_nothing() {
    let (share, check) = armed(&[0x31; 32], &[0x32; 32]);
    let key = VolumeKey::new::<Hash>(Mode::Xts, check, &[8; 64]).unwrap();
    let mut buffer = vec![0x55u8; 3 * SECTION_MAX];
    let p = buffer.as_mut_ptr();
    for len in [0, 1, 15, SECTION_MAX + 1, SECTION_MAX + 16, 2 * SECTION_MAX] {
        for engine in engines() {
            // SAFETY: nobody else uses the share; the buffer is longer than all of these.
            let r = unsafe {
                crypt(
                    engine,
                    Direction::Encrypt,
                    &share,
                    &key,
                    &[0; 16],
                    0,
                    p,
                    p,
                    len,
                )
            };
            assert_eq!(r, Err(NotHeld), "{len} bytes");
        }
    }
    assert!(buffer.iter().all(|b| *b == 0x55));
}

#[test]
fn only_blobs_of_32_and_64_bytes_make_a_key() {
    for len in 0..200 {
        let made = VolumeKey::new::<Hash>(Mode::Xts, CheckValue::default(), &vec![1; len]);
        match len {
            32 | 64 => assert!(made.is_ok()),
            _ => assert_eq!(
                made.unwrap_err().to_string(),
                format!("a blob for xts is 32 or 64 bytes, not {len}")
            ),
        }
    }
}
