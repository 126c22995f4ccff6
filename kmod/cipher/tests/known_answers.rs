// SPDX-License-Identifier: GPL-2.0-or-later

//! The module's known answers are those of the reference, and they are really looked at.

mod common;

use common::{engines, Hash, Row};
use sha2::{Digest, Sha256};
use tresor_cipher::{kat, Direction, Engine, Share};

#[test]
fn the_known_answers_are_those_of_the_reference() {
    assert_eq!(
        hex::encode(kat::CHECK.0),
        hex::encode(common::check_value(&kat::KEY))
    );
    let slot = common::two_blocks(&kat::KEY, &common::two_inputs(b's', kat::UUID));
    assert_eq!(hex::encode(kat::SLOT_KEY), hex::encode(slot));
    for answer in kat::ANSWERS {
        let mut data: Vec<u8> = (0..answer.text_len()).map(kat::data).collect();
        let blob = &kat::BLOB[..answer.blob_len()];
        let encrypt = Direction::Encrypt;
        common::crypt(&kat::KEY, answer.mode, blob, &kat::IV, encrypt, &mut data);
        assert_eq!(
            hex::encode(answer.ciphertext),
            hex::encode(Sha256::digest(data)),
            "{answer:?}"
        );
    }
}

#[test]
fn there_is_an_answer_for_each_mode_and_size() {
    let rows = Row::all().filter(|row| row.engine == Engine::Aesni);
    let mut wanted: Vec<_> = rows.map(|row| (row.mode, row.size)).collect();
    wanted.dedup();
    assert_eq!(
        kat::ANSWERS.map(|answer| (answer.mode, answer.size))[..],
        wanted
    );
}

#[test]
fn the_engine_gives_the_known_answers_and_keeps_nothing() {
    for engine in engines() {
        let share = Share::new();
        for piece in 0..kat::PIECES {
            // SAFETY: nobody else uses the share.
            let result = unsafe { kat::run::<Hash>(engine, &share, &mut [0; 4096], piece) };
            assert_eq!(result, Ok(()), "{}", engine.name());
            assert_eq!(share.load(), [0; 32]);
            assert_eq!(share.registers(), [0; 32]);
        }
    }
}

/// How long interrupts are off in the module, less the debug registers' own time.
#[test]
fn no_piece_takes_long() {
    for engine in engines() {
        let share = Share::new();
        for piece in 0..kat::PIECES {
            let time = |_| {
                let start = std::time::Instant::now();
                // SAFETY: nobody else uses the share.
                let result = unsafe { kat::run::<Hash>(engine, &share, &mut [0; 4096], piece) };
                assert_eq!(result, Ok(()));
                start.elapsed().as_micros()
            };
            // The machine is shared: the best of a few.
            let best = (0..20).map(time).min().expect("twenty times");
            println!("{}, piece {piece}: {best} us", engine.name());
            assert!(best < 1000, "{}, piece {piece}: {best} us", engine.name());
        }
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
    let result = unsafe { kat::run::<Wrong>(Engine::Aesni, &share, &mut [0; 4096], 1) };
    let error = result.expect_err("a wrong answer").to_string();
    assert_eq!(error, "xts with 128 bits: wrong ciphertext");
    assert_eq!(share.load(), [0; 32]);
    assert_eq!(share.registers(), [0; 32]);
}
