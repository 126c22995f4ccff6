// SPDX-License-Identifier: GPL-2.0-or-later

//! What a run of the benchmark found: `target/bench/report.json`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{ensure, Context, Result};
use serde::{Deserialize, Serialize};
use tresor_cipher::Direction;

/// All of it. A part that was not run is empty.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// When the run began: UTC, as RFC 3339 has it.
    pub date: String,
    /// The host's CPU.
    pub cpu: Cpu,
    /// Versions of what took part, by name.
    pub versions: BTreeMap<String, String>,
    /// How the host's part measured.
    pub method: Option<Method>,
    /// Time of a request, in user space.
    pub rows: Vec<Row>,
    /// How fast codes are beside others.
    pub ratios: Vec<Ratio>,
    /// dm-crypt over a RAM disk, in a VM.
    pub dm_crypt: Vec<DmCrypt>,
    /// What could not be run here, each with its reason.
    pub skipped: Vec<String>,
}

/// A CPU, as /proc/cpuinfo has it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Cpu {
    /// `model name`.
    pub name: String,
    /// Vendor, family, model and stepping.
    pub signature: String,
    /// Whether it is a hypervisor's.
    pub virtualised: bool,
}

/// How the host's part measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Method {
    /// Rounds in which each code was timed once.
    pub rounds: usize,
    /// Length of one timing in microseconds.
    pub slice_us: u64,
    /// Where the engine's shares were.
    pub shares: String,
    /// What ends each request.
    pub fence: String,
}

/// The median time of a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// Such as `tresor/vaes_avx2`, `linux/vaes_avx2`, `openssl`.
    pub code: String,
    /// Such as `xts-256`.
    pub mode: String,
    /// `encrypt` or `decrypt`.
    pub direction: String,
    /// Length of the request.
    pub bytes: usize,
    /// 10^6 bytes per second.
    pub mb_per_s: f64,
    /// Nanoseconds.
    pub ns_per_request: f64,
}

/// How fast a code is beside another: the median of the ratios in the rounds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ratio {
    /// The code.
    pub code: String,
    /// What it is compared with.
    pub against: String,
    /// Such as `xts-256`.
    pub mode: String,
    /// `encrypt` or `decrypt`.
    pub direction: String,
    /// Length of the request.
    pub bytes: usize,
    /// Time of `against` by time of `code`: above 1 the code is the faster one.
    pub speed: f64,
    /// What it shall at least be, if that is laid down.
    pub floor: Option<f64>,
    /// Whether it is.
    pub met: Option<bool>,
}

/// One kind of I/O on one device of the VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DmCrypt {
    /// `tresor-xts-plain64`, `aes-xts-plain64`, or `none`: the RAM disk itself.
    pub cipher: String,
    /// What implements it: the engine, or the kernel's driver.
    pub implementation: String,
    /// `sequential` or `random`.
    pub pattern: String,
    /// `read` or `write`.
    pub operation: String,
    /// Bytes of an encryption sector.
    pub sector_bytes: usize,
    /// Bytes of an I/O request, which goes past the page cache.
    pub io_bytes: usize,
    /// Sectors that were read or written.
    pub sectors: usize,
    /// `tcg` or `kvm`.
    pub accelerator: String,
    /// Guest instructions of all kinds, the driver's included, for each sector: under TCG.
    pub instructions_per_sector: Option<f64>,
    /// 10^6 bytes per second: under KVM, where time means something.
    pub mb_per_s: Option<f64>,
}

impl Report {
    /// An empty report of today on this machine.
    ///
    /// # Errors
    /// If the machine does not say what it is.
    pub fn new() -> Result<Self> {
        let date = Command::new("date")
            .args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])
            .output()
            .context("cannot start date")?;
        ensure!(date.status.success(), "date failed");
        let mut versions = BTreeMap::new();
        versions.insert("tresor".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Ok(Self {
            date: String::from_utf8_lossy(&date.stdout).trim().to_owned(),
            cpu: Cpu::this()?,
            versions,
            ..Self::default()
        })
    }

    /// The row of these.
    pub fn row(&self, code: &str, mode: &str, direction: &str, bytes: usize) -> Option<&Row> {
        self.rows.iter().find(|row| {
            (row.code.as_str(), row.mode.as_str()) == (code, mode)
                && (row.direction.as_str(), row.bytes) == (direction, bytes)
        })
    }

    /// The codes of the rows, each once, in their order.
    pub fn codes(&self) -> Vec<&str> {
        let mut codes: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !codes.contains(&row.code.as_str()) {
                codes.push(&row.code);
            }
        }
        codes
    }
}

impl Cpu {
    fn this() -> Result<Self> {
        let text = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let found = lines.find(|(key, _)| key.trim() == name);
            found.map_or("unknown", |(_, value)| value.trim())
        };
        Ok(Self {
            name: field("model name").to_owned(),
            signature: format!(
                "{} family {} model {} stepping {}",
                field("vendor_id"),
                field("cpu family"),
                field("model"),
                field("stepping")
            ),
            virtualised: field("flags").split(' ').any(|flag| flag == "hypervisor"),
        })
    }
}

/// `encrypt` or `decrypt`.
pub(crate) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Encrypt => "encrypt",
        Direction::Decrypt => "decrypt",
    }
}
