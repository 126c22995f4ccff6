// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl` dies with secrets in its memory, where core dumps are on.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use tresor_qemu::{Output, Prompt};
use tresor_uapi as uapi;

use super::bench::{Bench, SPARE};
use super::cell::Oracle::{Core, Schedules, Secrets};
use super::debuggers::{FIND, GATED};
use super::ram::Holders;
use super::{Body, Scenario};
use crate::vmtest::guest::{Guest, PROGRAM};

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "tresorctl killed in mid-load",
    short: false,
    machine: |usual| usual,
    oracles: &[Secrets, Schedules, Core],
    body: Body::Run(killed),
}];

/// Long enough to be hit, on a fast host too.
const COST: &str = "--argon2-memory 16384 --argon2-iterations 6";

/// The pattern of the process whose core file is the control.
const CONTROL: u64 = 81;
const CONTROL_BYTES: u64 = 64 << 10;

/// Where `tresorctl` is when the signal comes.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// It has read the new passphrase and asks for it once more.
    Prompt,
    /// It derives M.
    Derivation,
    /// It is in the module, which gets M.
    Ioctl,
}

/// Signals by number and name; the first leaves no core file of anybody.
const SIGNALS: [(i32, &str); 4] = [(9, "KILL"), (6, "ABRT"), (11, "SEGV"), (3, "QUIT")];

fn killed(bench: &mut Bench) -> Result<()> {
    bench.arm_at_cost(COST)?;
    bench.open_stock()?;
    bench
        .guest
        .vm
        .check("echo /run/core.%e.%p >/proc/sys/kernel/core_pattern")?;
    control(bench)?;
    for &signal in SIGNALS.iter().take(if bench.short { 2 } else { 4 }) {
        for place in [Place::Prompt, Place::Derivation, Place::Ioctl] {
            ensure!(bench.guest.clear(0)? == "ok", "the key cannot be cleared");
            let output = die(bench, place, signal)
                .with_context(|| format!("SIG{} at {place:?}", signal.1))?;
            // QUIT is held back until the load is over, or until it can be ended cleanly.
            ensure!(
                output.status == 128 + signal.0,
                "after SIG{} at {place:?} tresorctl ended with status {}: {}",
                signal.1,
                output.status,
                output.text()
            );
            ensure!(bench.guest.clear(0)? == "ok", "the key cannot be cleared");
            bench.look(Holders::Nobody)?;
            cores(bench, &format!("SIG{} at {place:?}", signal.1))?;
        }
    }
    bench.load_again()?;
    bench.look(Holders::Every).map(drop)
}

/// Loads, and has `tresorctl` killed at the place.
fn die(bench: &mut Bench, place: Place, signal: (i32, &str)) -> Result<Output> {
    let answer = bench.known.passphrase.clone().into_bytes();
    let ask = |question| Prompt {
        question,
        answer: &answer,
    };
    let (number, name) = signal;
    // A handler of Rust's runtime takes the first SIGSEGV for a fault that will come again.
    let kill = match name {
        "SEGV" => "kill -SEGV $pid; usleep 50000; kill -SEGV $pid".to_owned(),
        _ => format!("kill -{name} $pid"),
    };
    let (watcher, arguments, prompts) = match place {
        Place::Prompt => (
            // Nobody answers the second question, so there is time.
            format!("touch /run/attached; usleep 5000000; {kill}"),
            "--description /run/other.toml",
            vec![ask("New passphrase: ")],
        ),
        Place::Derivation => (
            // So much work is more than it takes to get there, and far less than the derivation.
            format!(
                "touch /run/attached; until [ $(awk '{{print $14}}' /proc/$pid/stat) -ge 15 ]; do usleep 20000; done; \
                 {kill}"
            ),
            "",
            vec![ask("Passphrase: ")],
        ),
        Place::Ioctl => (
            format!(
                "{PROGRAM} trace pid=$pid at={:x} signal={number} hold=/run/attached >/run/trace 2>&1",
                uapi::LOAD
            ),
            "",
            vec![ask("Passphrase: ")],
        ),
    };
    let vm = &mut bench.guest.vm;
    vm.check("rm -f /run/trace /run/pid /run/attached")?;
    vm.check(&format!("({FIND}; {watcher}) </dev/null >/dev/null 2>&1 &"))?;
    let command = format!("ulimit -c unlimited; {GATED} {arguments}");
    let output = vm.run_with_prompts(&command, &prompts)?;
    match place {
        Place::Prompt => ensure!(
            output.text().contains("Repeat passphrase: "),
            "it was killed before the second question: {}",
            output.text()
        ),
        Place::Derivation => {}
        Place::Ioctl => {
            bench
                .guest
                .wait(Duration::from_secs(10), "end of the tracer", |guest| {
                    Ok(guest.vm.run("cat /run/trace")?.text().contains("stops="))
                })?;
            let seen = bench.guest.vm.check("cat /run/trace")?;
            ensure!(!seen.contains("hits=0"), "it was not in the ioctl: {seen}");
        }
    }
    Ok(output)
}

/// The core file of a process with a secret and nothing to keep it from being written.
fn control(bench: &mut Bench) -> Result<()> {
    bench.guest.vm.check(&format!(
        "ulimit -c unlimited; {PROGRAM} memory bytes={CONTROL_BYTES} seed={CONTROL} hold=/run/held \
         </dev/null >/dev/null 2>&1 & until [ -e /run/held ]; do usleep 10000; done; \
         kill -ABRT $!; wait $!; rm /run/held"
    ))?;
    Ok(())
}

/// Asks about the core files that are there: the control's must have its secret.
fn cores(bench: &mut Bench, when: &str) -> Result<()> {
    let files = list(&mut bench.guest)?;
    let own: Vec<&String> = files.iter().filter(|f| f.contains(".tresorctl.")).collect();
    let control = files.iter().find(|file| file.contains(".tresor-guest."));
    let missing = match control {
        None => Some("the control process left no core file".to_owned()),
        Some(file) => {
            bench.fetch(file)?;
            (bench.spare_pages(CONTROL, CONTROL_BYTES)? == 0)
                .then(|| "the control's core file does not hold its secret".to_owned())
        }
    };
    if own.is_empty() {
        return bench.answer(Core, missing, Vec::new());
    }
    println!("    {when}: tresorctl left {own:?}");
    for file in own {
        bench.fetch(file)?;
        let image = bench.image(SPARE);
        bench.search_file(Core, &image, &[], Some(missing.clone()))?;
        bench.guest.vm.check(&format!("rm {file}"))?;
    }
    Ok(())
}

fn list(guest: &mut Guest) -> Result<Vec<String>> {
    let files = guest.vm.check("ls /run | grep ^core. || true")?;
    Ok(files.lines().map(|name| format!("/run/{name}")).collect())
}
