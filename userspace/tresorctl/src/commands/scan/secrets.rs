// SPDX-License-Identifier: GPL-2.0-or-later

//! The lists of secrets that a scan looks for.

use crate::error::{reason, Error};
use crate::process::no_memory;
use crate::secret::{on_own_stack, Secret};
use keyscan::{Expand, Needles};
use serde::Deserialize;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// Most bytes in a file of secrets.
const MAX_SECRETS: usize = 1 << 20;

/// Reads a list of secrets, and a second one of what some of them are to be xored with.
pub fn read(list: Option<&Path>, others: Option<&Path>) -> Result<Needles, Error> {
    let Some(list) = list else {
        return Ok(Needles::new());
    };
    on_own_stack(|| {
        let (mut first, mut second) = (buffer()?, buffer()?);
        let (first, name) = fill(list, &mut first[..])?;
        let first = entries(first, &name)?;
        let mut needles = Needles::new();
        for entry in &first {
            add(&mut needles, &entry.name, &entry.bytes()?, entry.expand)?;
        }
        if let Some(others) = others {
            let (second, name) = fill(others, &mut second[..])?;
            for other in &entries(second, &name)? {
                let Some(entry) = first.iter().find(|entry| entry.name == other.name) else {
                    return Err(Error::new(format!(
                        "{name} has a secret {:?}, but the first list has none to xor it with; nothing \
                         was scanned",
                        other.name
                    )));
                };
                add_xor(&mut needles, entry, other)?;
            }
        }
        Ok(needles)
    })
    .map_err(|e| no_memory(&e))?
}

fn buffer() -> Result<Secret<[u8; MAX_SECRETS]>, Error> {
    Secret::new().map_err(|e| no_memory(&e))
}

/// Adds a second share, and what the two give together.
fn add_xor(needles: &mut Needles, entry: &Entry, other: &Entry) -> Result<(), Error> {
    let (one, two) = (entry.bytes()?, other.bytes()?);
    if one.len() != two.len() {
        return Err(Error::new(format!(
            "the two secrets {:?} have {} and {} bytes, and cannot be xored; nothing was scanned",
            entry.name,
            one.len(),
            two.len()
        )));
    }
    let both = Zeroizing::new(one.iter().zip(two.iter()).map(|(a, b)| a ^ b).collect());
    let expand = entry.expand || other.expand;
    add(
        needles,
        &format!("{}, second share", entry.name),
        &two,
        other.expand,
    )?;
    add(
        needles,
        &format!("{}, both shares", entry.name),
        &both,
        expand,
    )
}

fn add(
    needles: &mut Needles,
    name: &str,
    secret: &Zeroizing<Vec<u8>>,
    expand: bool,
) -> Result<(), Error> {
    let expand = match (expand, secret.len()) {
        (false, _) => Expand::None,
        (true, 64) => Expand::Xts,
        (true, _) => Expand::Aes,
    };
    Ok(needles.add_secret(name, secret, expand)?)
}

/// One entry of the file of secrets. The hex digits are borrowed from the locked buffer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    name: String,
    #[serde(borrow)]
    hex: &'a str,
    #[serde(default)]
    expand: bool,
}

impl Entry<'_> {
    fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        hex::decode(self.hex).map(Zeroizing::new).map_err(|_| {
            Error::new(format!(
                "the hex of secret {:?} is not an even number of hex digits",
                self.name
            ))
        })
    }
}

/// Reads a file or standard input into `buffer`; gives what it holds, and what messages call it.
fn fill<'a>(path: &Path, buffer: &'a mut [u8]) -> Result<(&'a [u8], String), Error> {
    let (name, mut file): (_, Box<dyn Read>) = if path == Path::new("-") {
        if io::stdin().is_terminal() {
            return Err(Error::new(
                "secrets would be echoed by the terminal: pipe them in, or give a file",
            ));
        }
        // Past the library's buffer, which nobody wipes.
        let stdin = std::os::fd::AsFd::as_fd(&io::stdin())
            .try_clone_to_owned()
            .map_err(|e| Error::new(format!("cannot read standard input: {}", reason(&e))))?;
        ("standard input".to_owned(), Box::new(File::from(stdin)))
    } else {
        let file = File::open(path)
            .map_err(|e| Error::new(format!("cannot open {}: {}", path.display(), reason(&e))))?;
        (path.display().to_string(), Box::new(file))
    };
    let mut filled = 0;
    loop {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::new(format!("cannot read {name}: {}", reason(&e)))),
        }
    }
    if filled == buffer.len() {
        return Err(Error::new(format!(
            "{name} is larger than a list of secrets may be (1 MiB)"
        )));
    }
    Ok((&buffer[..filled], name))
}

fn entries<'a>(text: &'a [u8], name: &str) -> Result<Vec<Entry<'a>>, Error> {
    serde_json::from_slice(text).map_err(|e| {
        // Only the place: the message itself may quote what is there.
        Error::new(format!(
            "{name} is no list of secrets (line {}, column {}): it should be JSON like [{{\"name\": \
             \"my key\", \"hex\": \"0011...\", \"expand\": true}}]",
            e.line(),
            e.column()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles(text: &[u8], name: &str) -> Result<Needles, Error> {
        let mut needles = Needles::new();
        for entry in &entries(text, name)? {
            add(&mut needles, &entry.name, &entry.bytes()?, entry.expand)?;
        }
        Ok(needles)
    }

    #[test]
    fn a_list_of_secrets_that_is_wrong_is_refused_without_quoting_it() {
        for (text, why) in [
            (
                r#"[{"name": "k", "hex": "c0ffee"}]"#,
                "secret \"k\" has 3 bytes; at least 8",
            ),
            (
                r#"[{"name": "k", "hex": "c0ffe"}]"#,
                "the hex of secret \"k\" is not an even number",
            ),
            (
                r#"[{"name": "k", "hex": 12648430}]"#,
                "list is no list of secrets (line 1, column 30)",
            ),
            (
                r#"{"k": "c0ffee"}"#,
                "list is no list of secrets (line 1, column",
            ),
            (
                r#"[{"name": "k", "hex": "00112233445566778899aabbccddeeff0123", "expand": true}]"#,
                "secret \"k\" has 18 bytes, which is no AES key length",
            ),
        ] {
            let error = needles(text.as_bytes(), "list").unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
            assert!(!error.contains("c0ffe"), "{error}");
        }
    }

    #[test]
    fn a_64_byte_secret_is_expanded_as_a_pair() {
        let hex: String = (0..64u8)
            .map(|i| format!("{:02x}", i.wrapping_mul(37) ^ 0x5c))
            .collect();
        let text = format!(r#"[{{"name": "k", "hex": "{hex}", "expand": true}}]"#);
        // Whole in 4 orders, 8 words in 3, and 2 times 28 round keys in 4.
        assert_eq!(
            needles(text.as_bytes(), "list").unwrap().patterns(),
            4 + 24 + 224
        );
    }
}
