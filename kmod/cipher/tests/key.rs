// SPDX-License-Identifier: GPL-2.0-or-later

//! F's public half, and the life of M: arming, refreshing, passing on, the slot key, wiping.

mod common;

use common::{armed, check_value, master_key, two_blocks, two_inputs, xor, Hash};
use proptest::prelude::*;
use tresor_cipher::*;

/// The content of a line.
fn content(line: &Line) -> [u8; 64] {
    // SAFETY: a Line is 64 bytes, and this thread is the only one that uses it.
    unsafe { line.as_ptr().cast::<[u8; 64]>().read() }
}

#[test]
fn the_constant_check_input_is_the_one_defined() {
    assert_eq!(CHECK_INPUT, common::input(b'k', 0, 0, 0, b""));
    assert_eq!(
        CHECK_INPUT,
        input::<Hash>(Purpose::Check, Mode::None, 0, 0, b"")
    );
}

#[test]
fn a_header_is_laid_out_as_defined() {
    assert_eq!(
        header(Purpose::VolumeKey, Mode::EssivCbc, 0x0201, 0x0403),
        *b"tresor v1\0v\x05\x01\x02\x03\x04"
    );
    assert_eq!(
        header(Purpose::SlotKey, Mode::None, 256, 1),
        *b"tresor v1\0s\0\0\x01\x01\0"
    );
}

#[test]
fn this_machine_can_run_the_engine() {
    assert!(Engine::Aesni.supported());
    let best = Engine::best().unwrap();
    assert!(best.supported());
    assert!(Engine::ALL
        .iter()
        .all(|engine| *engine <= best || !engine.supported()));
}

#[test]
fn an_engine_is_found_by_its_name_and_by_no_other() {
    for engine in Engine::ALL {
        assert_eq!(Engine::from_name(engine.name()), Some(engine));
    }
    for name in ["", "aes", "aesni ", "AESNI", "vaes", "vaes_avx512\n"] {
        assert_eq!(Engine::from_name(name), None, "{name:?}");
    }
}

