// SPDX-License-Identifier: GPL-2.0-or-later

//! The kernel's messages about the module's device: which state it entered, and that it is gone.
//!
//! C headers: `include/uapi/linux/netlink.h`, `include/linux/kobject.h`. The form of a message is that of
//! `kobject_uevent_env()` in `lib/kobject_uevent.c`: `ACTION@DEVPATH`, then variables, each ended by a
//! zero byte.

use crate::device::KeyId;
use crate::error::Error;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use nix::sys::socket::{
    bind, recvfrom, setsockopt, socket, AddressFamily, NetlinkAddr, SockFlag, SockProtocol,
    SockType,
};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use tresor_uapi::KEY_ID_LEN;

/// The platform device that tells of the states.
const DEVICE: &str = "/devices/platform/tresor";
/// The character device. Of all that the module has it goes first: while a file of it is open, the rest
/// stays.
const FILE: &str = "/devices/virtual/misc/tresor";
/// Group of the messages that come from the kernel itself.
const KERNEL: u32 = 1;
/// Room for the messages that come while nobody reads, in bytes: when a machine wakes up, or while a
/// passphrase is tried, all devices may have something to tell.
const BUFFER: usize = 4 << 20;
/// More than a message can have: 2048 bytes of variables, and a path.
const MESSAGE: usize = 8 << 10;

/// A state of the key store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No key.
    Empty,
    /// This key is in use.
    Armed(KeyId),
    /// Only this key can come back.
    Locked(KeyId),
}

impl State {
    /// That of a status, `None` if it has one that we do not know.
    pub fn of(status: &tresor_uapi::Status) -> Option<Self> {
        let id = KeyId::of(&status.check);
        match status.state {
            tresor_uapi::STATE_EMPTY => Some(Self::Empty),
            tresor_uapi::STATE_ARMED => Some(Self::Armed(id)),
            tresor_uapi::STATE_LOCKED => Some(Self::Locked(id)),
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Armed(id) => write!(f, "armed, key {id}"),
            Self::Locked(id) => write!(f, "locked, key {id}"),
        }
    }
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key store entered a state.
    Entered(State),
    /// The module is being unloaded.
    Removed,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A message that concerns us.
    Event(Event),
    /// There were more messages than fit: some are lost.
    Lost,
    /// No message any more, for now.
    Nothing,
}

/// The socket on which they come.
pub struct Events(OwnedFd);

