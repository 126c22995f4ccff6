// SPDX-License-Identifier: GPL-2.0-or-later

//! The tools that are compared.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use keyscan::Harm;

use super::output;

/// Bytes that a slow tool is timed on.
const SLOW: u64 = 64 << 20;

/// A finder of AES keys.
pub enum Tool {
    /// `tresorctl scan`: where it is, and its version.
    Tresorctl(PathBuf, String),
    /// aeskeyfind, of Halderman et al.
    AesKeyFind(String),
    /// bulk_extractor, with its scanner `aes` alone.
    BulkExtractor(String),
}

/// A way to run a tool.
pub struct Mode {
    /// Goes behind the tool's name.
    pub name: &'static str,
    arguments: &'static [&'static str],
}

/// How long a run took.
pub struct ToolResult {
    pub bytes: u64,
    pub seconds: f64,
}

/// Those that are there, and why others are not.
pub fn find(tresorctl: &Path) -> Result<(Vec<Tool>, Vec<String>)> {
    let version = output(Command::new(tresorctl).arg("--version"), &[0])?;
    let version = version.split_whitespace().last().unwrap_or_default();
    let mut tools = vec![Tool::Tresorctl(tresorctl.to_owned(), version.to_owned())];
    let mut skipped = Vec::new();
    // It has no option that prints a version.
    match package_version("aeskeyfind") {
        Some(version) => tools.push(Tool::AesKeyFind(version)),
        None => skipped.push("aeskeyfind: the package is not installed".to_owned()),
    }
    match output(Command::new("bulk_extractor").arg("-V"), &[0]) {
        Ok(said) => {
            let version = said.split_whitespace().last().unwrap_or_default();
            tools.push(Tool::BulkExtractor(version.to_owned()));
        }
        Err(_) => skipped.push("bulk_extractor: it is not installed".to_owned()),
    }
    Ok((tools, skipped))
}

fn package_version(name: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f=${db:Status-Abbrev}${Version}", name]);
    let said = output(&mut query, &[0]).ok()?;
    Some(said.strip_prefix("ii ")?.trim().to_owned())
}

impl Tool {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tresorctl(..) => "tresorctl scan",
            Self::AesKeyFind(_) => "aeskeyfind",
            Self::BulkExtractor(_) => "bulk_extractor",
        }
    }

    pub fn version(&self) -> &str {
        match self {
            Self::Tresorctl(_, version)
            | Self::AesKeyFind(version)
            | Self::BulkExtractor(version) => version,
        }
    }

    /// The keys that it finds in a file with this damage, in hex. Ours is told of the damage; the others
    /// have nothing to be told, but for aeskeyfind's number of wrong bits, which is 10 by default.
    pub fn keys(&self, file: &Path, harm: Harm) -> Result<HashSet<String>> {
        match self {
            Self::Tresorctl(path, _) => {
                let mut command = Command::new(path);
                command.args(["scan", "--json", "--show-keys"]);
                if let Some(damage) = harm.damage() {
                    command.arg("--flips").arg(damage.flips.to_string());
                    if damage.decay > 0.0 {
                        command.arg("--decay").arg(damage.decay.to_string());
                    }
                }
                let said = output(command.arg(file), &[0, 1])?;
                let report: serde_json::Value = serde_json::from_str(&said)?;
                let findings = report["files"][0]["findings"].as_array().cloned();
                let keys = findings.unwrap_or_default().into_iter();
                Ok(keys
                    .filter_map(|f| Some(f["key"].as_str()?.to_owned()))
                    .collect())
            }
            Self::AesKeyFind(_) => {
                let said = output(Command::new("aeskeyfind").arg("-q").arg(file), &[0])?;
                Ok(said.lines().map(|line| line.trim().to_owned()).collect())
            }
            Self::BulkExtractor(_) => {
                let out = file.with_extension("bulk");
                let _ = fs::remove_dir_all(&out);
                output(bulk(&out, 1).arg(file), &[0])?;
                let features = fs::read_to_string(out.join("aes_keys.txt")).unwrap_or_default();
                let keys = features.lines().filter(|line| !line.starts_with('#'));
                Ok(keys
                    .filter_map(|line| Some(line.split('\t').nth(1)?.replace(' ', "")))
                    .collect())
            }
        }
    }

    pub fn modes(&self) -> &'static [Mode] {
        match self {
            Self::Tresorctl(..) => &[
                Mode {
                    name: "",
                    arguments: &[],
                },
                Mode {
                    name: " --flips 5%",
                    arguments: &["--flips", "5%"],
                },
                Mode {
                    name: " --decay 30%",
                    arguments: &["--decay", "30%"],
                },
            ],
            _ => &[Mode {
                name: "",
                arguments: &[],
            }],
        }
    }

    /// Numbers of threads that are of interest.
    pub fn threads(&self, cores: usize) -> Vec<usize> {
        match self {
            Self::AesKeyFind(_) => vec![1],
            _ if cores > 1 => vec![1, cores],
            _ => vec![1],
        }
    }

    /// Times a run on a file, or the first of it if the tool is slow.
    pub fn time(
        &self,
        file: &Path,
        mode: &Mode,
        threads: usize,
        folder: &Path,
    ) -> Result<ToolResult> {
        let mut bytes = fs::metadata(file)?.len();
        let mut file = file.to_owned();
        let mut command = match self {
            Self::Tresorctl(path, _) => {
                let mut command = Command::new(path);
                command.arg("scan").args(mode.arguments);
                command.env("RAYON_NUM_THREADS", threads.to_string());
                command
            }
            Self::AesKeyFind(_) => {
                let mut command = Command::new("aeskeyfind");
                command.arg("-q");
                command
            }
            Self::BulkExtractor(_) => {
                let out = folder.join("bulk");
                let _ = fs::remove_dir_all(&out);
                bulk(&out, threads)
            }
        };
        if !matches!(self, Self::Tresorctl(..)) && bytes > SLOW {
            let part = folder.join("part");
            let mut source = File::open(&file)?.take(SLOW);
            std::io::copy(&mut source, &mut File::create(&part)?)?;
            (bytes, file) = (SLOW, part);
        }
        // All of it in the page cache: a disk is not what is measured.
        std::io::copy(&mut File::open(&file)?, &mut std::io::sink())?;
        let start = Instant::now();
        output(command.arg(&file), &[0, 1, 5]).context("the run that is timed")?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(ToolResult { bytes, seconds })
    }
}

fn bulk(out: &Path, threads: usize) -> Command {
    let mut command = Command::new("bulk_extractor");
    command.args(["-E", "aes", "-j"]).arg(threads.to_string());
    command.arg("-o").arg(out);
    command
}
