// SPDX-License-Identifier: GPL-2.0-or-later

//! `xts(tresor)`: XTS-AES (IEEE 1619-2018) under a volume key that exists only in registers.
//!
//! What the caller sets as the key is the volume's blob, no secret (see `docs/architecture.md`).

use crate::{
    bindings,
    cipher::{self, Direction, Mode, VolumeKey, SECTION_MAX},
    engine,
    errno::no_key,
    percpu,
    section::Section,
    sha256::KernelSha256,
    skcipher::{Chunk, Properties, Request, Skcipher},
    store::{self, Volume},
};
use kernel::prelude::*;

/// Bytes in an AES block.
const BLOCK: usize = 16;

/// Context of a tfm: nothing in it is secret.
pub(crate) struct Xts(Option<Keyed>);

struct Keyed {
    key: VolumeKey,
    _volume: Volume,
}

impl Skcipher for Xts {
    const PROPERTIES: Properties = Properties {
        name: c"xts(tresor)",
        driver_name: c"xts-tresor",
        priority: 300,
        // Whoever asks for a synchronous algorithm keeps requests on the stack, where they cannot
        // wait for a key to come back.
        flags: bindings::CRYPTO_ALG_ASYNC,
        block_size: BLOCK as u32,
        iv_size: BLOCK as u32,
        min_key_size: 32,
        max_key_size: 64,
    };

    fn init() -> Self {
        Self(None)
    }

    /// `EINVAL` if the blob is neither 32 nor 64 bytes long, `EPERM` without CAP_SYS_ADMIN,
    /// `ENOKEY` if no master key is loaded.
    fn set_key(&mut self, blob: &[u8]) -> Result {
        self.0 = None;
        // SAFETY: Process context.
        if !unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) } {
            return Err(EPERM);
        }
        let (check, volume) = store::open_volume()?;
        let key = VolumeKey::new::<KernelSha256>(Mode::Xts, check, blob).map_err(|_| EINVAL)?;
        self.0 = Some(Keyed {
            key,
            _volume: volume,
        });
        Ok(())
    }

    fn encrypt(&self, request: &Request) -> Result {
        self.process(Direction::Encrypt, request)
    }

    fn decrypt(&self, request: &Request) -> Result {
        self.process(Direction::Decrypt, request)
    }
}

impl Xts {
    fn process(&self, direction: Direction, request: &Request) -> Result {
        let Some(Keyed { key, .. }) = &self.0 else {
            return Err(no_key());
        };
        if request.len() == 0 || request.len() % BLOCK != 0 {
            return Err(EINVAL);
        }
        let iv = request.iv::<Self, BLOCK>();
        let mut block = 0;
        let engine = engine::chosen();
        request.for_each_chunk::<Self>(|Chunk { src, dst, len }| {
            let mut done = 0;
            while done < len {
                let part = (len - done).min(SECTION_MAX);
                let section = Section::enter()?;
                let slot = percpu::slots().get(section.cpu()).ok_or(EINVAL)?;
                // SAFETY: The CPU supports the chosen engine. In a section of the CPU that owns
                // `slot`; the chunk has `part` bytes from `done` on either side.
                let result = unsafe {
                    let (dst, src) = (dst.add(done), src.add(done));
                    cipher::crypt(
                        engine,
                        direction,
                        &slot.share,
                        key,
                        &iv,
                        block,
                        dst,
                        src,
                        part,
                    )
                };
                if result.is_err() {
                    // Only if the volume's key is the one that is held does this say anything
                    // about the CPU.
                    if store::is_held(key.check()) {
                        store::note_loss(slot);
                    }
                    return Err(no_key());
                }
                done += part;
                block += (part / BLOCK) as u64;
            }
            Ok(())
        })
    }
}
