// SPDX-License-Identifier: GPL-2.0-or-later

//! A root shell in the guest, on its second serial port.
//!
//! `guest/shell` is the other end and describes the protocol. Each request has a random marker, so
//! that no output of a command can be taken for the end of it.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine as _;

use crate::console::{tail, Console};

/// Lines of each console that a [`Hang`] shows: some tasks that the kernel saw blocked are among them.
const TAIL: usize = 60;

/// What a command in the guest left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit status; 128 and the signal's number if a signal ended it.
    pub status: i32,
    /// Standard output and standard error, in the order written.
    pub bytes: Vec<u8>,
}

impl Output {
    /// Whether the exit status is 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// The output as text, without white space at its ends.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).trim().to_owned()
    }
}

/// One question that a program asks on its terminal, and the answer to type.
pub struct Prompt<'a> {
    /// Text of the question; the answer is sent only after it appeared.
    pub question: &'a str,
    /// What to type, without the line's end.
    pub answer: &'a [u8],
}

/// The guest did not answer: it hangs, or it is gone.
#[derive(Debug, thiserror::Error)]
pub struct Hang {
    /// What the host waited for.
    pub waited_for: String,
    /// How long it waited.
    pub after: Duration,
    /// Whether QEMU closed the line, which it does when it ends.
    pub gone: bool,
    /// The end of the kernel's log.
    pub console: String,
    /// The end of what the shell's line carried.
    pub shell: String,
    /// Where each CPU is, if QEMU could say.
    pub cpus: String,
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.gone { "ended" } else { "did not answer" };
        writeln!(
            f,
            "the guest {what} after {:.1?} of waiting for {}",
            self.after, self.waited_for
        )?;
        writeln!(f, "--- end of the kernel's log\n{}", self.console)?;
        writeln!(f, "--- end of the shell's line\n{}", self.shell)?;
        write!(f, "--- CPUs: {}", self.cpus)
    }
}

/// What a command gets to read.
pub(crate) enum Input<'a> {
    None,
    Bytes(&'a [u8]),
    Prompts(&'a [Prompt<'a>]),
}

pub(crate) struct Shell {
    stream: UnixStream,
    console: Console,
    /// Bytes read and not yet used.
    pending: Vec<u8>,
}

impl Shell {
    pub(crate) fn new(stream: UnixStream, console: Console) -> Self {
        Self {
            stream,
            console,
            pending: Vec::new(),
        }
    }

