// SPDX-License-Identifier: GPL-2.0-or-later

//! What the way of a key from the user to the registers leaves in RAM: nothing.
//!
//! Each look finds a control first: a secret planted in the same kind of place, or the same secret while
//! it is in use.

use std::thread;
use std::time::Duration;

use anyhow::{ensure, Result};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tresor_guest::mask;
use tresor_qemu::{Output, Prompt};
use tresor_uapi::{STATE_ARMED, STATE_EMPTY};

use super::guest::{Guest, PROGRAM};
use super::secrets::{passphrase, random, Found, Key};
use crate::master::{last_line, DESCRIPTION, QUESTION};
use crate::reference::Master;

/// Kinds of places that `tresor-guest plant` leaves a secret in.
const KINDS: [&str; 9] = [
    "tty",
    "stack",
    "heap",
    "freed",
    "fpu",
    "frame",
    "kernel-stack",
    "slab",
    "pipe",
];

/// What runs beside a load, so that it is interrupted and switched out all the time.
const BUSY: &str = "for i in 1 2 3; do (while :; do :; done) & pids=\"$pids $!\"; done; \
                    echo $pids >/run/busy";
const IDLE: &str = "kill $(cat /run/busy)";

/// A control that every look of a test must find.
const CONTROL: &str = "the control";

/// How many of Argon2's blocks are looked for.
const SAMPLES: usize = 24;

/// Memory in KiB and lanes of Argon2, with one pass: each block is written once.
#[derive(Clone, Copy)]
struct Cost(u32, u32);

const QUICK: Cost = Cost(2 << 10, 2);
/// Enough to be killed in the middle of.
const SLOW: Cost = Cost(64 << 10, 1);

/// A passphrase, and what is computed from it.
struct Derived {
    passphrase: String,
    salt: [u8; 16],
    cost: Cost,
    key: Key,
    blocks: Vec<Block>,
}

impl Derived {
    /// Draws a passphrase and a salt.
    fn random(cost: Cost) -> Result<Self> {
        let passphrase = passphrase()?;
        let salt = random()?;
        let failed = |e| anyhow::anyhow!("Argon2id: {e}");
        let params = Params::new(cost.0, 1, cost.1, Some(32)).map_err(failed)?;
        let mut blocks = vec![Block::default(); params.block_count()];
        let mut m = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(passphrase.as_bytes(), &salt, &mut m, &mut blocks[..])
            .map_err(failed)?;
        let key = Key {
            m,
            master: Master::new(&m),
        };
        Ok(Self {
            passphrase,
            salt,
            cost,
            key,
            blocks,
        })
    }

    /// Writes the key description that gives this key.
    fn describe(&self, guest: &mut Guest) -> Result<()> {
        let check = hex::encode(self.key.master.check_value());
        let text = format!(
            "format = 1\nkey-id = \"{}\"\ncheck = \"{check}\"\n[argon2id]\nsalt = \"{}\"\n\
             memory-kib = {}\niterations = 1\nlanes = {}\n",
            &check[..16],
            hex::encode(self.salt),
            self.cost.0,
            self.cost.1,
        );
        guest.vm.check("mkdir -p /etc/tresor")?;
        guest.vm.write_file(DESCRIPTION, text.as_bytes())
    }

    /// M, and 32 bytes each of some of Argon2's blocks, the last one included.
    fn secrets(&self) -> Vec<(String, Vec<u8>)> {
        let step = self.blocks.len() / SAMPLES;
        let samples = self.blocks.iter().enumerate().rev().step_by(step);
        let samples = samples.map(|(i, block)| {
            let words: &[u64] = block.as_ref();
            let bytes = words[40..44].iter().flat_map(|word| word.to_le_bytes());
            (format!("Argon2 block {i}"), bytes.collect())
        });
        let m = ("M".to_owned(), self.key.m.to_vec());
        samples.chain([m]).collect()
    }
}

/// Looks for the secrets in the stopped machine.
fn search(guest: &mut Guest, secrets: &[(String, Vec<u8>)]) -> Result<Found> {
    guest.while_stopped(|vm| Found::search(vm.ram()?, secrets))
}

