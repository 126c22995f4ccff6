// SPDX-License-Identifier: GPL-2.0-or-later

//! The register discipline, seen from outside: what the registers hold when a routine returns, and,
//! one instruction at a time, while it runs; and that an NMI between any two instructions that finds
//! a share in a general register can take it away without harm.

mod common;
#[path = "common/secrets.rs"]
mod secrets;
#[path = "common/stepper.rs"]
mod stepper;

use common::{armed, engines, essiv_key, two_blocks, two_inputs, volume_key, xor, Hash, Row};
use secrets::{schedule, Secrets};
use stepper::{call, step, Nmi, Registers};
use tresor_cipher::{routines, Direction, Engine, KeySize, Line, Mode, Share, Start, VolumeKey};

extern "C" {
    fn tresor_aesni_check();
    fn tresor_aesni_arm();
    fn tresor_aesni_peek_check();
    fn tresor_aesni_refresh();
    fn tresor_aesni_give_pad();
    fn tresor_aesni_give_masked();
    fn tresor_aesni_slot_key();
    fn tresor_aesni_take_pad();
    fn tresor_aesni_take_masked();
}

type Code = unsafe extern "C" fn();

/// A variant's routine for XTS without a wipe at its end.
struct Unwiped {
    engine: Engine,
    routine: Code,
    /// Where XTS-AES-256 has round keys when it ends: vector registers, and offsets in them.
    round_keys: &'static [(usize, usize)],
}

macro_rules! unwiped {
    ($($engine:ident, $name:ident, $round_keys:expr;)*) => {{
        extern "C" {
            $(fn $name();)*
        }
        [$(Unwiped {
            engine: Engine::$engine,
            routine: $name,
            round_keys: $round_keys,
        }),*]
    }};
}

/// Those that this CPU can run.
fn unwiped() -> Vec<Unwiped> {
    const PACKED: &[(usize, usize)] = &[(8, 0), (8, 16), (11, 0), (11, 16), (14, 16), (15, 0)];
    let all = unwiped! {
        Aesni, tresor_aesni_unwiped_xts256_enc, &[(9, 0), (10, 0), (11, 0)];
        AesniAvx, tresor_aesni_avx_unwiped_xts256_enc, PACKED;
        VaesAvx2, tresor_vaes_avx2_unwiped_xts256_enc, PACKED;
        VaesAvx512, tresor_vaes_avx512_unwiped_xts256_enc,
            &[(17, 0), (17, 48), (24, 16), (31, 0), (31, 48)];
    };
    let engines = engines();
    all.into_iter()
        .filter(|unwiped| engines.contains(&unwiped.engine))
        .collect()
}

/// Bytes of a request that take each path of the variant: whole groups, a part of one, single blocks, a
/// part of a block if the mode has that.
fn length(engine: Engine, mode: Mode) -> usize {
    let whole = match engine {
        Engine::Aesni | Engine::AesniAvx => 208,
        Engine::VaesAvx2 => 240,
        Engine::VaesAvx512 => 1104,
    };
    match mode {
        Mode::Xts | Mode::Ctr => whole + 15,
        _ => whole,
    }
}

/// Some bytes that look random, different for each `seed`.
fn bytes<const N: usize>(seed: u64) -> [u8; N] {
    use sha2::{Digest, Sha256};
    let mut out = [0; N];
    for (i, chunk) in out.chunks_mut(32).enumerate() {
        let digest = Sha256::digest([seed.to_le_bytes(), (i as u64).to_le_bytes()].concat());
        chunk.copy_from_slice(&digest[..chunk.len()]);
    }
    out
}

/// One call of a routine, with everything that it works on.
struct Scene {
    name: String,
    routine: Code,
    m: [u8; 32],
    s: [u8; 32],
    mode: Mode,
    blob: Vec<u8>,
    direction: Direction,
    share: Box<Share>,
    key: Box<VolumeKey>,
    check: Box<[u8; 16]>,
    inputs: Box<[[u8; 16]; 2]>,
    iv: [u8; 16],
    start: Box<Start>,
    line: Box<Line>,
    data: Vec<u8>,
    out: Vec<u8>,
}

impl Scene {
    /// A routine for data.
    fn new(row: Row, routine: Code, len: usize) -> Self {
        let (m, s) = (bytes(1), bytes(2));
        let (share, check) = armed(&m, &s);
        let blob = bytes::<64>(3)[..row.blob_len()].to_vec();
        Self {
            name: row.name(),
            routine,
            m,
            s,
            mode: row.mode,
            direction: row.direction,
            share,
            key: Box::new(VolumeKey::new::<Hash>(row.mode, check, &blob).unwrap()),
            blob,
            check: Box::new(check.0),
            inputs: Box::new(two_inputs(b'r', &bytes::<20>(4))),
            iv: bytes(5),
            start: Box::new(Start::new(row.mode, &bytes(5), 0)),
            line: Box::new(Line::new()),
            data: bytes::<4096>(6)[..len].to_vec(),
            out: vec![0xee; len.max(32)],
        }
    }

