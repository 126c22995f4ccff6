// SPDX-License-Identifier: GPL-2.0-or-later

//! The module's known answers are those of the reference, and they are really looked at.

mod common;

use common::{engines, Hash};
use sha2::{Digest, Sha256};
use tresor_cipher::{kat, Direction, Engine, Share};

fn digest_of_ciphertext(blob: &[u8]) -> String {
    let mut data: Vec<u8> = (0..4096).map(kat::data).collect();
    common::xts(&kat::KEY, blob, &kat::IV, Direction::Encrypt, &mut data);
    hex::encode(Sha256::digest(data))
}

#[test]
fn the_known_answers_are_those_of_the_reference() {
    assert_eq!(
        hex::encode(kat::CHECK.0),
        hex::encode(common::check_value(&kat::KEY))
    );
    assert_eq!(
        hex::encode(kat::XTS_128),
        digest_of_ciphertext(&kat::BLOB[..32])
    );
    assert_eq!(hex::encode(kat::XTS_256), digest_of_ciphertext(&kat::BLOB));
    let slot = common::two_blocks(&kat::KEY, &common::two_inputs(b's', kat::UUID));
    assert_eq!(hex::encode(kat::SLOT_KEY), hex::encode(slot));
}

#[test]
fn the_engine_gives_the_known_answers_and_keeps_nothing() {
    for engine in engines() {
        let share = Share::new();
        // SAFETY: nobody else uses the share.
        let result = unsafe { kat::run::<Hash>(engine, &share, &mut [0; 4096]) };
        assert_eq!(result, Ok(()), "{}", engine.name());
        assert_eq!(share.load(), [0; 32]);
        assert_eq!(share.registers(), [0; 32]);
    }
}

#[test]
fn a_wrong_hash_function_is_noticed() {
    /// SHA-256 of one byte more.
    struct Wrong;
    impl tresor_cipher::Sha256 for Wrong {
        fn digest(parts: &[&[u8]]) -> [u8; 32] {
            let more = [&b"x"[..]];
            let parts = parts.iter().chain(&more);
            parts
                .fold(Sha256::new(), |hash, part| hash.chain_update(part))
                .finalize()
                .into()
        }
    }
    let share = Share::new();
    // SAFETY: nobody else uses the share.
    let result = unsafe { kat::run::<Wrong>(Engine::Aesni, &share, &mut [0; 4096]) };
    assert_eq!(result, Err("XTS ciphertext"));
    assert_eq!(share.load(), [0; 32]);
    assert_eq!(share.registers(), [0; 32]);
}
