// SPDX-License-Identifier: GPL-2.0-or-later

//! One cell of the matrix: what one oracle said in one scenario.

use serde::Serialize;

/// What looks for secrets, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Oracle {
    /// Everything that we know of M, of the effective keys and of the passphrase, in all of RAM.
    Secrets,
    /// Anything in RAM that is the key schedule of a key of ours.
    Schedules,
    /// Every store of every CPU since power-on.
    Stores,
    /// The kernel's log.
    Log,
    /// The disk under the encrypted volume.
    Disk,
    /// A swap device.
    Swap,
    /// A core file.
    Core,
    /// A crash kernel's `/proc/vmcore`.
    Vmcore,
    /// A hibernation image.
    Hibernation,
}

impl Oracle {
    /// All, in the order of the matrix's columns.
    pub const ALL: [Self; 9] = [
        Self::Secrets,
        Self::Schedules,
        Self::Stores,
        Self::Log,
        Self::Disk,
        Self::Swap,
        Self::Core,
        Self::Vmcore,
        Self::Hibernation,
    ];

    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secrets => "ram: known secrets",
            Self::Schedules => "ram: key schedules",
            Self::Stores => "stores",
            Self::Log => "kernel log",
            Self::Disk => "disk image",
            Self::Swap => "swap device",
            Self::Core => "core file",
            Self::Vmcore => "vmcore",
            Self::Hibernation => "hibernation image",
        }
    }

    /// The head of its column, in two lines.
    pub fn head(self) -> [&'static str; 2] {
        match self {
            Self::Secrets => ["RAM:", "secrets"],
            Self::Schedules => ["RAM:", "schedules"],
            Self::Stores => ["every", "store"],
            Self::Log => ["kernel", "log"],
            Self::Disk => ["disk", "image"],
            Self::Swap => ["swap", "device"],
            Self::Core => ["core", "file"],
            Self::Vmcore => ["", "vmcore"],
            Self::Hibernation => ["hiber-", "nation"],
        }
    }
}

/// Findings of one cell that are told in full; more are only counted.
const TOLD: usize = 20;

/// What one oracle said in one scenario, over all the times that it was asked.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The scenario's name.
    pub scenario: String,
    /// The oracle's name.
    pub oracle: &'static str,
    /// Whether the oracle was asked, and saw the control each time.
    pub control_found: bool,
    /// How often it saw something of ours.
    pub findings: u64,
    /// For the oracle of stores: how many it has checked.
    pub stores_checked: Option<u64>,
    /// What the scenario waits for, if it cannot be run yet.
    pub pending: Option<&'static str>,
    /// How often the oracle was asked.
    pub asked: u64,
    /// The first findings, in words, without the secret.
    pub details: Vec<String>,
    /// Why the control does not count as found, if it does not.
    pub control_missing: Option<String>,
    /// What else went wrong in the scenario: it fails the cell.
    pub error: Option<String>,
    #[serde(skip)]
    pub(super) column: Oracle,
}

impl Cell {
    /// A cell whose oracle was not asked yet.
    pub fn new(scenario: &str, column: Oracle) -> Self {
        Self {
            scenario: scenario.to_owned(),
            oracle: column.name(),
            control_found: false,
            findings: 0,
            stores_checked: None,
            pending: None,
            asked: 0,
            details: Vec::new(),
            control_missing: None,
            error: None,
            column,
        }
    }

    /// A cell of a scenario that waits for something.
    pub fn pending(scenario: &str, column: Oracle, what: &'static str) -> Self {
        Self {
            pending: Some(what),
            ..Self::new(scenario, column)
        }
    }

    /// Adds an answer: why the control was not seen, if it was not, and what was found.
    pub fn add(&mut self, missing: Option<String>, findings: Vec<String>) {
        self.asked += 1;
        self.findings += findings.len() as u64;
        let room = TOLD.saturating_sub(self.details.len());
        self.details.extend(findings.into_iter().take(room));
        if self.control_missing.is_none() {
            self.control_missing = missing;
        }
        self.control_found = self.control_missing.is_none();
    }

    /// Why it fails; `None` if it passes or is pending.
    pub fn failure(&self) -> Option<String> {
        let mut why = Vec::new();
        if self.pending.is_none() {
            why.extend(self.error.clone());
            if self.asked == 0 {
                why.push("the oracle was not asked".into());
            } else if !self.control_found {
                let missing = self.control_missing.as_deref().unwrap_or_default();
                why.push(format!("the control was not found: {missing}"));
            }
            if self.findings > 0 {
                why.push(format!(
                    "{} findings: {}",
                    self.findings,
                    self.details.join("; ")
                ));
            }
        }
        (!why.is_empty()).then(|| why.join("; "))
    }

    /// What stands in the matrix.
    pub fn text(&self) -> String {
        match (self.pending, &self.error, self.control_found) {
            (Some(_), ..) => "pending".into(),
            (None, Some(_), _) => "ERROR".into(),
            (None, None, true) if self.findings > 0 => format!("found {}!", self.findings),
            (None, None, true) => "found 0".into(),
            (None, None, false) => format!("NONE {}", self.findings),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_passes_only_if_it_was_asked_saw_the_control_each_time_and_found_nothing() {
        let new = || Cell::new("idle", Oracle::Secrets);
        assert!(new().failure().unwrap().contains("not asked"));
        let mut cell = new();
        cell.add(None, Vec::new());
        assert_eq!((cell.failure(), cell.text()), (None, "found 0".into()));
        let mut later = cell.clone();
        later.add(Some("no share of CPU 1".into()), Vec::new());
        later.add(None, Vec::new());
        assert!(later.failure().unwrap().ends_with("no share of CPU 1"));
        assert_eq!(
            (later.control_found, later.text()),
            (false, "NONE 0".into())
        );
        cell.add(None, vec!["all of \"M\" at 0x1000".into()]);
        assert!(cell.failure().unwrap().starts_with("1 findings: all of"));
        assert_eq!(cell.text(), "found 1!");
    }

    #[test]
    fn an_error_fails_a_cell_whatever_it_saw_and_a_pending_cell_fails_never() {
        let mut cell = Cell::new("idle", Oracle::Log);
        cell.add(None, Vec::new());
        cell.error = Some("the guest hangs".into());
        assert_eq!(cell.failure().as_deref(), Some("the guest hangs"));
        let cell = Cell::pending("parked", Oracle::Log, "parking");
        assert_eq!((cell.failure(), cell.text()), (None, "pending".into()));
    }
}
