// SPDX-License-Identifier: GPL-2.0-or-later

//! Direct I/O in the background, whose data is checked.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::vmtest::disks::{Tally, BYTES};
use crate::vmtest::guest::{Guest, PROGRAM};

/// Writes and reads the pattern, again and again, until there is a stop file.
const LOOP: &str = "while [ ! -e /run/load.stop ]; do
    for mode in write read; do
        $1 disk dev=$2 bytes=$3 seed=$4 mode=$mode || exit
    done
done
";

/// Loops that write to and read from open volumes until they are stopped.
pub struct Load {
    names: Vec<&'static str>,
}

impl Load {
    /// Starts a loop for each of the guest's volumes.
    ///
    /// # Errors
    /// If the guest hangs.
    pub fn start(guest: &mut Guest, names: &[&'static str]) -> Result<Self> {
        guest.vm.check("rm -f /run/load.*")?;
        guest.vm.write_file("/run/load.sh", LOOP.as_bytes())?;
        for (seed, name) in (100..).zip(names) {
            guest.vm.check(&format!(
                "setsid sh /run/load.sh {PROGRAM} /dev/mapper/{name} {BYTES} {seed} \
                 </dev/null >/run/load.{name} 2>&1 &"
            ))?;
        }
        let mut load = Self {
            names: names.to_vec(),
        };
        load.wait(guest, 1)?;
        Ok(load)
    }

    /// Waits until each volume was written and read `rounds` times more.
    ///
    /// # Errors
    /// If that takes longer than two minutes, or the guest hangs.
    pub fn wait(&mut self, guest: &mut Guest, rounds: usize) -> Result<()> {
        for name in &self.names {
            let count = format!("wc -l </run/load.{name}");
            let wanted = guest.vm.check(&count)?.parse::<usize>()? + 2 * rounds;
            guest.wait(Duration::from_secs(120), "I/O on every volume", |guest| {
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
        guest.vm.check_for(
            "touch /run/load.stop; while pgrep -f load.sh >/dev/null; do usleep 50000; done",
            Duration::from_secs(180),
        )?;
        let mut all = Vec::new();
        for name in self.names {
            let said = guest.vm.check(&format!("cat /run/load.{name}"))?;
            let tallies: Vec<Tally> = said.lines().map(Tally::parse).collect::<Result<_>>()?;
            ensure!(!tallies.is_empty(), "there was no I/O on {name}");
            all.push((name, tallies));
        }
        Ok(all)
    }
}
