// SPDX-License-Identifier: GPL-2.0-or-later

//! Writes "newc" cpio archives, the format of an initramfs.
//!
//! Format: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`. Every number is
//! eight hex digits; names and contents are padded with zeros to four bytes. All entries belong to
//! root and carry time 0, so that the same input makes the same archive.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use anyhow::{bail, Context, Result};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive that grows in memory.
#[derive(Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Cpio {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory, and its parents, unless they are there already.
    ///
    /// # Errors
    /// See [`Cpio::file`].
    pub fn directory(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let name = normal(path.as_ref())?;
        if !self.names.contains(&name) {
            self.parents(&name)?;
            self.entry(name, DIRECTORY | 0o755, 2, b"")?;
        }
        Ok(())
    }

    /// Adds a regular file, and its parent directories; `mode` holds the permission bits.
    ///
    /// # Errors
    /// If the path leaves the root or is taken, or the file is 4 GiB or larger.
    pub fn file(&mut self, path: impl AsRef<Path>, mode: u32, content: &[u8]) -> Result<()> {
        let name = normal(path.as_ref())?;
        self.parents(&name)?;
        self.entry(name, REGULAR | (mode & 0o7777), 1, content)
    }

    /// Adds a symbolic link that points to `target`.
    ///
    /// # Errors
    /// See [`Cpio::file`].
    pub fn symlink(&mut self, path: impl AsRef<Path>, target: &str) -> Result<()> {
        let name = normal(path.as_ref())?;
        self.parents(&name)?;
        self.entry(name, SYMLINK | 0o777, 1, target.as_bytes())
    }

    /// Whether something with this path was added.
    pub fn contains(&self, path: impl AsRef<Path>) -> bool {
        normal(path.as_ref()).is_ok_and(|name| self.names.contains(&name))
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.header("TRAILER!!!", 0, 1, 0, 0);
        self.bytes
    }

    fn parents(&mut self, name: &str) -> Result<()> {
        match name.rsplit_once('/') {
            Some((parent, _)) => self.directory(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, name: String, mode: u32, links: u32, content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len())
            .with_context(|| format!("{name} is too large for a cpio archive"))?;
        if self.names.contains(&name) {
            bail!("{name} is already in the archive");
        }
        let inode = self.names.len() as u32 + 1;
        self.header(&name, mode, links, inode, size);
        self.bytes.extend_from_slice(content);
        self.pad();
        self.names.insert(name);
        Ok(())
    }

    fn header(&mut self, name: &str, mode: u32, links: u32, inode: u32, size: u32) {
        let name_size = name.len() as u32 + 1;
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A path below the root, without a leading slash.
fn normal(path: &Path) -> Result<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => parts.push(
                part.to_str()
                    .with_context(|| format!("{} is not UTF-8", path.display()))?,
            ),
            _ => bail!("{} leaves the root of the archive", path.display()),
        }
    }
    if parts.is_empty() {
        bail!(
            "{:?} names the root of the archive, which needs no entry",
            path
        );
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// A cpio that is not ours: the host's, else busybox of the host or of the set-up's tree.
    fn other_cpio() -> Command {
        if Command::new("cpio").arg("--version").output().is_ok() {
            return Command::new("cpio");
        }
        let busybox = if Command::new("busybox").output().is_ok() {
            "busybox".into()
        } else {
            let cache = crate::Cache::open();
            cache
                .expect("this test needs cpio, busybox or scripts/setup")
                .tree
                .join("usr/bin/busybox")
        };
        let mut command = Command::new(busybox);
        command.arg("cpio");
        command
    }

    fn unpack(archive: &[u8], into: &Path) {
        let mut cpio = other_cpio()
            .arg("-idm")
            .current_dir(into)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(archive).unwrap();
        assert!(cpio.wait().unwrap().success());
    }

    #[test]
    fn another_cpio_unpacks_files_links_and_modes() {
        use std::os::unix::fs::PermissionsExt;
        let mut cpio = Cpio::new();
        cpio.file("/usr/bin/tool", 0o755, b"#!/bin/sh\n").unwrap();
        cpio.symlink("bin", "usr/bin").unwrap();
        cpio.file("empty", 0o600, b"").unwrap();
        let dir = tempfile::tempdir().unwrap();
        unpack(&cpio.finish(), dir.path());
        assert_eq!(
            fs::read(dir.path().join("bin/tool")).unwrap(),
            b"#!/bin/sh\n"
        );
        assert_eq!(
            fs::read_link(dir.path().join("bin")).unwrap(),
            Path::new("usr/bin")
        );
        let mode = |p: &str| {
            fs::metadata(dir.path().join(p))
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(mode("usr/bin/tool") & 0o7777, 0o755);
        assert_eq!(mode("empty") & 0o7777, 0o600);
    }

    #[test]
    fn a_path_is_taken_once_and_stays_below_the_root() {
        let mut cpio = Cpio::new();
        cpio.file("a", 0o644, b"1").unwrap();
        assert_eq!(
            cpio.file("/a", 0o644, b"2").unwrap_err().to_string(),
            "a is already in the archive"
        );
        assert!(cpio
            .file("../a", 0o644, b"")
            .unwrap_err()
            .to_string()
            .contains("leaves the root"));
    }

    #[test]
    fn the_same_input_makes_the_same_archive() {
        let build = || {
            let mut cpio = Cpio::new();
            cpio.file("x/y", 0o644, b"content").unwrap();
            cpio.finish()
        };
        assert_eq!(build(), build());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn contents_of_every_length_come_back(contents in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..64), 1..8)) {
            let mut cpio = Cpio::new();
            for (i, content) in contents.iter().enumerate() {
                cpio.file(format!("d{}/{}", i % 2, "n".repeat(i + 1)), 0o644, content).unwrap();
            }
            let dir = tempfile::tempdir().unwrap();
            unpack(&cpio.finish(), dir.path());
            for (i, content) in contents.iter().enumerate() {
                let path = dir.path().join(format!("d{}/{}", i % 2, "n".repeat(i + 1)));
                prop_assert_eq!(&fs::read(path).unwrap(), content);
            }
        }
    }
}