    /// Another routine, with nothing to do for the data.
    fn of_key(name: &str, routine: Code) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::new(xts_256(Engine::Aesni), routine, 32)
        }
    }

    /// The routine's arguments, as its comment in the `.S` file gives them.
    fn arguments(&mut self) -> [u64; 6] {
        let share = (&raw const *self.share) as u64;
        let check = self.check.as_mut_ptr() as u64;
        let inputs = self.inputs.as_ptr() as u64;
        let line = self.line.as_ptr() as u64;
        let out = self.out.as_mut_ptr() as u64;
        let m = self.m.as_ptr() as u64;
        match &self.name[..] {
            "check" => [share, check, 0, 0, 0, 0],
            "arm" => [share, m, check, 0, 0, 0],
            "peek_check" => [m, check, 0, 0, 0, 0],
            "refresh" => [share, check, inputs, 0, 0, 0],
            "give_pad" | "give_masked" => [share, check, inputs, line, 0, 0],
            "slot_key" => [share, check, inputs, out, 0, 0],
            "take_pad" => [share, line, 0, 0, 0, 0],
            "take_masked" => [share, check, line, 0, 0, 0],
            _ => [
                share,
                (&raw const *self.key) as u64,
                (&raw const *self.start) as u64,
                out,
                self.data.as_ptr() as u64,
                self.data.len() as u64,
            ],
        }
    }

    fn q(&self) -> [u8; 32] {
        two_blocks(&self.m, &self.inputs)
    }

    fn put_line(&self, content: &[u8; 32]) {
        // SAFETY: a Line is 64 bytes, and this thread is the only one that uses it.
        unsafe { self.line.as_ptr().cast::<[u8; 32]>().write(*content) }
    }

    fn line(&self) -> [u8; 32] {
        // SAFETY: as above.
        unsafe { self.line.as_ptr().cast::<[u8; 32]>().read() }
    }

    /// Everything that no general register may hold outside of windows, and no register afterwards.
    fn secrets(&self) -> Secrets {
        let mut all = Secrets::of_request(
            &self.m,
            self.mode,
            &self.blob,
            &self.iv,
            self.direction,
            &self.data,
        );
        let dr = xor(&self.m, &self.s);
        all.add(&self.m);
        all.add(&self.s);
        all.add(&dr);
        all.add(&self.q());
        all.add(&xor(&dr, &self.q()));
        all.add(&xor(&self.s, &self.q()));
        all.add(&xor(&self.m, &self.q()));
        all
    }

    /// What went wrong, given the routine's return value.
    fn outcome(&self, status: u64) -> Result<(), String> {
        let expect = |ok: bool, what: &str| if ok { Ok(()) } else { Err(what.to_owned()) };
        let status = status as u32;
        let (q, dr) = (self.q(), self.share.registers());
        match &self.name[..] {
            "arm" | "peek_check" => {
                expect(*self.check == common::check_value(&self.m), "check value")?;
                expect(dr == xor(&self.m, &self.share.load()), "registers")
            }
            "take_pad" => {
                expect(dr == q, "registers")?;
                expect(self.line() == [0; 32], "line")
            }
            _ => {
                expect(status == 0, "status")?;
                expect(
                    dr == xor(&self.m, &self.share.load()),
                    "the shares are of another key",
                )?;
                match &self.name[..] {
                    "check" => Ok(()),
                    "refresh" => expect(self.share.load() == xor(&self.s, &q), "share"),
                    "give_pad" => expect(self.line() == q, "line"),
                    "give_masked" => expect(self.line() == xor(&self.m, &q), "line"),
                    "slot_key" => expect(self.out == q, "slot key"),
                    "take_masked" => expect(self.line() == [0; 32], "line"),
                    _ => {
                        let mut data = self.data.clone();
                        let iv = &self.iv;
                        let (m, blob) = (&self.m, &self.blob);
                        common::crypt(m, self.mode, blob, iv, self.direction, &mut data);
                        expect(self.out[..data.len()] == data, "data")
                    }
                }
            }
        }
    }
}

fn xts_256(engine: Engine) -> Row {
    Row {
        engine,
        mode: Mode::Xts,
        size: KeySize::Aes256,
        direction: Direction::Encrypt,
    }
}

