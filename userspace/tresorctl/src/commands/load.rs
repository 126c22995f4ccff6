// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl load`.

use super::{loaded, print};
use crate::check::{check_value, Expected};
use crate::cli;
use crate::derive::Cost;
use crate::description::{Description, Pending};
use crate::device::{key_id, Device};
use crate::error::{reason, Error, Exit};
use crate::loader::{load, Key, Loader};
use crate::pipe;
use crate::process::{no_memory, with_secrets};
use crate::secret::Secret;
use crate::terminal::{read_line, Interrupt, Line, Terminal};
use nix::errno::Errno;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use tresor_uapi::{KEY_LEN, STATE_ARMED, STATE_EMPTY};

/// Loads a key from wherever the user says.
pub fn run(device: &Path, args: &cli::Load) -> Result<Exit, Error> {
    let source = &args.source;
    if source.random {
        let device = Device::open(device)?;
        device.generate()?;
        return say_loaded(
            &device,
            0,
            "nobody else has this key: what it encrypts is lost with `lock`, `clear` or power\n",
        );
    }
    if let Some(path) = &source.key_file {
        let file = File::open(path).map_err(|e| cannot("open", path, &e))?;
        let meta = file.metadata().map_err(|e| cannot("open", path, &e))?;
        if meta.is_file() && meta.len() != KEY_LEN as u64 {
            return Err(wrong_length(
                &path.display().to_string(),
                &meta.len().to_string(),
            ));
        }
        let device = Device::open(device)?;
        let name = path.display().to_string();
        return raw(&device, args.expect.as_ref(), || {
            read_key(file.as_fd(), &name)
        });
    }
    if source.stdin {
        let device = Device::open(device)?;
        return raw(&device, args.expect.as_ref(), || {
            if io::stdin().is_terminal() {
                ask_key()
            } else {
                read_key(io::stdin().as_fd(), "standard input")
            }
        });
    }
    passphrase(device, args)
}

/// Loads a key that is given as it is.
fn raw(
    device: &Device,
    expected: Option<&Expected>,
    read: impl FnOnce() -> Result<Key, Error>,
) -> Result<Exit, Error> {
    let waited = with_secrets(|| {
        let key = read()?;
        let mut check = None;
        if let Some(expected) = expected {
            let found = check_value(&key);
            if !expected.admits(&found) {
                return Err(Error::with_exit(
                    Exit::WrongKey,
                    format!(
                        "this is key {} and not the expected one; nothing was changed",
                        key_id(&found)
                    ),
                ));
            }
            check = Some(found);
        }
        load(device, &key, check)
    })?;
    say_loaded(device, waited, "")
}

/// Loads the key that a passphrase gives, and on first use writes its description.
fn passphrase(device: &Path, args: &cli::Load) -> Result<Exit, Error> {
    let path = args.description.as_path();
    let known = Description::read(path)?;
    let cost = Cost {
        memory_kib: args.argon2_memory,
        iterations: args.argon2_iterations,
        lanes: args.argon2_lanes,
    };
    if known.is_none() {
        cost.check()?;
    }
    let device = Device::open(device)?;
    let status = device.status()?;
    if status.state != STATE_EMPTY && known.as_ref().is_none_or(|d| d.check != status.check) {
        return Err(Error::new(format!(
            "key {} is {}, and {}; nothing was changed; to change keys close the volumes and run \
             `tresorctl clear` first",
            key_id(&status.check),
            if status.state == STATE_ARMED {
                "loaded"
            } else {
                "locked"
            },
            match &known {
                Some(known) => format!("{} describes key {}", path.display(), key_id(&known.check)),
                None => format!("there is no {} to describe it", path.display()),
            }
        )));
    }
    let from_stdin = args.source.passphrase_stdin;
    if let Some(known) = known {
        let waited = with_secrets(|| {
            let passphrase = if from_stdin {
                line_of_stdin()?
            } else {
                ask_once()?
            };
            Loader::new(known.cost)?
                .load(&device, &passphrase, &known.salt, Some(known.check))
                .map_err(|e| match e.exit {
                    Exit::WrongKey => Error::with_exit(
                        Exit::WrongKey,
                        format!(
                            "wrong passphrase: it does not give key {}; nothing was changed",
                            key_id(&known.check)
                        ),
                    ),
                    _ => e,
                })
        })?;
        return say_loaded(&device, waited, "");
    }

    let mut salt = [0; crate::derive::SALT];
    getrandom::fill(&mut salt).map_err(|e| {
        Error::new(format!(
            "no random bytes for the salt: {e}; nothing was changed"
        ))
    })?;
    let pending = Pending::new(path)?;
    with_secrets(|| {
        let passphrase = if from_stdin {
            line_of_stdin()?
        } else {
            ask_twice()?
        };
        Loader::new(cost)?.load(&device, &passphrase, &salt, None)
    })?;
    let check = device.status()?.check;
    pending
        .commit(&Description { salt, cost, check })
        .map_err(|e| {
            Error::new(format!(
            "the key is loaded, but its description {} could not be written: {}; without it the \
             passphrase cannot give this key again: run `tresorctl clear` and start over",
            path.display(),
            reason(&e)
        ))
        })?;
    say_loaded(
        &device,
        0,
        &format!(
            "its description is in {}: keep a copy of it\n",
            path.display()
        ),
    )
}

