// SPDX-License-Identifier: GPL-2.0-or-later

//! Guests of KVM beside open volumes. What KVM loads for a guest into DR0-DR3 stays there.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use tresor_guest::kvm_marks;
use tresor_qemu::VmConfig;
use tresor_uapi::{STATE_ARMED, STATE_LOCKED};

use super::disks::INLINE;
use super::guest::{Guest, PROGRAM};
use super::secrets::{random, Key};
use super::Skip;

pub(super) fn machine(usual: VmConfig) -> VmConfig {
    usual.smp("4").modules(["kvm-amd"])
}

const CPUS: usize = 4;

/// While this file is there, the volumes are read and written.
const STOP: &str = "/run/busy";

/// Who reads and writes: a name, the volume, the mode and the CPU.
const WORKERS: [(&str, &str, &str, &str); 4] = [
    ("pinned-reader", "inline", "read", "cpu=0"),
    ("reader", "queued", "read", ""),
    ("pinned-writer", "inline", "write", "cpu=1"),
    ("writer", "queued", "write", ""),
];

fn seed(volume: &str) -> u64 {
    500 + volume.len() as u64
}

/// Loads KVM. Under TCG, where guests that come and go on several CPUs hang now and then, and have crashed the
/// kernel below them, only if all tests are asked for.
pub(super) fn load_kvm(guest: &mut Guest) -> Result<()> {
    if !guest.all {
        return Err(Skip("emulated guests of KVM are not reliable; --all runs it".into()).into());
    }
    let loaded = guest.vm.run("modprobe kvm-amd && ls /dev/kvm")?;
    if !loaded.success() {
        let said = loaded.text();
        return Err(Skip(format!("no KVM in the VM, whose CPU has no SVM: {said}")).into());
    }
    Ok(())
}

/// Opens two volumes, and keeps them busy.
pub(super) fn open_busy(guest: &mut Guest) -> Result<()> {
    guest
        .vm
        .check("[ -e /dev/ram1 ] || modprobe brd rd_nr=2 rd_size=4096")?;
    for (volume, device, options) in [
        ("inline", "/dev/ram0", INLINE),
        ("queued", "/dev/ram1", &[]),
    ] {
        guest.open_volume(volume, &random::<64>()?, device, options)?;
        guest.fill(&format!("/dev/mapper/{volume}"), seed(volume))?;
    }
    guest.vm.check(&format!("rm -f {STOP}"))?;
    for (name, volume, mode, cpu) in WORKERS {
        let seed = seed(volume);
        guest.start_disk(
            name,
            &format!("dev=/dev/mapper/{volume} seed={seed} mode={mode} {cpu} stop={STOP}"),
        )?;
    }
    Ok(())
}

/// Ends what [`open_busy`] began, and checks all data; how many requests there were.
pub(super) fn close_busy(guest: &mut Guest, key: &Key) -> Result<u64> {
    guest.vm.check(&format!("touch {STOP}"))?;
    let mut requests = 0;
    for (name, ..) in WORKERS {
        let tally = guest.end_disk(name)?;
        ensure!(tally.failed == 0 && tally.right > 0, "{name}: {tally:?}");
        requests += tally.right;
    }
    let status = guest.status()?;
    ensure!(status.waiting == 0, "requests still wait: {status:?}");
    guest.wait(Duration::from_secs(3), "armed CPUs", |guest| {
        let status = guest.ensure_state(STATE_ARMED)?;
        Ok(status.cpus_armed == status.cpus_online)
    })?;
    guest.look_armed(key)?;
    for volume in ["inline", "queued"] {
        guest.verify(&format!("/dev/mapper/{volume}"), seed(volume))?;
        guest.close_volume(volume)?;
    }
    Ok(requests)
}

/// What `tresor-guest kvm` says.
#[derive(Debug)]
struct Said(String);

impl Said {
    fn text(&self, name: &str) -> Result<&str> {
        let mut pairs = self
            .0
            .split_whitespace()
            .filter_map(|word| word.split_once('='));
        let pair = pairs.find(|(found, _)| *found == name);
        pair.map(|(_, value)| value)
            .with_context(|| format!("no {name}: {self:?}"))
    }

    fn number(&self, name: &str) -> Result<u64> {
        let text = self.text(name)?;
        text.parse().with_context(|| format!("{name}: {self:?}"))
    }
}

/// Runs guests, and returns what they and the watcher beside them say.
fn guests(guest: &mut Guest, arguments: &str) -> Result<Said> {
    guest.program(&format!("kvm {arguments}")).map(Said)
}

