// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl agent`: asks for the passphrase whenever the key is locked.
//!
//! Then the agent's own program, what it is linked with, /etc and the log may all lie on volumes that wait
//! for the key, and so may whoever had the machine suspended. So all that it needs it has before: files
//! are open, memory is locked and in RAM. Nothing here may open a file, or wait for one, once [`run`] has
//! begun to serve.

mod watch;

use super::{count, loaded};
use crate::cli;
use crate::description::Description;
use crate::device::{Device, KeyId};
use crate::error::{Error, Exit};
use crate::loader::Loader;
use crate::process::{lock_memory, no_memory, settle, SignalsHeld};
use crate::secret::Stack;
use crate::terminal::{Answer, Interrupt, Line, Terminal};
use crate::uevent::{Events, State};
use nix::poll::PollTimeout;
use nix::sys::signal::Signal;
use nix::sys::stat::{fstat, SFlag};
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use tresor_uapi::{Status, STATE_LOCKED};
use watch::{Seen, Watch};

/// How often an agent in the background of its terminal looks whether it still is, in milliseconds.
const LOOK: u16 = 1000;

/// Serves until a signal ends it.
pub fn run(device: &Path, args: &cli::Agent) -> Result<Exit, Error> {
    let path = args.description.as_path();
    let description = Description::read(path)?.ok_or_else(|| {
        Error::new(format!(
            "there is no {}, which describes the key to ask for; nothing was changed; `tresorctl load` \
             makes one",
            path.display()
        ))
    })?;
    let device = Device::open(device)?;
    if args.verbose {
        refuse_file(io::stdout().as_fd())?;
    }
    let terminal = Terminal::open_at(&args.terminal)?;
    // From here on, whatever happens is seen.
    let events = Events::open()?;
    lock_memory()?;
    let _held = SignalsHeld::resident()?;
    let mut agent = Agent {
        stack: Stack::new().map_err(|e| no_memory(&e))?,
        desk: Desk {
            watch: Watch {
                device,
                events,
                seen: Seen::new(args.verbose),
            },
            terminal,
            line: Line::new()?,
            loader: Loader::new(description.cost)?,
            described: path.display().to_string(),
            description,
        },
    };
    settle();
    let Err(error) = agent.serve();
    match error.signal {
        Some(Signal::SIGTERM) => Ok(Exit::Ok),
        _ => Err(error),
    }
}

/// A file lies on a volume, which may wait for the key.
fn refuse_file(output: BorrowedFd<'_>) -> Result<(), Error> {
    let kind = fstat(output).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
    if kind == Ok(SFlag::S_IFREG) {
        return Err(Error::new(
            "standard output is a file, and the volume that it is on may be one that waits for the key, \
             which makes the agent wait with it; nothing was changed; use a terminal, a pipe or the journal",
        ));
    }
    Ok(())
}

struct Agent {
    /// Where it works while there are secrets.
    stack: Stack,
    desk: Desk,
}

/// Why a key that is locked is not asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// It is.
    No,
    /// The user does not want to, or it makes no sense: until Enter, or until the state changes again.
    UntilEnter,
    /// Others have the terminal.
    UntilForeground,
}

impl Agent {
    fn serve(&mut self) -> Result<Infallible, Error> {
        let desk = &mut self.desk;
        let mut pause = Pause::No;
        loop {
            let status = desk.watch.device.status()?;
            desk.watch.seen.note(State::of(&status));
            let seen = desk.watch.seen.changes();
            if status.state == STATE_LOCKED && pause == Pause::No {
                pause = if desk.terminal.is_background() {
                    desk.terminal.print(&format!(
                        "\ntresor: key {} is locked, and its agent is in the background here: bring it to \
                         the foreground (fg)\n",
                        KeyId::of(&status.check)
                    ))?;
                    Pause::UntilForeground
                } else if status.check != desk.description.check {
                    desk.terminal.print(&format!(
                        "\ntresor: key {} is locked, but {} describes key {}: use `tresorctl load` for it\n",
                        KeyId::of(&status.check),
                        desk.described,
                        KeyId::of(&desk.description.check)
                    ))?;
                    Pause::UntilEnter
                } else {
                    self.stack.run(|| desk.ask(&status))?
                };
                // What happened meanwhile comes first.
                if pause == Pause::No || desk.watch.seen.changes() != seen {
                    pause = Pause::No;
                    continue;
                }
            }
            desk.wait(&mut pause)?;
            if desk.watch.seen.changes() != seen {
                pause = Pause::No;
            }
        }
    }
}

/// What the agent works with.
struct Desk {
    watch: Watch,
    terminal: Terminal,
    line: Line,
    loader: Loader,
    description: Description,
    /// The description's path.
    described: String,
}

impl Desk {
    /// Waits until something has happened.
    fn wait(&mut self, pause: &mut Pause) -> Result<(), Error> {
        let background = *pause != Pause::No && self.terminal.is_background();
        if *pause == Pause::UntilForeground && !background {
            *pause = Pause::No;
            return Ok(());
        }
        let hear = *pause == Pause::UntilEnter && !background;
        let timeout = if background {
            PollTimeout::from(LOOK)
        } else {
            PollTimeout::NONE
        };
        let ready = self
            .terminal
            .wait(hear, Some(self.watch.events.as_fd()), timeout)?;
        if ready.other {
            let Watch {
                device,
                events,
                seen,
            } = &mut self.watch;
            seen.read(device, events)?;
        }
        if ready.terminal {
            self.terminal.discard()?;
            *pause = Pause::No;
        }
        Ok(())
    }