#[test]
fn what_an_engine_wants_of_a_cpu_is_what_the_compiler_knows_it_has() {
    let avx = is_x86_feature_detected!("aes") && is_x86_feature_detected!("avx");
    let vaes = avx && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("vaes");
    let avx512 = vaes
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    let supported = [Engine::AesniAvx, Engine::VaesAvx2, Engine::VaesAvx512].map(Engine::supported);
    assert_eq!(supported, [avx, vaes, avx512]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn inputs_are_hashes_of_header_and_context(
        mode in prop::sample::select(vec![
            (Mode::None, 0u8), (Mode::Xts, 1), (Mode::Cbc, 2), (Mode::Ctr, 3), (Mode::Ecb, 4),
            (Mode::EssivCbc, 5),
        ]),
        purpose in prop::sample::select(vec![
            (Purpose::Check, b'k'), (Purpose::VolumeKey, b'v'), (Purpose::EssivKey, b'e'),
            (Purpose::SlotKey, b's'), (Purpose::Refresh, b'r'), (Purpose::Transport, b't'),
        ]),
        bits: u16, index: u16, context: Vec<u8>,
    ) {
        prop_assert_eq!(
            input::<Hash>(purpose.0, mode.0, bits, index, &context),
            common::input(purpose.1, mode.1, bits, index, &context)
        );
    }

    #[test]
    fn arming_splits_the_key_and_returns_its_check_value(m: [u8; 32], s: [u8; 32]) {
        let (share, check) = armed(&m, &s);
        prop_assert_eq!(check.0, check_value(&m));
        prop_assert_eq!(share.load(), s);
        prop_assert_eq!(share.registers(), xor(&m, &s));
        // SAFETY: nobody else uses the share.
        unsafe {
            prop_assert_eq!(tresor_cipher::check(&share, &check), Ok(()));
            prop_assert_eq!(peek_check(&m), check);
            let mut other = check;
            other.0[3] ^= 4;
            prop_assert_eq!(tresor_cipher::check(&share, &other), Err(NotHeld));
        }
    }

    #[test]
    fn a_refresh_changes_both_shares_and_keeps_the_key(
        m: [u8; 32], s: [u8; 32], fresh: [[u8; 20]; 3],
    ) {
        let (share, check) = armed(&m, &s);
        let mut expected = s;
        for context in fresh {
            let inputs = two_inputs(b'r', &context);
            // SAFETY: nobody else uses the share.
            prop_assert_eq!(unsafe { refresh(&share, &check, &inputs) }, Ok(()));
            expected = xor(&expected, &two_blocks(&m, &inputs));
            prop_assert_eq!(share.load(), expected);
            prop_assert_eq!(master_key(&share), m);
        }
    }

    #[test]
    fn a_refresh_without_the_key_changes_nothing(m: [u8; 32], s: [u8; 32], bit in 0usize..256) {
        let (share, check) = armed(&m, &s);
        let mut wrong = share.registers();
        wrong[bit / 8] ^= 1 << (bit % 8);
        share.set_registers(&wrong);
        // SAFETY: nobody else uses the share.
        prop_assert_eq!(unsafe { refresh(&share, &check, &two_inputs(b'r', b"x")) }, Err(NotHeld));
        prop_assert_eq!(share.load(), s);
        prop_assert_eq!(share.registers(), wrong);
    }

    #[test]
    fn the_key_passes_to_another_cpu_in_two_halves(
        m: [u8; 32], s: [u8; 32], theirs: [u8; 32], fresh: [u8; 16],
    ) {
        let (giver, check) = armed(&m, &s);
        let receiver = Share::new();
        let line = Line::new();
        let inputs = two_inputs(b't', &fresh);
        let q = two_blocks(&m, &inputs);
        // SAFETY: this thread plays both CPUs; nobody else uses their shares or the line.
        unsafe {
            give_pad(&giver, &check, &inputs, line.as_ptr()).unwrap();
            prop_assert_eq!(&content(&line)[..32], &q[..]);
            take_pad(&receiver, line.as_ptr());
            prop_assert_eq!(content(&line), [0; 64]);
            prop_assert_eq!(receiver.registers(), q);
            give_masked(&giver, &check, &inputs, line.as_ptr()).unwrap();
            prop_assert_eq!(&content(&line)[..32], &xor(&m, &q)[..]);
            receiver.set(&theirs);
            take_masked(&receiver, &check, line.as_ptr()).unwrap();
        }
        prop_assert_eq!(content(&line), [0; 64]);
        prop_assert_eq!(receiver.load(), theirs);
        prop_assert_eq!(receiver.registers(), xor(&m, &theirs));
        prop_assert_eq!(master_key(&giver), m);
    }

    #[test]
    fn a_receiver_of_something_else_keeps_nothing(
        m: [u8; 32], theirs: [u8; 32], junk: [u8; 32], bit in 0usize..256,
    ) {
        let (giver, check) = armed(&m, &[1; 32]);
        let receiver = Share::new();
        let line = Line::new();
        let inputs = two_inputs(b't', &junk);
        // SAFETY: as above; the line is 64 bytes, of which one is changed.
        unsafe {
            give_pad(&giver, &check, &inputs, line.as_ptr()).unwrap();
            take_pad(&receiver, line.as_ptr());
            give_masked(&giver, &check, &inputs, line.as_ptr()).unwrap();
            *line.as_ptr().cast::<u8>().add(bit / 8) ^= 1 << (bit % 8);
            receiver.set(&theirs);
            prop_assert_eq!(take_masked(&receiver, &check, line.as_ptr()), Err(NotHeld));
        }
        prop_assert_eq!(content(&line), [0; 64]);
        prop_assert_eq!(receiver.load(), [0; 32]);
        prop_assert_eq!(receiver.registers(), [0; 32]);
    }

    #[test]
    fn who_does_not_hold_the_key_gives_nothing(m: [u8; 32], s: [u8; 32], bit in 0usize..256) {
        let (share, check) = armed(&m, &s);
        let mut wrong = share.registers();
        wrong[bit / 8] ^= 1 << (bit % 8);
        share.set_registers(&wrong);
        let line = Line::new();
        let inputs = two_inputs(b't', b"x");
        let mut slot = [0x5a; 32];
        // SAFETY: nobody else uses share or line.
        unsafe {
            prop_assert_eq!(give_pad(&share, &check, &inputs, line.as_ptr()), Err(NotHeld));
            prop_assert_eq!(give_masked(&share, &check, &inputs, line.as_ptr()), Err(NotHeld));
            prop_assert_eq!(slot_key(&share, &check, &inputs, &mut slot), Err(NotHeld));
            prop_assert_eq!(tresor_cipher::check(&share, &check), Err(NotHeld));
        }
        prop_assert_eq!(content(&line), [0; 64]);
        prop_assert_eq!(slot, [0x5a; 32]);
    }

    #[test]
    fn a_slot_key_is_f_of_the_uuid(m: [u8; 32], s: [u8; 32], uuid in "[0-9a-f-]{36}") {
        let (share, check) = armed(&m, &s);
        let inputs = [0, 1]
            .map(|i| input::<Hash>(Purpose::SlotKey, Mode::None, 256, i, uuid.as_bytes()));
        let mut slot = [0; 32];
        // SAFETY: nobody else uses the share.
        unsafe { slot_key(&share, &check, &inputs, &mut slot).unwrap() };
        let f = |i| common::f(&m, b's', 0, 256, i, uuid.as_bytes());
        prop_assert_eq!(slot.to_vec(), [f(0), f(1)].concat());
    }

    #[test]
    fn wiping_clears_the_registers_and_erasing_the_share(m: [u8; 32], s: [u8; 32]) {
        let (share, check) = armed(&m, &s);
        // SAFETY: nobody else uses the share.
        unsafe { wipe(&share) };
        prop_assert_eq!(share.registers(), [0; 32]);
        prop_assert_eq!(share.load(), s);
        share.erase();
        prop_assert_eq!(share.load(), [0; 32]);
        // SAFETY: as above.
        prop_assert_eq!(unsafe { tresor_cipher::check(&share, &check) }, Err(NotHeld));
    }
}
