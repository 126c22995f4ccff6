// SPDX-License-Identifier: GPL-2.0-or-later

//! Where secrets live while this process holds them, and how every trace of them is removed.
//!
//! A secret is only ever in a [`Secret`]: locked memory of its own, overwritten and flushed from
//! the caches when dropped. Code that handles one runs on a stack of its own, which is wiped when
//! it is done, and overwrites the vector registers before: see [`on_own_stack`].

mod memory;
mod registers;
mod stack;

pub use memory::{wipe_blocks, Secret};
pub use stack::on_own_stack;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check_value;
    use crate::derive::{derive, Cost};
    use keyscan::{scan_file, Expand, Needles, Options};
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use tempfile::NamedTempFile;

    const MASK: u8 = 0x5a;

    /// Copies all of the process's memory that it may write to into a file: a copy in memory would
    /// be found itself.
    fn dump_own_memory() -> NamedTempFile {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let mut dump = NamedTempFile::new().unwrap();
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (start, rest) = line.split_once('-').unwrap();
            let (end, _) = rest.split_once(' ').unwrap();
            let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            for page in (start..end).step_by(4096) {
                let mut bytes = [0; 4096];
                // Other tests may unmap theirs meanwhile.
                if memory.read_exact_at(&mut bytes, page).is_ok() {
                    dump.write_all(&bytes).unwrap();
                }
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
