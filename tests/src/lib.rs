// SPDX-License-Identifier: GPL-2.0-or-later

//! What needs a VM or crosses crates: the demo, the VM tests, the benchmark, and what they are made of.

pub mod bench;
pub mod bench_keyscan;
pub mod bochs;
pub mod busy;
pub mod data;
pub mod demo;
pub mod disk;
pub mod evidence;
pub mod kernel_log;
pub mod leaktest;
pub mod luks;
pub mod master;
pub mod modes;
pub mod paragraph;
pub mod reference;
pub mod report;
pub mod soak;
pub mod timeline;
pub mod verdict;
pub mod vmtest;
pub mod volume;
