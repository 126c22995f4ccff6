// SPDX-License-Identifier: GPL-2.0-or-later

//! Keeps volumes busy in the background.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use tresor_qemu::Vm;

use crate::volume::Volume;

/// Writes and reads back 2 MiB without the page cache, again and again, and counts.
const LOOP: &[u8] = b"trap 'rm -f /tmp/busy.runs.'$1 EXIT
n=0
while [ ! -e /tmp/busy.stop ]; do
    dd if=/dev/disk/files of=/mnt/$1/busy bs=64k count=32 skip=$n oflag=direct 2>/dev/null || exit
    dd if=/mnt/$1/busy of=/dev/null bs=64k iflag=direct 2>/dev/null || exit
    n=$((n + 1))
    echo $n >/tmp/busy.$1.new && mv /tmp/busy.$1.new /tmp/busy.$1
done
";

/// Loops that write to and read from mounted volumes until they are stopped.
pub struct Busy {
    names: Vec<&'static str>,
}

impl Busy {
    /// Starts one loop for each volume.
    ///
    /// # Errors
    /// If the guest hangs.
    pub fn start(vm: &mut Vm, volumes: &[&Volume]) -> Result<Self> {
        vm.write_file("/tmp/busy.sh", LOOP)?;
        let names: Vec<_> = volumes.iter().map(|v| v.name).collect();
        for name in &names {
            vm.check(&format!(
                "echo 0 >/tmp/busy.{name}; touch /tmp/busy.runs.{name}; \
                 setsid sh /tmp/busy.sh {name} </dev/null >/dev/null 2>&1 &"
            ))?;
        }
        Ok(Self { names })
    }

    /// Rounds that each loop has finished.
    ///
    /// # Errors
    /// If the guest hangs.
    pub fn rounds(&self, vm: &mut Vm) -> Result<BTreeMap<&'static str, u64>> {
        let mut rounds = BTreeMap::new();
        for name in &self.names {
            rounds.insert(*name, vm.check(&format!("cat /tmp/busy.{name}"))?.parse()?);
        }
        Ok(rounds)
    }

    /// Waits until every loop has finished a round since `before`: they do run.
    ///
    /// # Errors
    /// If one does not within a minute, or the guest hangs.
    pub fn wait_for_progress(
        &self,
        vm: &mut Vm,
        before: &BTreeMap<&'static str, u64>,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            let now = self.rounds(vm)?;
            if now
                .iter()
                .all(|(name, n)| before.get(name).is_none_or(|b| n > b))
            {
                return Ok(());
            }
            ensure!(
                start.elapsed() < vm.limit(Duration::from_secs(60)),
                "a volume is not busy: rounds of writing and reading were {before:?} and are {now:?}"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the loops and returns how many rounds they did.
    ///
    /// # Errors
    /// If the guest hangs.
    pub fn stop(self, vm: &mut Vm) -> Result<BTreeMap<&'static str, u64>> {
        vm.check("touch /tmp/busy.stop; while ls /tmp/busy.runs.* >/dev/null 2>&1; do usleep 100000; done")?;
        self.rounds(vm)
    }
}
