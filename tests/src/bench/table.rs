// SPDX-License-Identifier: GPL-2.0-or-later

//! The report as text.

use std::fmt::Write as _;

use super::host::LENGTHS;
use super::report::{DmCrypt, Ratio, Report};

/// All of it.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let cpu = &report.cpu;
    let _ = writeln!(
        out,
        "{}, {} ({}{})",
        report.date,
        cpu.name,
        cpu.signature,
        if cpu.virtualised { ", virtual" } else { "" }
    );
    let versions: Vec<String> = report
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let _ = writeln!(out, "{}", versions.join("; "));
    host(report, &mut out);
    dm_crypt(&report.dm_crypt, &mut out);
    for skipped in &report.skipped {
        let _ = writeln!(out, "skipped: {skipped}");
    }
    out
}

fn host(report: &Report, out: &mut String) {
    let Some(method) = &report.method else { return };
    let _ = writeln!(
        out,
        "\nWhole requests in user space, medians of {} interleaved rounds. Shares of the master key: {}; \
         not in the time: debug registers, FPU section, interrupt masking. {}.",
        method.rounds, method.shares, method.fence
    );
    let mut kinds: Vec<(&str, &str)> = Vec::new();
    for row in &report.rows {
        let kind = (row.mode.as_str(), row.direction.as_str());
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    for (mode, direction) in kinds {
        let _ = write!(out, "\n{:<42}", format!("{mode}, {direction}: MB/s (ns)"));
        for bytes in LENGTHS {
            let _ = write!(out, "{:>19}", format!("{bytes} B"));
        }
        out.push('\n');
        for code in report.codes() {
            let _ = write!(out, "{code:<42}");
            for bytes in LENGTHS {
                let cell = report
                    .row(code, mode, direction, bytes)
                    .map(|row| format!("{:.0} ({:.0})", row.mb_per_s, row.ns_per_request));
                let _ = write!(out, "{:>19}", cell.unwrap_or_default());
            }
            out.push('\n');
        }
        ratios(report, mode, direction, out);
    }
}

fn ratios(report: &Report, mode: &str, direction: &str, out: &mut String) {
    let here: Vec<&Ratio> = report
        .ratios
        .iter()
        .filter(|r| (r.mode.as_str(), r.direction.as_str()) == (mode, direction))
        .collect();
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for ratio in &here {
        let pair = (ratio.code.as_str(), ratio.against.as_str());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    for (code, against) in pairs {
        let _ = write!(out, "{:<42}", format!("{code} by {against}"));
        for bytes in LENGTHS {
            let ratio = here
                .iter()
                .find(|r| (r.code.as_str(), r.against.as_str(), r.bytes) == (code, against, bytes));
            let cell = ratio.map(|ratio| match ratio.floor {
                None => format!("{:.3}", ratio.speed),
                Some(floor) => format!(
                    "{:.3} {}{floor:.2}",
                    ratio.speed,
                    if ratio.met == Some(true) {
                        "met>="
                    } else {
                        "MISSED<"
                    },
                ),
            });
            let _ = write!(out, "{:>19}", cell.unwrap_or_default());
        }
        out.push('\n');
    }
}

fn dm_crypt(rows: &[DmCrypt], out: &mut String) {
    let Some(first) = rows.first() else { return };
    let _ = writeln!(
        out,
        "\ndm-crypt over a RAM disk in a VM ({}), O_DIRECT\n{:<28}{:<22}{:>8}{:>10}{:>20}{:>10}",
        first.accelerator, "I/O", "cipher", "sector", "I/O", "instructions/sector", "MB/s"
    );
    for row in rows {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.0}"));
        let _ = writeln!(
            out,
            "{:<28}{:<22}{:>6} B{:>8} B{:>20}{:>10}  {}",
            format!("{} {}", row.pattern, row.operation),
            row.cipher,
            row.sector_bytes,
            row.io_bytes,
            number(row.instructions_per_sector),
            number(row.mb_per_s),
            row.implementation
        );
    }
}
