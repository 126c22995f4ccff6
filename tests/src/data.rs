// SPDX-License-Identifier: GPL-2.0-or-later

//! Real files of the Debian tree, packed for the guest, and known to the host.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use sha2::{Digest, Sha256};
use tresor_qemu::Cache;

/// Size of a block of ext4, at whose multiples file contents start on the disk.
pub const BLOCK: usize = 4096;

/// Folders of the tree whose files are taken, in this order.
const FOLDERS: [&str; 3] = ["usr/bin", "usr/lib/x86_64-linux-gnu", "usr/share"];

/// Files smaller or larger than this are left out: many small ones would test the guest's speed of
/// making files, and a few large ones would not be a tree.
const SIZES: std::ops::Range<u64> = 32 << 10..4 << 20;

/// The list of checksums, as `sha256sum -c` reads it, at the root of the archive.
pub const SUMS: &str = "SHA256SUMS";

/// A packed set of files.
pub struct Data {
    /// The archive (tar), a whole number of sectors long.
    pub archive: PathBuf,
    /// Number of files.
    pub files: usize,
    /// Their total size in bytes.
    pub bytes: u64,
    /// SHA-256 of every whole block of every file.
    pub blocks: HashSet<[u8; 32]>,
}

impl Data {
    /// Packs at least `least` bytes of files into `archive`.
    ///
    /// # Errors
    /// If the tree has too few files, or something cannot be read or written.
    pub fn pack(cache: &Cache, archive: &Path, least: u64) -> Result<Self> {
        let files = choose(&cache.tree, least)?;
        let mut contents = Vec::new();
        let mut sums = String::new();
        let mut blocks = HashSet::new();
        for path in &files {
            let host = cache.tree.join(path);
            let bytes =
                fs::read(&host).with_context(|| format!("cannot read {}", host.display()))?;
            let sum = hex::encode(Sha256::digest(&bytes));
            sums.push_str(&format!("{sum}  {}\n", path.display()));
            // A block of one byte repeated would be found anywhere.
            let telling = |b: &&[u8]| b.len() == BLOCK && b.iter().any(|&x| x != b[0]);
            blocks.extend(
                bytes
                    .chunks(BLOCK)
                    .filter(telling)
                    .map(|b| <[u8; 32]>::from(Sha256::digest(b))),
            );
            contents.push(bytes);
        }
        let out =
            File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
        let mut tar = tar::Builder::new(BufWriter::new(out));
        add(&mut tar, Path::new(SUMS), sums.as_bytes())?;
        for (path, bytes) in files.iter().zip(&contents) {
            add(&mut tar, path, bytes)?;
        }
        tar.into_inner()?.flush()?;
        let bytes = contents.iter().map(|c| c.len() as u64).sum();
        Ok(Self {
            archive: archive.to_path_buf(),
            files: files.len(),
            bytes,
            blocks,
        })
    }
}

fn add(tar: &mut tar::Builder<impl Write>, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    tar.append_data(&mut header, path, bytes)
        .with_context(|| format!("cannot pack {}", path.display()))
}

/// Paths relative to the tree, sorted within each folder, until `least` bytes are reached.
fn choose(tree: &Path, least: u64) -> Result<Vec<PathBuf>> {
    let mut chosen = Vec::new();
    let mut total = 0;
    for folder in FOLDERS {
        let mut found = Vec::new();
        walk(&tree.join(folder), &mut found)?;
        found.sort();
        for (path, size) in found {
            if total >= least {
                return Ok(chosen);
            }
            total += size;
            chosen.push(path.strip_prefix(tree)?.to_path_buf());
        }
    }
    ensure!(
        total >= least,
        "{} has only {total} bytes of suitable files, {least} are needed: run scripts/setup again",
        tree.display()
    );
    Ok(chosen)
}

fn walk(folder: &Path, found: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), found)?;
        } else if kind.is_file() {
            let size = entry.metadata()?.len();
            if SIZES.contains(&size) {
                found.push((entry.path(), size));
            }
        }
    }
    Ok(())
}
