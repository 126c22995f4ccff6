// SPDX-License-Identifier: GPL-2.0-or-later

//! Reads a LUKS2 header and opens its keyslot, without cryptsetup and without a kernel.
//!
//! Format: "LUKS2 On-Disk Format Specification", version 1.1.x. Only what cryptsetup writes for
//! this project's volumes is understood: one data segment, keyslots of type `luks2` with PBKDF2,
//! `aes-xts-plain64` and the anti-forensic splitter `luks1` with SHA-256.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine as _;
use pbkdf2::pbkdf2_hmac;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::reference::Volume;

/// Size of the binary header, before the JSON area (specification, section 3.1).
const BINARY: usize = 4096;

/// What a header says about the volume.
pub struct Header {
    image: File,
    json: Json,
    /// The volume's UUID, 36 characters.
    pub uuid: String,
    /// Where the encrypted data starts, in bytes.
    pub data_offset: u64,
    /// Size of an encryption sector, in bytes.
    pub sector_size: usize,
    /// The cipher, such as `aes-xts-plain64`.
    pub cipher: String,
}

#[derive(Deserialize)]
struct Json {
    keyslots: BTreeMap<String, Keyslot>,
    segments: BTreeMap<String, Segment>,
    digests: BTreeMap<String, Pbkdf>,
}

#[derive(Deserialize)]
struct Segment {
    offset: String,
    iv_tweak: String,
    encryption: String,
    sector_size: usize,
}

#[derive(Deserialize)]
struct Keyslot {
    key_size: usize,
    area: Area,
    kdf: Pbkdf,
    af: Splitter,
}

#[derive(Deserialize)]
struct Area {
    offset: String,
    encryption: String,
    key_size: usize,
}

#[derive(Deserialize)]
struct Splitter {
    stripes: usize,
    hash: String,
}

/// A key derivation, of a keyslot or of the digest that recognises the right key.
#[derive(Deserialize)]
struct Pbkdf {
    #[serde(rename = "type")]
    kind: String,
    hash: Option<String>,
    iterations: Option<u32>,
    salt: String,
    digest: Option<String>,
}

impl Pbkdf {
    fn derive(&self, secret: &[u8], out: &mut [u8]) -> Result<()> {
        let (Some(hash), Some(iterations)) = (&self.hash, self.iterations) else {
            bail!("key derivation by {} is not supported here", self.kind);
        };
        ensure!(hash == "sha256", "PBKDF2 with {hash} is not supported here");
        pbkdf2_hmac::<Sha256>(secret, &BASE64.decode(&self.salt)?, iterations, out);
        Ok(())
    }
}

