// SPDX-License-Identifier: GPL-2.0-or-later

//! A machine that sleeps: M is erased, and I/O waits for it afterwards.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use tresor_qemu::VmConfig;
use tresor_uapi::{STATE_ARMED, STATE_LOCKED};

use super::disks::with_disk;
use super::endings::ensure_erased;
use super::guest::Guest;
use super::parking::{resume, until_parked, Busy};
use super::secrets::random;

/// What the kernel says when it is awake again.
const EXIT: &str = "PM: suspend exit";

/// The ways to sleep: words for /sys/power/state, and what the kernel says then.
pub(crate) const WAYS: [(&str, &str); 2] = [
    ("freeze", "PM: suspend entry (s2idle)"),
    ("mem", "PM: suspend entry (deep)"),
];

/// A VM that can sleep more than once: on q35 the firmware leaves no power management registers behind. An
/// emulated CPU that is told to start right after a suspend to RAM may miss it, on a busy host one in twenty;
/// so the first one waits: it beeps for a second.
pub(crate) fn that_sleeps(config: VmConfig) -> VmConfig {
    config.machine("pc").append("acpi_sleep=s3_beep")
}

pub(super) fn machine(usual: VmConfig) -> VmConfig {
    with_disk(that_sleeps(usual.smp("4")), "sleep", "slow", 32 << 20)
}

/// Has the machine sleep, looks at it meanwhile, and wakes it.
pub(crate) fn sleep(
    guest: &mut Guest,
    (way, entry): (&str, &str),
    asleep: impl FnOnce(&mut Guest) -> Result<()>,
) -> Result<()> {
    let count = |guest: &Guest, text: &str| -> Result<usize> {
        Ok(guest.vm.console().text()?.matches(text).count())
    };
    let (entries, exits) = (count(guest, entry)?, count(guest, EXIT)?);
    guest.vm.check(&format!("rm -f /run/{way}"))?;
    guest.vm.start_later(&format!(
        "echo {way} >/sys/power/state; echo $? >/run/{way}"
    ))?;
    guest.wait(Duration::from_secs(20), "start of the suspend", |guest| {
        Ok(count(guest, entry)? > entries)
    })?;
    if way == "mem" {
        let start = Instant::now();
        while !guest.vm.qmp().monitor("info status")?.contains("suspended") {
            ensure!(
                start.elapsed() < guest.vm.limit(Duration::from_secs(30)),
                "the guest does not sleep"
            );
            thread::sleep(Duration::from_millis(50));
        }
    } else {
        // Nothing outside shows that the CPUs idle for good.
        thread::sleep(Duration::from_secs(3));
    }
    asleep(guest)?;
    if way == "mem" {
        guest.vm.qmp().wake()?;
    } else {
        guest.vm.qmp().power_button()?;
    }
    // What is sent to a serial port before its driver is back is lost.
    guest.wait(Duration::from_secs(30), "end of the suspend", |guest| {
        Ok(count(guest, EXIT)? > exits)
    })?;
    guest.wait(Duration::from_secs(10), "success of the suspend", |guest| {
        Ok(guest.vm.run(&format!("cat /run/{way}"))?.text() == "0")
    })
}

/// A VM with a disk that takes an image, and that boots again.
pub(super) fn machine_that_hibernates(usual: VmConfig) -> VmConfig {
    with_disk(
        usual.machine("pc").reboots().modules(["loop"]),
        "hibernation",
        "swap",
        640 << 20,
    )
}

/// Fails if a CPU of the sleeping machine keeps its registers.
pub(crate) fn ensure_clear_asleep(guest: &mut Guest) -> Result<()> {
    let cpus = guest.while_stopped(|vm| vm.debug_registers())?;
    ensure!(
        cpus.iter().all(|cpu| cpu.is_clear()),
        "a CPU keeps its registers asleep"
    );
    Ok(())
}

pub(super) fn suspend_erases_shares_and_registers_and_locks(guest: &mut Guest) -> Result<()> {
    for way in WAYS {
        let key = guest.insert_and_load()?;
        let before = guest.look_armed(&key)?;
        sleep(guest, way, |guest| {
            ensure_erased(guest, &key, &before)?.ensure_clear()?;
            guest.vm.cont()
        })?;
        let status = guest.ensure_state(STATE_LOCKED)?;
        ensure!(status.check == key.master.check_value(), "{status:?}");
        guest.load(&key)?;
        guest.look_armed(&key)?;
        guest.remove()?;
    }
    Ok(())
}

pub(super) fn io_in_flight_waits_over_a_suspend(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    let busy = Busy::start(guest, &[])?;
    for way in WAYS {
        let before = guest.status()?.parked;
        sleep(guest, way, ensure_clear_asleep)?;
        until_parked(guest)?;
        resume(guest, &key)?;
        ensure!(guest.status()?.parked > before, "nothing was parked");
    }
    let parked = guest.status()?.parked;
    let verified = busy.end_well(guest)?.verified;
    guest.remark(&format!(
        "{parked} requests parked, {verified} sectors verified, none failed"
    ));
    Ok(())
}

