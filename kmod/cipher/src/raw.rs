// SPDX-License-Identifier: GPL-2.0-or-later

//! The modes under a key that lies in memory: for published vectors, which name keys. Never part of the
//! module.

use super::crypt::{Direction, Start};
use super::derive::Mode;
use super::engine::Engine;
use super::routines::routines;
use super::volume_key::{BlobLength, KeySize};

/// A key in memory.
#[derive(Clone, Copy)]
pub struct RawKey {
    // Laid out as VolumeKey's inputs.
    blocks: [u8; 64],
    mode: Mode,
    size: KeySize,
}

impl RawKey {
    /// XTS: `key` is K1 || K2, 32 or 64 bytes. Other modes: K, 16, 24 or 32 bytes; `essiv` is the key that
    /// encrypts the IV, and is used by ESSIV only.
    ///
    /// # Errors
    /// [`BlobLength`] for any other length.
    pub fn new(mode: Mode, key: &[u8], essiv: &[u8; 32]) -> Result<Self, BlobLength> {
        let size = KeySize::of_blob(mode, key.len())?;
        let mut blocks = [0; 64];
        if mode == Mode::EssivCbc {
            blocks[32..].copy_from_slice(essiv);
        }
        blocks[..key.len()].copy_from_slice(key);
        Ok(Self { blocks, mode, size })
    }
}

/// [`crypt`](super::crypt) in place under a key in memory, with the same code but for the key.
///
/// # Panics
/// If the CPU lacks something for `engine`, or the mode does not allow `data`'s length.
pub fn raw_crypt(
    engine: Engine,
    direction: Direction,
    key: &RawKey,
    iv: &[u8; 16],
    block: u64,
    data: &mut [u8],
) {
    assert!(engine.supported(), "this CPU lacks {:?}", engine.lacks());
    assert!(key.mode.allows(data.len()), "{} bytes", data.len());
    let routine = routines()
        .find(|r| {
            r.engine == engine
                && r.mode == key.mode
                && r.size == key.size
                && r.directions.contains(&direction)
        })
        .expect("a routine for each mode and size");
    let start = Start::new(key.mode, iv, block);
    let p = data.as_mut_ptr();
    // SAFETY: the key is laid out as the routine wants it, source and destination are `data`, its
    // length has been checked, and so has the CPU.
    unsafe {
        (routine.raw)(
            core::ptr::null(),
            &key.blocks,
            &start,
            p,
            p,
            data.len() as u64,
        )
    }
}
