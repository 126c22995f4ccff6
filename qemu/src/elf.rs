// SPDX-License-Identifier: GPL-2.0-or-later

//! Which shared libraries of a tree a program needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use object::elf::{FileHeader64, DT_NEEDED, PT_INTERP};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::Endianness;

/// Folders of a Debian tree where libraries are looked for, in this order.
const FOLDERS: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib64"];

/// The libraries that a set of programs needs, gathered one program at a time.
pub(crate) struct Libraries<'a> {
    tree: &'a Path,
    /// Path in the guest (`usr/lib/x86_64-linux-gnu/libc.so.6`) to the file on the host.
    found: BTreeMap<PathBuf, PathBuf>,
}

impl<'a> Libraries<'a> {
    pub(crate) fn new(tree: &'a Path) -> Self {
        Self {
            tree,
            found: BTreeMap::new(),
        }
    }

    /// Adds what `program` needs, and what that needs; nothing for a static program or a script.
    ///
    /// # Errors
    /// If the tree lacks one of the libraries.
    pub(crate) fn add_needs_of(&mut self, program: &Path) -> Result<()> {
        let needs = needs(program)?;
        if let Some(loader) = needs.interpreter {
            let guest = PathBuf::from("usr").join(loader.trim_start_matches('/'));
            self.found.insert(guest.clone(), self.tree.join(&guest));
        }
        for name in needs.libraries {
            self.add(&name)
                .with_context(|| format!("{} needs it", program.display()))?;
        }
        Ok(())
    }

    /// Adds the library called `name`, and what it needs.
    ///
    /// # Errors
    /// If the tree lacks it.
    pub(crate) fn add(&mut self, name: &str) -> Result<()> {
        for folder in FOLDERS {
            let guest = Path::new(folder).join(name);
            if self.found.contains_key(&guest) {
                return Ok(());
            }
            let host = self.tree.join(&guest);
            if host.is_file() {
                self.found.insert(guest, host.clone());
                return self.add_needs_of(&host);
            }
        }
        bail!("the tree {} has no library {name}", self.tree.display())
    }

    pub(crate) fn into_files(self) -> BTreeMap<PathBuf, PathBuf> {
        self.found
    }
}

#[derive(Default)]
struct Needs {
    interpreter: Option<String>,
    libraries: Vec<String>,
}

/// DT_NEEDED and PT_INTERP (System V ABI, "Dynamic Section" and "Program Interpreter").
fn needs(file: &Path) -> Result<Needs> {
    let data = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if !data.starts_with(b"\x7fELF") {
        return Ok(Needs::default());
    }
    read_needs(&data).with_context(|| format!("{} is not a sound ELF file", file.display()))
}

fn read_needs(data: &[u8]) -> Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let mut needs = Needs::default();
    for segment in header.program_headers(endian, data)? {
        if segment.p_type(endian) == PT_INTERP {
            let bytes = segment
                .data(endian, data)
                .map_err(|()| anyhow::anyhow!("PT_INTERP"))?;
            let text = bytes.strip_suffix(b"\0").unwrap_or(bytes);
            needs.interpreter = Some(std::str::from_utf8(text)?.to_owned());
        }
    }
    let sections = header.sections(endian, data)?;
    if let Some((entries, strings)) = sections.dynamic(endian, data)? {
        let strings = sections.strings(endian, data, strings)?;
        for entry in entries {
            if entry.tag32(endian) == Some(DT_NEEDED) {
                let name = entry.string(endian, strings)?;
                needs.libraries.push(std::str::from_utf8(name)?.to_owned());
            }
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_names_its_loader_and_its_c_library() {
        let needs = needs(&std::env::current_exe().unwrap()).unwrap();
        assert!(needs.interpreter.unwrap().contains("ld-linux"));
        assert!(needs.libraries.iter().any(|l| l == "libc.so.6"));
    }

    #[test]
    fn a_script_needs_no_library() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("s");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let needs = needs(&script).unwrap();
        assert!(needs.interpreter.is_none() && needs.libraries.is_empty());
    }

    #[test]
    fn a_library_that_the_tree_lacks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Libraries::new(dir.path())
            .add("libmissing.so.9")
            .unwrap_err();
        assert!(error.to_string().contains("libmissing.so.9"), "{error}");
    }
}
