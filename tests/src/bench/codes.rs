// SPDX-License-Identifier: GPL-2.0-or-later

//! What is compared: codes that encrypt or decrypt one data unit with XTS.

use std::arch::x86_64::_mm_lfence;
use std::hint::black_box;
use std::time::Instant;

use aes::cipher::{BlockCipher, BlockDecrypt, BlockEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tresor_cipher::{arm, crypt, Direction, Engine, Mode, Share, VolumeKey, SECTION_MAX};
use xts_mode::Xts128;

use crate::reference::MASTER;

/// M of the benchmark, which protects nothing.
pub(crate) const M: [u8; MASTER] = [0x3a; MASTER];
/// The random half of the share, as it were.
pub(crate) const S: [u8; MASTER] = [0x77; MASTER];
/// The IV of every request.
pub(crate) const IV: [u8; 16] = [3; 16];

/// Bytes of the longest request.
pub(crate) const LONGEST: usize = 16384;

/// Source and destination, each aligned to a page as dm-crypt's are.
#[repr(C, align(4096))]
pub(crate) struct Buffers {
    pub(crate) src: [u8; LONGEST],
    pub(crate) dst: [u8; LONGEST],
}

impl Buffers {
    /// A source that no block of repeats.
    pub(crate) fn new() -> Box<Self> {
        let mut buffers = Box::new(Self {
            src: [0; LONGEST],
            dst: [0; LONGEST],
        });
        tresor_guest::pattern(1, 0, &mut buffers.src);
        buffers
    }
}

/// Ends when all instructions before it have.
pub(crate) fn fence() {
    // SAFETY: every x86-64 CPU has LFENCE.
    unsafe { _mm_lfence() }
}

/// One of them, with its key, for one direction.
pub(crate) trait Code {
    /// One request. `dst` and `src` are equally long.
    fn request(&mut self, iv: &[u8; 16], dst: &mut [u8], src: &[u8]);

    /// Nanoseconds that each of so many requests of `len` bytes takes.
    // Here, so that the loop is compiled together with the code that it calls.
    fn time(&mut self, requests: u32, buffers: &mut Buffers, len: usize) -> f64 {
        let start = Instant::now();
        for _ in 0..requests {
            let (dst, src) = (&mut buffers.dst[..len], &buffers.src[..len]);
            self.request(black_box(&IV), black_box(dst), black_box(src));
            fence();
        }
        start.elapsed().as_nanos() as f64 / f64::from(requests)
    }
}

/// The engine itself, with a share that lies in memory as a whole.
pub(crate) struct Tresor {
    engine: Engine,
    direction: Direction,
    share: Box<Share>,
    key: VolumeKey,
}

/// The hash that the engine's public half is given.
pub(crate) struct Hash;

impl tresor_cipher::Sha256 for Hash {
    fn digest(parts: &[&[u8]]) -> [u8; 32] {
        let hash = parts.iter().fold(Sha256::new(), |h, p| h.chain_update(p));
        hash.finalize().into()
    }
}

impl Tresor {
    pub(crate) fn new(engine: Engine, direction: Direction, blob: &[u8]) -> Result<Self> {
        let share = Box::new(Share::new());
        share.set(&S);
        // SAFETY: in user space nobody but the owner of `share` uses it.
        let check = unsafe { arm(&share, &M) };
        let key = VolumeKey::new::<Hash>(Mode::Xts, check, blob)
            .ok()
            .context("no blob of XTS")?;
        Ok(Self {
            engine,
            direction,
            share,
            key,
        })
    }
}

impl Code for Tresor {
    fn request(&mut self, iv: &[u8; 16], dst: &mut [u8], src: &[u8]) {
        assert_eq!(dst.len(), src.len());
        for (index, (dst, src)) in dst
            .chunks_mut(SECTION_MAX)
            .zip(src.chunks(SECTION_MAX))
            .enumerate()
        {
            // In the kernel interrupts are let in between two sections, and neither can begin before
            // the other has ended.
            if index > 0 {
                fence();
            }
            let block = (index * SECTION_MAX / 16) as u64;
            // SAFETY: only engines that the CPU supports are asked for; the share is this one's own;
            // both slices have the length given and do not overlap.
            unsafe {
                crypt(
                    self.engine,
                    self.direction,
                    &self.share,
                    &self.key,
                    iv,
                    block,
                    dst.as_mut_ptr(),
                    src.as_ptr(),
                    src.len(),
                )
            }
            .expect("M is armed");
        }
    }
}

/// RustCrypto's `xts-mode` over its `aes`.
pub(crate) struct RustCrypto<C: BlockEncrypt + BlockDecrypt + BlockCipher> {
    xts: Xts128<C>,
    direction: Direction,
}

impl<C: BlockEncrypt + BlockDecrypt + BlockCipher> Code for RustCrypto<C> {
    /// In place, which is all that its interface has: `dst` is worked on as it is.
    fn request(&mut self, iv: &[u8; 16], dst: &mut [u8], _: &[u8]) {
        match self.direction {
            Direction::Encrypt => self.xts.encrypt_sector(dst, *iv),
            Direction::Decrypt => self.xts.decrypt_sector(dst, *iv),
        }
    }
}

/// RustCrypto under K1 || K2, of 32 or 64 bytes.
pub(crate) fn rustcrypto(direction: Direction, key: &[u8]) -> Box<dyn Code> {
    let (k1, k2) = key.split_at(key.len() / 2);
    fn xts<C: BlockEncrypt + BlockDecrypt + BlockCipher + KeyInit>(
        direction: Direction,
        k1: &[u8],
        k2: &[u8],
    ) -> RustCrypto<C> {
        let new = |key| C::new_from_slice(key).expect("an AES key");
        RustCrypto {
            xts: Xts128::new(new(k1), new(k2)),
            direction,
        }
    }
    match key.len() {
        32 => Box::new(xts::<Aes128>(direction, k1, k2)),
        _ => Box::new(xts::<Aes256>(direction, k1, k2)),
    }
}
