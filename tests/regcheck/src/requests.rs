// SPDX-License-Identifier: GPL-2.0-or-later

//! The contracts of the routines for data: for each mode, key size and direction one.

use crate::contract::{memory, piece, Argument, Contract, Piece, READER, SHARE};
use crate::lane::{f, Atoms, Lane, Mode, Scheme, Way};

const fn part_of_key(i: u8) -> Piece {
    piece(16 * i as u64, Lane::Input(i))
}
const EXPECTED: Piece = piece(64, Lane::Expected);

/// struct VolumeKey, with the inputs that there are; struct Start, with what the mode uses of it; how long
/// the text is.
macro_rules! request {
    ($name:ident: $inputs:expr, $start:expr, $whole:literal, $least:literal) => {
        const $name: &[Argument] = &[
            SHARE,
            memory("key", $inputs),
            memory("start", $start),
            Argument::Destination,
            Argument::Source,
            Argument::Length {
                whole: $whole,
                least: $least,
            },
        ];
    };
}

const KEY_128: &[Piece] = &[part_of_key(0), EXPECTED];
const KEY_256: &[Piece] = &[part_of_key(0), part_of_key(1), EXPECTED];
const BOTH_128: &[Piece] = &[part_of_key(0), part_of_key(2), part_of_key(3), EXPECTED];
const BOTH_256: &[Piece] = &[
    part_of_key(0),
    part_of_key(1),
    part_of_key(2),
    part_of_key(3),
    EXPECTED,
];
const XTS_START: &[Piece] = &[piece(0, Lane::Iv), piece(16, Lane::Public)];
const IV: &[Piece] = &[piece(0, Lane::Iv)];
const ESSIV_START: &[Piece] = &[
    piece(0, Lane::Iv),
    Piece {
        at: 32,
        len: 8,
        holds: Lane::Public,
    },
];
const COUNTER: &[Piece] = &[piece(0, Lane::Counter)];

request!(XTS_128: KEY_256, XTS_START, false, 16);
request!(XTS_256: BOTH_256, XTS_START, false, 16);
request!(ECB_128: KEY_128, &[], true, 16);
request!(ECB_256: KEY_256, &[], true, 16);
request!(CBC_128: KEY_128, IV, true, 16);
request!(CBC_256: KEY_256, IV, true, 16);
request!(ESSIV_128: BOTH_128, ESSIV_START, true, 16);
request!(ESSIV_256: BOTH_256, ESSIV_START, true, 16);
request!(CTR_128: KEY_128, COUNTER, false, 1);
request!(CTR_256: KEY_256, COUNTER, false, 1);

const fn data(
    routine: &'static str,
    arguments: &'static [Argument],
    mode: Mode,
    keys: [Atoms; 2],
    rounds: u8,
    way: Way,
) -> Contract {
    Contract {
        routine,
        arguments,
        scheme: Some(Scheme {
            mode,
            k1: keys[0],
            k2: keys[1],
            rounds,
            // The IV's key is always AES-256 in ESSIV.
            iv_rounds: match mode {
                Mode::Essiv => 14,
                _ => rounds,
            },
            way,
        }),
        ..READER
    }
}

const XTS_KEYS_128: [Atoms; 2] = [f(0), f(1)];
const XTS_KEYS_256: [Atoms; 2] = [f(0) | f(1), f(2) | f(3)];
const ONE_KEY_128: [Atoms; 2] = [f(0), 0];
const ONE_KEY_256: [Atoms; 2] = [f(0) | f(1), 0];
const ESSIV_KEYS_128: [Atoms; 2] = [f(0), f(2) | f(3)];
const ESSIV_KEYS_256: [Atoms; 2] = XTS_KEYS_256;

/// All of them; every variant has such routines.
#[rustfmt::skip]
pub const DATA_CONTRACTS: &[Contract] = &[
    data("xts128_enc", XTS_128, Mode::Xts, XTS_KEYS_128, 10, Way::Enc),
    data("xts128_dec", XTS_128, Mode::Xts, XTS_KEYS_128, 10, Way::Dec),
    data("xts256_enc", XTS_256, Mode::Xts, XTS_KEYS_256, 14, Way::Enc),
    data("xts256_dec", XTS_256, Mode::Xts, XTS_KEYS_256, 14, Way::Dec),
    data("ecb128_enc", ECB_128, Mode::Ecb, ONE_KEY_128, 10, Way::Enc),
    data("ecb128_dec", ECB_128, Mode::Ecb, ONE_KEY_128, 10, Way::Dec),
    data("ecb192_enc", ECB_256, Mode::Ecb, ONE_KEY_256, 12, Way::Enc),
    data("ecb192_dec", ECB_256, Mode::Ecb, ONE_KEY_256, 12, Way::Dec),
    data("ecb256_enc", ECB_256, Mode::Ecb, ONE_KEY_256, 14, Way::Enc),
    data("ecb256_dec", ECB_256, Mode::Ecb, ONE_KEY_256, 14, Way::Dec),
    data("cbc128_enc", CBC_128, Mode::Cbc, ONE_KEY_128, 10, Way::Enc),
    data("cbc128_dec", CBC_128, Mode::Cbc, ONE_KEY_128, 10, Way::Dec),
    data("cbc192_enc", CBC_256, Mode::Cbc, ONE_KEY_256, 12, Way::Enc),
    data("cbc192_dec", CBC_256, Mode::Cbc, ONE_KEY_256, 12, Way::Dec),
    data("cbc256_enc", CBC_256, Mode::Cbc, ONE_KEY_256, 14, Way::Enc),
    data("cbc256_dec", CBC_256, Mode::Cbc, ONE_KEY_256, 14, Way::Dec),
    data("essiv128_enc", ESSIV_128, Mode::Essiv, ESSIV_KEYS_128, 10, Way::Enc),
    data("essiv128_dec", ESSIV_128, Mode::Essiv, ESSIV_KEYS_128, 10, Way::Dec),
    data("essiv192_enc", ESSIV_256, Mode::Essiv, ESSIV_KEYS_256, 12, Way::Enc),
    data("essiv192_dec", ESSIV_256, Mode::Essiv, ESSIV_KEYS_256, 12, Way::Dec),
    data("essiv256_enc", ESSIV_256, Mode::Essiv, ESSIV_KEYS_256, 14, Way::Enc),
    data("essiv256_dec", ESSIV_256, Mode::Essiv, ESSIV_KEYS_256, 14, Way::Dec),
    data("ctr128", CTR_128, Mode::Ctr, ONE_KEY_128, 10, Way::Enc),
    data("ctr192", CTR_256, Mode::Ctr, ONE_KEY_256, 12, Way::Enc),
    data("ctr256", CTR_256, Mode::Ctr, ONE_KEY_256, 14, Way::Enc),
];
