// SPDX-License-Identifier: GPL-2.0-or-later

//! Hibernation to a stock swap device.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use tresor_uapi::STATE_LOCKED;

use super::bench::{Bench, SPARE};
use super::cell::Oracle::{Hibernation, Schedules, Secrets, Stores};
use super::ram::Holders;
use super::{Body, Scenario};
use crate::evidence::Evidence;
use crate::master::{last_line, load};
use crate::vmtest::parking::until_parked;
use crate::vmtest::secrets::passphrase;

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "hibernation",
    short: true,
    // Compressed, the control could not be found in the image.
    machine: |usual| usual.reboots().append("hibernate=nocompress"),
    oracles: &[Secrets, Schedules, Stores, Hibernation],
    body: Body::Run(hibernation),
}];

/// What the kernel says when it runs again.
const EXIT: &str = "PM: hibernation: hibernation exit";

/// How often it has said so; a refused hibernation does too.
fn exits(bench: &Bench) -> Result<usize> {
    Ok(bench.guest.vm.console().text()?.matches(EXIT).count())
}

fn hibernation(bench: &mut Bench) -> Result<()> {
    bench.begin()?;
    bench.guest.vm.check(
        "mkswap /dev/disk/spare >/dev/null && swapon /dev/disk/spare && \
         echo reboot >/sys/power/disk",
    )?;
    // With the key locked and a volume open it is refused, and nothing changes.
    ensure!(bench.guest.lock()? == "ok", "it cannot be locked");
    let output = bench.guest.vm.run("echo disk | dd of=/sys/power/state")?;
    ensure!(
        !output.success() && output.text().contains("resource busy"),
        "locked, the guest is not refused hibernation: {}",
        output.text()
    );
    bench
        .guest
        .wait_for_log("tresor: suspend refused: the key of 1 open volumes is locked")?;
    bench.load_again()?;
    bench.all_armed()?;
    bench.guest.verify("/dev/mapper/tresor", 1)?;
    bench.look(Holders::Every)?;

    // With the key it hibernates, in the middle of I/O.
    bench.guest.start_disk(
        "hibernated",
        "dev=/dev/mapper/tresor seed=1 mode=write stop=/run/stop",
    )?;
    bench.remember_shares("before hibernation")?;
    let boot = bench
        .guest
        .vm
        .check("cat /proc/sys/kernel/random/boot_id")?;
    bench
        .guest
        .vm
        .start_later("echo disk >/sys/power/state; echo $? >/run/hibernated")?;
    bench.guest.vm.wait_ready()?;
    let other = bench
        .guest
        .vm
        .check("cat /proc/sys/kernel/random/boot_id")?;
    ensure!(boot != other, "the guest did not hibernate");
    let image = bench.image(SPARE);
    let evidence = Evidence::gather(&image, &[], &bench.known)?;
    let missing = evidence
        .control_schedules
        .contains(&0)
        .then(|| "no schedule of a key of the stock volume".to_owned());
    bench.answer(Hibernation, missing, evidence.findings)?;

    // The image replaces the kernel that reads it. What is sent before that is lost.
    let exits = exits(bench)?;
    bench.guest.vm.start_later(
        "cat /sys/class/block/$(basename $(readlink /dev/disk/spare))/dev >/sys/power/resume",
    )?;
    let start = Instant::now();
    while self::exits(bench)? == exits {
        ensure!(
            start.elapsed() < bench.guest.vm.limit(Duration::from_secs(120)),
            "the image is not restored; the kernel's log ends:\n{}",
            bench.guest.vm.console().tail(30)
        );
        thread::sleep(Duration::from_millis(100));
    }
    bench
        .guest
        .wait(Duration::from_secs(20), "end of the resume", |guest| {
            Ok(guest.vm.run("cat /run/hibernated")?.text() == "0")
        })?;
    let same = bench
        .guest
        .vm
        .check("cat /proc/sys/kernel/random/boot_id")?;
    ensure!(same == boot, "another kernel than the hibernated one runs");

    // It is locked, and only the right passphrase brings the key back.
    let status = bench.guest.ensure_state(STATE_LOCKED)?;
    ensure!(
        status.check == bench.key.master.check_value(),
        "it is locked for another key: {status:?}"
    );
    bench.look(Holders::Nobody)?;
    let wrong = load(&mut bench.guest.vm, &passphrase()?)?;
    ensure!(
        !wrong.success() && last_line(&wrong).contains("wrong passphrase"),
        "a wrong passphrase: {}",
        wrong.text()
    );
    until_parked(&mut bench.guest)?;
    bench.load_again()?;
    bench.guest.vm.check("touch /run/stop")?;
    let tally = bench.guest.end_disk("hibernated")?;
    ensure!(tally.failed == 0, "I/O over the hibernation: {tally:?}");
    bench.guest.verify("/dev/mapper/tresor", 1)?;
    bench.look(Holders::Every)?;
    bench.ask_stores()
}