    /// Asks for the passphrase until the key is loaded, or there is a reason not to. What is said last is
    /// said when the terminal is as it was: what is typed then is not discarded.
    fn ask(&mut self, locked: &Status) -> Result<Pause, Error> {
        let Self {
            watch,
            terminal,
            line,
            loader,
            description,
            ..
        } = self;
        let id = KeyId::of(&locked.check);
        let silent = terminal.silent(Interrupt::AsCharacter)?;
        terminal.print(&announcement(locked))?;
        loop {
            let Watch {
                device,
                events,
                seen,
            } = &mut *watch;
            let answer = silent.ask_unless("Passphrase: ", line, events.as_fd(), || {
                seen.read(device, events)?;
                let now = device.status()?;
                Ok(now.state != STATE_LOCKED || now.check != locked.check)
            })?;
            match answer {
                Answer::Line if line.as_bytes().is_empty() => {
                    terminal.print("the passphrase is empty\n")?;
                    continue;
                }
                Answer::Line => {}
                Answer::TooLong => {
                    terminal.print("that is too long for a passphrase\n")?;
                    continue;
                }
                Answer::Declined => {
                    drop(silent);
                    terminal.print(&format!(
                        "key {id} stays locked: press Enter to be asked again\n"
                    ))?;
                    return Ok(Pause::UntilEnter);
                }
                Answer::Obsolete => {
                    drop(silent);
                    terminal.print(&obsolete(&device.status()?, id))?;
                    return Ok(Pause::No);
                }
            }
            let check = Some(description.check);
            let result = loader.load(device, line, &description.salt, check);
            line.wipe();
            match result {
                Ok(waited) => {
                    drop(silent);
                    terminal.print(&loaded(&device.status()?, waited))?;
                    return Ok(Pause::No);
                }
                Err(error) if error.exit == Exit::WrongKey => {
                    terminal.print(&format!("wrong passphrase: it does not give key {id}\n"))?;
                }
                Err(error) if error.exit == Exit::NoModule => return Err(error),
                Err(error) => {
                    drop(silent);
                    terminal.print(&format!("error: {error}\npress Enter to be asked again\n"))?;
                    return Ok(Pause::UntilEnter);
                }
            }
        }
    }
}

/// What is to be known before an answer.
fn announcement(locked: &Status) -> String {
    format!(
        "\ntresor: key {} is locked ({} open, {} waiting)\n",
        KeyId::of(&locked.check),
        count(locked.volumes, "volume"),
        count(locked.waiting, "request")
    )
}

/// Why no answer is wanted any more for the key `id`.
fn obsolete(status: &Status, id: KeyId) -> String {
    match State::of(status) {
        Some(State::Armed(now)) if now == id => {
            format!("key {id} was loaded by someone else: not asking any more\n")
        }
        Some(now) => format!("not asking for key {id} any more: the state is {now}\n"),
        None => format!("not asking for key {id} any more\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::pipe;
    use tresor_uapi::{STATE_ARMED, STATE_EMPTY};

    fn status(state: u32, volumes: u32, waiting: u32) -> Status {
        Status {
            state,
            check: [0x40; 16],
            volumes,
            waiting,
            ..Status::default()
        }
    }

    #[test]
    fn a_question_names_the_key_and_what_waits_for_it() {
        for (volumes, waiting, text) in [
            (0, 0, "0 volumes open, 0 requests waiting"),
            (1, 1, "1 volume open, 1 request waiting"),
            (2, 30, "2 volumes open, 30 requests waiting"),
        ] {
            assert_eq!(
                announcement(&status(STATE_LOCKED, volumes, waiting)),
                format!("\ntresor: key 4040404040404040 is locked ({text})\n")
            );
        }
    }

    #[test]
    fn whoever_need_not_answer_any_more_hears_why() {
        let (id, other) = (KeyId([0x40; 8]), KeyId([0x41; 8]));
        for (state, id, text) in [
            (STATE_ARMED, id, "key 4040404040404040 was loaded by someone else: not asking any more"),
            (STATE_ARMED, other, "not asking for key 4141414141414141 any more: the state is armed, key 4040404040404040"),
            (STATE_EMPTY, id, "not asking for key 4040404040404040 any more: the state is empty"),
            (77, id, "not asking for key 4040404040404040 any more"),
        ] {
            assert_eq!(obsolete(&status(state, 0, 0), id), format!("{text}\n"));
        }
    }

    #[test]
    fn standard_output_may_be_anything_but_a_file() {
        let (_reader, writer) = pipe().unwrap();
        assert!(refuse_file(writer.as_fd()).is_ok());
        let file = tempfile::tempfile().unwrap();
        let error = refuse_file(file.as_fd()).unwrap_err().to_string();
        assert!(error.starts_with("standard output is a file, "), "{error}");
    }
}
