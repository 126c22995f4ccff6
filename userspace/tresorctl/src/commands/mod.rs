// SPDX-License-Identifier: GPL-2.0-or-later

//! One module for each command.

pub mod agent;
mod cpus;
pub mod generate;
pub mod load;
pub mod lock;
pub mod may_hibernate;
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

/// That a key is loaded now, and how many requests had waited for it.
fn loaded(status: &tresor_uapi::Status, waited: u32) -> String {
    let went_on = match waited {
        0 => String::new(),
        _ => format!("{} that waited for it went on\n", count(waited, "request")),
    };
    format!(
        "key {} is loaded on {} of {} CPUs\n{went_on}",
        crate::device::key_id(&status.check),
        status.cpus_armed,
        status.cpus_online
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_tells_how_many_requests_had_waited() {
        let status = tresor_uapi::Status {
            check: [7; 16],
            cpus_armed: 1,
            cpus_online: 2,
            ..Default::default()
        };
        let first = "key 0707070707070707 is loaded on 1 of 2 CPUs\n";
        assert_eq!(loaded(&status, 0), first);
        assert_eq!(
            loaded(&status, 1),
            format!("{first}1 request that waited for it went on\n")
        );
        assert_eq!(
            loaded(&status, 12),
            format!("{first}12 requests that waited for it went on\n")
        );
    }
}
