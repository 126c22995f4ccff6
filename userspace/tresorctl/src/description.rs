// SPDX-License-Identifier: GPL-2.0-or-later

//! The key description file: how to derive the master key from a passphrase, and how to recognise
//! it.
//!
//! It holds no secret. But the check value in it lets whoever reads the file test guesses of the
//! passphrase offline, at Argon2id's price each; hence mode 0600.

use crate::derive::{Cost, SALT};
use crate::device::key_id;
use crate::error::{reason, Error};
use nix::errno::Errno;
use nix::fcntl::{renameat2, RenameFlags, AT_FDCWD};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tresor_uapi::CHECK_LEN;

/// Where it is unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/tresor/key.toml";

/// Version of the file's form.
const FORMAT: u32 = 1;
/// A description is a few hundred bytes; more is some other file.
const MAX_SIZE: u64 = 64 << 10;

/// The contents of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Salt of Argon2id.
    pub salt: [u8; SALT],
    /// Cost of Argon2id.
    pub cost: Cost,
    /// The check value that the right key has.
    pub check: [u8; CHECK_LEN],
}

/// The same as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Text {
    format: u32,
    key_id: String,
    check: String,
    argon2id: Derivation,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Derivation {
    salt: String,
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
}

impl Description {
    /// Reads the file; `None` if there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |e: &io::Error| {
            Error::new(format!(
                "cannot read the key description {}: {}; nothing was changed",
                path.display(),
                reason(e)
            ))
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(&e)),
        };
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(file, MAX_SIZE), &mut text)
            .map_err(|e| failed(&e))?;
        Self::parse(&text).map(Some).map_err(|why| {
            Error::new(format!(
                "{} is not a key description: {why}; nothing was changed; restore the file from a \
                 backup (without its salt the passphrase gives another key)",
                path.display()
            ))
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text: Text = toml::from_str(text).map_err(|e| {
            // One line: what is wrong, not a drawing of the file.
            e.message().lines().collect::<Vec<_>>().join(" ")
        })?;
        if text.format != FORMAT {
            return Err(format!(
                "its format is {} and this tresorctl knows only {FORMAT}",
                text.format
            ));
        }
        let check = bytes("check", &text.check)?;
        if !text.key_id.eq_ignore_ascii_case(&key_id(&check)) {
            return Err("its key-id is not the beginning of its check".to_owned());
        }
        let Derivation {
            salt,
            memory_kib,
            iterations,
            lanes,
        } = text.argon2id;
        let cost = Cost {
            memory_kib,
            iterations,
            lanes,
        };
        cost.check()
            .map_err(|e| e.to_string().replace("; nothing was changed", ""))?;
        Ok(Self {
            salt: bytes("salt", &salt)?,
            cost,
            check,
        })
    }

    fn to_text(&self) -> String {
        let Cost {
            memory_kib,
            iterations,
            lanes,
        } = self.cost;
        format!(
            "# How tresorctl derives the master key from its passphrase. Not secret, but with it\n\
             # guesses of the passphrase can be tested offline. Keep a copy: without the salt the\n\
             # passphrase opens nothing.\n\
             format = {FORMAT}\n\
             key-id = \"{}\"\n\
             check = \"{}\"\n\
             \n\
             [argon2id]\n\
             salt = \"{}\"\n\
             memory-kib = {memory_kib}\n\
             iterations = {iterations}\n\
             lanes = {lanes}\n",
            key_id(&self.check),
            hex::encode(self.check),
            hex::encode(self.salt),
        )
    }
}

fn bytes<const N: usize>(field: &str, text: &str) -> Result<[u8; N], String> {
    hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("its {field} is not {} hex digits", 2 * N))
}

/// A new description file before it has its name: made first, to find out that it can be written
/// before the user is asked for anything, and gone again if it never gets contents.
pub struct Pending {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl Pending {
    /// Makes the file, mode 0600, and its folder, mode 0700, if that does not exist.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}.{}", std::process::id()));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .and_then(|()| {
                File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&temporary)
            })
            .map(|file| Self {
                file,
                temporary,
                path: path.to_owned(),
            })
            .map_err(|e| {
                Error::new(format!(
                    "cannot write the key description {}: {}; nothing was changed",
                    path.display(),
                    reason(&e)
                ))
            })
    }

    /// Writes the description and gives the file its name, never over another file. When this
    /// returns, it is on the disk.
    pub fn commit(mut self, description: &Description) -> io::Result<()> {
        self.file.write_all(description.to_text().as_bytes())?;
        self.file.sync_all()?;
        let (from, to) = (&self.temporary, &self.path);
        match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
            // The file system cannot do that. A link does not replace anything either.
            Err(Errno::EINVAL) => std::fs::hard_link(from, to)?,
            result => result?,
        }
        if let Some(folder) = self.temporary.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // After a rename there is none, which is fine.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn example() -> Description {
        Description {
            salt: [0x5a; SALT],
            cost: Cost::DEFAULT,
            check: *b"0123456789abcdef",
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(Description::parse(&example().to_text()), Ok(example()));
    }

    #[test]
    fn malformed_descriptions_are_refused_with_the_reason() {
        let good = example().to_text();
        for (from, to, why) in [
            ("format = 1", "format = 2", "its format is 2 and this tresorctl knows only 1"),
            ("3031323334353637\"", "3031323334353600\"", "its key-id is not the beginning of its check"),
            ("salt = \"5a", "salt = \"", "its salt is not 32 hex digits"),
            ("lanes = 4", "lanes = 0", "Argon2id cannot run with 65536 KiB, 3 iterations and 0 lanes: it needs 1 lane"),
            ("lanes = 4", "", "missing field `lanes`"),
            ("lanes = 4", "lanes = 4\nrounds = 1", "unknown field `rounds`, expected one of `salt`, `memory-kib`, `iterations`, `lanes`"),
        ] {
            assert!(good.contains(from));
            let error = Description::parse(&good.replacen(from, to, 1)).unwrap_err();
            assert_eq!(error, why);
        }
    }

    #[test]
    fn a_new_file_is_private_and_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etc/key.toml");
        Pending::new(&path).unwrap().commit(&example()).unwrap();
        assert_eq!(Description::read(&path).unwrap(), Some(example()));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let other = Description {
            salt: [1; SALT],
            ..example()
        };
        let error = Pending::new(&path).unwrap().commit(&other).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(Description::read(&path).unwrap(), Some(example()));
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
    }

    #[test]
    fn a_file_that_never_got_contents_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        drop(Pending::new(&folder.path().join("key.toml")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
