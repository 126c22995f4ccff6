// SPDX-License-Identifier: GPL-2.0-or-later

//! What finders of AES keys find, and how fast, on the same files in one run.

mod tools;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};
use keyscan::{plant, Harm, Layout, Order};
use serde::Serialize;

use tools::{Tool, ToolResult};

/// How to run.
pub struct Options {
    /// An optimised `tresorctl`.
    pub tresorctl: PathBuf,
    /// A raw dump of a real machine.
    pub dump: Option<PathBuf>,
    /// Schedules of each kind and damage.
    pub count: u32,
    /// MiB that speed is measured on, at most.
    pub mib: u64,
    /// Where `keyscan.json` is left.
    pub out: PathBuf,
}

/// A kind of schedule.
struct Kind {
    name: &'static str,
    bits: u16,
    layout: Layout,
    order: Order,
}

const KINDS: [Kind; 7] = {
    const fn kind(name: &'static str, bits: u16, layout: Layout, order: Order) -> Kind {
        Kind {
            name,
            bits,
            layout,
            order,
        }
    }
    [
        kind("AES-128", 128, Layout::Encryption, Order::Native),
        kind("AES-192", 192, Layout::Encryption, Order::Native),
        kind("AES-256", 256, Layout::Encryption, Order::Native),
        kind(
            "AES-128, byte-swapped",
            128,
            Layout::Encryption,
            Order::Words32Swapped,
        ),
        kind(
            "AES-256, byte-swapped",
            256,
            Layout::Encryption,
            Order::Words32Swapped,
        ),
        kind("AES-128 decryption", 128, Layout::Decryption, Order::Native),
        kind("AES-256 decryption", 256, Layout::Decryption, Order::Native),
    ]
};

const HARMS: [Harm; 6] = [
    Harm::None,
    Harm::Bits(3),
    Harm::Bits(10),
    Harm::Flips(0.05),
    Harm::DecayToZero(0.20),
    Harm::DecayToZero(0.30),
];

/// What each tool found of one kind and damage.
#[derive(Serialize)]
struct Detection {
    kind: &'static str,
    damage: String,
    planted: u32,
    /// Keys found, by tool, in the order of [`Result::tools`].
    found: Vec<u32>,
}

/// How fast one tool is on one file.
#[derive(Serialize)]
struct Speed {
    what: String,
    data: String,
    threads: usize,
    bytes: u64,
    seconds: f64,
    /// 10^6 bytes a second.
    mb_per_s: f64,
    /// The same for each thread.
    mb_per_s_and_core: f64,
}

/// All of it.
#[derive(Serialize)]
struct Outcome {
    cpu: String,
    cores: usize,
    kernel: String,
    tools: Vec<(String, String)>,
    skipped: Vec<String>,
    detection: Vec<Detection>,
    speed: Vec<Speed>,
}

