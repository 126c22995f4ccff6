// SPDX-License-Identifier: GPL-2.0-or-later

//! The guest's first and only file system.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{ensure, Context, Result};
use sha2::{Digest, Sha256};

use crate::cpio::Cpio;
use crate::elf::Libraries;
use crate::modules::{decompress, ModuleIndex};
use crate::{target_dir, Cache};

const INIT: &[u8] = include_bytes!("../guest/init");
const SHELL: &[u8] = include_bytes!("../guest/shell");

/// Programs that every guest has, relative to the tree.
///
/// The shell is dash, since Debian's busybox shell prefers its own small `mke2fs` or `modprobe` to
/// the real ones.
const PROGRAMS: [&str; 8] = [
    "usr/bin/busybox",
    "usr/bin/dash",
    "usr/bin/kmod",
    "usr/bin/setpriv",
    "usr/sbin/cryptsetup",
    "usr/sbin/dmsetup",
    "usr/sbin/mke2fs",
    "usr/sbin/e2fsck",
];

/// Other names of these programs.
const NAMES: [(&str, &str); 8] = [
    ("usr/sbin/modprobe", "../bin/kmod"),
    ("usr/sbin/insmod", "../bin/kmod"),
    ("usr/sbin/rmmod", "../bin/kmod"),
    ("usr/sbin/lsmod", "../bin/kmod"),
    ("usr/sbin/modinfo", "../bin/kmod"),
    ("usr/sbin/depmod", "../bin/kmod"),
    ("usr/sbin/mkfs.ext4", "mke2fs"),
    ("usr/bin/sh", "dash"),
];

/// Libraries that nothing links with but that are loaded at run time: glibc needs libgcc_s to end
/// a thread.
const LOADED_LATER: [&str; 1] = ["libgcc_s.so.1"];

/// Modules that every guest has and loads while booting.
const BOOT_MODULES: [&str; 5] = ["virtio_blk", "button", "dm-mod", "dm-crypt", "aesni-intel"];

/// Modules that every guest has; the kernel or a command loads them.
const MODULES: [&str; 8] = [
    "brd",
    "loop",
    "essiv",
    "authenc",
    "af_alg",
    "algif_skcipher",
    "algif_hash",
    "dm-flakey",
];

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n";
const GROUP: &[u8] = b"root:x:0:\nuser:x:1000:\n";

/// How long an archive that nobody uses is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

enum Source {
    Host(PathBuf),
    Bytes(Vec<u8>),
}

/// What to put into an initramfs beside what every guest needs.
///
/// Every guest has busybox, kmod, setpriv, cryptsetup, dmsetup, mke2fs and e2fsck with their
/// libraries, the modules for disks and disk encryption, and `tresor.ko` and `tresor_test.ko` in
/// the modules' `updates/` if the cache has them.
pub struct Initramfs<'a> {
    cache: &'a Cache,
    programs: Vec<String>,
    modules: Vec<String>,
    files: BTreeMap<String, (u32, Source)>,
}

impl<'a> Initramfs<'a> {
    /// Starts with what every guest has.
    pub fn new(cache: &'a Cache) -> Self {
        let own = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let modules = own(&[&BOOT_MODULES[..], &MODULES[..]].concat());
        Self {
            cache,
            programs: own(&PROGRAMS),
            modules,
            files: BTreeMap::new(),
        }
    }

    /// Adds a kernel module, and what it needs.
    pub fn module(&mut self, name: &str) -> &mut Self {
        self.modules.push(name.to_owned());
        self
    }

    /// Adds a program of the tree, such as `usr/sbin/blkid`, with its libraries.
    pub fn program(&mut self, path: &str) -> &mut Self {
        self.programs.push(path.trim_start_matches('/').to_owned());
        self
    }

    /// Adds a file of the host under `guest`; a dynamic program must find its libraries in the tree.
    pub fn host_file(&mut self, guest: &str, mode: u32, host: &Path) -> &mut Self {
        self.files
            .insert(guest.to_owned(), (mode, Source::Host(host.to_path_buf())));
        self
    }