/// Fails if RAM holds one of the secrets, or not the control.
fn ensure_none(
    guest: &mut Guest,
    when: &str,
    mut secrets: Vec<(String, Vec<u8>)>,
    control: &[u8],
) -> Result<()> {
    secrets.push((CONTROL.into(), control.into()));
    let found = search(guest, &secrets)?;
    ensure!(
        found.whole(CONTROL).is_some(),
        "{when}: {CONTROL} was not found"
    );
    let others: Vec<String> = found
        .any()
        .into_iter()
        .filter(|what| !what.contains(CONTROL))
        .collect();
    ensure!(others.is_empty(), "{when}: RAM holds {}", others.join(", "));
    Ok(())
}

/// Puts a control where every look must find it.
fn control(guest: &mut Guest) -> Result<[u8; 32]> {
    let control = random()?;
    guest.vm.write_file("/run/control", &control)?;
    Ok(control)
}

fn load(guest: &mut Guest, command: &str, typed: &str) -> Result<Output> {
    let prompts = [Prompt {
        question: QUESTION,
        answer: typed.as_bytes(),
    }];
    guest.vm.run_with_prompts(command, &prompts)
}

/// Runs the tests' program in the background with a masked secret, until it holds.
fn begin(guest: &mut Guest, arguments: &str, secret: &[u8; 32]) -> Result<()> {
    let mut masked = *secret;
    mask(&mut masked);
    // The shell gives what runs in the background no standard input of its own.
    let command = format!(
        "rm -f /run/held; exec 3<&0; {PROGRAM} {arguments} hold=/run/held <&3 >/run/plant.out 2>&1 &"
    );
    let output = guest.vm.run_with_input(&command, &masked)?;
    ensure!(output.success(), "{}", output.text());
    guest.wait(
        Duration::from_secs(60),
        &format!("secret held by `{arguments}`"),
        |guest| {
            let said = guest.vm.run(
            "[ -e /run/held ] || { pidof tresor-guest >/dev/null || cat /run/plant.out; false; }",
        )?;
            ensure!(
                said.success() || said.text().is_empty(),
                "{arguments}: {}",
                said.text()
            );
            Ok(said.success())
        },
    )
}

/// Ends what [`begin`] began.
fn end(guest: &mut Guest) -> Result<()> {
    guest
        .vm
        .check("rm /run/held; kill $(pidof tresor-guest); while pidof tresor-guest; do usleep 20000; done")
        .map(drop)
}

pub(super) fn a_secret_left_in_any_kind_of_place_is_found(guest: &mut Guest) -> Result<()> {
    guest.vm.check("modprobe tresor_test")?;
    for kind in KINDS {
        let secret = random()?;
        begin(guest, &format!("plant kind={kind}"), &secret)?;
        if kind == "freed" {
            end(guest)?;
        }
        let mut found = Vec::new();
        // Its process may have to go to sleep first.
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(100));
            found = search(guest, &[(kind.to_owned(), secret.to_vec())])?.all(kind);
            if !found.is_empty() {
                break;
            }
        }
        ensure!(
            !found.is_empty(),
            "a secret planted in a {kind} is not found"
        );
        if kind != "freed" {
            end(guest)?;
        }
    }
    Ok(())
}

pub(super) fn loads_that_are_interrupted_all_the_time_leave_nothing_in_ram(
    guest: &mut Guest,
) -> Result<()> {
    guest.insert()?;
    let control = control(guest)?;
    guest.vm.check(BUSY)?;
    for i in 0..if guest.all { 30 } else { 4 } {
        let derived = Derived::random(QUICK)?;
        derived.describe(guest)?;
        let output = load(guest, "tresorctl load", &derived.passphrase)?;
        ensure!(output.success(), "load {i}: {}", last_line(&output));
        guest.ensure_state(STATE_ARMED)?;
        let mut secrets = derived.secrets();
        secrets.push(("the passphrase".into(), derived.passphrase.clone().into()));
        ensure_none(guest, &format!("after load {i}"), secrets, &control)?;
        ensure!(guest.clear(0)? == "ok", "it cannot be cleared");
    }
    guest.vm.check(IDLE)?;
    guest
        .vm
        .check(&format!("rm {DESCRIPTION} /run/control"))
        .map(drop)
}

