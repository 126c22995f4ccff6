// SPDX-License-Identifier: GPL-2.0-or-later

//! The names of the device-mapper volumes that use a tresor cipher.
//!
//! The kernel tells a volume's cipher only together with its key, and for other ciphers that is a
//! real one. So the answer goes to memory that is locked and wiped, only the cipher's name is
//! looked at, and the kernel is asked to wipe its own copy (`DM_SECURE_DATA_FLAG`).
//!
//! C header: `include/uapi/linux/dm-ioctl.h`.

use crate::secret::Secret;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const CONTROL: &str = "/dev/mapper/control";
const SPACE: usize = 64 << 10;

// Offsets in struct dm_ioctl, and its size.
const DATA_SIZE: usize = 12;
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const FLAGS: usize = 28;
const NAME: usize = 48;
const NAME_LEN: usize = 128;
const HEADER: usize = 312;

// struct dm_target_spec: `next`, `target_type`, and the parameters behind it.
const SPEC_NEXT: usize = 20;
const SPEC_TYPE: usize = 24;
const SPEC_TYPE_LEN: usize = 16;
const SPEC: usize = 40;

// struct dm_name_list: `next`, and the name behind it.
const LIST_NEXT: usize = 8;
const LIST_NAME: usize = 12;

const STATUS_TABLE_FLAG: u32 = 1 << 4;
const BUFFER_FULL_FLAG: u32 = 1 << 8;
const SECURE_DATA_FLAG: u32 = 1 << 15;

const fn dm_ioctl(number: u32) -> u32 {
    // _IOWR(0xfd, number, struct dm_ioctl)
    (3 << 30) | ((HEADER as u32) << 16) | (0xfd << 8) | number
}
const LIST_DEVICES: u32 = dm_ioctl(2);
const TABLE_STATUS: u32 = dm_ioctl(12);

/// Names of the volumes whose cipher is one of ours.
///
/// # Errors
///
/// Device-mapper is not there or does not answer.
pub fn names() -> io::Result<Vec<String>> {
    let control = File::options().read(true).write(true).open(CONTROL)?;
    let mut answer = Secret::<[u8; SPACE]>::new()?;
    ask(&control, LIST_DEVICES, "", 0, &mut answer)?;
    let mut found = Vec::new();
    for name in device_names(&answer[..]) {
        // A device may go away at any time.
        if ask(
            &control,
            TABLE_STATUS,
            &name,
            STATUS_TABLE_FLAG,
            &mut answer,
        )
        .is_ok()
            && uses_tresor(&answer[..])
        {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

fn ask(
    control: &File,
    call: u32,
    device: &str,
    flags: u32,
    buffer: &mut Secret<[u8; SPACE]>,
) -> io::Result<()> {
    buffer.fill(0);
    buffer[0] = 4; // Version 4.0.0 of the interface.
    put(&mut buffer[..], DATA_SIZE, SPACE as u32);
    put(&mut buffer[..], DATA_START, HEADER as u32);
    put(&mut buffer[..], FLAGS, flags | SECURE_DATA_FLAG);
    if device.len() >= NAME_LEN {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    buffer[NAME..NAME + device.len()].copy_from_slice(device.as_bytes());
    // SAFETY: The buffer begins with a valid struct dm_ioctl that tells its whole size, beyond which
    // the kernel does not write.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), call.into(), buffer.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if get(&buffer[..], FLAGS).unwrap_or(0) & BUFFER_FULL_FLAG != 0 {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    Ok(())
}

/// The device names in an answer to [`LIST_DEVICES`].
fn device_names(answer: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = get(answer, DATA_START).unwrap_or(0) as usize;
    while let Some(name) = answer.get(at + LIST_NAME..).map(string) {
        // With no device at all there is one entry without a name.
        if !name.is_empty() {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
        match get(answer, at + LIST_NEXT) {
            Some(next) if next != 0 => at += next as usize,
            _ => break,
        }
    }
    names
}

/// Whether an answer to [`TABLE_STATUS`] has a crypt target with one of our ciphers.
fn uses_tresor(answer: &[u8]) -> bool {
    let start = get(answer, DATA_START).unwrap_or(0) as usize;
    let mut at = start;
    for _ in 0..get(answer, TARGET_COUNT).unwrap_or(0) {
        let Some(kind) = answer.get(at + SPEC_TYPE..at + SPEC_TYPE + SPEC_TYPE_LEN) else {
            return false;
        };
        let parameters = answer.get(at + SPEC..).map(string).unwrap_or_default();
        let cipher = parameters.split(|b| *b == b' ').next().unwrap_or_default();
        if string(kind) == b"crypt" && is_ours(cipher) {
            return true;
        }
        match get(answer, at + SPEC_NEXT) {
            Some(next) if next != 0 => at = start + next as usize,
            _ => return false,
        }
    }
    false
}

/// Whether dm-crypt's cipher specification, `cipher-mode-iv` or `capi:name-iv`, names ours.
fn is_ours(cipher: &[u8]) -> bool {
    cipher.starts_with(b"tresor-")
        || (cipher.starts_with(b"capi:") && cipher.windows(8).any(|w| w == b"(tresor)"))
}

fn string(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

fn get(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| u32::from_ne_bytes(*word))
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(targets: &[(&str, &str)]) -> Vec<u8> {
        let mut answer = vec![0; HEADER];
        put(&mut answer, DATA_START, HEADER as u32);
        put(&mut answer, TARGET_COUNT, targets.len() as u32);
        for (kind, parameters) in targets {
            let at = answer.len();
            answer.resize(at + SPEC, 0);
            answer[at + SPEC_TYPE..][..kind.len()].copy_from_slice(kind.as_bytes());
            answer.extend_from_slice(parameters.as_bytes());
            answer.resize((answer.len() + 1).next_multiple_of(8), 0);
            let next = (answer.len() - HEADER) as u32;
            put(&mut answer, at + SPEC_NEXT, next);
        }
        answer
    }

    #[test]
    fn volumes_are_known_by_the_cipher_of_any_crypt_target() {
        let key = "00112233 0 254:1 32768";
        for (cipher, ours) in [
            ("tresor-xts-plain64", true),
            ("capi:xts(tresor)-plain64", true),
            ("aes-xts-plain64", false),
            ("capi:xts(aes)-tresor-", false),
        ] {
            let crypt = format!("{cipher} {key}");
            assert_eq!(uses_tresor(&table(&[("crypt", &crypt)])), ours, "{cipher}");
            assert_eq!(
                uses_tresor(&table(&[("linear", "8:0 0"), ("crypt", &crypt)])),
                ours
            );
            assert!(!uses_tresor(&table(&[("linear", &crypt)])));
        }
        assert!(!uses_tresor(&table(&[])));
        assert!(!uses_tresor(&[]));
    }

    #[test]
    fn the_list_of_devices_is_walked_to_its_end() {
        let mut answer = vec![0; HEADER];
        put(&mut answer, DATA_START, HEADER as u32);
        assert!(device_names(&answer).is_empty());
        answer.resize(HEADER + 64, 0);
        assert!(device_names(&answer).is_empty());
        put(&mut answer, HEADER + LIST_NEXT, 32);
        answer[HEADER + LIST_NAME..][..4].copy_from_slice(b"home");
        answer[HEADER + 32 + LIST_NAME..][..4].copy_from_slice(b"root");
        assert_eq!(device_names(&answer), ["home", "root"]);
    }
}