    /// Adds a file with these contents. Never put a secret here.
    pub fn bytes(&mut self, guest: &str, mode: u32, contents: &[u8]) -> &mut Self {
        self.files
            .insert(guest.to_owned(), (mode, Source::Bytes(contents.to_vec())));
        self
    }

    /// Writes the archive into `target/vm/initramfs`, or finds it there, and returns its path.
    ///
    /// The archive depends on the inputs alone, by whose paths, sizes and times it is named. It is
    /// not compressed: under emulation, unpacking costs more than reading.
    ///
    /// # Errors
    /// If the tree lacks a program, library or module, or a file cannot be read or written.
    pub fn build(&self) -> Result<PathBuf> {
        let index = ModuleIndex::read(&self.cache.modules)?;
        let modules = index.closure(self.modules.iter().map(String::as_str))?;
        let mut libraries = Libraries::new(&self.cache.tree);
        for program in &self.programs {
            libraries.add_needs_of(&self.cache.tree.join(program))?;
        }
        for name in LOADED_LATER {
            libraries.add(name)?;
        }
        for (_, source) in self.files.values() {
            if let Source::Host(path) = source {
                libraries.add_needs_of(path)?;
            }
        }
        let libraries = libraries.into_files();

        let folder = target_dir().join("vm/initramfs");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let name = self.name(&modules, &libraries)?;
        let path = folder.join(format!("{name}.cpio"));
        if !path.exists() {
            remove_old(&folder);
            let archive = self.pack(&modules, &libraries, &folder.join(&name))?;
            // Two tests may pack the same archive at once: both write, one rename wins.
            let temporary = folder.join(format!("{name}.{}", unique()));
            fs::write(&temporary, archive)
                .and_then(|()| fs::rename(&temporary, &path))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        // Its time says when it was last used. On failure it is only made again some day.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(path)
    }

    /// Modules built by this project, which the stock kernel's index does not know.
    fn own_modules(&self) -> impl Iterator<Item = &Path> {
        [&self.cache.module, &self.cache.test_module]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    fn name(&self, modules: &[PathBuf], libraries: &BTreeMap<PathBuf, PathBuf>) -> Result<String> {
        let mut hash = Sha256::new();
        let mut add_host = |path: &Path| -> Result<()> {
            let meta =
                fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(meta.len().to_le_bytes());
            hash.update(meta.mtime().to_le_bytes());
            hash.update(meta.mtime_nsec().to_le_bytes());
            Ok(())
        };
        modules
            .iter()
            .try_for_each(|file| add_host(&self.cache.modules.join(file)))?;
        self.own_modules().try_for_each(&mut add_host)?;
        libraries.values().try_for_each(|file| add_host(file))?;
        self.programs
            .iter()
            .try_for_each(|file| add_host(&self.cache.tree.join(file)))?;
        for (_, source) in self.files.values() {
            if let Source::Host(path) = source {
                add_host(path)?;
            }
        }
        for (guest, (mode, source)) in &self.files {
            hash.update(guest.as_bytes());
            hash.update(mode.to_le_bytes());
            if let Source::Bytes(contents) = source {
                hash.update(Sha256::digest(contents));
            }
        }
        for part in [INIT, SHELL, PASSWD, GROUP] {
            hash.update(Sha256::digest(part));
        }
        Ok(hex::encode(&hash.finalize()[..12]))
    }

    fn pack(
        &self,
        modules: &[PathBuf],
        libraries: &BTreeMap<PathBuf, PathBuf>,
        staging: &Path,
    ) -> Result<Vec<u8>> {
        let mut cpio = Cpio::new();
        for (link, target) in [
            ("bin", "usr/bin"),
            ("sbin", "usr/sbin"),
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
        ] {
            cpio.symlink(link, target)?;
        }
        for folder in [
            "dev",
            "proc",
            "sys",
            "run",
            "tmp",
            "mnt",
            "root",
            "usr/sbin",
            "usr/lib64",
        ] {
            cpio.directory(folder)?;
        }
        cpio.file("init", 0o755, INIT)?;
        cpio.file("etc/tresor/shell", 0o644, SHELL)?;
        cpio.file(
            "etc/tresor/modules",
            0o644,
            (BOOT_MODULES.join("\n") + "\n").as_bytes(),
        )?;
        cpio.file("etc/passwd", 0o644, PASSWD)?;
        cpio.file("etc/group", 0o644, GROUP)?;

        let mut copy = |guest: &Path, mode: u32, host: &Path| -> Result<()> {
            if cpio.contains(guest) {
                return Ok(());
            }
            let bytes =
                fs::read(host).with_context(|| format!("cannot read {}", host.display()))?;
            cpio.file(guest, mode, &bytes)
        };
        for program in &self.programs {
            copy(Path::new(program), 0o755, &self.cache.tree.join(program))?;
        }
        for (guest, host) in libraries {
            copy(guest, 0o755, host)?;
        }
        let configuration = self.cache.tree.join("etc/mke2fs.conf");
        if configuration.exists() {
            copy(Path::new("etc/mke2fs.conf"), 0o644, &configuration)?;
        }
        for (link, target) in NAMES {
            cpio.symlink(link, target)?;
        }
        for (guest, (mode, source)) in &self.files {
            match source {
                Source::Host(path) => {
                    let bytes = fs::read(path)
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    cpio.file(guest, *mode, &bytes)?;
                }
                Source::Bytes(bytes) => cpio.file(guest, *mode, bytes)?,
            }
        }
        self.pack_modules(&mut cpio, modules, staging)?;
        Ok(cpio.finish())
    }

    /// Adds the modules, unpacked, and an index of just them that the tree's own depmod makes.
    fn pack_modules(&self, cpio: &mut Cpio, modules: &[PathBuf], staging: &Path) -> Result<()> {
        let staging = Staging::new(staging)?;
        let folder = Path::new("usr/lib/modules").join(&self.cache.kernel_release);
        let put = |name: &Path, bytes: &[u8]| -> Result<()> {
            let path = staging.0.join(&folder).join(name);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
        };
        let mut names = Vec::new();
        for file in modules {
            let (_, bytes) = decompress(&self.cache.modules.join(file))?;
            let name = if file.extension().is_some_and(|e| e == "ko") {
                file.clone()
            } else {
                file.with_extension("")
            };
            put(&name, &bytes)?;
            names.push(name);
        }
        for file in self.own_modules() {
            let (_, bytes) = decompress(file)?;
            let base = file.file_name().context("a module's path names no file")?;
            let name = Path::new("updates").join(base);
            put(&name, &bytes)?;
            names.push(name);
        }
        for index in [
            "modules.builtin",
            "modules.builtin.modinfo",
            "modules.order",
        ] {
            put(Path::new(index), &fs::read(self.cache.modules.join(index))?)?;
        }
        std::os::unix::fs::symlink("usr/lib", staging.0.join("lib"))?;
        let depmod = self
            .cache
            .command("usr/sbin/depmod")
            .arg("-b")
            .arg(&staging.0)
            .arg(&self.cache.kernel_release)
            .output()
            .context("cannot start the tree's depmod")?;
        ensure!(
            depmod.status.success(),
            "depmod failed: {}",
            String::from_utf8_lossy(&depmod.stderr).trim()
        );
        let indices = fs::read_dir(staging.0.join(&folder))?
            .filter_map(|entry| entry.ok().filter(|e| e.path().is_file()))
            .map(|entry| PathBuf::from(entry.file_name()));
        names.extend(indices);
        names.sort();
        for name in names {
            cpio.file(
                folder.join(&name),
                0o644,
                &fs::read(staging.0.join(&folder).join(&name))?,
            )?;
        }
        Ok(())
    }
}

/// Removes archives that were not used for a day: each new build of a program makes another.
fn remove_old(folder: &Path) {
    let old = |path: &Path| {
        let time = fs::metadata(path).and_then(|meta| meta.modified());
        time.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT))
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|e| e == "cpio") && old(&entry.path()) {
            // What cannot be removed only takes room.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Distinguishes what this thread writes from what others write at the same time.
fn unique() -> String {
    format!("{}.{:?}", process::id(), thread::current().id())
}

/// A folder that is removed when it is no longer used.
struct Staging(PathBuf);

impl Staging {
    fn new(base: &Path) -> Result<Self> {
        let path = base.with_extension(unique());
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays behind is in target/ and harmless.
        let _ = fs::remove_dir_all(&self.0);
    }
}