/// A routine for data in a direction that this CPU can run.
fn code(row: Row) -> Code {
    let routine = routines().find(|r| {
        (r.engine, r.mode, r.size) == (row.engine, row.mode, row.size)
            && r.directions.contains(&row.direction)
    });
    let routine = routine.unwrap_or_else(|| panic!("no routine {}", row.name()));
    // SAFETY: a function of another type, which is called with what it wants.
    unsafe { std::mem::transmute::<*const (), Code>(routine.code as *const ()) }
}

/// How to set the scene for each routine; those for data with as many bytes as `length` says.
fn scenes(length: fn(Engine, Mode) -> usize) -> Vec<Box<dyn Fn() -> Scene>> {
    let engines = engines();
    let rows = Row::all().filter(|row| engines.contains(&row.engine));
    let mut all: Vec<Box<dyn Fn() -> Scene>> = Vec::new();
    for row in rows {
        all.push(Box::new(move || {
            Scene::new(row, code(row), length(row.engine, row.mode))
        }));
    }
    let plain = [
        ("check", tresor_aesni_check as Code),
        ("refresh", tresor_aesni_refresh),
        ("give_pad", tresor_aesni_give_pad),
        ("give_masked", tresor_aesni_give_masked),
        ("slot_key", tresor_aesni_slot_key),
    ];
    for (name, routine) in plain {
        all.push(Box::new(move || Scene::of_key(name, routine)));
    }
    let unarmed = |name, routine: Code| {
        let mut scene = Scene::of_key(name, routine);
        scene.share.set_registers(&[0; 32]);
        scene.check.fill(0);
        scene
    };
    all.push(Box::new(move || unarmed("arm", tresor_aesni_arm)));
    all.push(Box::new(|| {
        let mut scene = Scene::of_key("peek_check", tresor_aesni_peek_check);
        scene.check.fill(0);
        scene
    }));
    all.push(Box::new(move || {
        let scene = unarmed("take_pad", tresor_aesni_take_pad);
        scene.put_line(&scene.q());
        scene
    }));
    all.push(Box::new(|| {
        let scene = Scene::of_key("take_masked", tresor_aesni_take_masked);
        scene.share.set_registers(&scene.q());
        scene.put_line(&xor(&scene.m, &scene.q()));
        scene
    }));
    all
}

fn leaks(registers: &Registers, secrets: &Secrets) -> Vec<String> {
    let general = registers.general.iter().enumerate();
    let general = general.filter(|(_, value)| secrets.contains(**value));
    let vector = registers.vector.iter().enumerate();
    let vector = vector.filter(|(_, value)| secrets.found_in(*value));
    general
        .map(|(i, _)| format!("general register {i}"))
        .chain(vector.map(|(i, _)| format!("vector register {i}")))
        .collect()
}

#[test]
fn no_register_holds_a_secret_after_a_routine() {
    for scene in scenes(length) {
        let mut scene = scene();
        let secrets = scene.secrets();
        let arguments = scene.arguments();
        // SAFETY: the arguments are the routine's.
        let after = unsafe { call(scene.routine, &arguments) };
        scene.outcome(after.general[0]).expect(&scene.name);
        assert_eq!(leaks(&after, &secrets), [""; 0], "{}", scene.name);
        assert_eq!(after.vector, [[0; 64]; 32], "{}", scene.name);
    }
}

#[test]
fn no_register_holds_a_secret_after_a_refusal() {
    for scene in scenes(length) {
        let mut scene = scene();
        if ["arm", "peek_check", "take_pad"].contains(&&scene.name[..]) {
            continue; // these cannot fail
        }
        let mut wrong = scene.share.registers();
        wrong[17] ^= 0x40;
        scene.share.set_registers(&wrong);
        let mut secrets = scene.secrets();
        let m = xor(
            &wrong,
            &if scene.name == "take_masked" {
                scene.line()
            } else {
                scene.s
            },
        );
        secrets.add_schedule(&m);
        secrets.add(&volume_key(&m, scene.mode, &scene.blob));
        secrets.add(&wrong);
        let arguments = scene.arguments();
        // SAFETY: the arguments are the routine's.
        let after = unsafe { call(scene.routine, &arguments) };
        assert_eq!(after.general[0] as u32, 1, "{}", scene.name);
        assert_eq!(leaks(&after, &secrets), [""; 0], "{}", scene.name);
        assert_eq!(after.vector, [[0; 64]; 32], "{}", scene.name);
    }
}

#[test]
fn the_search_finds_what_a_routine_without_wipe_leaves() {
    for unwiped in unwiped() {
        let mut scene = Scene::new(xts_256(unwiped.engine), unwiped.routine, 128);
        let mut round_keys = Secrets::default();
        round_keys.add_schedule(&volume_key(&scene.m, scene.mode, &scene.blob)[..32]);
        let arguments = scene.arguments();
        // SAFETY: the arguments are the routine's.
        let after = unsafe { call(scene.routine, &arguments) };
        scene.outcome(after.general[0]).unwrap();
        assert_ne!(leaks(&after, &scene.secrets()), [""; 0]);
        for (register, offset) in unwiped.round_keys {
            assert!(
                round_keys.found_in(&after.vector[*register][*offset..][..16]),
                "{}: no round key in vector register {register} at {offset}",
                unwiped.engine.name()
            );
        }
    }
}