/// Starts guests in the background.
fn start_guests(guest: &mut Guest, arguments: &str) -> Result<()> {
    guest.vm.check(&format!(
        "rm -f /run/kvm; ({PROGRAM} kvm {arguments} >/run/kvm.new 2>&1; mv /run/kvm.new /run/kvm) \
         </dev/null >/dev/null 2>&1 &"
    ))?;
    Ok(())
}

fn end_guests(guest: &mut Guest) -> Result<Said> {
    guest.wait(Duration::from_secs(120), "end of the guests", |guest| {
        Ok(guest.vm.run("[ -e /run/kvm ]")?.success())
    })?;
    guest.vm.check("cat /run/kvm").map(Said)
}

/// Waits until the registers of these CPUs are seen to hold what their guest wrote. They may be armed again
/// between two times that it runs.
fn wait_overwritten(guest: &mut Guest, cpus: &[usize]) -> Result<()> {
    guest.wait(Duration::from_secs(10), "marks of guests", |guest| {
        let held = guest.while_stopped(|vm| vm.debug_registers())?;
        Ok(cpus.iter().all(|&cpu| held[cpu].dr == kvm_marks(cpu, 0)))
    })
}

pub(super) fn a_guest_that_is_not_stopped_overwrites_the_registers(
    guest: &mut Guest,
) -> Result<()> {
    load_kvm(guest)?;
    // Without a key the module leaves KVM alone.
    guest.insert()?;
    start_guests(guest, "mode=clobber cpus=2 ms=3000")?;
    wait_overwritten(guest, &[2])?;
    end_guests(guest).map(drop)
}

/// Runs guests that do not use breakpoints, of which no CPU may take notice.
fn run_ordinary(guest: &mut Guest, arguments: &str) -> Result<u64> {
    let before = guest.status()?;
    let said = guests(guest, arguments)?;
    let after = guest.ensure_state(STATE_ARMED)?;
    ensure!(
        said.number("locked")? == 0 && said.number("fewest")? == CPUS as u64,
        "{arguments}: a CPU lost the key: {said:?}"
    );
    ensure!(
        (after.losses, after.hopped, after.parked) == (before.losses, before.hopped, before.parked)
            && after.armings == before.armings,
        "{arguments}: {before:?}, then {after:?}"
    );
    said.number("guests")
}

pub(super) fn ordinary_guests_take_the_key_from_no_cpu(guest: &mut Guest) -> Result<()> {
    load_kvm(guest)?;
    let key = guest.insert_and_load()?;
    // Nothing looks at the CPUs but the keeper.
    let mut ran = run_ordinary(guest, "mode=boot cpus=0,1,2,3 ms=100 guests=5")?;
    open_busy(guest)?;
    for arguments in [
        "mode=boot cpus=0 ms=300 guests=3",
        "mode=boot cpus=1 ms=300 guests=3",
        "mode=boot cpus=2 ms=300 guests=3",
        "mode=boot cpus=3 ms=300 guests=3",
        "mode=boot cpus=0,1,2,3 ms=300 guests=10",
        "mode=boot cpus=0,1,2,3 ms=300 guests=10 pinned=0",
        "mode=clobber cpus=0,1,2,3 ms=3000",
    ] {
        ran += run_ordinary(guest, arguments)?;
    }
    let requests = close_busy(guest, &key)?;
    guest.remark(&format!("{ran} guests, {requests} requests, no loss"));
    Ok(())
}

pub(super) fn kvm_may_come_and_go_while_the_module_is_loaded(guest: &mut Guest) -> Result<()> {
    guest.vm.run("rmmod kvm-amd")?;
    let key = guest.insert_and_load()?;
    for _ in 0..3 {
        load_kvm(guest)?;
        run_ordinary(guest, "mode=boot cpus=0,1,2,3 ms=100 guests=2")?;
        guest.vm.check("rmmod kvm-amd")?;
    }
    guest.look_armed(&key)?;
    // And the other way round.
    load_kvm(guest)?;
    guest.remove()?;
    guest.insert()?;
    guest.load(&key)?;
    run_ordinary(guest, "mode=boot cpus=0,1,2,3 ms=100 guests=2").map(drop)
}

