// SPDX-License-Identifier: GPL-2.0-or-later

//! What a soak has shown.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::faults::kinds;
use super::{Options, LEAST};
use crate::paragraph::failed;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing failed, and every kind of fault was done often enough.
    Clean,
    /// Nothing failed, but time was too short for every kind of fault.
    Incomplete,
    /// Something was wrong.
    Failed,
}

/// What was seen with one kind of fault.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Row {
    /// How often it was done.
    pub(super) times: u64,
    /// Sectors of 512 bytes written meanwhile.
    pub(super) written: u64,
    /// Sectors read back and right meanwhile.
    pub(super) verified: u64,
    /// Requests that hopped.
    pub(super) hopped: u64,
    /// Requests that were parked.
    pub(super) parked: u64,
    /// CPUs that were armed again.
    pub(super) armings: u64,
    /// Requests that failed.
    pub(super) failed: u64,
    /// Bytes that came back as something else.
    pub(super) wrong: u64,
    /// Secrets found in a dump.
    pub(super) findings: u64,
}

/// Figures of the whole run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Sums {
    pub(super) sectors_written: u64,
    pub(super) sectors_verified: u64,
    pub(super) hopped: u64,
    pub(super) parked: u64,
    pub(super) armings: u64,
    pub(super) losses: u64,
    pub(super) nmi_restarts: u64,
    /// Requests that failed.
    pub(super) failed: u64,
    /// Bytes that came back as something else.
    pub(super) wrong_bytes: u64,
}

/// `target/soak/report.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    seed: u64,
    minutes: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// How often each kind of fault was done.
    events: BTreeMap<&'static str, u64>,
    rows: BTreeMap<&'static str, Row>,
    #[serde(flatten)]
    sums: Sums,
    findings: u64,
    /// What was wrong.
    failure: Option<String>,
}

impl Report {
    pub(super) fn new(Options { minutes, seed, kvm }: Options) -> Self {
        let kinds = kinds(kvm);
        Self {
            seed,
            minutes,
            verdict: Verdict::Incomplete,
            events: kinds.iter().map(|fault| (fault.name, 0)).collect(),
            rows: kinds
                .iter()
                .map(|fault| (fault.name, Row::default()))
                .collect(),
            sums: Sums::default(),
            findings: 0,
            failure: None,
        }
    }

    pub(super) fn add(&mut self, name: &'static str, row: Row) {
        *self.events.entry(name).or_default() += 1;
        let sum = self.rows.entry(name).or_default();
        sum.times += row.times;
        sum.written += row.written;
        sum.verified += row.verified;
        sum.hopped += row.hopped;
        sum.parked += row.parked;
        sum.armings += row.armings;
        sum.failed += row.failed;
        sum.wrong += row.wrong;
        sum.findings += row.findings;
        self.findings += row.findings;
    }

    pub(super) fn end(&mut self, result: Result<Sums>) {
        match result {
            Ok(sums) => {
                self.sums = sums;
                if sums.failed != 0 || sums.wrong_bytes != 0 || self.findings != 0 {
                    self.verdict = Verdict::Failed;
                } else if self.events.values().all(|times| *times >= LEAST) {
                    self.verdict = Verdict::Clean;
                }
            }
            Err(error) => {
                self.verdict = Verdict::Failed;
                self.failure = Some(format!("{error:#}"));
            }
        }
    }

    /// A line for each kind of fault as one test, and their sums: passed, failed, skipped.
    #[must_use]
    pub fn tests(&self) -> (String, [usize; 3]) {
        let mut lines = String::new();
        let mut counts = [0; 3];
        for (name, times) in &self.events {
            if *times >= LEAST {
                lines += &format!("ok {name}: {times} times\n");
                counts[0] += 1;
            } else {
                lines += &format!("skipped {name}: done {times} times, not {LEAST}\n");
                counts[2] += 1;
            }
        }
        if self.verdict == Verdict::Failed {
            let figures = || {
                format!(
                    "{} requests failed, {} wrong bytes, {} findings",
                    self.sums.failed, self.sums.wrong_bytes, self.findings
                )
            };
            let why = self.failure.clone().unwrap_or_else(figures);
            lines += &(failed("soak", &why) + "\n");
            counts[1] += 1;
        }
        (lines, counts)
    }

    /// Writes it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        path.parent().map(fs::create_dir_all).transpose()?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20}{:>6}{:>12}{:>12}{:>9}{:>9}{:>9}{:>8}{:>7}{:>10}",
            "event",
            "times",
            "written",
            "verified",
            "hopped",
            "parked",
            "rearmed",
            "failed",
            "wrong",
            "findings"
        )?;
        for (name, row) in &self.rows {
            writeln!(
                f,
                "{name:<20}{:>6}{:>12}{:>12}{:>9}{:>9}{:>9}{:>8}{:>7}{:>10}",
                row.times,
                row.written,
                row.verified,
                row.hopped,
                row.parked,
                row.armings,
                row.failed,
                row.wrong,
                row.findings
            )?;
        }
        let sums = &self.sums;
        writeln!(
            f,
            "\n{} sectors written and {} verified in all; {} requests hopped, {} parked, {} failed, \
             {} wrong bytes; {} NMI windows run again",
            sums.sectors_written,
            sums.sectors_verified,
            sums.hopped,
            sums.parked,
            sums.failed,
            sums.wrong_bytes,
            sums.nmi_restarts
        )?;
        match self.verdict {
            Verdict::Failed => writeln!(f, "Verdict: FAILED; the last lines say why."),
            Verdict::Clean => writeln!(f, "Verdict: clean."),
            Verdict::Incomplete => {
                let rare: Vec<_> = self
                    .events
                    .iter()
                    .filter(|(_, n)| **n < LEAST)
                    .map(|(name, n)| format!("{name} {n} times"))
                    .collect();
                writeln!(f, "Verdict: incomplete: {}.", rare.join(", "))
            }
        }
    }
}
