// SPDX-License-Identifier: GPL-2.0-or-later

//! CPUs that go and come.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use tresor_qemu::VmConfig;
use tresor_uapi::STATE_ARMED;

use super::guest::Guest;
use super::secrets::random;

const DEVICE: &str = "/dev/mapper/plug";

pub(crate) fn set_online(guest: &mut Guest, cpu: u32, online: bool) -> Result<()> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/online");
    guest
        .vm
        .check(&format!("echo {} >{path}", u8::from(online)))
        .map(drop)
}

/// Waits until every online CPU is armed; how often M crossed RAM so far.
fn all_armed(guest: &mut Guest, cpus: u32) -> Result<u64> {
    guest.wait(Duration::from_secs(3), "armed CPUs", |guest| {
        let status = guest.ensure_state(STATE_ARMED)?;
        Ok((status.cpus_online, status.cpus_armed) == (cpus, cpus))
    })?;
    Ok(guest.status()?.armings)
}

pub(super) fn a_cpu_that_goes_offline_is_wiped_and_is_armed_when_it_returns(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    guest.open_filled("plug", &random::<64>()?, 31)?;
    let mut armings = all_armed(guest, 2)?;
    for round in 0..if guest.all { 200 } else { 10 } {
        let look_closely = round % 10 < 2;
        let before = if look_closely {
            Some(guest.look_armed(&key)?)
        } else {
            None
        };
        set_online(guest, 1, false)?;
        if let Some(before) = before {
            let look = guest.look(&key)?;
            ensure!(
                look.cpus[1].is_clear(),
                "an offline CPU keeps its registers"
            );
            ensure!(look.shares[0] == before.shares[0], "CPU 0 lost the key");
            let at = before.shares[1].unwrap_or_default() as usize;
            guest.while_stopped(|vm| {
                ensure!(
                    vm.ram()?[at..at + 32] == [0; 32],
                    "an offline CPU keeps its share"
                );
                Ok(())
            })?;
            let status = guest.ensure_state(STATE_ARMED)?;
            ensure!(
                (status.cpus_online, status.cpus_armed) == (1, 1),
                "{status:?}"
            );
            guest.verify(DEVICE, 31)?;
        }
        set_online(guest, 1, true)?;
        let now = all_armed(guest, 2)?;
        ensure!(now > armings, "round {round}: no arming was counted");
        armings = now;
        if look_closely {
            guest.look_armed(&key)?;
        }
        let tally = guest.disk(&format!("dev={DEVICE} seed=31 mode=read cpu=1"))?;
        ensure!(tally.failed == 0, "round {round}: {tally:?}");
    }
    guest.close_volume("plug")
}

pub(super) fn io_goes_on_while_cpus_go_and_come(guest: &mut Guest) -> Result<()> {
    guest.insert_and_load()?;
    guest.ram_disk()?;
    // With work queues, the work is done wherever there is a CPU.
    guest.open_volume("plug", &random::<64>()?, "/dev/ram0", &[])?;
    guest.fill(DEVICE, 32)?;
    let seconds = if guest.all { 60 } else { 6 };
    guest.vm.check(&format!(
        "{} disk dev={DEVICE} bytes=1048576 seed=32 mode=read seconds={seconds} \
         >/run/plug.out 2>&1 &",
        super::guest::PROGRAM
    ))?;
    for _ in 0..seconds / 2 {
        set_online(guest, 1, false)?;
        set_online(guest, 1, true)?;
    }
    guest.vm.check_for(
        "while pidof tresor-guest; do usleep 50000; done",
        Duration::from_secs(seconds + 60),
    )?;
    let tally = super::disks::Tally::parse(&guest.vm.check("cat /run/plug.out")?)?;
    ensure!(tally.right > 0 && tally.failed == 0, "{tally:?}");
    all_armed(guest, 2)?;
    guest.verify(DEVICE, 32)?;
    guest.close_volume("plug")
}

pub(super) fn a_cpu_that_was_never_online_is_armed_when_it_comes(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    guest.open_filled("plug", &random::<64>()?, 33)?;
    all_armed(guest, 2)?;
    for (cpu, online) in [(2, 3), (3, 4)] {
        let clear = guest.look(&key)?.cpus[cpu as usize].is_clear();
        ensure!(
            clear,
            "CPU {cpu} has something in its registers before it starts"
        );
        set_online(guest, cpu, true)?;
        all_armed(guest, online)?;
        let look = guest.look(&key)?;
        ensure!(
            look.shares[cpu as usize].is_some(),
            "CPU {cpu} does not hold the key"
        );
        let tally = guest.disk(&format!("dev={DEVICE} seed=33 mode=read cpu={cpu}"))?;
        ensure!(tally.failed == 0, "reads on CPU {cpu}: {tally:?}");
        let said = guest.program("perf")?;
        ensure!(
            said == "task ENOSPC\ncpu ENOSPC",
            "with a new CPU perf says: {said}"
        );
    }
    guest.look_armed(&key)?;
    guest.close_volume("plug")
}

/// CPUs that are plugged in, one after another: the emulator has each once.
const PLUGGED: std::ops::Range<u32> = 2..5;

/// A VM with room for more CPUs. The kernel believes in them on no emulator that it does not know, but
/// on VMware, which it knows by a serial number and an I/O port.
pub(super) fn machine_with_free_sockets(usual: VmConfig) -> VmConfig {
    usual
        .smp("2,sockets=5,maxcpus=5")
        .cpu("max,-hypervisor")
        .machine("q35,vmport=on")
        .args(["-smbios", "type=1,serial=VMware-tresor"])
}

pub(super) fn a_cpu_that_is_plugged_in_is_armed_and_may_be_pulled_out(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    guest.open_filled("plug", &random::<64>()?, 34)?;
    guest.start_disk("plug", &format!("dev={DEVICE} seed=34 mode=write"))?;
    let slots = guest.vm.qmp().monitor("info hotpluggable-cpus")?;
    let kind = slots.split('"').nth(1).with_context(|| slots.clone())?;
    for cpu in PLUGGED {
        let is_there = |guest: &mut Guest| -> Result<bool> {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/online");
            Ok(guest.vm.run(&format!("[ -e {path} ]"))?.success())
        };
        let said = guest.vm.qmp().monitor(&format!(
            "device_add {kind},id=cpu{cpu},socket-id={cpu},core-id=0,thread-id=0"
        ))?;
        ensure!(said.trim().is_empty(), "QEMU plugs in no CPU: {said}");
        guest.wait(Duration::from_secs(10), "new CPU", is_there)?;
        set_online(guest, cpu, true)?;
        all_armed(guest, 3)?;
        let look = guest.look_armed(&key)?;
        ensure!(look.shares.len() == 3, "CPU {cpu} is not there");
        let tally = guest.disk(&format!("dev={DEVICE} seed=34 mode=read cpu={cpu}"))?;
        ensure!(tally.failed == 0, "CPU {cpu}: {tally:?}");
        // The kernel itself takes it offline.
        guest.vm.qmp().monitor(&format!("device_del cpu{cpu}"))?;
        guest.wait(Duration::from_secs(10), "end of the CPU", |guest| {
            Ok(!is_there(guest)? && guest.vm.debug_registers()?.len() == 2)
        })?;
        all_armed(guest, 2)?;
        guest.look_armed(&key)?;
    }
    let tally = guest.end_disk("plug")?;
    ensure!(tally.failed == 0, "{tally:?}");
    guest.remark(&format!("{} CPUs", PLUGGED.len()));
    guest.close_volume("plug")
}
