// SPDX-License-Identifier: GPL-2.0-or-later

//! Checks every store of an emulated guest against a set of secrets.
//!
//! A plugin in QEMU calls [`Watch::store`] after each store of each guest CPU. The guest's RAM is
//! mapped here too, so what is tested is not the value alone but what it left behind: every 8 bytes
//! in a row of which the store wrote at least one. Stores of any size, alignment and order are thus
//! treated alike, and a key put together by `rep movsb` is caught with its eighth byte. A second
//! rule ([`words`]) catches 4-byte words of one secret that lie near each other but not in a row.
//!
//! Almost every store ends at a bitmap ([`filter`]); exact tables ([`needles`]) decide the rest, and
//! the [`ledger`] joins equal hits and follows each to its end: overwritten by whom, or resident.
//! Secrets arrive during the run ([`wire`]); RAM is searched once when one does, for what was stored
//! before, and again for each report, for what no store was seen to leave there.
//!
//! What it cannot see, because QEMU shows it to no plugin: frames that a CPU pushes by itself when
//! it takes an exception or interrupt, and DMA by devices. Both are found if they are in RAM when a
//! secret becomes known or at a report, and are then said to be unseen; not in between. Neither are
//! stores checked against a secret before it is known.

pub mod allowed;
pub mod filter;
pub mod forms;
pub mod ledger;
pub mod needles;
pub mod ram;
pub mod shares;
pub mod watch;
pub mod wire;
pub mod words;

pub use watch::{Store, Watch};
