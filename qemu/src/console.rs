// SPDX-License-Identifier: GPL-2.0-or-later

//! The kernel's log as it left the first serial port.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

/// A file to which QEMU appends what the guest's kernel prints.
#[derive(Clone, Debug)]
pub struct Console {
    path: PathBuf,
    /// How many times as long as usual everything may take.
    patience: u32,
}

impl Console {
    pub(crate) fn new(path: PathBuf, patience: u32) -> Self {
        Self { path, patience }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that was printed so far, with bytes that are not UTF-8 replaced.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn text(&self) -> io::Result<String> {
        fs::read(&self.path).map(|bytes| String::from_utf8_lossy(&bytes).replace('\r', ""))
    }

    /// The last `lines` lines, for an error message; empty if nothing can be read.
    pub fn tail(&self, lines: usize) -> String {
        tail(&self.text().unwrap_or_default(), lines)
    }

    /// Waits until the kernel has printed `text`, now or earlier.
    ///
    /// # Errors
    /// After `limit` (longer for a slow guest), showing the tail of the log.
    pub fn wait_for(&self, text: &str, limit: Duration) -> Result<()> {
        let limit = limit * self.patience;
        let start = Instant::now();
        while !self.text()?.contains(text) {
            if start.elapsed() > limit {
                bail!(
                    "the kernel did not print {text:?} within {limit:?}; its log ends:\n{}",
                    self.tail(30)
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
