// SPDX-License-Identifier: GPL-2.0-or-later

//! Decrypts a disk image on the host and compares.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use anyhow::{ensure, Context, Result};
use sha2::{Digest, Sha256};

use crate::data::BLOCK;
use crate::reference::Volume;
use crate::report::Sample;

/// Bytes decrypted at a time by one thread; a multiple of every sector size.
const CHUNK: usize = 1 << 20;

/// The data of an encrypted image.
pub struct Disk {
    image: File,
    data_offset: u64,
    length: u64,
    sector_size: usize,
    volume: Volume,
}

impl Disk {
    /// Opens a raw image whose data from `data_offset` on is encrypted with `key` (K1, then K2).
    ///
    /// # Errors
    /// If it cannot be opened, or the key's length is not one of AES-XTS.
    pub fn open(path: &Path, data_offset: u64, sector_size: usize, key: &[u8]) -> Result<Self> {
        let image = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let size = image.metadata()?.len();
        ensure!(
            size > data_offset,
            "{} ends before its data",
            path.display()
        );
        let length = (size - data_offset) / sector_size as u64 * sector_size as u64;
        Ok(Self {
            image,
            data_offset,
            length,
            sector_size,
            volume: Volume::new(key)?,
        })
    }

    /// Plaintext, from whole sectors.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.image
            .read_exact_at(buffer, self.data_offset + offset)
            .context("the image is shorter than it was")?;
        self.volume.decrypt(buffer, offset, self.sector_size);
        Ok(())
    }

    /// Whether the sample's checksum is that of the decrypted image.
    ///
    /// # Errors
    /// If the image cannot be read there.
    pub fn matches(&self, sample: &Sample) -> Result<bool> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let end = sample.offset + sample.length;
        let mut at = sample.offset;
        while at < end {
            let piece = &mut buffer[..CHUNK.min((end - at) as usize)];
            self.read(at, piece)?;
            hash.update(&*piece);
            at += piece.len() as u64;
        }
        Ok(hex::encode(hash.finalize()) == sample.sha256)
    }

    /// How many of `blocks` (SHA-256 of each) are in the decrypted image, and how many in the image
    /// as it is.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub fn count_blocks(&self, blocks: &HashSet<[u8; 32]>) -> Result<(usize, usize)> {
        let chunks: Vec<u64> = (0..self.length).step_by(CHUNK).collect();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let found = thread::scope(|scope| {
            let workers: Vec<_> = chunks
                .chunks(chunks.len().div_ceil(threads).max(1))
                .map(|part| scope.spawn(move || self.find_blocks(blocks, part)))
                .collect();
            workers
                .into_iter()
                .map(|worker| {
                    worker
                        .join()
                        .unwrap_or_else(|_| anyhow::bail!("a thread failed"))
                })
                .collect::<Result<Vec<_>>>()
        })?;
        let (mut plain, mut cipher) = (HashSet::new(), HashSet::new());
        for (p, c) in found {
            plain.extend(p);
            cipher.extend(c);
        }
        Ok((plain.len(), cipher.len()))
    }

    #[allow(clippy::type_complexity)] // two sets of hashes: plaintext's and ciphertext's
    fn find_blocks(
        &self,
        blocks: &HashSet<[u8; 32]>,
        offsets: &[u64],
    ) -> Result<(HashSet<[u8; 32]>, HashSet<[u8; 32]>)> {
        let collect = |data: &[u8], into: &mut HashSet<[u8; 32]>| {
            for block in data.chunks_exact(BLOCK) {
                // Most of what is not a file's block is zero.
                if block.iter().any(|&b| b != 0) {
                    let hash = Sha256::digest(block).into();
                    if blocks.contains(&hash) {
                        into.insert(hash);
                    }
                }
            }
        };
        let (mut plain, mut cipher) = (HashSet::new(), HashSet::new());
        let mut buffer = vec![0; CHUNK];
        for &offset in offsets {
            let piece = &mut buffer[..CHUNK.min((self.length - offset) as usize)];
            self.image.read_exact_at(piece, self.data_offset + offset)?;
            collect(piece, &mut cipher);
            self.volume.decrypt(piece, offset, self.sector_size);
            collect(piece, &mut plain);
        }
        Ok((plain, cipher))
    }
}
