// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl slot-key`.

use crate::device::Device;
use crate::error::{reason, Error, Exit};
use crate::process::{no_memory, with_secrets};
use crate::secret::Secret;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tresor_uapi::{SlotKey, UUID_LEN};

/// Writes the slot key of the volume `uuid`.
pub fn run(device: &Path, uuid: &str, output: Option<&Path>) -> Result<Exit, Error> {
    let uuid = parse_uuid(uuid)?;
    let file = output.filter(|path| *path != Path::new("-"));
    if file.is_none() && io::stdout().is_terminal() {
        return Err(Error::new(
            "the slot key is 32 raw bytes and no text for a terminal; nothing was printed; pipe it \
             into cryptsetup --key-file=-, or use --output FILE",
        ));
    }
    let device = Device::open(device)?;
    with_secrets(|| {
        let mut request = Secret::<SlotKey>::new().map_err(|e| no_memory(&e))?;
        request.uuid = uuid;
        device.slot_key(&mut request)?;
        // Only now: a refusal leaves no empty file behind.
        match file {
            None => write(
                &mut Unbuffered(io::stdout().as_fd()),
                &request.key,
                "standard output",
            ),
            Some(path) => {
                let mut file = File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(|e| cannot_write(&path.display().to_string(), &e))?;
                write(&mut file, &request.key, &path.display().to_string())
            }
        }
    })?;
    Ok(Exit::Ok)
}

/// Standard output without the library's buffer, which nobody wipes.
struct Unbuffered<'a>(std::os::fd::BorrowedFd<'a>);

impl Write for Unbuffered<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(output: &mut impl Write, key: &[u8], name: &str) -> Result<(), Error> {
    output.write_all(key).map_err(|e| cannot_write(name, &e))
}

fn cannot_write(name: &str, error: &io::Error) -> Error {
    Error::new(format!(
        "cannot write the slot key to {name}: {}",
        reason(error)
    ))
}

/// A UUID in the form of RFC 9562, section 4, in lower case.
fn parse_uuid(text: &str) -> Result<[u8; UUID_LEN], Error> {
    let uuid = text.trim().to_ascii_lowercase();
    let well_formed = uuid.len() == UUID_LEN
        && uuid.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    match uuid.into_bytes().try_into() {
        Ok(bytes) if well_formed => Ok(bytes),
        _ => Err(Error::new(format!(
            "{text:?} is not a UUID like 01234567-89ab-cdef-0123-456789abcdef; nothing was changed; \
             `cryptsetup luksUUID DEVICE` prints a volume's"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_lower_cased_and_anything_else_is_refused() {
        let uuid = "01234567-89AB-cdef-0123-456789ABCDEF";
        assert_eq!(
            parse_uuid(uuid).unwrap(),
            *b"01234567-89ab-cdef-0123-456789abcdef"
        );
        for bad in [
            "",
            "01234567-89ab-cdef-0123-456789abcde",
            "0123456789abcdef0123456789abcdef",
        ] {
            assert!(parse_uuid(bad).is_err(), "{bad}");
        }
        assert!(parse_uuid("01234567-89ab-cdef-0123-456789abcdeg").is_err());
        assert!(parse_uuid("0123456--89ab-cdef-0123-456789abcdef").is_err());
    }
}
