// SPDX-License-Identifier: GPL-2.0-or-later

//! The matrix as people and programs read it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;

use super::cell::{Cell, Oracle};

/// `report.json`. It holds no secret.
#[derive(Serialize)]
pub struct Report {
    /// When the run ended, as seconds since 1970 (UTC).
    pub unix_time: u64,
    /// The same day, as `YYYY-MM-DD`.
    pub date: String,
    /// What the run took.
    pub seconds: f64,
    /// Whether only the short part was asked for.
    pub short: bool,
    /// What scenarios were selected by, if not all were.
    pub filter: String,
    /// The seed of the random stops.
    pub seed: u64,
    /// `uname -r` and `uname -v` of the guest.
    pub kernel: String,
    /// The module's version and engine, as it reports them.
    pub module: String,
    /// QEMU's version.
    pub qemu: String,
    /// Sums.
    pub totals: Totals,
    /// The cells.
    pub rows: Vec<Cell>,
}

/// Sums over all cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Cells whose control was found and that found nothing.
    pub passed: u64,
    /// Cells with a finding, without control, or with an error.
    pub failed: u64,
    /// Cells that wait for something.
    pub pending: u64,
    /// Findings.
    pub findings: u64,
    /// Stores checked.
    pub stores_checked: u64,
}

impl Totals {
    /// Counts.
    pub fn of(cells: &[Cell]) -> Self {
        let mut totals = Self::default();
        for cell in cells {
            match (cell.pending, cell.failure()) {
                (Some(_), _) => totals.pending += 1,
                (None, None) => totals.passed += 1,
                (None, Some(_)) => totals.failed += 1,
            }
            totals.findings += cell.findings;
            totals.stores_checked += cell.stores_checked.unwrap_or(0);
        }
        totals
    }

    /// Whether the run counts as a proof.
    pub fn good(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl Report {
    /// Writes the report.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Seconds since 1970, and the day that they fall on (proleptic Gregorian, UTC).
pub fn today() -> (u64, String) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |since| since.as_secs());
    (seconds, day(seconds / 86400))
}

/// The date of a day counted from 1970-01-01, which is day 719468 of an era that starts on
/// 0000-03-01 and has 146097 days in 400 years.
fn day(since_1970: u64) -> String {
    let day = since_1970 + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 153 days in 5.
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{date:02}", era * 400 + year + carry)
}

/// The matrix: a line for each scenario, a column for each oracle that some scenario asks.
pub fn matrix(cells: &[Cell]) -> String {
    let columns: Vec<Oracle> = Oracle::ALL
        .into_iter()
        .filter(|&oracle| cells.iter().any(|cell| cell.column == oracle))
        .collect();
    let mut rows: Vec<&str> = Vec::new();
    for cell in cells {
        if !rows.contains(&cell.scenario.as_str()) {
            rows.push(&cell.scenario);
        }
    }
    let first = rows.iter().map(|name| name.len()).max().unwrap_or(0).max(8);
    let mut text = String::new();
    for line in 0..2 {
        let _ = write!(text, "{:first$}", ["", "scenario"][line]);
        for column in &columns {
            let _ = write!(text, "  {:9}", column.head()[line]);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    for row in rows {
        let _ = write!(text, "{row:first$}");
        for &column in &columns {
            let cell = cells
                .iter()
                .find(|cell| cell.scenario == row && cell.column == column);
            let _ = write!(text, "  {:9}", cell.map_or_else(|| "-".into(), Cell::text));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (number, date) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_819, "2027-01-01"),
        ] {
            assert_eq!(day(number), date);
        }
    }

    #[test]
    fn the_matrix_shows_each_cell_in_its_place_and_the_sums_agree() {
        let mut idle = Cell::new("idle", Oracle::Secrets);
        idle.add(None, Vec::new());
        let mut log = Cell::new("oops", Oracle::Log);
        log.add(None, vec!["a share was printed".into()]);
        let cells = [idle, log, Cell::pending("park", Oracle::Log, "parking")];
        let text = matrix(&cells);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "          RAM:       kernel",
                "scenario  secrets    log",
                "idle      found 0    -",
                "oops      -          found 1!",
                "park      -          pending",
            ]
        );
        let totals = Totals::of(&cells);
        assert_eq!((totals.passed, totals.failed, totals.pending), (1, 1, 1));
        assert!(
            !totals.good() && !Totals::of(&cells[2..]).good() && Totals::of(&cells[..1]).good()
        );
    }
}