impl Header {
    /// Reads the header at the start of a raw image.
    ///
    /// # Errors
    /// If there is none, or it is not of the kind described above.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_inner(path).with_context(|| format!("in the LUKS header of {}", path.display()))
    }

    fn read_inner(path: &Path) -> Result<Self> {
        let image = File::open(path)?;
        let mut binary = [0; BINARY];
        image.read_exact_at(&mut binary, 0)?;
        ensure!(
            &binary[..8] == b"LUKS\xba\xbe\x00\x02",
            "there is no LUKS2 signature"
        );
        let size = u64::from_be_bytes(binary[8..16].try_into()?);
        ensure!(
            (BINARY as u64..=4 << 20).contains(&size),
            "its size is {size}"
        );
        let mut area = vec![0; size as usize - BINARY];
        image.read_exact_at(&mut area, BINARY as u64)?;
        let end = area.iter().position(|&b| b == 0).unwrap_or(area.len());
        let json: Json =
            serde_json::from_slice(&area[..end]).context("its JSON is not understood")?;
        let uuid = binary[168..208]
            .iter()
            .take_while(|&&b| b != 0)
            .copied()
            .collect();
        let segment = match json.segments.get("0") {
            Some(segment) if json.segments.len() == 1 => segment,
            _ => bail!("it has not exactly one segment"),
        };
        ensure!(
            segment.iv_tweak == "0",
            "its sectors are counted from {}",
            segment.iv_tweak
        );
        Ok(Self {
            uuid: String::from_utf8(uuid)?,
            data_offset: segment.offset.parse()?,
            sector_size: segment.sector_size,
            cipher: segment.encryption.clone(),
            image,
            json,
        })
    }

    /// The volume key that some keyslot holds for `passphrase`, or `None` if no slot opens.
    ///
    /// # Errors
    /// If the image cannot be read, or a keyslot is of another kind.
    pub fn volume_key(&self, passphrase: &[u8]) -> Result<Option<Vec<u8>>> {
        for slot in self.json.keyslots.values() {
            let key = self.open(slot, passphrase)?;
            for digest in self.json.digests.values() {
                let wanted = BASE64.decode(digest.digest.as_deref().unwrap_or_default())?;
                let mut got = vec![0; wanted.len()];
                digest.derive(&key, &mut got)?;
                if !got.is_empty() && got == wanted {
                    return Ok(Some(key));
                }
            }
        }
        Ok(None)
    }

    fn open(&self, slot: &Keyslot, passphrase: &[u8]) -> Result<Vec<u8>> {
        let area = &slot.area;
        ensure!(
            area.encryption == "aes-xts-plain64",
            "a keyslot in {}",
            area.encryption
        );
        ensure!(
            slot.af.hash == "sha256",
            "a keyslot split with {}",
            slot.af.hash
        );
        let mut key = vec![0; area.key_size];
        slot.kdf.derive(passphrase, &mut key)?;
        let used = slot.key_size * slot.af.stripes;
        let mut split = vec![0; used.next_multiple_of(512)];
        self.image.read_exact_at(&mut split, area.offset.parse()?)?;
        Volume::new(&key)?.decrypt(&mut split, 0, 512);
        Ok(merge(&split[..used], slot.key_size))
    }
}

/// The anti-forensic merge of LUKS1 (LUKS On-Disk Format Specification 1.2.3, section 2.4).
fn merge(split: &[u8], key_size: usize) -> Vec<u8> {
    let mut stripes = split.chunks_exact(key_size).peekable();
    let mut state = vec![0; key_size];
    while let Some(stripe) = stripes.next() {
        state.iter_mut().zip(stripe).for_each(|(s, b)| *s ^= b);
        if stripes.peek().is_some() {
            diffuse(&mut state);
        }
    }
    state
}

/// Replaces each digest-sized piece by the hash of its number and itself.
fn diffuse(state: &mut [u8]) {
    for (number, piece) in (0u32..).zip(state.chunks_mut(32)) {
        let digest = Sha256::new()
            .chain_update(number.to_be_bytes())
            .chain_update(&*piece)
            .finalize();
        piece.copy_from_slice(&digest[..piece.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_undoes_splitting() {
        let key: Vec<u8> = (0..64).collect();
        // Splitting: random stripes, then what makes the merge come out as the key.
        let mut split: Vec<u8> = (0..64 * 9u32).map(|i| (i * i + 3) as u8).collect();
        let mut state = vec![0; 64];
        for stripe in split.chunks_exact(64) {
            state.iter_mut().zip(stripe).for_each(|(s, b)| *s ^= b);
            diffuse(&mut state);
        }
        split.extend(state.iter().zip(&key).map(|(s, k)| s ^ k));
        assert_eq!(merge(&split, 64), key);
    }

    #[test]
    fn an_image_without_header_is_refused() {
        let path = std::env::temp_dir().join(format!("tresor-no-luks-{}", std::process::id()));
        std::fs::write(&path, [0; 8192]).unwrap();
        let error = Header::read(&path).err().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(
            format!("{error:#}").ends_with("there is no LUKS2 signature"),
            "{error:#}"
        );
    }
}
