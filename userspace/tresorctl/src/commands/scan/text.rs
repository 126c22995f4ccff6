// SPDX-License-Identifier: GPL-2.0-or-later

//! What a scan found, as text and as JSON.

use crate::error::Error;
use indicatif::BinaryBytes;
use keyscan::{Addresses, Finding, Report, What};
use serde_json::{json, Value};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// A file that was scanned.
pub struct Scanned<'a> {
    pub file: &'a Path,
    pub report: Report,
    pub time: Duration,
}

impl Scanned<'_> {
    pub fn to_text(&self, show_keys: bool) -> String {
        let report = &self.report;
        let mut text = String::new();
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "{}: {}{}, {} scanned in {:.1} s",
            self.file.display(),
            report.format,
            if report.flattened { ", flattened" } else { "" },
            BinaryBytes(report.bytes_scanned),
            self.time.as_secs_f64()
        );
        if !report.findings.is_empty() {
            let place = match report.addresses {
                Addresses::File => "OFFSET",
                Addresses::Physical => "PHYSICAL",
                Addresses::Virtual => "VIRTUAL",
            };
            let _ = writeln!(text, "  {place:<18} {:>6}  {:<14} WHAT", "LENGTH", "ORDER");
        }
        for finding in &report.findings {
            write_finding(&mut text, finding, show_keys);
        }
        if report.omitted != 0 {
            let _ = writeln!(text, "  and {} more", report.omitted);
        }
        for pair in &report.xts_pairs {
            let _ = writeln!(
                text,
                "  the AES-{} keys {} and {} at {:#x} and {:#x} are an XTS pair",
                pair.bits, pair.first_key, pair.second_key, pair.first, pair.second
            );
        }
        let schedules = count(report.schedules.unwrap_or(0));
        let _ = writeln!(text, "  key schedules: {schedules}");
        for needle in &report.needles {
            let _ = writeln!(
                text,
                "  {:?}: {} ({} patterns)",
                needle.name,
                count(needle.found),
                needle.patterns
            );
        }
        if report.undecoded != 0 {
            let _ = writeln!(
                text,
                "  NOT TRIED: {} places that may be damaged schedules: --effort is spent",
                report.undecoded
            );
        }
        for problem in &report.problems {
            let _ = writeln!(text, "  NOT READ {problem}");
        }
        if report.more_problems {
            let _ = writeln!(text, "  NOT READ in more places");
        }
        text
    }

    pub fn to_json(&self, show_keys: bool) -> Result<Value, Error> {
        let failed = |e| Error::new(format!("cannot write JSON: {e}"));
        let mut value = serde_json::to_value(&self.report).map_err(failed)?;
        value["file"] = json!(self.file.to_string_lossy());
        value["seconds"] = json!(self.time.as_secs_f64());
        value["complete"] = json!(self.report.is_complete());
        if show_keys {
            for (i, finding) in self.report.findings.iter().enumerate() {
                if let What::Schedule { key, .. } = &finding.what {
                    value["findings"][i]["key"] = json!(hex::encode(key.expose()));
                }
            }
        }
        Ok(value)
    }
}

fn write_finding(text: &mut String, finding: &Finding, show_keys: bool) {
    let Finding {
        offset,
        length,
        order,
        what,
    } = finding;
    let _ = writeln!(text, "  {offset:#018x} {length:>6}  {order:<14} {what}");
    if let (true, What::Schedule { key, .. }) = (show_keys, what) {
        let hex = Zeroizing::new(hex::encode(key.expose()));
        let _ = writeln!(text, "  {:<41} key {}", "", *hex);
    }
}

fn count(found: u64) -> String {
    match found {
        0 => "not found".to_owned(),
        1 => "found once".to_owned(),
        n => format!("found {n} times"),
    }
}
