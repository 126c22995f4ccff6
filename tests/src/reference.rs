// SPDX-License-Identifier: GPL-2.0-or-later

//! The definition of F and of a volume's encryption, written a second time.
//!
//! This shares no line with `kmod/cipher`: it is made of RustCrypto's AES, XTS and SHA-256, so that
//! an error there cannot hide behind the same error here. `docs/architecture.md` has the definition.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use anyhow::{bail, ensure, Result};
use sha2::{Digest, Sha256};
use xts_mode::Xts128;

/// Bytes in a master key M.
pub const MASTER: usize = 32;

/// A master key, outside of the machine that keeps it in its registers.
pub struct Master(Aes256);

impl Master {
    /// Takes M.
    pub fn new(m: &[u8; MASTER]) -> Self {
        Self(Aes256::new(m.into()))
    }

    /// Block `index` of F(purpose, mode, bits, index, context).
    fn f(&self, purpose: u8, mode: u8, bits: u16, index: u16, context: &[u8]) -> [u8; 16] {
        let mut header = [0; 16];
        header[..9].copy_from_slice(b"tresor v1");
        header[10] = purpose;
        header[11] = mode;
        header[12..14].copy_from_slice(&bits.to_le_bytes());
        header[14..].copy_from_slice(&index.to_le_bytes());
        let digest = Sha256::new()
            .chain_update(header)
            .chain_update(context)
            .finalize();
        let mut block = GenericArray::clone_from_slice(&digest[..16]);
        self.0.encrypt_block(&mut block);
        block.into()
    }

    /// The check value: public, names M.
    pub fn check_value(&self) -> [u8; 16] {
        self.f(b'k', 0, 0, 0, b"")
    }

    /// The key id that users see: the first 8 bytes of the check value in hex.
    pub fn key_id(&self) -> String {
        hex::encode(&self.check_value()[..8])
    }

    /// The key of a LUKS2 keyslot; `uuid` as 36 lower-case characters.
    pub fn slot_key(&self, uuid: &str) -> [u8; 32] {
        let mut key = [0; 32];
        for (index, part) in (0..).zip(key.chunks_exact_mut(16)) {
            part.copy_from_slice(&self.f(b's', 0, 256, index, uuid.as_bytes()));
        }
        key
    }

    /// The key that really encrypts an XTS volume whose "volume key" is `blob`: K1, then K2.
    ///
    /// # Errors
    /// If the blob is neither 32 nor 64 bytes.
    pub fn xts_key(&self, blob: &[u8]) -> Result<Vec<u8>> {
        ensure!(
            matches!(blob.len(), 32 | 64),
            "an XTS blob is 32 or 64 bytes, not {}",
            blob.len()
        );
        Ok(self.volume_key(1, blob))
    }

    /// The key of as many bytes as the blob has that encrypts a volume in the mode of this number.
    pub(crate) fn volume_key(&self, mode: u8, blob: &[u8]) -> Vec<u8> {
        let bits = blob.len() as u16 * 8;
        let blocks = 0..blob.len().div_ceil(16) as u16;
        let mut key: Vec<u8> = blocks
            .flat_map(|i| self.f(b'v', mode, bits, i, blob))
            .collect();
        key.truncate(blob.len());
        key
    }

    /// The AES-256 key that encrypts the IVs of a volume with ESSIV.
    pub(crate) fn essiv_key(&self, blob: &[u8]) -> Vec<u8> {
        let bits = blob.len() as u16 * 8;
        (0..2)
            .flat_map(|i| self.f(b'e', 5, bits, i, blob))
            .collect()
    }
}

/// AES-XTS (IEEE 1619) as dm-crypt uses it with `plain64`.
pub enum Volume {
    /// With two AES-128 keys.
    Xts128(Box<Xts128<Aes128>>),
    /// With two AES-256 keys.
    Xts256(Box<Xts128<Aes256>>),
}

impl Volume {
    /// Takes K1 and K2, one after the other.
    ///
    /// # Errors
    /// If the key is neither 32 nor 64 bytes.
    pub fn new(key: &[u8]) -> Result<Self> {
        let (k1, k2) = key.split_at(key.len() / 2);
        Ok(match key.len() {
            32 => Self::Xts128(Box::new(Xts128::new(
                Aes128::new(GenericArray::from_slice(k1)),
                Aes128::new(GenericArray::from_slice(k2)),
            ))),
            64 => Self::Xts256(Box::new(Xts128::new(
                Aes256::new(GenericArray::from_slice(k1)),
                Aes256::new(GenericArray::from_slice(k2)),
            ))),
            other => bail!("an AES-XTS key is 32 or 64 bytes, not {other}"),
        })
    }

    /// Decrypts whole sectors of `sector_size` bytes in place.
    ///
    /// `offset` is the position of `data` in the plaintext device, in bytes. `plain64` numbers
    /// sectors in units of 512 bytes whatever the sector's size is (Linux `dm-crypt.rst`, without
    /// `iv_large_sectors`, which cryptsetup does not set for LUKS2).
    pub fn decrypt(&self, data: &mut [u8], offset: u64, sector_size: usize) {
        let first = offset / 512;
        for (i, sector) in (0..).zip(data.chunks_exact_mut(sector_size)) {
            let number: u64 = first + i * (sector_size as u64 / 512);
            let tweak = u128::from(number).to_le_bytes();
            match self {
                Self::Xts128(xts) => xts.decrypt_sector(sector, tweak),
                Self::Xts256(xts) => xts.decrypt_sector(sector, tweak),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xts_decrypts_the_published_vector_of_ieee_1619() {
        // IEEE 1619-2018, Annex B, vector 10: XTS-AES-256, data unit 0xff, 512 bytes counting up.
        let key = hex::decode(concat!(
            "2718281828459045235360287471352662497757247093699959574966967627",
            "3141592653589793238462643383279502884197169399375105820974944592"
        ))
        .unwrap();
        let plain: Vec<u8> = (0..512u32).map(|i| i as u8).collect();
        let mut data = plain.clone();
        let volume = Volume::new(&key).unwrap();
        match &volume {
            Volume::Xts256(xts) => xts.encrypt_sector(&mut data, 0xffu128.to_le_bytes()),
            Volume::Xts128(_) => unreachable!("the key has 64 bytes"),
        }
        assert_eq!(hex::encode(&data[..16]), "1c3b3a102f770386e4836c99e370cf9b");
        volume.decrypt(&mut data, 0xff * 512, 512);
        assert_eq!(data, plain);
    }

    #[test]
    fn outputs_of_f_differ_by_purpose_index_and_context() {
        let master = Master::new(&[7; 32]);
        let blob = [1; 64];
        let key = master.xts_key(&blob).unwrap();
        let mut blocks: Vec<Vec<u8>> = key.chunks(16).map(<[u8]>::to_vec).collect();
        blocks.extend(
            master
                .xts_key(&[1; 32])
                .unwrap()
                .chunks(16)
                .map(<[u8]>::to_vec),
        );
        blocks.extend(master.slot_key("uuid").chunks(16).map(<[u8]>::to_vec));
        blocks.push(master.check_value().to_vec());
        let count = blocks.len();
        blocks.sort();
        blocks.dedup();
        assert_eq!((blocks.len(), key.len()), (count, 64));
    }

    #[test]
    fn a_blob_of_another_length_is_refused() {
        let error = Master::new(&[0; 32]).xts_key(&[0; 48]).unwrap_err();
        assert_eq!(error.to_string(), "an XTS blob is 32 or 64 bytes, not 48");
    }
}
