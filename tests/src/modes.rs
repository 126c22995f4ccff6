// SPDX-License-Identifier: GPL-2.0-or-later

//! The modes of operation, written a second time, of RustCrypto's parts: see [`crate::reference`].

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{consts::U16, BlockSizeUser};
use aes::cipher::{
    BlockCipher, BlockDecrypt, BlockDecryptMut, BlockEncrypt, BlockEncryptMut, KeyInit, KeyIvInit,
    StreamCipher,
};
use aes::{Aes128, Aes192, Aes256};
use anyhow::{bail, ensure, Result};
use xts_mode::Xts128;

use crate::reference::Master;

/// Bytes in an AES block.
const BLOCK: usize = 16;

/// A mode of operation. The numbers are those of F.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// XTS-AES.
    Xts = 1,
    /// CBC.
    Cbc = 2,
    /// CTR with a 128-bit big-endian counter.
    Ctr = 3,
    /// ECB.
    Ecb = 4,
    /// CBC with an encrypted IV.
    EssivCbc = 5,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Xts, Self::Cbc, Self::Ctr, Self::Ecb, Self::EssivCbc];

    /// The name in the crypto API.
    pub fn algorithm(self) -> &'static str {
        match self {
            Self::Xts => "xts(tresor)",
            Self::Cbc => "cbc(tresor)",
            Self::Ctr => "ctr(tresor)",
            Self::Ecb => "ecb(tresor)",
            Self::EssivCbc => "essiv(cbc(tresor),sha256)",
        }
    }

    /// Lengths of its blobs, in bytes.
    pub fn blobs(self) -> &'static [usize] {
        match self {
            Self::Xts => &[32, 64],
            _ => &[16, 24, 32],
        }
    }

    /// Whether it takes a request of `len` bytes.
    pub fn takes(self, len: usize) -> bool {
        match self {
            Self::Xts => len >= BLOCK,
            Self::Ctr => true,
            Self::Cbc | Self::Ecb | Self::EssivCbc => len % BLOCK == 0,
        }
    }
}

/// A volume's cipher, with its keys.
pub struct Cipher {
    mode: Mode,
    key: Vec<u8>,
    iv_key: Vec<u8>,
}

/// AES of one key size.
trait Aes:
    BlockCipher + BlockSizeUser<BlockSize = U16> + BlockEncrypt + BlockDecrypt + KeyInit + Clone
{
}

impl Aes for Aes128 {}
impl Aes for Aes192 {}
impl Aes for Aes256 {}

impl Cipher {
    /// The cipher of the volume whose "volume key" is `blob`, under this master key.
    ///
    /// # Errors
    /// If the mode has no key of the blob's length.
    pub fn new(master: &Master, mode: Mode, blob: &[u8]) -> Result<Self> {
        ensure!(
            mode.blobs().contains(&blob.len()),
            "{} has no blob of {} bytes",
            mode.algorithm(),
            blob.len()
        );
        Ok(Self {
            mode,
            key: master.volume_key(mode as u8, blob),
            iv_key: match mode {
                Mode::EssivCbc => master.essiv_key(blob),
                _ => Vec::new(),
            },
        })
    }

    /// Encrypts a request in place, and leaves in `iv` the one under which a next request goes on; in XTS
    /// and ECB, where none can, `iv` stays as it is.
    ///
    /// # Errors
    /// If the mode takes no request of this length.
    pub fn encrypt(&self, iv: &mut [u8; BLOCK], data: &mut [u8]) -> Result<()> {
        self.crypt(true, iv, data)
    }

    /// Decrypts, otherwise as [`Cipher::encrypt`].
    ///
    /// # Errors
    /// If the mode takes no request of this length.
    pub fn decrypt(&self, iv: &mut [u8; BLOCK], data: &mut [u8]) -> Result<()> {
        self.crypt(false, iv, data)
    }

    /// Decrypts whole sectors of `sector_size` bytes in place, as dm-crypt numbers them for `plain64` and
    /// `essiv`: see [`crate::reference::Volume::decrypt`].
    ///
    /// # Errors
    /// If the mode takes no request of a sector's length.
    pub fn decrypt_sectors(&self, data: &mut [u8], sector_size: usize) -> Result<()> {
        for (i, sector) in (0u128..).zip(data.chunks_exact_mut(sector_size)) {
            let number = i * (sector_size as u128 / 512);
            self.decrypt(&mut number.to_le_bytes(), sector)?;
        }
        Ok(())
    }

    fn crypt(&self, encrypt: bool, iv: &mut [u8; BLOCK], data: &mut [u8]) -> Result<()> {
        ensure!(
            self.mode.takes(data.len()),
            "{} takes no {} bytes",
            self.mode.algorithm(),
            data.len()
        );
        let aes_bytes = match self.mode {
            Mode::Xts => self.key.len() / 2,
            _ => self.key.len(),
        };
        match aes_bytes {
            16 => self.with::<Aes128>(encrypt, iv, data),
            24 => self.with::<Aes192>(encrypt, iv, data),
            32 => self.with::<Aes256>(encrypt, iv, data),
            other => bail!("there is no AES key of {other} bytes"),
        }
        Ok(())
    }

