// SPDX-License-Identifier: GPL-2.0-or-later

//! Where secrets live while this process holds them, and how every trace of them is removed.
//!
//! A secret is only ever in a [`Secret`]: memory of its own that the kernel zeroes too, overwritten and
//! flushed from the caches when dropped. Code that handles one runs on a stack of such memory, and
//! overwrites the registers when it is done, with what the kernel saved of them: see
//! [`on_own_stack`].

mod memory;
mod registers;
mod stack;

pub use memory::{check_secret_memory, Blocks, Secret};
pub use registers::overwrite as overwrite_registers;
pub use stack::{on_own_stack, Stack};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check_value;
    use crate::derive::{derive, Cost};
    use keyscan::{scan_file, Expand, Needles, Options};
    use std::os::fd::AsRawFd;
    use tempfile::NamedTempFile;

    const MASK: u8 = 0x5a;

    /// Copies all of the process's memory that it may write to into a file: a copy in memory would
    /// be found itself. Written from where it is, since nobody may read secret memory but its owner.
    fn dump_own_memory() -> NamedTempFile {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let dump = NamedTempFile::new().unwrap();
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (start, rest) = line.split_once('-').unwrap();
            let (end, _) = rest.split_once(' ').unwrap();
            let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).unwrap());
            for page in (start..end).step_by(4096) {
                // Fails if another test has unmapped it meanwhile.
                // SAFETY: The kernel checks the address.
                unsafe { libc::write(dump.as_raw_fd(), page as *const _, 4096) };
            }
        }
        dump
    }

    #[test]
    fn nothing_of_a_derived_key_remains_in_the_process_that_had_it() {
        let cost = Cost {
            memory_kib: 1024,
            iterations: 1,
            lanes: 4,
        };
        let (masked, during) = on_own_stack(|| {
            let mut key = Secret::new().unwrap();
            derive(b"correct horse", &[1; 16], cost, &mut key).unwrap();
            // Expands the key as well.
            check_value(&key);
            let mut masked = [0; 32];
            for (to, from) in masked.iter_mut().zip(key.iter()) {
                *to = from ^ MASK;
            }
            (masked, dump_own_memory())
        })
        .unwrap();
        let after = dump_own_memory();

        let mut needles = Needles::new();
        needles
            .add_secret("key", &masked.map(|byte| byte ^ MASK), Expand::Aes)
            .unwrap();
        let found = |dump: &NamedTempFile| {
            scan_file(dump.path(), &needles, &Options::default(), &|_| ()).unwrap()
        };
        let report = found(&during);
        assert!(
            report.found("key") > Some(0),
            "it is not even found while it is in use"
        );
        let report = found(&after);
        assert!(report.bytes_scanned > 1 << 20);
        assert_eq!(report.found("key"), Some(0), "{:?}", report.findings);
    }
}
