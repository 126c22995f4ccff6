// SPDX-License-Identifier: GPL-2.0-or-later

//! The soak: random faults over verified I/O, for as long as one likes.
//!
//! Two volumes are written, read back and compared all the time ([`Busy`]). Faults are drawn from a
//! seed: each kind three times in random order, then whatever comes. After each, the store must be back
//! where it was: armed on every CPU, nothing waiting.

mod faults;
mod report;

use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use tresor_guest::mixed;
use tresor_qemu::{Cache, VmConfig};
use tresor_uapi::{STATE_ARMED, STATE_LOCKED};

use crate::kernel_log::complaints;
use crate::vmtest::disks::with_disk;
use crate::vmtest::guest::{Guest, Status, PROGRAM};
use crate::vmtest::parking::Busy;
use crate::vmtest::runner::build_programs;
use crate::vmtest::secrets::Key;
use crate::vmtest::sleep::that_sleeps;
use faults::{kinds, Fault};
use report::Row;
pub use report::{Report, Verdict};

/// How often each kind of fault must have been done.
const LEAST: u64 = 3;

/// CPUs of the machine.
const CPUS: u32 = 4;

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// For how long faults are drawn.
    pub minutes: u64,
    /// What they are drawn from.
    pub seed: u64,
    /// Whether guests of KVM are among them.
    pub kvm: bool,
}

/// A run.
struct Soak {
    guest: Guest,
    key: Key,
    busy: Busy,
    random: u64,
    findings: u64,
}

/// Runs. Whatever goes wrong with the store or the volumes is in the report; an error means that nothing
/// could be run.
///
/// # Errors
/// If set-up has not run, or the VM does not come up.
pub fn run(options: Options) -> Result<Report> {
    let cache = Cache::open()?;
    let [program, tresorctl] = build_programs()?;
    let name = format!("soak-{}", options.seed);
    let config = VmConfig::new(&name)
        .memory_mib(384)
        .file(PROGRAM, 0o755, &program)
        .file("/usr/bin/tresorctl", 0o755, &tresorctl)
        .modules(["kvm-amd"])
        .smp(&CPUS.to_string());
    let config = with_disk(that_sleeps(config), &name, "slow", 32 << 20);
    let mut guest = Guest::new(config.boot(&cache)?, false)?;
    // Whoever asks for more memory than there is gets it, until it is gone; then he is killed, and nobody else.
    guest.vm.check(
        "modprobe -a tresor_test kvm-amd && echo 1 >/proc/sys/vm/overcommit_memory && \
         echo -1000 >/proc/$PPID/oom_score_adj",
    )?;
    let key = guest.insert_and_load()?;
    let busy = Busy::start(&mut guest, &[])?;
    let mut soak = Soak {
        guest,
        key,
        busy,
        random: options.seed,
        findings: 0,
    };
    let mut report = Report::new(options);
    let result = soak.faults(options, &mut report);
    report.end(result.and_then(|()| soak.end()));
    Ok(report)
}

impl Soak {
    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.random = mixed(self.random);
        (self.random >> 16) % n
    }

    fn faults(&mut self, options: Options, report: &mut Report) -> Result<()> {
        let start = Instant::now();
        let length = Duration::from_secs(60 * options.minutes);
        let kinds = kinds(options.kvm);
        let mut deck: Vec<&Fault> = Vec::new();
        for _ in 0..LEAST {
            deck.extend(&kinds);
        }
        while start.elapsed() < length {
            let fault = if deck.is_empty() {
                kinds[self.below(kinds.len() as u64) as usize]
            } else {
                let at = self.below(deck.len() as u64) as usize;
                deck.swap_remove(at)
            };
            let row = self
                .one(fault)
                .with_context(|| format!("after {}", fault.name))?;
            println!(
                "[{:>4} s] {:<20} {:>8} sectors verified, {:>5} hopped, {:>5} parked",
                start.elapsed().as_secs(),
                fault.name,
                row.verified,
                row.hopped,
                row.parked
            );
            report.add(fault.name, row);
        }
        Ok(())
    }

    /// Does a fault, and waits until all is well again.
    fn one(&mut self, fault: &Fault) -> Result<Row> {
        let before = (self.guest.status()?, self.busy.progress(&mut self.guest)?);
        let findings = self.findings;
        (fault.run)(self)?;
        let status = self.recover()?;
        // What was in flight shows in the progress only after a whole pass.
        let done = self.busy.progress(&mut self.guest)?;
        Ok(Row {
            times: 1,
            written: done.written - before.1.written,
            verified: done.verified - before.1.verified,
            hopped: status.hopped - before.0.hopped,
            parked: status.parked - before.0.parked,
            armings: status.armings - before.0.armings,
            failed: done.failed - before.1.failed,
            wrong: done.wrong - before.1.wrong,
            findings: self.findings - findings,
        })
    }

    /// Loads the key if it is locked; waits until every CPU holds it and nothing waits.
    fn recover(&mut self) -> Result<Status> {
        if self.guest.status()?.state == STATE_LOCKED {
            self.guest.load(&self.key)?;
        }
        let mut last = None;
        let waited = self
            .guest
            .wait(Duration::from_secs(20), "recovery", |guest| {
                let status = guest.status()?;
                let well = status.state == STATE_ARMED
                    && status.cpus_armed == CPUS
                    && status.cpus_online == CPUS
                    && status.waiting == 0;
                last = Some(status);
                Ok(well)
            });
        let status = last.context("no status")?;
        waited.with_context(|| format!("{status:?}"))?;
        ensure!(status.volumes == 2, "not two volumes: {status:?}");
        Ok(status)
    }

    /// The end: everything verified once more, and what the kernel complained of.
    fn end(self) -> Result<report::Sums> {
        let Self {
            mut guest, busy, ..
        } = self;
        let done = busy.end(&mut guest)?;
        let status = guest.status()?;
        let log = guest.vm.console().text()?;
        // One fault asks for a warning, and for traces.
        let bad: Vec<_> = complaints(&log)
            .into_iter()
            .filter(|line| !line.contains("Call Trace:") && !line.contains("tresor_test"))
            .collect();
        ensure!(bad.is_empty(), "the kernel complained: {}", bad.join("; "));
        ensure!(!log.contains("DR0:"), "debug registers were printed");
        Ok(report::Sums {
            sectors_written: done.written,
            sectors_verified: done.verified,
            hopped: status.hopped,
            parked: status.parked,
            armings: status.armings,
            losses: status.losses,
            nmi_restarts: status.nmi_restarts,
            failed: done.failed,
            wrong_bytes: done.wrong,
        })
    }
}