/// Says what is loaded now, and how many requests had waited for it.
fn say_loaded(device: &Device, waited: u32, more: &str) -> Result<Exit, Error> {
    print(&(loaded(&device.status()?, waited) + more))?;
    Ok(Exit::Ok)
}

fn not_empty(line: Line) -> Result<Line, Error> {
    if line.as_bytes().is_empty() {
        return Err(Error::new("the passphrase is empty; nothing was changed"));
    }
    Ok(line)
}

fn ask_once() -> Result<Line, Error> {
    let terminal = Terminal::open()?;
    let line = terminal.silent(Interrupt::AsSignal)?.ask("Passphrase: ")?;
    not_empty(line)
}

fn ask_twice() -> Result<Line, Error> {
    let terminal = Terminal::open()?;
    let silent = terminal.silent(Interrupt::AsSignal)?;
    let line = not_empty(silent.ask("New passphrase: ")?)?;
    if silent.ask("Repeat passphrase: ")?.as_bytes() != line.as_bytes() {
        return Err(Error::new(
            "the two passphrases differ; nothing was changed",
        ));
    }
    Ok(line)
}

fn line_of_stdin() -> Result<Line, Error> {
    if io::stdin().is_terminal() {
        return Err(Error::new(
            "--passphrase-stdin is for pipes and files, and standard input is a terminal; nothing \
             was changed; leave the option out to be asked",
        ));
    }
    let line = read_line(io::stdin().as_fd())?;
    clean(io::stdin().as_fd())?;
    not_empty(line.ok_or_else(|| Error::new("standard input is empty; nothing was changed"))?)
}

/// Reads a key of exactly the right length.
fn read_key(input: BorrowedFd<'_>, name: &str) -> Result<Key, Error> {
    // One byte more, to see whether the input goes on.
    let mut bytes = Secret::<[u8; KEY_LEN + 1]>::new().map_err(|e| no_memory(&e))?;
    let mut filled = 0;
    while filled < bytes.len() {
        match nix::unistd::read(input, &mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(e) => {
                return Err(Error::new(format!(
                    "cannot read {name}: {}; nothing was changed",
                    e.desc()
                )))
            }
        }
    }
    clean(input)?;
    if filled != KEY_LEN {
        let has = if filled > KEY_LEN {
            "more".to_owned()
        } else {
            filled.to_string()
        };
        return Err(wrong_length(name, &has));
    }
    let mut key = Key::new().map_err(|e| no_memory(&e))?;
    key.copy_from_slice(&bytes[..KEY_LEN]);
    Ok(key)
}

/// Removes what a pipe keeps of what was read.
fn clean(input: BorrowedFd<'_>) -> Result<(), Error> {
    pipe::overwrite(input).map_err(|e| {
        Error::new(format!(
            "what the pipe keeps of the secret cannot be overwritten: {}; nothing was changed",
            e.desc()
        ))
    })
}

fn wrong_length(name: &str, has: &str) -> Error {
    Error::new(format!(
        "a key is exactly {KEY_LEN} bytes and {name} has {has}; nothing was changed"
    ))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(format!(
        "cannot {what} {}: {}; nothing was changed",
        path.display(),
        reason(error)
    ))
}

/// Asks for a key in hex: a terminal has no way to enter raw bytes.
fn ask_key() -> Result<Key, Error> {
    let terminal = Terminal::open()?;
    let line = terminal
        .silent(Interrupt::AsSignal)?
        .ask("Key (64 hex digits): ")?;
    let mut key = Key::new().map_err(|e| no_memory(&e))?;
    hex::decode_to_slice(line.as_bytes(), &mut key[..])
        .map_err(|_| Error::new("that is not 64 hex digits; nothing was changed"))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(input: &[u8]) -> Result<Key, Error> {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        File::from(writer).write_all(input).unwrap();
        read_key(reader.as_fd(), "standard input")
    }

    #[test]
    fn a_key_is_exactly_32_bytes() {
        assert_eq!(*read(&[7; 32]).unwrap(), [7; 32]);
        for (len, has) in [(0, "0"), (31, "31"), (33, "more"), (5000, "more")] {
            assert_eq!(
                read(&vec![7; len]).err().unwrap().to_string(),
                format!(
                    "a key is exactly 32 bytes and standard input has {has}; nothing was changed"
                )
            );
        }
    }
}
