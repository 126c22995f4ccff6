// SPDX-License-Identifier: GPL-2.0-or-later

//! One module for each command.

mod cpus;
pub mod generate;
pub mod load;
pub mod lock;
pub mod scan;
pub mod slot_key;
pub mod status;

use crate::error::{reason, Error};
use std::io::{self, Write};

/// Prints to standard output, where a closed pipe is an error like any other and no panic.
fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Error::new(format!("cannot write to standard output: {}", reason(&e))))
}

/// `1 volume`, `2 volumes`.
fn count(number: u32, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
