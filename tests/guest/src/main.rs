// SPDX-License-Identifier: GPL-2.0-or-later

//! Does in the guest what a shell cannot: exact ioctls, ptrace, direct I/O from a chosen CPU.
//!
//! Each command prints its result, in which an error is the name of the errno, and ends with 0;
//! with 2 and a sentence if it could not do what it was asked to.

mod bench;
mod breakpoints;
mod device;
mod disk;
mod kvm;
mod memory;
mod plant;
mod race;
mod starve;
mod stores;
mod trace;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use nix::errno::Errno;
use nix::sched::{sched_setaffinity, CpuSet};
use nix::unistd::Pid;

const USAGE: &str = "\
usage: tresor-guest COMMAND [NAME=VALUE]..

  ioctl nr=HEX [arg=HEX | arg=null | arg=bad]
        one ioctl of /dev/tresor on a buffer; prints the buffer afterwards
  load [flags=N] [expected=HEX] [reserved=N] [hold=PATH]
        LOAD with the masked key on standard input
  unprivileged
        opens the device as root, then tries every call as user 1000
  watch [hold=PATH]
        sets a hardware watchpoint on a child through ptrace, and reads it back
  perf  opens a breakpoint event of this task, and one of CPU 0
  disk dev=PATH bytes=N seed=N mode=read|write|cycle [cpu=N] [seconds=N] [clobber=N[,N]..]
        [raw=PATH] [io=N] [offset=N] [at=N] [stop=PATH] [progress=PATH]
        reads or writes the pattern with O_DIRECT, or again and again writes another one and reads
        it back, for so long or until there is something at stop=
  bench dev=PATH bytes=N io=N seed=N mode=read|write order=sequential|random
        the same once, each request once, between two marks; prints how long it took
  plant kind=stack|heap|freed|fpu|frame|kernel-stack|slab|pipe|tty [hold=PATH]
        leaves the masked secret on standard input in such a place
  feed [hold=PATH] [file=PATH]
        gives `tresorctl load` the masked key on standard input, through a pipe or this file
  memory bytes=N seed=N hold=PATH [walk=1]
        keeps the pattern in memory, and with walk= touches all of it again and again
  trace pid=N [at=HEX] [signal=N] [hold=PATH]
        follows a process through every system call by ptrace, reads the debug registers at each,
        counts, and sends the signal in the first ioctl of the number at=
  race seconds=N seed=N [volume=1]
        random calls, with the masked key on standard input
  kvm mode=clobber|boot|read cpus=N[,N].. [ms=N] [guests=N] [pinned=0] [breakpoints=1] [plant=HEX]
        runs guests of KVM one after another, each with one CPU on each of these, for so long: one that
        writes DR0-DR3 all the time (and enables breakpoints there), that clears them once, or reads
        them; prints what was read that the guest had not written, and what the module said meanwhile
  stores [hold=PATH]
        copies secrets from standard input with stores of all kinds
  starve [rounds=N] [dev=PATH seed=N]
        every call, or direct I/O on the pattern, again and again with another allocation of the kernel
        failing, and the masked key on standard input; prints how often each ended how
  starve-module module=PATH [step=N]
        the same for loading the module, which must not be loaded

PATH of hold= is made once there is something to hold, and waited for until somebody removes it.
";

/// The values after the command.
pub(crate) struct Args(BTreeMap<String, String>);

impl Args {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let pairs = words.map(|word| {
            let (name, value) = word
                .split_once('=')
                .with_context(|| format!("{word:?} is not NAME=VALUE"))?;
            Ok((name.to_owned(), value.to_owned()))
        });
        pairs.collect::<Result<_>>().map(Self)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn need(&self, name: &str) -> Result<&str> {
        self.get(name)
            .with_context(|| format!("{name}= is missing"))
    }

    pub(crate) fn number(&self, name: &str, default: u64) -> Result<u64> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .with_context(|| format!("{name}={text} is no number")),
        }
    }

    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<usize>> {
        let text = self.get(name).unwrap_or_default();
        let numbers = text
            .split(',')
            .filter(|part| !part.is_empty())
            .map(str::parse);
        numbers
            .collect::<Result<_, _>>()
            .with_context(|| format!("{name}={text} are no numbers"))
    }

    pub(crate) fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        hex::decode(self.need(name)?).with_context(|| format!("{name}= is not hex"))
    }
}

/// `ok`, or the name of the error.
pub(crate) fn outcome<T>(result: nix::Result<T>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(error) => format!("{error:?}"),
    }
}

/// Keeps the calling task on one CPU.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot move to CPU {cpu}"))
}

/// Makes the file of `hold=`, and waits until it is gone.
pub(crate) fn hold(args: &Args) -> Result<()> {
    let Some(path) = args.get("hold").map(Path::new) else {
        return Ok(());
    };
    make_hold(path)?;
    while path.exists() {
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Makes the file of `hold=`.
pub(crate) fn make_hold(path: &Path) -> Result<()> {
    fs::write(path, "").with_context(|| format!("cannot make {}", path.display()))
}

/// The error of the last call of libc.
pub(crate) fn check(result: libc::c_int) -> nix::Result<libc::c_int> {
    Errno::result(result)
}

fn run() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let args = Args::parse(words)?;
    match command.as_str() {
        "ioctl" => device::ioctl(&args),
        "load" => device::load(&args),
        "unprivileged" => device::unprivileged(),
        "watch" => breakpoints::watch(&args),
        "perf" => breakpoints::perf(),
        "disk" => disk::run(&args),
        "bench" => bench::run(&args),
        "plant" => plant::plant(&args),
        "feed" => plant::feed(&args),
        "memory" => memory::run(&args),
        "trace" => trace::run(&args),
        "race" => race::run(&args),
        "kvm" => kvm::run(&args),
        "stores" => stores::run(&args),
        "starve" => starve::run(&args),
        "starve-module" => starve::module(&args),
        _ => bail!("no such command\n{USAGE}"),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tresor-guest: {error:#}");
            ExitCode::from(2)
        }
    }
}