/// Compares what there is, prints both tables, and writes `keyscan.json`.
///
/// # Errors
/// If a file cannot be written or a tool fails.
pub fn run(options: &Options) -> Result<()> {
    fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make {}", options.out.display()))?;
    let (tools, skipped) = tools::find(&options.tresorctl)?;
    let folder = options.out.join("keyscan");
    fs::create_dir_all(&folder)?;
    let outcome = Outcome {
        cpu: cpu()?,
        cores: std::thread::available_parallelism()?.get(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
            .trim()
            .to_owned(),
        tools: tools
            .iter()
            .map(|tool| (tool.name().to_owned(), tool.version().to_owned()))
            .collect(),
        skipped,
        detection: detection(&tools, options.count, &folder)?,
        speed: speed(&tools, options, &folder)?,
    };
    fs::remove_dir_all(&folder)?;
    print!("{}", table(&outcome));
    let path = options.out.join("keyscan.json");
    let text = serde_json::to_string_pretty(&outcome)? + "\n";
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nLeft in {}.", path.display());
    Ok(())
}

fn detection(tools: &[Tool], count: u32, folder: &Path) -> Result<Vec<Detection>> {
    let path = folder.join("planted");
    let mut lines = Vec::new();
    for harm in HARMS {
        for kind in &KINDS {
            let seed = lines.len() as u64 + 1;
            let (memory, planted) = plant(kind.bits, kind.layout, &[kind.order], harm, count, seed)
                .context("no such schedules")?;
            fs::write(&path, memory)?;
            let found = tools.iter().map(|tool| {
                let keys = tool.keys(&path, harm)?;
                let found = planted
                    .iter()
                    .filter(|p| keys.contains(&hex::encode(p.key.expose())));
                Ok(found.count() as u32)
            });
            lines.push(Detection {
                kind: kind.name,
                damage: harm.to_string(),
                planted: count,
                found: found.collect::<Result<_>>()?,
            });
        }
    }
    Ok(lines)
}

fn speed(tools: &[Tool], options: &Options, folder: &Path) -> Result<Vec<Speed>> {
    let random = folder.join("random");
    let bytes = options.mib << 20;
    let mut source = File::open("/dev/urandom")?.take(bytes);
    std::io::copy(&mut source, &mut File::create(&random)?)?;
    let mut files = vec![("random data".to_owned(), random)];
    if let Some(dump) = &options.dump {
        let copy = folder.join("dump");
        let mut source = File::open(dump)
            .with_context(|| format!("cannot open {}", dump.display()))?
            .take(bytes);
        std::io::copy(&mut source, &mut File::create(&copy)?)?;
        files.push(("dump of a VM".to_owned(), copy));
    }
    let cores = std::thread::available_parallelism()?.get();
    let mut lines = Vec::new();
    for (data, file) in &files {
        for tool in tools {
            for mode in tool.modes() {
                for threads in tool.threads(cores) {
                    let ToolResult { bytes, seconds } = tool.time(file, mode, threads, folder)?;
                    let rate = bytes as f64 / 1e6 / seconds;
                    let line = Speed {
                        what: format!("{}{}", tool.name(), mode.name),
                        data: data.clone(),
                        threads,
                        bytes,
                        seconds,
                        mb_per_s: rate,
                        mb_per_s_and_core: rate / threads as f64,
                    };
                    println!(
                        "{:32} {:14} {} threads: {:.0} MB/s",
                        line.what, line.data, line.threads, line.mb_per_s
                    );
                    std::io::stdout().flush()?;
                    lines.push(line);
                }
            }
        }
    }
    Ok(lines)
}

fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "\n{} ({} cores), Linux {}",
        outcome.cpu, outcome.cores, outcome.kernel
    );
    for (name, version) in &outcome.tools {
        let _ = writeln!(text, "{name} {version}");
    }
    for why in &outcome.skipped {
        let _ = writeln!(text, "skipped: {why}");
    }
    let _ = write!(text, "\n{:22} {:24}", "SCHEDULE", "DAMAGE");
    for (name, _) in &outcome.tools {
        let _ = write!(text, " {name:>15}");
    }
    text.push('\n');
    for line in &outcome.detection {
        let _ = write!(text, "{:22} {:24}", line.kind, line.damage);
        for found in &line.found {
            let _ = write!(text, " {:>15}", format!("{found}/{}", line.planted));
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\n{:36} {:14} {:>7} {:>9} {:>10}",
        "SPEED", "DATA", "THREADS", "MB/s", "a core"
    );
    for line in &outcome.speed {
        let _ = writeln!(
            text,
            "{:36} {:14} {:>7} {:>9.1} {:>10.1}",
            line.what, line.data, line.threads, line.mb_per_s, line.mb_per_s_and_core
        );
    }
    text
}

fn cpu() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    Ok(model.map_or("unknown CPU", |(_, name)| name).to_owned())
}

/// What a command prints, if it succeeds as `good` says.
fn output(command: &mut Command, good: &[i32]) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output
            .status
            .code()
            .is_some_and(|code| good.contains(&code)),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