pub(super) fn a_guest_with_breakpoints_takes_the_key_from_its_cpu_alone_until_it_ends(
    guest: &mut Guest,
) -> Result<()> {
    load_kvm(guest)?;
    let key = guest.insert_and_load()?;
    open_busy(guest)?;
    let first = guest.status()?;
    let (mut lost, mut slowest) = (0, 0);
    for cpu in 0..CPUS {
        let before = guest.status()?;
        start_guests(
            guest,
            &format!("mode=clobber breakpoints=1 cpus={cpu} ms=4000"),
        )?;
        wait_overwritten(guest, &[cpu])?;
        let said = end_guests(guest)?;
        let after = guest.ensure_state(STATE_ARMED)?;
        ensure!(
            said.number("locked")? == 0 && said.number("fewest")? == CPUS as u64 - 1,
            "more than CPU {cpu} lost the key: {said:?}"
        );
        // It is armed now and then while the guest runs.
        ensure!(
            said.number("lost")? > 1 && said.number("armed")? > 1,
            "CPU {cpu} was not armed again and again: {said:?}"
        );
        ensure!(
            cpu > 1 || after.hopped > before.hopped,
            "requests on CPU {cpu} did not hop: {before:?}, then {after:?}"
        );
        lost += said.number("lost")?;
        slowest = slowest.max(said.number("unarmed")?);
    }
    ensure!(
        // A second, in a machine that is emulated on one that may be busy.
        slowest <= 5000,
        "a CPU had no key for {slowest} ms after its guest"
    );
    let last = guest.status()?;
    ensure!(
        last.parked == first.parked,
        "requests were parked: {last:?}"
    );
    let requests = close_busy(guest, &key)?;
    guest.remark(&format!(
        "{requests} requests, {} hopped; {lost} losses seen, {} armings; armed at most {slowest} ms \
         after a guest",
        last.hopped - first.hopped,
        last.armings - first.armings
    ));
    Ok(())
}

pub(super) fn guests_with_breakpoints_on_all_cpus_park_io_until_the_key_is_loaded(
    guest: &mut Guest,
) -> Result<()> {
    load_kvm(guest)?;
    let key = guest.insert_and_load()?;
    open_busy(guest)?;
    let before = guest.status()?;
    start_guests(guest, "mode=clobber breakpoints=1 cpus=0,1,2,3 ms=5000")?;
    guest.wait(Duration::from_secs(10), "parked requests", |guest| {
        let status = guest.status()?;
        Ok(status.state == STATE_LOCKED && status.waiting > 0)
    })?;
    wait_overwritten(guest, &[0, 1, 2, 3])?;
    let said = end_guests(guest)?;
    ensure!(said.number("locked")? == 1, "{said:?}");
    let status = guest.ensure_state(STATE_LOCKED)?;
    ensure!(
        status.waiting > 0 && status.parked > before.parked,
        "nothing is parked: {status:?}"
    );
    guest.wait_for_log("tresor: no CPU holds the key any more: locked until it is loaded again")?;
    guest.load(&key)?;
    let after = guest.ensure_state(STATE_ARMED)?;
    let requests = close_busy(guest, &key)?;
    guest.remark(&format!(
        "{} requests parked, {requests} done, none failed",
        after.parked - before.parked
    ));
    Ok(())
}

pub(super) fn a_guest_reads_nothing_but_what_it_wrote(guest: &mut Guest) -> Result<()> {
    load_kvm(guest)?;
    let key = guest.insert_and_load()?;
    // A value from outside is noticed.
    let said = guests(guest, "mode=read cpus=1 plant=0123456789abcdef")?;
    ensure!(
        said.text("foreign")? == "0123456789abcdef",
        "the reader does not see what was put there: {said:?}"
    );
    open_busy(guest)?;
    let mut reads = 0;
    for round in 0..if guest.all { 20 } else { 4 } {
        let before = guest.look_armed(&key)?.registers();
        let said = guests(guest, "mode=read cpus=0,1,2,3 ms=1000 guests=2")?;
        let after = guest.look(&key)?.registers();
        let foreign = said.text("foreign")?;
        let shares = [before, after].concat().concat();
        let ours = shares
            .chunks(8)
            .filter(|word| foreign.contains(&word_in_hex(word)))
            .count();
        ensure!(
            foreign.is_empty() && ours == 0,
            "round {round}: a guest read what it had not written, {ours} words of it ours: {said:?}"
        );
        // It does read what it wrote.
        ensure!(
            said.number("own")? == 4 * said.number("reads")? && said.number("written")? > 0,
            "{said:?}"
        );
        reads += said.number("reads")?;
    }
    close_busy(guest, &key)?;
    guest.remark(&format!("{reads} reads of all four registers"));
    Ok(())
}

/// Eight bytes of registers as the guest's program prints them.
fn word_in_hex(word: &[u8]) -> String {
    let reversed: Vec<u8> = word.iter().rev().copied().collect();
    hex::encode(reversed)
}
