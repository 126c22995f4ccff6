// SPDX-License-Identifier: GPL-2.0-or-later

//! Interrupts that nothing can mask, while the engine works.

use std::time::Duration;

use anyhow::{ensure, Result};

use super::disks::{Tally, BYTES};
use super::guest::{Guest, PROGRAM};
use super::secrets::{random, Found};

pub(super) fn nmis_during_io_leave_no_share_in_ram_and_the_data_right(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    guest.open_filled("nmi", &random::<64>()?, 91)?;
    let (rounds, seconds) = if guest.all { (200, 60) } else { (8, 3) };
    guest.vm.check(&format!(
        "{PROGRAM} disk dev=/dev/mapper/nmi bytes={BYTES} seed=91 mode=read cpu=0 seconds={seconds} \
         >/run/nmi.out 2>&1 &"
    ))?;
    for _ in 0..rounds {
        for _ in 0..25 {
            guest.vm.qmp().inject_nmi()?;
        }
        let found = guest.while_stopped(|vm| {
            let cpus = vm.debug_registers()?;
            let share = |cpu: &tresor_qemu::DebugRegisters| {
                (format!("DR of CPU {}", cpu.cpu), cpu.bytes().to_vec())
            };
            let mut secrets: Vec<_> = cpus.iter().map(share).collect();
            secrets.push(("M".to_owned(), key.m.to_vec()));
            Ok(Found::search(vm.ram()?, &secrets)?.any())
        })?;
        ensure!(found.is_empty(), "RAM holds {}", found.join(", "));
    }
    guest.vm.check_for(
        "while pidof tresor-guest; do usleep 50000; done",
        Duration::from_secs(seconds + 60),
    )?;
    let tally = Tally::parse(&guest.vm.check("cat /run/nmi.out")?)?;
    ensure!(
        tally.right > 0 && tally.failed == 0,
        "reads under NMIs: {tally:?}"
    );
    // The control: the NMIs arrived.
    let count = guest.vm.check("awk '/NMI:/ {print $2}' /proc/interrupts")?;
    let count: u64 = count.parse()?;
    ensure!(count >= 50, "only {count} NMIs arrived");
    guest.look_armed(&key)?;
    guest.close_volume("nmi")
}
