// SPDX-License-Identifier: GPL-2.0-or-later

//! What happens to the key while the agent runs.

use crate::device::Device;
use crate::error::{Error, Exit};
use crate::uevent::{Event, Events, Next, State};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::io;
use std::os::fd::AsFd;

/// What is happening to the key.
pub struct Watch {
    /// The module.
    pub device: Device,
    /// What it tells.
    pub events: Events,
    /// What of that was seen.
    pub seen: Seen,
}

/// What was seen of it.
pub struct Seen {
    last: Option<State>,
    changes: u64,
    /// Whether to print them.
    verbose: bool,
}

impl Seen {
    /// Nothing yet.
    pub fn new(verbose: bool) -> Self {
        Self {
            last: None,
            changes: 0,
            verbose,
        }
    }

    /// How many changes of the state were seen.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Reads what has happened since.
    ///
    /// # Errors
    ///
    /// The module is gone, or does not answer.
    pub fn read(&mut self, device: &Device, events: &Events) -> Result<(), Error> {
        loop {
            match events.next()? {
                Next::Event(Event::Entered(state)) => self.note(Some(state)),
                Next::Event(Event::Removed) => {
                    return Err(Error::with_exit(
                        Exit::NoModule,
                        "the module was unloaded: there is nothing that the key could be loaded into",
                    ));
                }
                Next::Lost => self.note(State::of(&device.status()?)),
                Next::Nothing => return Ok(()),
            }
        }
    }

    /// Notes the state that the key is in.
    pub fn note(&mut self, state: Option<State>) {
        if self.last == state {
            return;
        }
        self.last = state;
        self.changes += 1;
        if let (Some(state), true) = (state, self.verbose) {
            say(&format!("{state}\n"));
        }
    }
}

/// Prints a line to standard output, unless that takes no more at the moment: the log may wait for the key.
fn say(line: &str) {
    let out = io::stdout();
    let mut room = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut room, PollTimeout::ZERO).is_ok_and(|ready| ready == 1) {
        // Nobody may listen any more, which is no reason to stop.
        let _ = nix::unistd::write(&out, line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::KeyId;

    #[test]
    fn only_changes_of_the_state_count() {
        let mut seen = Seen::new(false);
        let id = KeyId([0x40; 8]);
        for (state, changes) in [
            (State::Armed(id), 1),
            (State::Armed(id), 1),
            (State::Locked(id), 2),
            (State::Armed(id), 3),
            (State::Empty, 4),
        ] {
            seen.note(Some(state));
            assert_eq!(seen.changes(), changes, "{state}");
        }
    }
}
