// SPDX-License-Identifier: GPL-2.0-or-later

//! The disk for swap, core files and dumps, as the host reads it.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result};
use tresor_guest::pattern;

use super::bench::{Bench, SPARE};

const PAGE: usize = 4096;

impl Bench {
    /// Makes the spare disk empty again, which the guest must not use now.
    ///
    /// # Errors
    /// If its image cannot be changed.
    pub fn empty_spare(&self) -> Result<()> {
        let path = self.image(SPARE);
        let file = File::options().write(true).open(&path);
        file.and_then(|file| {
            let size = file.metadata()?.len();
            file.set_len(0)?;
            file.set_len(size)
        })
        .with_context(|| format!("cannot empty {}", path.display()))
    }

    /// Copies a file of the guest to the spare disk, which has nothing else then.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub fn fetch(&mut self, file: &str) -> Result<()> {
        self.empty_spare()?;
        self.guest
            .vm
            .check_for(
                &format!("dd if={file} of=/dev/disk/spare bs=1M conv=fsync 2>/dev/null"),
                Duration::from_secs(60),
            )
            .map(drop)
    }

    /// Pages of the spare disk of which at least half is the pattern called `seed`, from anywhere in
    /// its first `bytes`.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub fn spare_pages(&self, seed: u64, bytes: u64) -> Result<usize> {
        let pages = self.pattern_words(seed, bytes)?;
        Ok(pages.iter().filter(|&&words| words >= PAGE / 16).count())
    }

    /// 8-byte words of the pattern on the spare disk.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub fn spare_words(&self, seed: u64, bytes: u64) -> Result<usize> {
        Ok(self.pattern_words(seed, bytes)?.iter().sum())
    }

    /// How many words of the pattern each page has that has one.
    fn pattern_words(&self, seed: u64, bytes: u64) -> Result<Vec<usize>> {
        let mut wanted = vec![0; bytes as usize];
        pattern(seed, 0, &mut wanted);
        let words: HashSet<&[u8]> = wanted.chunks_exact(8).collect();
        let path = self.image(SPARE);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut page = [0; PAGE];
        let mut counts = Vec::new();
        for at in (0..file.metadata()?.len()).step_by(PAGE) {
            file.read_exact_at(&mut page, at)?;
            if page == [0; PAGE] {
                continue;
            }
            let count = page.chunks_exact(8).filter(|word| words.contains(word));
            counts.push(count.count());
        }
        Ok(counts)
    }
}
