// SPDX-License-Identifier: GPL-2.0-or-later

//! The share windows of the loaded module, as it enters them itself for its NMI guard.

use anyhow::{ensure, Context, Result};
use tresor_qemu::Debugger;

/// Bytes of an entry: three numbers of four bytes.
const ENTRY: usize = 12;

/// An entry of the module's table of windows (`kmod/cipher/src/aesni/frame.S`).
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The engine's routine that it is in, without its prefix.
    pub routine: String,
    /// The first instruction.
    pub start: u64,
    /// Behind the last one.
    pub end: u64,
    /// Whether the window runs again.
    pub redo: bool,
}

impl Window {
    /// Reads the table in the guest's memory.
    pub fn all(dbg: &mut Debugger<'_>, symbols: &Symbols) -> Result<Vec<Self>> {
        let table = symbols.address("tresor_windows_begin")?;
        let len = symbols.address("tresor_windows_end")? - table;
        let base = symbols.address("tresor_aesni_wipe")?;
        let entries = dbg.read(table, len as usize)?;
        let mut windows = Vec::new();
        for entry in entries.chunks_exact(ENTRY) {
            let int = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| entry[at + i]));
            let start = base + u64::from(int(0));
            windows.push(Window {
                routine: symbols.routine_at(start)?,
                start,
                end: base + u64::from(int(4)),
                redo: int(8) == 1,
            });
        }
        ensure!(!windows.is_empty(), "the module has no share windows");
        Ok(windows)
    }
}

/// The guest's symbols.
pub(super) struct Symbols(Vec<(u64, String)>);

impl Symbols {
    /// Reads `/proc/kallsyms`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut all = Vec::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next())
            {
                all.push((u64::from_str_radix(address, 16)?, name.to_owned()));
            }
        }
        Ok(Self(all))
    }

    fn one(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<u64> {
        let found: Vec<u64> = self
            .0
            .iter()
            .filter(|s| wanted(&s.1))
            .map(|s| s.0)
            .collect();
        ensure!(
            found.len() == 1 && found[0] != 0,
            "the guest has {} symbols {what}",
            found.len()
        );
        Ok(found[0])
    }

    /// Where the symbol of this name is.
    pub fn address(&self, name: &str) -> Result<u64> {
        self.one(name, |found| found == name)
    }

    /// The function whose mangled name ends with this.
    pub fn ending(&self, end: &str) -> Result<u64> {
        self.one(end, |name| name.starts_with("_R") && name.ends_with(end))
    }

    /// The engine's routine that an address lies in, without its prefix.
    fn routine_at(&self, address: u64) -> Result<String> {
        let routines = self.0.iter().filter_map(|(at, name)| {
            let name = name.strip_prefix("tresor_aesni_")?;
            (*at <= address).then_some((at, name))
        });
        let routine = routines.max_by_key(|(at, _)| **at);
        let (_, name) = routine.with_context(|| format!("no routine at {address:#x}"))?;
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "ffffffffc0001000 t tresor_aesni_check\t[tresor]\n\
        ffffffffc0002000 T tresor_aesni_arm [tresor]\n\
        ffffffffc0000200 t _RNvNtCs1_11tresor_main3nmi6handle [tresor]\n\
        ffffffffc0000100 t __pfx__RNvNtCs1_11tresor_main3nmi6handle [tresor]\n";

    #[test]
    fn symbols_name_the_routine_that_an_address_is_in() {
        let symbols = Symbols::parse(SYMBOLS).unwrap();
        let base = 0xffff_ffff_c000_0000;
        assert_eq!(symbols.address("tresor_aesni_arm").unwrap(), base + 0x2000);
        assert_eq!(symbols.ending("3nmi6handle").unwrap(), base + 0x200);
        assert_eq!(symbols.routine_at(base + 0x1fff).unwrap(), "check");
        assert_eq!(symbols.routine_at(base + 0x2000).unwrap(), "arm");
        assert!(symbols.routine_at(base).is_err());
        assert!(symbols.address("tresor_aesni_wipe").is_err());
        // Who may not see addresses is shown zeros.
        let hidden = Symbols::parse("0 T tresor_aesni_arm [tresor]").unwrap();
        assert!(hidden.address("tresor_aesni_arm").is_err());
    }
}
