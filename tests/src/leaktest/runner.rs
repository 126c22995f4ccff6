// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs scenarios and puts their cells together.

use std::fs;
use std::io::{self, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{anyhow, ensure, Context, Result};
use tresor_qemu::{target_dir, Cache};

use super::bench::Bench;
use super::cell::Cell;
use super::report::{matrix, today, Report, Totals};
use super::{scenarios, Body, Scenario};
use crate::paragraph::failed;
use crate::vmtest::runner::build_programs;
use crate::vmtest::secrets::random;

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only the short part.
    pub short: bool,
    /// Only scenarios whose names contain this.
    pub filter: String,
    /// The seed of the random stops; drawn if not given.
    pub seed: Option<u64>,
}

/// What the guests and the tools say of themselves.
#[derive(Default)]
struct Versions {
    kernel: String,
    module: String,
}

/// Runs the selected scenarios, prints what happens and the matrix, and writes `report.json`.
///
/// # Errors
/// If nothing can be run, or the report cannot be written.
pub fn run(options: &Options) -> Result<Totals> {
    let start = Instant::now();
    let cache = Cache::open()?;
    ensure!(
        cache.module.is_some() && cache.test_module.is_some(),
        "tresor.ko or tresor_test.ko was not built: run scripts/setup"
    );
    let selected: Vec<&Scenario> = scenarios()
        .filter(|scenario| scenario.name.contains(&options.filter))
        .filter(|scenario| {
            scenario.short || !options.short || matches!(scenario.body, Body::Pending(_))
        })
        .collect();
    ensure!(
        !selected.is_empty(),
        "no scenario{} has {:?} in its name",
        if options.short {
            " of the short run"
        } else {
            ""
        },
        options.filter
    );
    let out = target_dir().join("leaktest");
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let programs = build_programs()?;
    let seed = match options.seed {
        Some(seed) => seed,
        None => u64::from_le_bytes(random()?),
    };
    println!("seed of the random stops: {seed}");
    let mut versions = Versions::default();
    let mut cells = Vec::new();
    for scenario in selected {
        let began = Instant::now();
        let more = run_one(
            &cache,
            &programs,
            scenario,
            options.short,
            seed,
            &mut versions,
        );
        if let Body::Run(_) = scenario.body {
            println!("{} ({:.1} s)", scenario.name, began.elapsed().as_secs_f64());
        }
        for cell in &more {
            show(cell);
        }
        // Whoever watches wants to see each line when it is there.
        io::stdout().flush()?;
        cells.extend(more);
    }
    let (unix_time, date) = today();
    let report = Report {
        unix_time,
        date,
        seconds: start.elapsed().as_secs_f64(),
        short: options.short,
        filter: options.filter.clone(),
        seed,
        kernel: versions.kernel,
        module: versions.module,
        qemu: cache.qemu_version()?,
        totals: Totals::of(&cells),
        rows: cells,
    };
    let path = out.join("report.json");
    report.write(&path)?;
    conclude(&report);
    println!("report: {}", path.display());
    Ok(report.totals)
}

/// The cells of one scenario.
fn run_one(
    cache: &Cache,
    programs: &[PathBuf; 2],
    scenario: &Scenario,
    short: bool,
    seed: u64,
    versions: &mut Versions,
) -> Vec<Cell> {
    let body = match scenario.body {
        Body::Run(body) => body,
        Body::Pending(what) => {
            let cell = |&oracle: &_| Cell::pending(scenario.name, oracle, what);
            return scenario.oracles.iter().map(cell).collect();
        }
    };
    let mut bench = match Bench::boot(cache, programs, scenario, short, seed) {
        Ok(bench) => bench,
        Err(error) => {
            let cell = |&oracle: &_| Cell {
                error: Some(format!("{error:#}").replace('\n', "\n    ")),
                ..Cell::new(scenario.name, oracle)
            };
            return scenario.oracles.iter().map(cell).collect();
        }
    };
    // A scenario that panics has failed; the VM goes with it.
    let result = catch_unwind(AssertUnwindSafe(|| {
        if versions.kernel.is_empty() {
            versions.kernel = bench.guest.vm.check("uname -rv")?;
        }
        body(&mut bench)?;
        if versions.module.is_empty() {
            versions.module = bench.module_version().unwrap_or_default();
        }
        Ok(())
    }))
    .unwrap_or_else(|_| Err(anyhow!("the scenario panicked")));
    bench.end(result)
}

/// One line for each cell, in the form that scripts/test reads.
fn show(cell: &Cell) {
    let name = format!("{}/{}", cell.scenario, cell.oracle);
    match (cell.pending, cell.failure()) {
        (Some(what), _) => println!("skipped {name}: pending: {what}"),
        (None, Some(why)) => println!("{}", failed(&name, &why)),
        (None, None) => {
            let stores = cell
                .stores_checked
                .map_or_else(String::new, |n| format!(", {n} stores checked"));
            println!(
                "ok {name}: control found, 0 findings, asked {} times{stores}",
                cell.asked
            );
        }
    }
}

fn conclude(report: &Report) {
    let totals = report.totals;
    println!("\n{}", matrix(&report.rows));
    println!(
        "found N: the control was found, and N times something of ours; NONE: the control was not \
         found;\nERROR: the scenario could not be carried out; -: the oracle does not apply.\n"
    );
    println!(
        "{} cells: {} passed, {} failed, {} pending; {} findings, {} stores checked, {:.0} s",
        report.rows.len(),
        totals.passed,
        totals.failed,
        totals.pending,
        totals.findings,
        totals.stores_checked,
        report.seconds
    );
    if totals.good() {
        println!("Verdict: every control was found, and nothing of ours.");
    } else {
        println!("Verdict: FAILED; the cells above that begin with FAILED say why.");
    }
}
