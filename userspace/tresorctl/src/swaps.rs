// SPDX-License-Identifier: GPL-2.0-or-later

//! Which swap lies on which volumes, whatever is between them: partitions, other mappings, loop
//! devices, zram that writes back, file systems.
//!
//! `/proc/swaps` is described in proc(5), the rest in the kernel's `Documentation/ABI/stable/sysfs-block`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{fs, str};

use nix::sys::stat::{major, minor};

use crate::error::reason;

/// A swap area that is in use, and the device-mapper volumes below it.
#[derive(Debug, PartialEq, Eq)]
pub struct Swap {
    /// The device or file.
    pub path: PathBuf,
    /// Names of the volumes that it lies on, those that use no cipher of ours included.
    pub volumes: BTreeSet<String>,
}

/// All swap areas in use.
///
/// # Errors
///
/// The kernel does not tell of one what it lies on.
pub fn in_use() -> io::Result<Vec<Swap>> {
    let table = fs::read("/proc/swaps")?;
    paths(&table)
        .into_iter()
        .map(|path| {
            let mut volumes = BTreeSet::new();
            below_path(Path::new("/sys"), &path, &mut volumes).map_err(|e| {
                io::Error::new(e.kind(), format!("{}: {}", path.display(), reason(&e)))
            })?;
            Ok(Swap { path, volumes })
        })
        .collect()
}

/// The first column of `/proc/swaps`, which has a headline.
fn paths(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|&b| b == b'\n').skip(1);
    lines
        .filter_map(|line| line.split(u8::is_ascii_whitespace).next())
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(OsString::from_vec(unescape(path))))
        .collect()
}

/// Replaces `\NNN`, which stands for the byte with this octal number.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\');
        let byte = octal
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    bytes
}

fn below_path(sysfs: &Path, path: &Path, names: &mut BTreeSet<String>) -> io::Result<()> {
    let data = fs::metadata(path)?;
    let device = if data.file_type().is_block_device() {
        data.rdev()
    } else {
        data.dev()
    };
    if major(device) == 0 {
        return Err(io::Error::other(
            "its file system does not tell on which device it is",
        ));
    }
    let link = format!("dev/block/{}:{}", major(device), minor(device));
    below(sysfs, &fs::canonicalize(sysfs.join(link))?, names)
}

/// Adds the names of the volumes at and below the device of this folder of sysfs.
fn below(sysfs: &Path, device: &Path, names: &mut BTreeSet<String>) -> io::Result<()> {
    if device.join("partition").exists() {
        if let Some(disk) = device.parent() {
            return below(sysfs, disk, names);
        }
    }
    if let Some(name) = read(&device.join("dm/name"))? {
        names.insert(String::from_utf8_lossy(&name).into_owned());
    }
    // Of a loop device, and of zram that writes back.
    for file in ["loop/backing_file", "backing_dev"] {
        match read(&device.join(file))? {
            Some(path) if path != b"none" => {
                below_path(sysfs, Path::new(&OsString::from_vec(path)), names)?;
            }
            _ => {}
        }
    }
    match fs::read_dir(device.join("slaves")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        slaves => slaves?.try_for_each(|slave| {
            let slave = fs::canonicalize(slave?.path())?;
            below(sysfs, &slave, names)
        }),
    }
}

/// A file's contents without the line's end; none if there is no such file.
fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes.trim_ascii_end().to_vec())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn swaps_are_named_by_the_first_column_with_its_escapes() {
        let table = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
            /dev/dm-1                               partition\t1048572\t\t0\t\t-2\n\
            /var/swap\\040file\\134040                file\t1024\t0\t-3\n";
        let expected = ["/dev/dm-1", "/var/swap file\\040"].map(PathBuf::from);
        assert_eq!(paths(table), expected);
        assert!(paths(b"Filename Type Size Used Priority\n").is_empty());
        assert_eq!(unescape(b"\\04\\9991\\"), b"\\04\\9991\\");
    }

    /// A mapping `lvm` over a partition of a loop device in a file, beside the mapping `home`.
    #[test]
    fn volumes_are_found_through_mappings_partitions_and_loop_devices() {
        let folder = tempfile::tempdir().unwrap();
        let sysfs = folder.path().canonicalize().unwrap();
        let make = |path: &str, text: &str| {
            let path = sysfs.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let backing = sysfs.join("backing");
        fs::write(&backing, "").unwrap();
        make("block/dm-1/dm/name", "lvm\n");
        make("block/dm-2/dm/name", "home\n");
        make("block/dm-2/backing_dev", "none\n");
        make(
            "block/loop0/loop/backing_file",
            &format!("{}\n", backing.display()),
        );
        make("block/loop0/loop0p1/partition", "1\n");
        fs::create_dir(sysfs.join("block/dm-1/slaves")).unwrap();
        symlink(
            "../../loop0/loop0p1",
            sysfs.join("block/dm-1/slaves/loop0p1"),
        )
        .unwrap();
        // Where this test's own files lie is, for it, the mapping `home`.
        let device = fs::metadata(&backing).unwrap().dev();
        fs::create_dir_all(sysfs.join("dev/block")).unwrap();
        let link = format!("dev/block/{}:{}", major(device), minor(device));
        symlink("../../block/dm-2", sysfs.join(link)).unwrap();

        let mut names = BTreeSet::new();
        let found = below(&sysfs, &sysfs.join("block/dm-1"), &mut names);
        if major(device) == 0 {
            assert!(found.unwrap_err().to_string().contains("does not tell"));
        } else {
            found.unwrap();
            assert_eq!(names, ["home", "lvm"].map(String::from).into());
        }
    }
}
