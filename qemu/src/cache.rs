// SPDX-License-Identifier: GPL-2.0-or-later

//! What `scripts/setup` prepared: the Debian tree, its kernel, the built modules.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};

/// The folder inside a Debian tree that holds its shared libraries.
pub(crate) const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// One suite's part of the cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The Debian suite, such as `trixie`.
    pub suite: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel_release: String,
    /// Root of the Debian tree.
    pub tree: PathBuf,
    /// The kernel image, as the package ships it.
    pub vmlinuz: PathBuf,
    /// The kernel's modules: `lib/modules/<release>` of the tree.
    pub modules: PathBuf,
    /// The kernel's source, configured for this kernel.
    pub linux_source: PathBuf,
    /// `tresor.ko` built for this kernel, if it was built.
    pub module: Option<PathBuf>,
    /// `tresor_test.ko` built for this kernel, if it was built.
    pub test_module: Option<PathBuf>,
    /// For each variant of the engine a `tresor.ko` in which it leaks half of M on purpose, as far
    /// as they were built.
    pub spill_modules: BTreeMap<String, PathBuf>,
    /// How many times as long as on the stock kernel everything may take: more than 1 for a kernel that
    /// looks for bugs.
    pub slowness: u32,
}

impl Cache {
    /// Opens `$TRESOR_CACHE/$TRESOR_SUITE`: by default `trixie` in `tresor` in the user's cache
    /// folder, as `scripts/setup` does.
    ///
    /// # Errors
    /// If set-up has not run there, or what it wrote is not complete.
    pub fn open() -> Result<Self> {
        let folder = |name: &str| {
            env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let root = folder("TRESOR_CACHE")
            .or_else(|| folder("XDG_CACHE_HOME").map(|dir| dir.join("tresor")))
            .or_else(|| folder("HOME").map(|dir| dir.join(".cache/tresor")))
            .context("neither TRESOR_CACHE nor HOME is set: set TRESOR_CACHE to a folder")?;
        let suite = env::var("TRESOR_SUITE").unwrap_or_else(|_| "trixie".into());
        Self::open_at(&root.join(&suite), &suite)
    }

    /// Opens the cache of `suite` in `dir`.
    ///
    /// # Errors
    /// See [`Cache::open`].
    pub fn open_at(dir: &Path, suite: &str) -> Result<Self> {
        let file = dir.join("env");
        let text = fs::read_to_string(&file).with_context(|| {
            format!(
                "cannot read {}: run scripts/setup, which prepares it",
                file.display()
            )
        })?;
        let values = parse_env(&text);
        let get = |key: &str| {
            let value = values.get(key);
            value.with_context(|| {
                format!(
                    "{} does not name {key}: run scripts/setup again",
                    file.display()
                )
            })
        };
        let built = |key: &str| {
            values
                .get(key)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
                .filter(|p| p.is_file())
        };
        let cache = Self {
            suite: suite.to_owned(),
            kernel_release: get("KERNEL_RELEASE")?.clone(),
            tree: get("TREE")?.into(),
            vmlinuz: get("VMLINUZ")?.into(),
            modules: get("MODULES")?.into(),
            linux_source: get("LINUX_SOURCE")?.into(),
            module: built("MODULE"),
            test_module: built("TEST_MODULE"),
            spill_modules: values
                .keys()
                .filter_map(|key| {
                    let variant = key.strip_prefix("SPILL_MODULE_")?;
                    Some((variant.to_lowercase(), built(key)?))
                })
                .collect(),
            slowness: match values.get("SLOWNESS") {
                None => 1,
                Some(text) => text.parse().ok().filter(|&n| n > 0).with_context(|| {
                    let file = file.display();
                    format!(
                        "{file} has SLOWNESS={text}, which is no number above 0: build it again"
                    )
                })?,
            },
        };
        for path in [&cache.tree, &cache.vmlinuz, &cache.modules] {
            ensure!(
                path.exists(),
                "{} names {}, which does not exist: run scripts/setup again",
                file.display(),
                path.display()
            );
        }
        Ok(cache)
    }

    /// A command that runs a program of the tree on this host, without root or chroot.
    ///
    /// The host may be older than the tree, so the program starts through the tree's own dynamic
    /// loader with the tree's own libraries. `program` is relative to the tree: `usr/bin/xz`.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.tree.join("usr/lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(self.tree.join(LIBRARIES));
        command.arg(self.tree.join(program));
        // A library path or preload meant for the host's own programs would break these.
        command
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("LD_PRELOAD");
        command
    }

    /// The tree's QEMU, told where the tree keeps its firmware; no machine is configured yet.
    pub fn qemu(&self) -> Command {
        let mut command = self.command("usr/bin/qemu-system-x86_64");
        command.env("QEMU_MODULE_DIR", self.tree.join(LIBRARIES).join("qemu"));
        for folder in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(self.tree.join(folder));
        }
        command
    }

    /// What `qemu-system-x86_64 --version` says, first line.
    ///
    /// # Errors
    /// If the tree's QEMU does not run.
    pub fn qemu_version(&self) -> Result<String> {
        let output = self
            .qemu()
            .arg("--version")
            .output()
            .context("cannot start QEMU")?;
        ensure!(
            output.status.success(),
            "the tree's QEMU does not run here: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

/// Reads `KEY=VALUE` lines; a value may be in single or double quotes. Other lines are ignored.
fn parse_env(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if line.starts_with('#') {
            return None;
        }
        let (key, value) = line.split_once('=')?;
        let unquoted = ['\'', '"']
            .iter()
            .find_map(|&q| value.strip_prefix(q).and_then(|v| v.strip_suffix(q)))
            .unwrap_or(value);
        Some((key.to_owned(), unquoted.to_owned()))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_env_file_may_quote_and_comment() {
        let values = parse_env("# made by set-up\nA=1\nexport B='two words'\nC=\"x=y\"\nnoise\n");
        assert_eq!(values["A"], "1");
        assert_eq!(values["B"], "two words");
        assert_eq!(values["C"], "x=y");
        assert_eq!(values.len(), 3);
    }

    #[test]
    fn a_missing_cache_names_the_script_that_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = Cache::open_at(dir.path(), "trixie").unwrap_err();
        assert!(
            format!("{error:#}").contains("run scripts/setup"),
            "{error:#}"
        );
    }

    #[test]
    fn an_incomplete_cache_names_the_missing_value() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("env"), "KERNEL_RELEASE=1\n").unwrap();
        let error = Cache::open_at(dir.path(), "trixie").unwrap_err();
        assert!(
            format!("{error:#}").contains("does not name TREE"),
            "{error:#}"
        );
    }
}
