// SPDX-License-Identifier: GPL-2.0-or-later

//! Direct I/O in the background, whose data is checked.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::vmtest::disks::{Tally, BYTES};
use crate::vmtest::guest::Guest;

/// Writes and reads the pattern, again and again, until it shall stop.
const LOOP: &str = "while [ ! -e $stop ]; do
    for mode in write read; do
        tresor-guest disk dev=/dev/mapper/$1 bytes=$2 seed=$3 mode=$mode || exit
    done
done
";

/// A shell script that runs in the background until it is told to stop.
pub struct Background {
    name: String,
}

impl Background {
    /// Starts it. It ends soon after the file `$stop` is there; what it prints goes to
    /// `/run/<name>.out`.
    ///
    /// # Errors
    /// If the guest hangs.
    pub fn start(guest: &mut Guest, name: &str, script: &str, arguments: &str) -> Result<Self> {
        let run = format!("/run/{name}");
        let head = format!("stop={run}.stop\ntrap 'rm -f {run}.runs' EXIT\n");
        guest
            .vm
            .write_file(&format!("{run}.sh"), (head + script).as_bytes())?;
        guest.vm.check(&format!(
            "rm -f {run}.stop; touch {run}.runs; \
             setsid sh {run}.sh {arguments} </dev/null >{run}.out 2>&1 &"
        ))?;
        Ok(Self {
            name: name.to_owned(),
        })
    }

    /// Stops it and waits for its end; what it printed.
    ///
    /// # Errors
    /// If it takes more than five minutes.
    pub fn stop(self, guest: &mut Guest) -> Result<String> {
        let run = format!("/run/{}", self.name);
        guest.vm.check_for(
            &format!("touch {run}.stop; while [ -e {run}.runs ]; do usleep 50000; done"),
            Duration::from_secs(300),
        )?;
        guest.vm.check(&format!("cat {run}.out"))
    }
}

/// Loops that write to and read from open volumes until they are stopped.
pub struct Load {
    loops: Vec<(&'static str, Background)>,
}

impl Load {
    /// Starts a loop for each of these volumes, and waits until each was written and read.
    ///
    /// # Errors
    /// If there is no I/O within five minutes, or the guest hangs.
    pub fn start(guest: &mut Guest, names: &[&'static str]) -> Result<Self> {
        let mut loops = Vec::new();
        for (seed, &name) in (100..).zip(names) {
            let arguments = format!("{name} {BYTES} {seed}");
            let running = Background::start(guest, &format!("load.{name}"), LOOP, &arguments)?;
            loops.push((name, running));
        }
        let mut load = Self { loops };
        load.wait(guest, 1)?;
        Ok(load)
    }

    /// Waits until each volume was written and read `rounds` times more.
    ///
    /// # Errors
    /// If that takes longer than five minutes, or the guest hangs.
    pub fn wait(&mut self, guest: &mut Guest, rounds: usize) -> Result<()> {
        for (name, _) in &self.loops {
            let count = format!("wc -l </run/load.{name}.out");
            let wanted = guest.vm.check(&count)?.parse::<usize>()? + 2 * rounds;
            guest.wait(Duration::from_secs(300), "I/O on every volume", |guest| {
                Ok(guest.vm.check(&count)?.parse::<usize>()? >= wanted)
            })?;
        }
        Ok(())
    }

    /// Ends the loops; every request must have succeeded with the right data.
    ///
    /// # Errors
    /// If one did not, or the guest hangs.
    pub fn stop(self, guest: &mut Guest) -> Result<u64> {
        let mut requests = 0;
        for (name, tallies) in self.tallies(guest)? {
            for tally in tallies {
                ensure!(tally.failed == 0, "I/O on {name} failed: {tally:?}");
                requests += tally.right;
            }
        }
        Ok(requests)
    }

    /// Ends the loops; requests may have failed, but none returned wrong data.
    ///
    /// # Errors
    /// If one did, or no request succeeded, or the guest hangs.
    pub fn stop_after_failures(self, guest: &mut Guest) -> Result<()> {
        for (name, tallies) in self.tallies(guest)? {
            let right: u64 = tallies.iter().map(|tally| tally.right).sum();
            ensure!(right > 0, "no request on {name} succeeded: {tallies:?}");
        }
        Ok(())
    }

    fn tallies(self, guest: &mut Guest) -> Result<Vec<(&'static str, Vec<Tally>)>> {
        let mut all = Vec::new();
        for (name, running) in self.loops {
            let said = running.stop(guest)?;
            let tallies: Vec<Tally> = said.lines().map(Tally::parse).collect::<Result<_>>()?;
            ensure!(!tallies.is_empty(), "there was no I/O on {name}");
            all.push((name, tallies));
        }
        Ok(all)
    }
}
