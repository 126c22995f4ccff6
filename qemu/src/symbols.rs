// SPDX-License-Identifier: GPL-2.0-or-later

//! Names the guest's instructions, by what its kernel says in `/proc/kallsyms`.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{ensure, Context, Result};
use tresor_storewatch::wire::Kernel;

/// Addresses from here on are the kernel's, whatever the number of page table levels.
const KERNEL_HALF: u64 = 1 << 63;
/// A function is smaller; what is further behind a symbol has none.
const LONGEST: u64 = 1 << 20;

/// Prints the modules that are loaded.
pub(crate) const MODULES: &str = "cat /proc/modules";
/// The drive on which the guest hands over its symbols: they are some megabytes, which would take
/// a minute over the serial line.
pub(crate) const DRIVE: &str = "store-watch";
/// Bytes of that drive: the symbols of a kernel with all its modules are not half of it.
pub(crate) const DRIVE_SIZE: u64 = 64 << 20;
/// Writes the symbols to it.
pub(crate) const KALLSYMS: &str =
    "(cat /proc/kallsyms && echo end) | dd of=/dev/disk/store-watch bs=64k conv=fsync 2>/dev/null";

/// Symbols of the kernel and its modules. Those of modules that are gone stay until another takes
/// their place: what they stored may be asked for later.
#[derive(Default)]
pub(crate) struct Symbols {
    by_address: BTreeMap<u64, String>,
    modules: String,
}

impl Symbols {
    /// Whether these modules are those whose symbols are known.
    pub(crate) fn are_current(&self, modules: &str) -> bool {
        !self.by_address.is_empty() && names(&self.modules).eq(names(modules))
    }

    /// Takes in the lines `address type name [module]` up to `end`, and returns where to find the
    /// current task.
    ///
    /// # Errors
    /// If they are not understood, or hide the addresses.
    pub(crate) fn read(&mut self, modules: &str, lines: &[u8]) -> Result<Option<Kernel>> {
        let mut symbols = Vec::new();
        let (mut current_task, mut init_task) = (None, None);
        let mut complete = false;
        for line in lines.split(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            if line == "end" {
                complete = true;
                break;
            }
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let address = u64::from_str_radix(address, 16)
                .with_context(|| format!("a line of /proc/kallsyms is not understood: {line:?}"))?;
            let module = words.next();
            match name {
                "const_current_task" | "current_task" => current_task = Some(address),
                "init_task" => init_task = Some(address),
                _ if !matches!(kind, "t" | "T" | "w" | "W") => {}
                _ => {
                    let module = module.map(|m| m.trim_matches(['[', ']']));
                    symbols.push((address, Label { name, module }.to_string()));
                }
            }
        }
        ensure!(
            complete,
            "the guest's symbols did not arrive on the drive {DRIVE}: is virtio_blk loaded?"
        );
        ensure!(
            symbols.iter().any(|(address, _)| *address >= KERNEL_HALF),
            "/proc/kallsyms names no address: the shell is not root's, or kptr_restrict is 2"
        );
        // Where a module has come to be, nothing that was there before counts. (Its size is that of all
        // its parts together, so it may seem to reach into its neighbours.)
        let new = modules.lines().filter(|line| {
            let name = names(line).next();
            names(&self.modules).all(|known| Some(known) != name)
        });
        for line in new {
            if let Some((from, size)) = extent(line) {
                let stale: Vec<u64> = self
                    .by_address
                    .range(from..from + size)
                    .map(|(&address, _)| address)
                    .collect();
                for address in stale {
                    self.by_address.remove(&address);
                }
            }
        }
        self.by_address.extend(symbols);
        self.modules = modules.to_owned();
        Ok(current_task
            .zip(init_task)
            .map(|(current_task, init_task)| Kernel {
                current_task,
                init_task,
            }))
    }