    /// Waits until the guest's init has started the shell.
    pub(crate) fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        self.read_to(b"\nshell: ready\n", "its shell", limit)
            .map(drop)
    }

    pub(crate) fn run(
        &mut self,
        command: &str,
        input: Input<'_>,
        limit: Duration,
    ) -> Result<Output> {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        let marker = marker()?;
        let kind = match &input {
            Input::None => "-".to_owned(),
            Input::Bytes(bytes) => bytes.len().to_string(),
            Input::Prompts(_) => "tty".to_owned(),
        };
        let request = format!("run {marker} {kind} {}\n", BASE64.encode(command));
        self.send(request.as_bytes())?;
        let what = format!("the command {command:?}");
        self.read_to(format!("{marker}\n").as_bytes(), &what, left())?;

        let mut bytes = Vec::new();
        let end = format!("\n{marker} ");
        match input {
            Input::None => {}
            Input::Bytes(input) => self.send(input)?,
            Input::Prompts(prompts) => {
                for prompt in prompts {
                    let wanted = [prompt.question.as_bytes(), end.as_bytes()];
                    let what = format!("the prompt {:?} of {what}", prompt.question);
                    let (before, which) = self.read_to_any(&wanted, &what, left())?;
                    bytes.extend_from_slice(&before);
                    if which == 1 {
                        // The program ended without asking: what it said is the answer.
                        return self.status(bytes, &what);
                    }
                    bytes.extend_from_slice(prompt.question.as_bytes());
                    self.send(prompt.answer)?;
                    self.send(b"\n")?;
                }
            }
        }
        bytes.extend(self.read_to(end.as_bytes(), &what, left())?);
        self.status(bytes, &what)
    }

    fn status(&mut self, bytes: Vec<u8>, what: &str) -> Result<Output> {
        let status = self.read_to(b"\n", what, Duration::from_secs(10))?;
        let status = String::from_utf8_lossy(&status).trim().parse();
        Ok(Output {
            status: status.context("the guest's shell sent no exit status")?,
            bytes,
        })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        // The line has no limit of its own: QEMU stops reading while the guest's port is full.
        self.stream
            .set_write_timeout(Some(Duration::from_secs(60)))?;
        self.stream
            .write_all(bytes)
            .context("cannot write to the guest's serial line")
    }

    /// Bytes before `wanted`, which is taken too.
    fn read_to(&mut self, wanted: &[u8], what: &str, limit: Duration) -> Result<Vec<u8>> {
        Ok(self.read_to_any(&[wanted], what, limit)?.0)
    }

    /// Bytes before the first of `wanted` that appears, which is taken too, and which one it was.
    fn read_to_any(
        &mut self,
        wanted: &[&[u8]],
        what: &str,
        limit: Duration,
    ) -> Result<(Vec<u8>, usize)> {
        let start = Instant::now();
        let longest = wanted.iter().map(|w| w.len()).max().unwrap_or(1);
        let mut searched = 0;
        loop {
            let found = wanted
                .iter()
                .enumerate()
                .filter_map(|(i, w)| Some((find(&self.pending[searched..], w)? + searched, i)))
                .min();
            if let Some((at, which)) = found {
                let mut before: Vec<u8> = self.pending.drain(..at + wanted[which].len()).collect();
                before.truncate(at);
                return Ok((before, which));
            }
            searched = (self.pending.len() + 1).saturating_sub(longest);

            let left = limit.saturating_sub(start.elapsed());
            // A timeout of zero means none to the kernel.
            self.stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut chunk = [0; 16384];
            let gone = match self.stream.read(&mut chunk) {
                Ok(0) => true,
                Ok(n) => {
                    self.pending.extend_from_slice(&chunk[..n]);
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if !left.is_zero() {
                        continue;
                    }
                    false
                }
                Err(e) if e.kind() == ErrorKind::ConnectionReset => true,
                Err(e) => return Err(e).context("cannot read the guest's serial line"),
            };
            return Err(Hang {
                waited_for: what.to_owned(),
                after: start.elapsed(),
                gone,
                console: self.console.tail(TAIL),
                shell: tail(&String::from_utf8_lossy(&self.pending), TAIL),
                cpus: String::new(),
            }
            .into());
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// 64 random bits in hex.
fn marker() -> Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|e| anyhow::anyhow!("no random bytes from the host: {e}"))?;
    Ok(format!("end-{}", hex::encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// The real guest script in the host's shell, at the other end of a socket instead of a tty.
    fn local() -> (Shell, Child) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stdio = || Stdio::from(std::os::fd::OwnedFd::from(theirs.try_clone().unwrap()));
        let child = Command::new("sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/guest/shell"))
            .stdin(stdio())
            .stdout(stdio())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let console = Console::new("/nonexistent".into(), 1);
        let mut shell = Shell::new(ours, console);
        shell.wait_ready(Duration::from_secs(10)).unwrap();
        (shell, child)
    }

    fn end((shell, mut child): (Shell, Child)) {
        drop(shell);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn output_and_status_come_back_unchanged() {
        let mut it = local();
        let out =
            it.0.run("printf 'a\\n\\nb'; exit 7", Input::None, LIMIT)
                .unwrap();
        assert_eq!((out.status, out.bytes.as_slice()), (7, &b"a\n\nb"[..]));
        let out =
            it.0.run("printf '\\000\\377\\n'", Input::None, LIMIT)
                .unwrap();
        assert_eq!((out.status, out.bytes.as_slice()), (0, &b"\x00\xff\n"[..]));
        end(it);
    }

    #[test]
    fn input_reaches_the_command_and_nothing_else() {
        let mut it = local();
        let out =
            it.0.run("wc -c", Input::Bytes(b"secret\n\x00\xff"), LIMIT)
                .unwrap();
        assert_eq!(out.text(), "9");
        assert_eq!(
            it.0.run("echo next", Input::None, LIMIT).unwrap().text(),
            "next"
        );
        end(it);
    }

    #[test]
    fn a_prompt_is_answered_after_it_appears() {
        let mut it = local();
        let command = "printf 'Name: '; read -r name; printf 'Again: '; read -r again; \
                       echo \"<$name><$again>\"";
        let prompts = [
            Prompt {
                question: "Name: ",
                answer: b"one",
            },
            Prompt {
                question: "Again: ",
                answer: b"two",
            },
        ];
        let out = it.0.run(command, Input::Prompts(&prompts), LIMIT).unwrap();
        assert!(out.text().ends_with("<one><two>"), "{}", out.text());
        end(it);
    }

    #[test]
    fn a_program_that_ends_instead_of_prompting_is_reported_with_what_it_said() {
        let mut it = local();
        let prompts = [Prompt {
            question: "Passphrase: ",
            answer: b"x",
        }];
        let out =
            it.0.run("echo no device; exit 3", Input::Prompts(&prompts), LIMIT)
                .unwrap();
        assert_eq!((out.status, out.text().as_str()), (3, "no device"));
        end(it);
    }

    #[test]
    fn a_hang_shows_what_the_line_carried() {
        let mut it = local();
        let error =
            it.0.run(
                "echo before; sleep 5",
                Input::None,
                Duration::from_millis(300),
            )
            .unwrap_err();
        let hang = error.downcast_ref::<Hang>().unwrap();
        assert!(!hang.gone && hang.shell.contains("before"), "{hang}");
        end(it);
    }
}
