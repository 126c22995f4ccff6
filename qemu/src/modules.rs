// SPDX-License-Identifier: GPL-2.0-or-later

//! Which kernel modules a set of modules needs, and their plain contents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

/// The modules of one kernel: `modules.dep` and `modules.builtin`.
pub struct ModuleIndex {
    /// Module name, to its file relative to the modules folder and the files that it needs.
    modules: BTreeMap<String, (PathBuf, Vec<PathBuf>)>,
    builtin: BTreeSet<String>,
}

impl ModuleIndex {
    /// Reads the index files in `lib/modules/<release>`.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Self::parse(
            &text("modules.dep")?,
            &text("modules.builtin")?,
        ))
    }

    /// Parses the two files' contents (formats: modules.dep(5), `Documentation/kbuild/kbuild.rst`).
    pub fn parse(dep: &str, builtin: &str) -> Self {
        let modules = dep.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let needs = needs.split_whitespace().map(PathBuf::from).collect();
            Some((module_name(file), (PathBuf::from(file), needs)))
        });
        Self {
            modules: modules.collect(),
            builtin: builtin.lines().map(module_name).collect(),
        }
    }

    /// Files, relative to the modules folder, of `names` and all that they need, sorted.
    ///
    /// Names that are built into the kernel need no file. `-` and `_` are the same in a name.
    ///
    /// # Errors
    /// If the kernel has no module of that name.
    pub fn closure<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<PathBuf>> {
        let mut files = BTreeSet::new();
        for name in names {
            let name = module_name(name);
            match self.modules.get(&name) {
                // modules.dep lists the dependencies of dependencies too.
                Some((file, needs)) => {
                    files.insert(file.clone());
                    files.extend(needs.iter().cloned());
                }
                None if self.builtin.contains(&name) => {}
                None => bail!("this kernel has no module {name}, neither as a file nor built in"),
            }
        }
        Ok(files.into_iter().collect())
    }
}

/// `kernel/drivers/md/dm-crypt.ko.xz` is the file of the module `dm_crypt`.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    let base = base.split_once(".ko").map_or(base, |(name, _)| name);
    base.replace('-', "_")
}

/// The plain content of a module's file, and its name without the compression's suffix.
///
/// # Errors
/// If the file cannot be read, or is not what its suffix says.
pub fn decompress(file: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let packed = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let broken = || format!("cannot decompress {}", file.display());
    let plain = match file.extension().and_then(|e| e.to_str()) {
        Some("xz") => {
            let mut plain = Vec::new();
            lzma_rs::xz_decompress(&mut packed.as_slice(), &mut plain).with_context(broken)?;
            plain
        }
        Some("zst") => {
            let mut plain = Vec::new();
            ruzstd::decoding::StreamingDecoder::new(packed.as_slice())
                .with_context(broken)?
                .read_to_end(&mut plain)
                .with_context(broken)?;
            plain
        }
        Some("ko") => return Ok((file.to_path_buf(), packed)),
        _ => bail!(
            "{} is not a kernel module (.ko, .ko.xz, .ko.zst)",
            file.display()
        ),
    };
    Ok((file.with_extension(""), plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/drivers/md/dm-mod.ko.xz:\n\
        kernel/drivers/md/dm-crypt.ko.xz: kernel/drivers/md/dm-mod.ko.xz\n\
        kernel/a/b.ko: kernel/a/c.ko kernel/a/d.ko\n\
        kernel/a/c.ko: kernel/a/d.ko\n\
        kernel/a/d.ko:\n";

    #[test]
    fn a_closure_holds_each_needed_file_once() {
        let index = ModuleIndex::parse(DEP, "kernel/fs/ext4/ext4.ko\n");
        let files = index.closure(["dm_crypt", "b", "c", "ext4"]).unwrap();
        let names: Vec<_> = files.iter().map(|f| f.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "kernel/a/b.ko",
                "kernel/a/c.ko",
                "kernel/a/d.ko",
                "kernel/drivers/md/dm-crypt.ko.xz",
                "kernel/drivers/md/dm-mod.ko.xz"
            ]
        );
    }

    #[test]
    fn dash_and_underscore_name_the_same_module() {
        let index = ModuleIndex::parse(DEP, "");
        assert_eq!(
            index.closure(["dm-crypt"]).unwrap(),
            index.closure(["dm_crypt"]).unwrap()
        );
    }

    #[test]
    fn an_unknown_module_is_an_error_that_names_it() {
        let error = ModuleIndex::parse(DEP, "")
            .closure(["nothing"])
            .unwrap_err();
        assert!(error.to_string().contains("no module nothing"), "{error}");
    }

    #[test]
    fn xz_modules_come_out_as_they_went_in() {
        let dir = tempfile::tempdir().unwrap();
        let plain: Vec<u8> = (0..100_000u32)
            .flat_map(|i| (i / 7).to_le_bytes())
            .collect();
        let mut packed = Vec::new();
        lzma_rs::xz_compress(&mut plain.as_slice(), &mut packed).unwrap();
        let file = dir.path().join("x.ko.xz");
        fs::write(&file, packed).unwrap();
        let (name, out) = decompress(&file).unwrap();
        assert_eq!(name, dir.path().join("x.ko"));
        assert_eq!(out, plain);
    }

    #[test]
    fn a_damaged_module_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.ko.xz");
        fs::write(&file, b"not xz at all").unwrap();
        let error = decompress(&file).unwrap_err();
        assert!(error.to_string().contains("x.ko.xz"), "{error}");
    }
}