    fn with<A: Aes>(&self, encrypt: bool, iv: &mut [u8; BLOCK], data: &mut [u8]) {
        let aes = |key: &[u8]| A::new(GenericArray::from_slice(key));
        match self.mode {
            Mode::Xts => {
                let (k1, k2) = self.key.split_at(self.key.len() / 2);
                let xts = Xts128::new(aes(k1), aes(k2));
                match encrypt {
                    true => xts.encrypt_sector(data, *iv),
                    false => xts.decrypt_sector(data, *iv),
                }
            }
            Mode::Ecb => {
                let aes = aes(&self.key);
                for block in data
                    .chunks_exact_mut(BLOCK)
                    .map(GenericArray::from_mut_slice)
                {
                    match encrypt {
                        true => aes.encrypt_block(block),
                        false => aes.decrypt_block(block),
                    }
                }
            }
            Mode::Ctr => {
                let key = GenericArray::from_slice(&self.key);
                let blocks = data.len().div_ceil(BLOCK) as u128;
                ctr::Ctr128BE::<A>::new(key, (&*iv).into()).apply_keystream(data);
                *iv = u128::from_be_bytes(*iv).wrapping_add(blocks).to_be_bytes();
            }
            Mode::EssivCbc => {
                let iv_cipher = Aes256::new(GenericArray::from_slice(&self.iv_key));
                let mut first = *iv;
                iv_cipher.encrypt_block((&mut first).into());
                cbc::<A>(&self.key, encrypt, first, iv, data);
            }
            Mode::Cbc => cbc::<A>(&self.key, encrypt, *iv, iv, data),
        }
    }
}

/// CBC with `first` as its IV; the last block of ciphertext, if there is one, becomes `next`.
fn cbc<A: Aes>(
    key: &[u8],
    encrypt: bool,
    first: [u8; BLOCK],
    next: &mut [u8; BLOCK],
    data: &mut [u8],
) {
    let key = GenericArray::from_slice(key);
    let last = |data: &[u8]| data.last_chunk().copied();
    let before = last(data);
    let mut to = cbc::Encryptor::<A>::new(key, (&first).into());
    let mut back = cbc::Decryptor::<A>::new(key, (&first).into());
    for block in data
        .chunks_exact_mut(BLOCK)
        .map(GenericArray::from_mut_slice)
    {
        match encrypt {
            true => to.encrypt_block_mut(block),
            false => back.decrypt_block_mut(block),
        }
    }
    if let Some(ciphertext) = if encrypt { last(data) } else { before } {
        *next = ciphertext;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST SP 800-38A, appendix F: the plaintext of all examples, its first two blocks.
    const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51";

    fn with_key(mode: Mode, key: &str) -> Cipher {
        Cipher {
            mode,
            key: hex::decode(key).unwrap(),
            iv_key: vec![7; 32],
        }
    }

    #[test]
    fn modes_give_the_examples_of_sp_800_38a() {
        let counting = "000102030405060708090a0b0c0d0e0f";
        let counter = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
        // Sections F.1.1, F.2.3, F.5.5.
        for (mode, key, iv, ciphertext) in [
            (
                Mode::Ecb,
                "2b7e151628aed2a6abf7158809cf4f3c",
                counting,
                "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf",
            ),
            (
                Mode::Cbc,
                "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
                counting,
                "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a",
            ),
            (
                Mode::Ctr,
                "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
                counter,
                "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5",
            ),
        ] {
            let cipher = with_key(mode, key);
            let first: [u8; BLOCK] = hex::decode(iv).unwrap().try_into().unwrap();
            let (mut iv, mut data) = (first, hex::decode(PLAIN).unwrap());
            cipher.encrypt(&mut iv, &mut data).unwrap();
            assert_eq!(hex::encode(&data), ciphertext, "{mode:?}");
            let (next, mut iv) = (iv, first);
            cipher.decrypt(&mut iv, &mut data).unwrap();
            assert_eq!((hex::encode(&data), iv), (PLAIN.into(), next), "{mode:?}");
        }
    }

    #[test]
    fn two_requests_with_the_iv_left_by_the_first_are_one() {
        for mode in [Mode::Cbc, Mode::Ctr] {
            let cipher = with_key(mode, "2b7e151628aed2a6abf7158809cf4f3c");
            let (mut iv, mut whole) = ([0xff; BLOCK], [5; 96]);
            let mut parts = whole;
            cipher.encrypt(&mut iv, &mut whole).unwrap();
            iv = [0xff; BLOCK];
            for part in parts.chunks_mut(32) {
                cipher.encrypt(&mut iv, part).unwrap();
            }
            assert_eq!(parts, whole, "{mode:?}");
        }
    }

    #[test]
    fn essiv_is_cbc_under_an_encrypted_iv() {
        let key = "2b7e151628aed2a6abf7158809cf4f3c";
        let mut iv = [9; BLOCK];
        let mut encrypted = iv;
        Aes256::new(&[7; 32].into()).encrypt_block((&mut encrypted).into());
        let (mut data, mut wanted) = ([1; 48], [1; 48]);
        let essiv = with_key(Mode::EssivCbc, key);
        essiv.encrypt(&mut iv, &mut data).unwrap();
        with_key(Mode::Cbc, key)
            .encrypt(&mut encrypted, &mut wanted)
            .unwrap();
        assert_eq!((data, iv), (wanted, encrypted));
    }
}
