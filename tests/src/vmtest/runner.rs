// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs the tests and counts.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use std::{env, fs, panic};

use anyhow::{bail, ensure, Context, Result};
use tresor_qemu::{target_dir, workspace_dir, Cache, VmConfig};

use super::guest::{Guest, PROGRAM};
use super::{Scenario, Skip, Test, SCENARIOS};
use crate::paragraph::failed;

/// What runs in the guest is built for this target, so that its flags reach no build script.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// RAM of the usual VM in MiB: little, since it is searched often.
pub(crate) const MEMORY: u64 = 288;

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Longer loops.
    pub all: bool,
    /// Run only tests whose names contain this, or whose scenario has this name.
    pub filter: String,
}

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that proved their sentence.
    pub passed: u32,
    /// Tests that did not.
    pub failed: u32,
    /// Tests that cannot run here.
    pub skipped: u32,
}

/// Runs all tests that the options select, and prints one line for each.
///
/// # Errors
/// If no test can run: set-up has not, or the programs for the guest cannot be built.
pub fn run(options: &Options) -> Result<Counts> {
    let cache = Cache::open()?;
    ensure!(
        cache.module.is_some(),
        "tresor.ko was not built: run scripts/setup"
    );
    ensure!(
        cache.test_module.is_some(),
        "tresor_test.ko was not built: run scripts/setup"
    );
    let programs = build_programs()?;
    let mut counts = Counts::default();
    for scenario in SCENARIOS {
        let selected = scenario.tests.iter().filter(|test| {
            test.name().contains(&options.filter) || scenario.name == options.filter
        });
        let mut session = Session {
            cache: &cache,
            programs: &programs,
            scenario,
            guest: None,
        };
        for test in selected {
            let start = Instant::now();
            let result = session.run(test, options.all);
            let took = start.elapsed().as_secs_f64();
            match result {
                Ok(remark) => {
                    counts.passed += 1;
                    let colon = if remark.is_empty() { "" } else { ": " };
                    println!("ok {} ({took:.1} s){colon}{remark}", test.name());
                }
                Err(error) => match error.downcast_ref::<Skip>() {
                    Some(skip) => {
                        counts.skipped += 1;
                        println!("skipped {}: {skip}", test.name());
                    }
                    None => {
                        counts.failed += 1;
                        println!("{}", failed(test.name(), &format!("{error:#}")));
                        session.show_log();
                    }
                },
            }
            // Whoever watches wants to see each line when it is there.
            io::stdout().flush()?;
        }
    }
    Ok(counts)
}

/// The static programs for the guest: `tresor-guest` and `tresorctl`, in this order.
pub(crate) fn build_programs() -> Result<[PathBuf; 2]> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace_dir())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .args(["-p", "tresor-guest", "-p", "tresorctl"])
        .status()
        .context("cannot start cargo, which builds the programs for the guest")?;
    ensure!(
        status.success(),
        "cargo could not build the programs for the guest"
    );
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(target_dir, PathBuf::from);
    let folder = workspace_dir().join(target).join(TARGET).join("release");
    Ok(["tresor-guest", "tresorctl"].map(|name| folder.join(name)))
}

/// The tests of one scenario, and the VM that they share.
struct Session<'a> {
    cache: &'a Cache,
    programs: &'a [PathBuf; 2],
    scenario: &'a Scenario,
    guest: Option<Guest>,
}

impl Session<'_> {
    /// Runs a test; what it has to say of itself.
    fn run(&mut self, test: &Test, all: bool) -> Result<String> {
        let mut guest = match self.guest.take() {
            Some(guest) => guest,
            None => self.boot(all).context("the VM does not come up")?,
        };
        // A test that panics is a failed one; the VM goes with it.
        let run = panic::AssertUnwindSafe(|| (test.run)(&mut guest));
        let result = panic::catch_unwind(run).unwrap_or_else(|_| bail!("the test panicked"));
        let remark = guest.take_remark();
        let skipped = result.as_ref().is_err_and(|error| error.is::<Skip>());
        if result.is_ok() || skipped {
            guest.finish()?;
            if !guest.is_spent() {
                self.guest = Some(guest);
            }
        }
        result.map(|()| remark)
    }

    fn boot(&self, all: bool) -> Result<Guest> {
        let [guest, tresorctl] = self.programs;
        let usual = VmConfig::new(self.folder().as_str())
            .memory_mib(MEMORY)
            .file(PROGRAM, 0o755, guest)
            .file("/usr/bin/tresorctl", 0o755, tresorctl);
        Guest::new((self.scenario.machine)(usual).boot(self.cache)?, all)
    }

    fn folder(&self) -> String {
        format!("test-{}", self.scenario.name)
    }

    /// Shows how the kernel's log of the last VM ended.
    fn show_log(&self) {
        let path = target_dir()
            .join("vm")
            .join(self.folder())
            .join("console.log");
        let log = fs::read(path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).replace('\r', "");
        let lines: Vec<&str> = log.trim_end().lines().collect();
        println!("--- end of the kernel's log");
        for line in &lines[lines.len().saturating_sub(40)..] {
            println!("    {line}");
        }
        println!("---");
    }
}