pub(super) fn what_was_typed_in_vain_leaves_nothing_in_ram(guest: &mut Guest) -> Result<()> {
    guest.insert()?;
    let control = control(guest)?;
    Derived::random(QUICK)?.describe(guest)?;
    // Typed behind it: nothing; Ctrl-U, which erases the line; Ctrl-V, which takes the line's end for a
    // part of the line, so that the question stays open until a signal comes.
    for (what, end, status) in [
        ("wrong", "", 4),
        ("erased", "\x15", 2),
        ("unfinished", "\x16", 130),
    ] {
        let typed = passphrase()?;
        let command = match what {
            "unfinished" => "(sleep 2; kill -INT $(pidof tresorctl)) & tresorctl load",
            _ => "tresorctl load",
        };
        let output = load(guest, command, &format!("{typed}{end}"))?;
        ensure!(
            output.status == status,
            "{what}: {} {} instead of {status}",
            output.status,
            last_line(&output)
        );
        guest.ensure_state(STATE_EMPTY)?;
        ensure_none(
            guest,
            what,
            vec![("what was typed".into(), typed.into())],
            &control,
        )?;
    }
    guest
        .vm
        .check(&format!("rm {DESCRIPTION} /run/control"))
        .map(drop)
}

pub(super) fn a_key_through_a_pipe_leaves_nothing_in_ram(guest: &mut Guest) -> Result<()> {
    guest.insert()?;
    let control = control(guest)?;
    let key = Key::random()?;
    // The pipe is still there: `plant kind=pipe` is found in one that was only read.
    begin(guest, "feed", &key.m)?;
    guest.ensure_state(STATE_ARMED)?;
    ensure_none(
        guest,
        "while the pipe is there",
        vec![("M".into(), key.m.into())],
        &control,
    )?;
    end(guest)?;
    ensure_none(
        guest,
        "without the pipe",
        vec![("M".into(), key.m.into())],
        &control,
    )?;
    guest.vm.check("rm /run/control").map(drop)
}

/// Kills a load in the middle of Argon2, once some of its blocks were found.
fn kill_a_load(guest: &mut Guest) -> Result<Derived> {
    let derived = Derived::random(SLOW)?;
    derived.describe(guest)?;
    // The shell keeps the passphrase; what is at stake is what comes of it.
    guest.vm.check(&format!(
        "echo {} | tresorctl load --passphrase-stdin >/dev/null 2>&1 &",
        derived.passphrase
    ))?;
    let mut found = Vec::new();
    for _ in 0..50 {
        // The machine must run for a while between two looks.
        thread::sleep(Duration::from_millis(300));
        found = search(guest, &derived.secrets())?.any();
        if !found.is_empty() {
            break;
        }
    }
    ensure!(
        !found.is_empty(),
        "Argon2's blocks are not even found while it runs"
    );
    guest
        .vm
        .check("kill -KILL $(pidof tresorctl); while pidof tresorctl; do usleep 20000; done")?;
    guest.ensure_state(STATE_EMPTY)?;
    Ok(derived)
}

pub(super) fn a_load_that_is_killed_leaves_nothing_in_ram(guest: &mut Guest) -> Result<()> {
    guest.insert()?;
    let control = control(guest)?;
    for i in 0..if guest.all { 10 } else { 2 } {
        let derived = kill_a_load(guest)?;
        ensure_none(
            guest,
            &format!("after kill {i}"),
            derived.secrets(),
            &control,
        )?;
    }
    guest
        .vm
        .check(&format!("rm {DESCRIPTION} /run/control"))
        .map(drop)
}

/// The control of the test above, and what users of such a kernel get.
pub(super) fn without_secret_memory_a_load_warns_and_only_a_kill_leaves_traces(
    guest: &mut Guest,
) -> Result<()> {
    guest.insert()?;
    let control = control(guest)?;
    let derived = Derived::random(QUICK)?;
    derived.describe(guest)?;
    let output = load(guest, "tresorctl load", &derived.passphrase)?;
    ensure!(
        output.success()
            && output
                .text()
                .contains("warning: there is no memory for secrets"),
        "{} {}",
        output.status,
        output.text()
    );
    let mut secrets = derived.secrets();
    secrets.push(("the passphrase".into(), derived.passphrase.clone().into()));
    ensure_none(guest, "after a load", secrets, &control)?;
    ensure!(guest.clear(0)? == "ok", "it cannot be cleared");
    let killed = kill_a_load(guest)?;
    let found = search(guest, &killed.secrets())?.any();
    ensure!(!found.is_empty(), "what is freed is not found");
    guest
        .vm
        .check(&format!("rm {DESCRIPTION} /run/control"))
        .map(drop)
}