#[test]
fn the_schedules_searched_for_are_those_of_fips_197() {
    // FIPS 197 appendix A.1 and A.3: last round keys.
    let last = |key: &str| hex::encode(schedule(&hex::decode(key).unwrap()).last().unwrap());
    assert_eq!(
        last("2b7e151628aed2a6abf7158809cf4f3c"),
        "d014f9a8c9ee2589e13f0cc8b6630ca6"
    );
    assert_eq!(
        last("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
        "fe4890d1e6188d0b046df344706c631e"
    );
}

#[test]
fn general_registers_hold_secrets_in_windows_only() {
    for scene in scenes(length) {
        let mut scene = scene();
        let secrets = scene.secrets();
        let arguments = scene.arguments();
        // SAFETY: the arguments are the routine's.
        let (after, seen) = unsafe { step(scene.routine, &arguments, &secrets, Nmi::Never) };
        scene.outcome(after.general[0]).expect(&scene.name);
        assert!(seen.steps > 20, "{}: {} steps", scene.name, seen.steps);
        assert_eq!(
            seen.outside, 0,
            "{}: first at +{:#x}",
            scene.name, seen.first_outside
        );
        // The control: in their windows the shares were seen.
        let windowless = scene.name == "peek_check";
        assert_eq!(seen.inside > 0, !windowless, "{}", scene.name);
        println!(
            "{}: {} steps, {} in windows",
            scene.name, seen.steps, seen.stops
        );
    }
}

/// Runs a scene with these NMIs; `secrets` are its, which are the same each time.
fn run(scene: &dyn Fn() -> Scene, secrets: &Secrets, nmi: Nmi) -> (Result<(), String>, u32) {
    let mut scene = scene();
    let arguments = scene.arguments();
    // SAFETY: the arguments are the routine's.
    let (after, seen) = unsafe { step(scene.routine, &arguments, secrets, nmi) };
    assert_eq!(
        seen.outside, 0,
        "{}: first at +{:#x}",
        scene.name, seen.first_outside
    );
    (scene.outcome(after.general[0]), seen.stops)
}

/// Windows are over before the first block: one is enough.
fn one_block(_: Engine, _: Mode) -> usize {
    16
}

#[test]
fn an_nmi_anywhere_in_a_window_changes_no_result() {
    for scene in scenes(one_block) {
        let Scene { name, .. } = scene();
        // Whatever the mode, the windows are those of XTS.
        let brief = name.contains("crypts") && !name.contains("_xts_");
        let ends = |at, stops| match brief {
            true => vec![stops],
            false => vec![at + 2, at + 5, stops],
        };
        let secrets = scene().secrets();
        let run = |nmi| run(&*scene, &secrets, nmi);
        let (outcome, stops) = run(Nmi::Never);
        outcome.expect(&name);
        for at in 0..stops {
            let (outcome, again) = run(Nmi::Between(at, at + 1));
            assert_eq!(outcome, Ok(()), "{name}: NMI at stop {at} of {stops}");
            assert!(again >= stops, "{name}: {again} stops");
            for until in ends(at, stops) {
                let (outcome, _) = run(Nmi::Between(at, until));
                assert_eq!(
                    outcome,
                    Ok(()),
                    "{name}: NMIs at stops {at}..{until} of {stops}"
                );
            }
        }
    }
}

#[test]
fn an_nmi_that_takes_the_share_but_sets_no_flag_breaks_every_routine_with_windows() {
    for scene in scenes(one_block) {
        let Scene { name, .. } = scene();
        let secrets = scene().secrets();
        let run = |nmi| run(&*scene, &secrets, nmi);
        let (_, stops) = run(Nmi::Never);
        let broken = (0..stops)
            .filter(|at| run(Nmi::WithoutFlag(*at)).0.is_err())
            .count();
        assert_eq!(broken > 0, stops > 0, "{name}: {broken} of {stops}");
    }
}

#[test]
fn adding_to_a_share_twice_would_lose_the_key() {
    let scene = || Scene::of_key("refresh", tresor_aesni_refresh);
    let secrets = scene().secrets();
    let (_, stops) = run(&scene, &secrets, Nmi::Never);
    let broken = (0..stops)
        .filter(|at| run(&scene, &secrets, Nmi::AlwaysFlag(*at)).0.is_err())
        .count();
    assert_eq!(broken, 4, "one for each word");
}