impl Events {
    /// Has them come from now on.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn open() -> Result<Self, Error> {
        let failed = |e: Errno| Error::new(format!("cannot hear of events: {}", e.desc()));
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkKObjectUEvent,
        )
        .map_err(failed)?;
        // Beyond the system's limit only root may. With less, messages are lost earlier.
        setsockopt(&fd, RcvBufForce, &BUFFER)
            .or_else(|_| setsockopt(&fd, RcvBuf, &BUFFER))
            .map_err(failed)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, KERNEL)).map_err(failed)?;
        Ok(Self(fd))
    }

    /// The next message that concerns us, without waiting for one.
    ///
    /// # Errors
    ///
    /// The socket cannot be read.
    pub fn next(&self) -> Result<Next, Error> {
        let mut message = [0; MESSAGE];
        loop {
            match recvfrom::<NetlinkAddr>(self.0.as_raw_fd(), &mut message) {
                Ok((len, sender)) => {
                    // Only the kernel has no port; others need privileges to send at all.
                    let from_kernel = sender.is_none_or(|sender| sender.pid() == 0);
                    let event = parse(&message[..len.min(MESSAGE)]);
                    if let (true, Some(event)) = (from_kernel, event) {
                        return Ok(Next::Event(event));
                    }
                }
                Err(Errno::EAGAIN) => return Ok(Next::Nothing),
                Err(Errno::ENOBUFS) => return Ok(Next::Lost),
                Err(Errno::EINTR) => {}
                Err(e) => {
                    return Err(Error::new(format!("cannot hear of events: {}", e.desc())));
                }
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a message says, `None` if it is about something else or malformed.
fn parse(message: &[u8]) -> Option<Event> {
    // The last variable ends with a zero byte, too.
    let text = std::str::from_utf8(message.strip_suffix(&[0])?).ok()?;
    let mut parts = text.split('\0');
    let (action, path) = parts.next()?.split_once('@')?;
    let variable = |name: &str| {
        let mut variables = parts.clone().filter_map(|part| part.split_once('='));
        variables
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    };
    match (action, path) {
        ("change", DEVICE) => {
            let id = || {
                let mut id = [0; KEY_ID_LEN];
                hex::decode_to_slice(variable("TRESOR_KEY_ID")?, &mut id).ok()?;
                Some(KeyId(id))
            };
            Some(Event::Entered(match variable("TRESOR_STATE")? {
                "empty" => State::Empty,
                "armed" => State::Armed(id()?),
                "locked" => State::Locked(id()?),
                _ => return None,
            }))
        }
        // Root may have the kernel send one for a device that is still there.
        ("remove", FILE) if variable("SYNTH_UUID").is_none() => Some(Event::Removed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: KeyId = KeyId([0x40, 0xee, 0x05, 0xe1, 0xde, 0xa6, 0x4a, 0x2a]);

    /// As the kernel sends it.
    fn message(action: &str, path: &str, variables: &[&str]) -> Vec<u8> {
        let mut text =
            format!("{action}@{path}\0ACTION={action}\0DEVPATH={path}\0SUBSYSTEM=platform\0");
        for variable in variables {
            text.push_str(variable);
            text.push('\0');
        }
        text.push_str("DRIVER=tresor\0MODALIAS=platform:tresor\0SEQNUM=1234\0");
        text.into_bytes()
    }

    fn change(variables: &[&str]) -> Option<Event> {
        parse(&message("change", DEVICE, variables))
    }

    #[test]
    fn each_state_is_told_with_its_key() {
        let id = "TRESOR_KEY_ID=40ee05e1dea64a2a";
        for (variables, state) in [
            (&["TRESOR_STATE=empty"][..], State::Empty),
            (&["TRESOR_STATE=armed", id], State::Armed(ID)),
            (&[id, "TRESOR_STATE=locked"], State::Locked(ID)),
        ] {
            assert_eq!(change(variables), Some(Event::Entered(state)));
        }
        assert_eq!(
            State::Locked(ID).to_string(),
            "locked, key 40ee05e1dea64a2a"
        );
    }

    #[test]
    fn messages_that_are_malformed_or_of_others_say_nothing() {
        for variables in [
            &[][..],
            &["TRESOR_STATE=locked"],
            &["TRESOR_STATE=locked", "TRESOR_KEY_ID="],
            &["TRESOR_STATE=locked", "TRESOR_KEY_ID=40ee05e1dea64a2"],
            &["TRESOR_STATE=locked", "TRESOR_KEY_ID=40ee05e1dea64a2a00"],
            &["TRESOR_STATE=locked", "TRESOR_KEY_ID=40ee05e1dea64a2x"],
            &["TRESOR_STATE=lockedx", "TRESOR_KEY_ID=40ee05e1dea64a2a"],
            &["TRESOR_STATE", "TRESOR_KEY_ID=40ee05e1dea64a2a"],
            &["XTRESOR_STATE=empty"],
        ] {
            assert_eq!(change(variables), None, "{variables:?}");
        }
        let good = message("change", DEVICE, &["TRESOR_STATE=empty"]);
        assert!(parse(&good).is_some());
        for len in 0..good.len() {
            // Cut off it may say what it said, or nothing.
            if let Some(event) = parse(&good[..len]) {
                assert_eq!(event, Event::Entered(State::Empty), "{len}");
            }
        }
        for other in [
            message(
                "change",
                "/devices/platform/tresor2",
                &["TRESOR_STATE=empty"],
            ),
            message("change", "/devices/platform", &["TRESOR_STATE=empty"]),
            message("add", DEVICE, &["TRESOR_STATE=empty"]),
            message("change", FILE, &["TRESOR_STATE=empty"]),
            message("remove", "/devices/virtual/misc/other", &[]),
            b"\0".to_vec(),
            b"libudev\0\xfe\xed\xca\xfe\0".to_vec(),
            b"change@/devices/platform/tresor".to_vec(),
            b"change@/devices/platform/tresor\0TRESOR_STATE=empty\xff\0".to_vec(),
        ] {
            assert_eq!(parse(&other), None, "{other:?}");
        }
    }

    #[test]
    fn the_device_is_gone_when_the_kernel_says_so_of_itself() {
        assert_eq!(parse(&message("remove", FILE, &[])), Some(Event::Removed));
        assert_eq!(parse(&message("remove", FILE, &["SYNTH_UUID=0"])), None);
    }

    #[test]
    fn the_socket_opens_and_has_nothing_of_ours_to_tell() {
        let events = Events::open().unwrap();
        assert_eq!(events.next().unwrap(), Next::Nothing);
    }
}