pub(super) fn a_suspend_while_requests_wait_is_refused_and_hangs_nobody(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    guest.open_filled("wait", &random::<64>()?, 42)?;
    guest.vm.check("mkdir -p /mnt/wait")?;
    ensure!(guest.lock()? == "ok", "it cannot be locked");
    // Nothing waits yet: it sleeps.
    sleep(guest, WAYS[1], |_| Ok(()))?;
    guest.start_disk("wait", "dev=/dev/mapper/wait seed=42 mode=read")?;
    until_parked(guest)?;
    // A write in the page cache is what the kernel's sync would wait for.
    guest.vm.check(
        "(dd if=/dev/zero of=/dev/mapper/wait bs=4096 seek=512 count=8; touch /run/wrote) \
         >/dev/null 2>&1 & sleep 1",
    )?;
    for sync in ["1", "0"] {
        guest
            .vm
            .check(&format!("echo {sync} >/sys/power/sync_on_suspend"))?;
        let start = Instant::now();
        // The shell's own echo names no errno.
        let said = guest
            .vm
            .run_for("echo mem | dd of=/sys/power/state", Duration::from_secs(30))?;
        ensure!(
            !said.success() && said.text().contains("resource busy"),
            "a suspend with sync_on_suspend {sync} said {}: {:?}",
            said.status,
            said.text()
        );
        let took = start.elapsed();
        ensure!(took < Duration::from_secs(10), "it took {took:?}");
    }
    guest.wait_for_log("tresor: suspend refused: the key of 1 open volumes is locked")?;
    resume(guest, &key)?;
    let tally = guest.end_disk("wait")?;
    ensure!(tally.failed == 0, "{tally:?}");
    guest.wait(Duration::from_secs(10), "end of the write", |guest| {
        Ok(guest.vm.run("[ -e /run/wrote ]")?.success())
    })?;
    guest.verify("/dev/mapper/wait", 42)?;
    guest.close_volume("wait")
}

pub(super) fn hibernation_is_refused_if_the_boot_cpu_lacks_the_key(
    guest: &mut Guest,
) -> Result<()> {
    guest.vm.check(
        "modprobe tresor_test && modprobe tresor rearm=never && mkswap /dev/disk/swap >/dev/null && \
         swapon /dev/disk/swap",
    )?;
    let key = guest.load_new()?;
    guest.open_filled("wait", &random::<64>()?, 43)?;
    guest.vm.check("echo clobber 0 >/proc/tresor_test")?;
    let boot = guest.vm.check("cat /proc/sys/kernel/random/boot_id")?;
    let said = guest.vm.run("echo disk | dd of=/sys/power/state")?;
    ensure!(
        !said.success() && said.text().contains("resource busy"),
        "a hibernation said {}: {:?}",
        said.status,
        said.text()
    );
    guest.wait_for_log("tresor: hibernation refused: the boot CPU does not hold the key")?;
    ensure!(
        guest.vm.check("cat /proc/sys/kernel/random/boot_id")? == boot,
        "the guest hibernated all the same"
    );
    // Nothing was lost: the other CPU serves until the key is loaded again.
    guest.ensure_state(STATE_ARMED)?;
    guest.verify("/dev/mapper/wait", 43)?;
    guest.load(&key)?;
    guest.look_armed(&key)?;
    guest.vm.check("swapoff /dev/disk/swap")?;
    guest.close_volume("wait")
}

/// Whether tresorctl advises against hibernation.
fn ensure_refused(guest: &mut Guest) -> Result<()> {
    let said = guest.vm.run("tresorctl may-hibernate")?;
    ensure!(
        said.status == 1 && said.text().contains("lies on the tresor volume swap"),
        "it ended with {} and said {:?}",
        said.status,
        said.text()
    );
    Ok(())
}

pub(super) fn an_image_on_swap_of_a_volume_is_encrypted(guest: &mut Guest) -> Result<()> {
    const SIGNATURE: &[u8] = b"S1SUSPEND";
    let key = guest.insert_and_load()?;
    let blob = random::<64>()?;
    guest.open_volume("swap", &blob, "/dev/disk/swap", &[])?;
    guest.expect(
        "tresorctl may-hibernate",
        0,
        "no swap in use lies on a tresor volume",
    )?;
    // The volume is noticed below a loop device, too.
    guest.vm.check(
        "modprobe loop && losetup /dev/loop0 /dev/mapper/swap && mkswap /dev/loop0 >/dev/null && \
         swapon /dev/loop0",
    )?;
    ensure_refused(guest)?;
    guest
        .vm
        .check("swapoff /dev/loop0 && losetup -d /dev/loop0")?;
    guest.vm.check(
        "mkswap /dev/mapper/swap >/dev/null && swapon /dev/mapper/swap && \
         echo reboot >/sys/power/disk",
    )?;
    ensure_refused(guest)?;
    let boot = guest.vm.check("cat /proc/sys/kernel/random/boot_id")?;
    guest
        .vm
        .start_later("echo disk >/sys/power/state; echo $? >/run/hibernated")?;
    guest.vm.wait_ready()?;
    ensure!(
        guest.vm.check("cat /proc/sys/kernel/random/boot_id")? != boot,
        "the guest did not hibernate"
    );
    // The signature is at the end of the swap's first page, readable through the volume alone.
    let page = |guest: &mut Guest, device: &str| -> Result<Vec<u8>> {
        let text = guest.vm.check(&format!(
            "dd if={device} bs=4096 count=1 2>/dev/null | od -An -v -tx1"
        ))?;
        Ok(hex::decode(text.split_whitespace().collect::<String>())?)
    };
    let signed = |page: &[u8]| page.windows(SIGNATURE.len()).any(|w| w == SIGNATURE);
    ensure!(
        !signed(&page(guest, "/dev/disk/swap")?),
        "the image is on the disk in clear"
    );
    guest.insert()?;
    guest.load(&key)?;
    guest.open_volume("swap", &blob, "/dev/disk/swap", &[])?;
    ensure!(
        signed(&page(guest, "/dev/mapper/swap")?),
        "there is no image on the volume"
    );
    // To go back to it is for somebody whose memory cannot be on that swap.
    guest.close_volume("swap")
}
