// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl scan`.

mod secrets;
mod self_test;
mod text;

use super::print;
use crate::cli;
use crate::error::{reason, Error, Exit};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use keyscan::{scan_dump, Damage, Dump, Options};
use serde_json::json;
use std::path::Path;
use std::time::Instant;
use text::Scanned;

/// Cells in the report's map of each dump.
const MAP_CELLS: usize = 2048;
/// Passes of messages that one core does in a second, about.
const PASSES_PER_SECOND: u64 = 1000;

/// Scans all files. One that cannot be read does not keep the others from being scanned.
pub fn run(args: &cli::Scan) -> Result<Exit, Error> {
    if args.self_test {
        return self_test::run(args);
    }
    let needles = secrets::read(args.secrets.as_deref(), args.xor.as_deref())?;
    let options = Options {
        damage: damage(args),
        budget: args.effort.saturating_mul(PASSES_PER_SECOND),
        map_cells: if args.report.is_some() { MAP_CELLS } else { 0 },
        ..Options::default()
    };
    let mut failed = false;
    let mut all: Vec<Scanned> = Vec::new();
    for file in &args.files {
        let dump = if args.raw {
            Dump::open_raw(file)
        } else {
            Dump::open(file)
        };
        let dump = match dump {
            Ok(dump) => dump,
            Err(e) => {
                eprintln!("error: {}", Error::from(e));
                failed = true;
                continue;
            }
        };
        let bar = progress_bar(
            dump.span(),
            &file.file_name().unwrap_or_default().to_string_lossy(),
        );
        let start = Instant::now();
        let report = scan_dump(&dump, &needles, &options, &|bytes| bar.inc(bytes));
        bar.finish_and_clear();
        let scanned = Scanned {
            file,
            report,
            time: start.elapsed(),
        };
        if !args.json {
            print(&scanned.to_text(args.show_keys))?;
        }
        all.push(scanned);
    }
    if args.json {
        let files: Result<Vec<_>, _> = all.iter().map(|s| s.to_json(args.show_keys)).collect();
        let text = serde_json::to_string_pretty(&json!({ "files": files? }))
            .map_err(|e| Error::new(format!("cannot write JSON: {e}")))?;
        print(&(text + "\n"))?;
    }
    if let Some(path) = &args.report {
        write_page(path, &all)?;
    }
    let reports = || all.iter().map(|scanned| &scanned.report);
    Ok(if failed {
        Exit::Error
    } else if reports().any(|report| !report.is_clean()) {
        Exit::No
    } else if reports().any(|report| !report.is_complete()) {
        Exit::Incomplete
    } else {
        Exit::Ok
    })
}

/// The damage that is asked for.
fn damage(args: &cli::Scan) -> Option<Damage> {
    let decay = args.decay.map(|rate| Damage::decay(rate.0));
    let flips = args.flips.map(|rate| Damage::flips(rate.0));
    match (flips, decay) {
        (Some(flips), Some(decay)) => Some(Damage {
            flips: flips.flips + decay.flips,
            ..decay
        }),
        (one, other) => one.or(other),
    }
}

fn write_page(path: &Path, all: &[Scanned]) -> Result<(), Error> {
    let dumps: Vec<_> = all
        .iter()
        .map(|scanned| (scanned.file.to_string_lossy().into_owned(), &scanned.report))
        .collect();
    let page = keyscan::page("Keys in memory", &[], &dumps);
    std::fs::write(path, page)
        .map_err(|e| Error::new(format!("cannot write {}: {}", path.display(), reason(&e))))
}

/// On standard error, and only if that is a terminal.
fn progress_bar(span: u64, name: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(span), ProgressDrawTarget::stderr());
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
    // A template that does not parse would only cost the looks.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar
}