    /// `module:function+0x1c`, `function+0x1c (vmlinux)` or `process (user) 0x5555`.
    pub(crate) fn name(&self, pc: u64, process: &str) -> String {
        if pc < KERNEL_HALF {
            let process = if process.is_empty() { "?" } else { process };
            return format!("{process} (user) {pc:#x}");
        }
        match self.by_address.range(..=pc).next_back() {
            Some((address, name)) if pc - address < LONGEST => {
                let offset = pc - address;
                match name.contains(':') {
                    true => format!("{name}+{offset:#x}"),
                    false => format!("{name}+{offset:#x} (vmlinux)"),
                }
            }
            _ => format!("{pc:#x}"),
        }
    }
}

struct Label<'a> {
    name: &'a str,
    module: Option<&'a str>,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.module {
            Some(module) => write!(f, "{module}:{}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// Names, sizes and addresses of modules, without what changes while they are loaded.
fn names(modules: &str) -> impl Iterator<Item = (Option<&str>, Option<&str>)> {
    modules.lines().map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next(), words.nth(4))
    })
}

/// Address and size of a module, from its line in `/proc/modules`.
fn extent(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let size = words.next()?.parse().ok()?;
    let address = words.nth(3)?.strip_prefix("0x")?;
    Some((u64::from_str_radix(address, 16).ok()?, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES: &str = "tresor 61440 0 - Live 0xffffffffc0201000 (O)\n";
    const LINES: &[u8] = b"ffffffff81000100 T memcpy\n\
                           ffffffff81000104 d no_function\n\
                           ffffffff81000200 T memset\n\
                           ffffffff82a00000 D init_task\n\
                           ffffffff83000040 A current_task\n\
                           ffffffffc0201040 t tresor_aesni_arm\t[tresor]\n\
                           end\nleft from before";

    #[test]
    fn instructions_are_named_by_function_and_module_or_process() {
        let mut symbols = Symbols::default();
        let kernel = symbols.read(MODULES, LINES).unwrap().unwrap();
        assert_eq!(
            (kernel.current_task, kernel.init_task),
            (0xffff_ffff_8300_0040, 0xffff_ffff_82a0_0000)
        );
        for (pc, name) in [
            (0xffff_ffff_8100_0110, "memcpy+0x10 (vmlinux)"),
            (0xffff_ffff_c020_105c, "tresor:tresor_aesni_arm+0x1c"),
            (0xffff_ffff_9000_0000, "0xffffffff90000000"),
            (0x5555_0000, "tresorctl (user) 0x55550000"),
        ] {
            assert_eq!(symbols.name(pc, "tresorctl"), name);
        }
        assert!(symbols.are_current(MODULES) && !symbols.are_current(""));
    }

    #[test]
    fn a_module_that_took_the_place_of_another_names_what_is_there() {
        let mut symbols = Symbols::default();
        symbols.read(MODULES, LINES).unwrap();
        let modules = "other 8192 0 - Live 0xffffffffc0200000 (O)\n";
        let lines = b"ffffffff81000100 T memcpy\nffffffffc0200800 t other_init\t[other]\nend\n";
        symbols.read(modules, lines).unwrap();
        let name = symbols.name(0xffff_ffff_c020_1050, "");
        assert_eq!(name, "other:other_init+0x850");
    }

    #[test]
    fn a_module_that_is_gone_is_named_although_a_neighbour_seems_to_reach_into_it() {
        let neighbour = "aesni_intel 999424 0 - Live 0xffffffffc0200000 (O)\n";
        let mut symbols = Symbols::default();
        let modules = format!("{neighbour}{MODULES}");
        symbols.read(&modules, LINES).unwrap();
        symbols
            .read(neighbour, b"ffffffff81000100 T memcpy\nend\n")
            .unwrap();
        let name = symbols.name(0xffff_ffff_c020_105c, "");
        assert_eq!(name, "tresor:tresor_aesni_arm+0x1c");
    }

    #[test]
    fn a_list_without_its_end_is_an_error() {
        let error = Symbols::default()
            .read("", b"ffffffff81000100 T memcpy\n")
            .unwrap_err();
        assert!(error.to_string().contains("did not arrive"), "{error}");
    }

    #[test]
    fn hidden_addresses_are_an_error() {
        let error = Symbols::default()
            .read("", b"0000000000000000 T memcpy\nend\n")
            .unwrap_err();
        assert!(error.to_string().contains("kptr_restrict"), "{error}");
    }
}
