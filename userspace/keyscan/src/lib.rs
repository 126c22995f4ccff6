// SPDX-License-Identifier: GPL-2.0-or-later

//! Finds AES keys in memory dumps: [`scan_file`] in those of any [`Format`], [`scan_bytes`] in memory.
//!
//! Two searches run in one pass over the data, at every byte offset, on all cores:
//!
//! - *schedules*: expanded AES-128, AES-192 and AES-256 keys (FIPS 197, section 5.2) for encryption and
//!   for decryption, in any [`Layout`], as bytes and with each 32-bit word byte-swapped. Nothing need be
//!   known about the key. With [`Options::damage`] also those with wrong bits; the keys reported are
//!   the corrected ones. Two schedules of one size side by side are told as an [`XtsPair`].
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
//! # Method
//!
//! A dump is read in windows of 4 MiB that overlap by more than anything that is searched for; memory that
//! lies in several pieces of the file, but side by side in the machine, is one.
//!
//! Most words of a schedule are the xor of two others at fixed distances, also after InvMixColumns and
//! in either byte order, so that the xor of the data with itself at two distances is zero in known places
//! of a schedule, wherever it lies. There are six such patterns for the 24 forms (sizes, layouts, byte
//! orders). The exact search tests them on aligned words, 8 at once; what passes is expanded and
//! compared. The search for damage counts ones instead: with a share p of wrong bits a bit of that xor
//! is wrong with q = (1 - (1 - 2p)^3) / 2, for p = 5 % 0.14, and 1/2 in random data. Over the 341 to
//! 768 bits that are summed these are many standard deviations apart. Candidates are decoded by belief
//! propagation between the bytes of the schedule, whose equations (xor, S-box, MixColumns) are all used;
//! distributions over bytes are convolved with the Walsh-Hadamard transform.
//!
//! A result is reported only if it explains what was read by the length of the key plus 64 bits of mutual
//! information: random memory is taken for a schedule with a chance below 2^-64 for each offset and
//! form, so that false reports are out of reach at any size of a dump. It must also be what a majority
//! of the runs of words agree on, or a key with some wrong bits could be taken for the right one.
//!
//! # Bounds
//!
//! - Undamaged schedules are always found, except that one whose S-box steps happen to change nothing
//!   twice in a row, or of which two of eight words in the middle are zero, is overlooked: 2^-59 of all
//!   keys.
//! - Wrong bits: a scan goes up to [`Damage::LIMIT`]. Of 50 schedules of each layout and size all were
//!   found at 5 %, and all encryption schedules at 14 %. Decryption layouts, whose S-box equations reach
//!   through MixColumns, are decoded less well: of AES-256 84 % at 10 %, half at 14 %; of AES-128 84 %
//!   at 14 %.
//! - Cold-boot decay of a share d of the ones counts as d/2 wrong bits. Both ground states are handled
//!   without being told: the share of ones shows which it is. A border between regions inside of one
//!   schedule is not modelled.
//! - A damaged schedule must lie wholly in the data, at any offset; regular memory (few distinct bytes,
//!   repeated words) is passed over. Memory that is neither random nor regular, such as code, has many
//!   places that look like schedules with more than 10 % wrong bits: [`Options::budget`] bounds the time
//!   that they take.
//! - At a known place [`recover`] goes further than a scan. With one zero in 1000 risen, of 10
//!   encryption schedules each 9 or 10 of AES-128 were recovered up to 65 % decay and 3 at 70 %; all of
//!   AES-256 up to 50 %, 8 at 60 %, 2 at 65 %; in less than 0.1 s each. Of decryption schedules of
//!   AES-128 9 at 40 % and 1 at 50 %.
//!
//! # What is published
//!
//! Halderman et al., "Lest We Remember: Cold Boot Attacks on Encryption Keys" (USENIX Security 2008),
//! find schedules by the distance of each word from its expansion and correct them by a tree search
//! over parts of the key. Tsow, "An Improved Recovery Algorithm for Decayed AES Key Schedule Images"
//! (SAC 2009), searches bytes of the key in an order that checks guesses early, and recovers AES-128 at
//! 70 % and AES-256 at 65 % decay where no bit falls the other way. Kamal and Youssef, "Applications of
//! SAT Solvers to AES Key Recovery from Decayed Key Schedule Images" (SECURWARE 2010), give the equations
//! of AES-128 to a SAT solver. These rely on a bit that is not in the ground state being certain. Belief propagation
//! (Pearl 1988; for equations with S-boxes: Veyrat-Charvillon, Gerard and Standaert, "Soft Analytical
//! Side-Channel Attacks", ASIACRYPT 2014) takes errors in both directions, and misses their highest
//! rates.
//!
//! An empty report proves little by itself: plant something, or keep a control beside the secret,
//! and see that the same run finds it.

pub mod aes;
mod damaged;
mod dump;
mod error;
mod exact;
mod family;
mod form;
mod map;
mod matcher;
mod needles;
mod page;
mod pairs;
mod report;
mod scan;
mod selftest;

pub use damaged::{recover, Damage, Place};
pub use dump::{Addresses, Dump, Format, Problem};
pub use error::Error;
pub use map::{MapPart, MemoryMap};
pub use needles::{Expand, Needles, MIN_NEEDLE};
pub use page::page;
pub use pairs::XtsPair;
pub use report::{Finding, FoundKey, Layout, NeedleCount, Order, Report, What};
pub use scan::{scan_bytes, scan_dump, scan_file, Options};
pub use selftest::{false_reports, plant, self_test, Detection, FalseReports, Harm, Planted};
