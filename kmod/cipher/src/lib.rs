// SPDX-License-Identifier: GPL-2.0-or-later

//! AES under a key that exists in CPU registers only.
//!
//! The master key M is never in memory. A CPU holds it as two shares, one in its debug registers
//! and one in a cache line ([`Share`]); they meet in vector registers, where F ([`input`] is its
//! public half) makes the key of the one request at hand from M. The assembly in `aesni/` does this
//! and wipes the registers before it returns; the Rust around it is types and arithmetic on public
//! values.
//!
//! The same files are a crate, for tests and benchmarks in user space, and a module of `tresor.ko`,
//! compiled by Kbuild with `cfg(MODULE)`. In user space the "debug registers" are the second half of
//! [`Share`]'s line; nothing else differs.
//!
//! ```
//! # struct Hash;
//! # impl tresor_cipher::Sha256 for Hash {
//! #     fn digest(parts: &[&[u8]]) -> [u8; 32] {
//! #         use sha2::Digest;
//! #         parts.iter().fold(sha2::Sha256::new(), |h, p| h.chain_update(p)).finalize().into()
//! #     }
//! # }
//! use tresor_cipher::{arm, crypt, Direction, Engine, Mode, Share, VolumeKey};
//!
//! let share = Share::new();
//! share.set(&[0x5a; 32]); // fresh random bytes
//! let m = [7; 32];
//! // SAFETY: in user space only this thread uses `share`.
//! let check = unsafe { arm(&share, &m) };
//! let key = VolumeKey::new::<Hash>(Mode::Xts, check, &[1; 64]).unwrap();
//! let engine = Engine::best().expect("a CPU with AES-NI");
//! let (plain, mut out) = ([0u8; 512], [0u8; 512]);
//! let (to, from) = (out.as_mut_ptr(), plain.as_ptr());
//! // SAFETY: as above; both buffers are 512 bytes.
//! unsafe { crypt(engine, Direction::Encrypt, &share, &key, &[0; 16], 0, to, from, 512) }
//!     .expect("M was just armed");
//! ```

#![cfg_attr(not(MODULE), no_std)]
// In the module this is a private `mod`, of which the module uses what it needs.
#![cfg_attr(MODULE, allow(unreachable_pub, dead_code, unused_imports))]

mod aesni;
mod answers;
mod asm;
mod crypt;
mod derive;
mod engine;
mod gf128;
pub mod kat;
#[cfg(any(test, feature = "raw-key"))]
mod raw;
mod routines;
mod share;
mod volume_key;

pub use self::aesni::{
    arm, check, give_masked, give_pad, peek_check, refresh, slot_key, take_masked, take_pad,
    window_at, wipe, NotHeld, WindowKind,
};
#[cfg(any(test, feature = "raw-key"))]
pub use self::crypt::Start;
pub use self::crypt::{crypt, Direction, SECTION_MAX};
pub use self::derive::{
    header, input, CheckValue, Input, Mode, Purpose, Sha256, CHECK_INPUT, VERSION,
};
pub use self::engine::Engine;
#[cfg(any(test, feature = "raw-key"))]
pub use self::raw::{raw_crypt, RawKey};
#[cfg(any(test, feature = "raw-key"))]
pub use self::routines::{routines, Routine};
pub use self::share::{flush, Line, Share};
pub use self::volume_key::{BlobLength, KeySize, VolumeKey};
