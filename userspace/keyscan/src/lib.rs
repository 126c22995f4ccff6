// SPDX-License-Identifier: GPL-2.0-or-later

//! Finds AES keys in memory dumps.
//!
//! Two searches run in one pass over the data, at every byte offset, on all cores:
//!
//! - *schedules*: expanded AES-128, AES-192 and AES-256 encryption keys (FIPS 197, section 5.2),
//!   as bytes and with each 32-bit word byte-swapped. Nothing need be known about the key.
//! - *needles*: secrets that the caller knows, in whole, as any 8-byte word, and as any AES round
//!   key made from them, in several byte orders. See [`Needles`].
//!
//! ```
//! use keyscan::{Expand, Needles, Options};
//!
//! let secret: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(73) ^ 0x5a).collect();
//! let mut needles = Needles::new();
//! needles.add_secret("master key", &secret, Expand::Aes)?;
//!
//! let mut ram = vec![0u8; 1 << 20];
//! ram[4321..4329].copy_from_slice(&secret[8..16]);
//! let report = keyscan::scan_bytes(&ram, &needles, &Options::default(), &|_| ());
//! assert_eq!(report.findings[0].offset, 4321);
//! assert_eq!(report.findings[0].what.to_string(), "word 1 of \"master key\"");
//! # Ok::<(), keyscan::Error>(())
//! ```
//!
//! An empty report proves little by itself: plant something, or keep a control beside the secret,
//! and see that the same run finds it.

pub mod aes;
mod damaged;
mod error;
mod exact;
mod family;
mod form;
mod matcher;
mod needles;
mod pairs;
mod report;
mod scan;
mod selftest;
mod source;

pub use damaged::{recover, Damage, Place};
pub use error::Error;
pub use needles::{Expand, Needles, MIN_NEEDLE};
pub use pairs::XtsPair;
pub use report::{Finding, FoundKey, Layout, NeedleCount, Order, Report, What};
pub use scan::{scan_bytes, scan_file, Options};
pub use selftest::{self_test, Detection, Harm};
pub use source::Access;
