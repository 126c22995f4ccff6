// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl agent`: the key comes back although nothing can be read from a disk.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use tresor_qemu::Prompt;
use tresor_uapi::{LOCK, STATE_ARMED, STATE_LOCKED};

use super::guest::{Guest, PROGRAM};
use super::secrets::{passphrase, random, Found};
use super::Skip;
use crate::master::{create_with, derive, status, DESCRIPTION, QUESTION};

/// A guess that takes no time.
const QUICK: &str = "--argon2-memory 2048 --argon2-iterations 1";
const DEVICE: &str = "/dev/mapper/agent";
/// Standard output of the agent, and how it ended.
const LOG: &str = "/run/agent.log";
const STATUS: &str = "/run/agent.status";

/// The module loaded, with a key that has a passphrase: this, and the key id.
fn begin(guest: &mut Guest) -> Result<(String, String)> {
    guest.insert()?;
    guest.vm.check(&format!("rm -f {DESCRIPTION}"))?;
    let passphrase = passphrase()?;
    create_with(&mut guest.vm, &passphrase, QUICK)?;
    let id = status(&mut guest.vm)?.key_id.context("no key is loaded")?;
    Ok((passphrase, id))
}

/// Fails if RAM holds one of these, or not what was written to a file on purpose.
fn ensure_not_in_ram(guest: &mut Guest, secrets: &[(&str, &[u8])]) -> Result<()> {
    let control = random::<32>()?;
    guest.vm.write_file("/run/control", &control)?;
    let all: Vec<(String, Vec<u8>)> = secrets
        .iter()
        .chain([&("the control", &control[..])])
        .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
        .collect();
    let found = guest.while_stopped(|vm| Found::search(vm.ram()?, &all))?;
    ensure!(
        found.whole("the control").is_some(),
        "the control was not found"
    );
    for (name, _) in secrets {
        let places = found.all(name);
        ensure!(places.is_empty(), "RAM holds {name} at {places:x?}");
    }
    guest.vm.check("rm /run/control").map(drop)
}

/// Starts the agent in the background of the guest's shell, whose terminal it has.
fn start(guest: &mut Guest, program: &str, arguments: &str) -> Result<()> {
    guest.vm.check(&format!(
        "rm -f {STATUS}; ({program} agent --verbose {arguments}; echo $? >{STATUS}) 2>&1 </dev/null | \
         cat >{LOG} &"
    ))?;
    wait_for(guest, "armed, key")
}

/// Waits until the agent has printed this.
fn wait_for(guest: &mut Guest, text: &str) -> Result<()> {
    guest.wait(
        Duration::from_secs(10),
        &format!("{text:?} of the agent"),
        |guest| Ok(guest.vm.check(&format!("cat {LOG}"))?.contains(text)),
    )
}

/// Ends the agent, which must be as clean as it says.
fn end(guest: &mut Guest) -> Result<()> {
    guest.vm.check("kill $(pidof tresorctl)")?;
    ended(guest, 0)
}

fn ended(guest: &mut Guest, status: i32) -> Result<()> {
    let said = guest.vm.check(&format!(
        "while [ ! -e {STATUS} ]; do usleep 10000; done; cat {STATUS}"
    ))?;
    ensure!(
        said == status.to_string(),
        "the agent ended with {said} and said {:?}",
        guest.vm.check(&format!("cat {LOG}"))?
    );
    guest.vm.check(&format!("rm -f {DESCRIPTION}")).map(drop)
}

/// Locks the key.
fn lock() -> String {
    format!("{PROGRAM} ioctl nr={LOCK:x}")
}

/// Waits until the key is loaded, as long as the agent has the terminal.
const UNTIL_ARMED: &str =
    "until tresorctl status --armed >/dev/null; do usleep 20000; done; usleep 300000";

/// Types answers to the agent, each to the question that it follows; what was on the terminal.
fn type_to(guest: &mut Guest, command: &str, answers: &[(&str, &str)]) -> Result<String> {
    let prompts: Vec<Prompt<'_>> = answers
        .iter()
        .map(|(question, answer)| Prompt {
            question,
            answer: answer.as_bytes(),
        })
        .collect();
    let output = guest.vm.run_with_prompts(command, &prompts)?;
    ensure!(output.success(), "{command}: {}", output.text());
    Ok(output.text())
}

fn ensure_said(said: &str, text: &str) -> Result<()> {
    ensure!(said.contains(text), "{text:?} was not said, but: {said}");
    Ok(())
}

pub(super) fn the_agent_asks_until_the_key_is_back_and_what_waited_goes_on(
    guest: &mut Guest,
) -> Result<()> {
    let (right, id) = begin(guest)?;
    let m = derive(&guest.vm.read_file(DESCRIPTION)?, right.as_bytes())?;
    let wrong = passphrase()?;
    guest.open_filled("agent", &random::<64>()?, 91)?;
    start(guest, "tresorctl", "")?;
    let before = guest.status()?;
    guest.start_disk(
        "agent",
        &format!("dev={DEVICE} seed=91 mode=write seconds=1"),
    )?;
    let said = type_to(
        guest,
        &format!("usleep 200000; {}; {UNTIL_ARMED}", lock()),
        &[
            (QUESTION, &wrong),
            (QUESTION, ""),
            (QUESTION, &"long ".repeat(300)),
            (QUESTION, &right),
        ],
    )?;
    for text in [
        format!("tresor: key {id} is locked (1 volume open, "),
        format!("wrong passphrase: it does not give key {id}"),
        "the passphrase is empty".into(),
        "that is too long for a passphrase".into(),
        format!("key {id} is loaded on 2 of 2 CPUs"),
        "that waited for it went on".into(),
    ] {
        ensure_said(&said, &text)?;
    }
    ensure!(!said.contains(&right), "the passphrase was echoed");
    let tally = guest.end_disk("agent")?;
    ensure!(tally.failed == 0 && tally.right > 0, "{tally:?}");
    let after = guest.ensure_state(STATE_ARMED)?;
    ensure!(
        after.parked > before.parked && after.waiting == 0,
        "nothing was parked: {before:?}, then {after:?}"
    );
    guest.expect(
        &format!("cat {LOG}"),
        0,
        &format!("armed, key {id}\nlocked, key {id}\narmed, key {id}"),
    )?;
    guest.verify(DEVICE, 91)?;
    // It is still there, and waits.
    ensure_not_in_ram(
        guest,
        &[
            ("M", &m),
            ("the passphrase", right.as_bytes()),
            ("the wrong passphrase", wrong.as_bytes()),
        ],
    )?;
    end(guest)?;
    guest.close_volume("agent")
}

pub(super) fn the_agent_stops_asking_when_it_need_not_and_asks_again_when_told(
    guest: &mut Guest,
) -> Result<()> {
    let (right, id) = begin(guest)?;
    guest
        .vm
        .write_file("/run/pass", format!("{right}\n").as_bytes())?;
    start(guest, "tresorctl", "")?;

    // Someone else loads the key.
    let load = "tresorctl load --passphrase-stdin </run/pass";
    let said = type_to(
        guest,
        &format!("{}; usleep 500000; {load}; usleep 500000", lock()),
        &[],
    )?;
    ensure_said(
        &said,
        &format!("key {id} was loaded by someone else: not asking any more"),
    )?;

    // Someone else gives it up.
    let said = type_to(
        guest,
        &format!(
            "{}; usleep 500000; tresorctl clear; usleep 500000; {load}",
            lock()
        ),
        &[],
    )?;
    ensure_said(
        &said,
        &format!("not asking for key {id} any more: the state is empty"),
    )?;

    // It is another key, of which it says so again when it is told to ask.
    let other = "use `tresorctl load` for it";
    let said = type_to(
        guest,
        &format!(
            "tresorctl clear; tresorctl load --random; {}; usleep 900000; tresorctl clear; \
             usleep 200000; {load}; usleep 200000",
            lock()
        ),
        &[(other, "")],
    )?;
    ensure!(
        said.matches(&format!("describes key {id}: {other}"))
            .count()
            == 2,
        "it does not say twice that this is not its key: {said}"
    );

    // The user does not want to, at first.
    let again = "press Enter to be asked again";
    let said = type_to(
        guest,
        &format!("{}; {UNTIL_ARMED}", lock()),
        &[(QUESTION, "not now\x03"), (again, ""), (QUESTION, &right)],
    )?;
    ensure_said(&said, &format!("key {id} stays locked: {again}"))?;
    guest.ensure_state(STATE_ARMED)?;

    // Told to end at the question, it leaves the terminal as it was.
    let said = type_to(
        guest,
        &format!(
            "before=$(stty -g); {}; usleep 500000; [ \"$before\" = \"$(stty -g)\" ] || echo set; \
             kill $(pidof tresorctl); while [ ! -e {STATUS} ]; do usleep 10000; done; \
             [ \"$before\" = \"$(stty -g)\" ] && echo restored",
            lock()
        ),
        &[],
    )?;
    ensure!(
        said.contains("set") && said.contains("restored"),
        "the terminal is not as it was: {said}"
    );
    ended(guest, 0)?;
    guest.ensure_state(STATE_LOCKED)?;
    guest.vm.check("rm /run/pass").map(drop)
}

/// What the agent has open, and where its memory is.
fn files(guest: &mut Guest) -> Result<String> {
    guest
        .vm
        .check("cd /proc/$(pidof tresorctl)/fd; for f in *; do echo $f $(readlink $f); done")
}

/// Fails unless all memory of the agent is locked, and there.
fn ensure_resident(guest: &mut Guest) -> Result<()> {
    let maps = guest.vm.check("cat /proc/$(pidof tresorctl)/smaps")?;
    let (mut locked, mut mapping) = (0, String::new());
    let (mut size, mut rss) = (0, 0);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (name, value) = (words.next().unwrap_or_default(), words.next());
        let kib = || value.unwrap_or_default().parse::<u64>();
        match name {
            "Size:" => size = kib()?,
            "Rss:" => rss = kib()?,
            "VmFlags:" => {
                // The kernel's own pages in each process, and guards, have no contents to lose.
                if mapping.contains("[v")
                    || mapping.contains(" ---p ")
                    || mapping.contains(" ---s ")
                {
                    continue;
                }
                let flags: Vec<&str> = line.split_whitespace().collect();
                ensure!(
                    flags.contains(&"lo") && rss == size,
                    "{rss} of {size} KiB are in RAM of {mapping}: {line}"
                );
                locked += size;
            }
            _ if !name.ends_with(':') => line.clone_into(&mut mapping),
            _ => {}
        }
    }
    let said = guest
        .vm
        .check("grep VmLck /proc/$(pidof tresorctl)/status")?;
    let lck: u64 = said
        .split_whitespace()
        .nth(1)
        .with_context(|| format!("no VmLck in {said:?}"))?
        .parse()?;
    ensure!(
        locked > 4096 && lck >= locked,
        "{said}, and {locked} KiB are locked"
    );
    guest.remark(&format!("{lck} KiB are locked, all in RAM"));
    Ok(())
}

pub(super) fn the_agent_may_lie_on_a_volume_that_waits(guest: &mut Guest) -> Result<()> {
    let (right, id) = begin(guest)?;
    guest.ram_disk()?;
    guest.open_volume("agent", &random::<64>()?, super::disks::RAM_DISK, &[])?;
    guest.vm.check(&format!(
        "mkfs.ext4 -q {DEVICE} && mkdir -p /mnt/agent && mount -t ext4 {DEVICE} /mnt/agent && \
         cp /usr/bin/tresorctl {DESCRIPTION} /mnt/agent && head -c 100000 /dev/urandom >/mnt/agent/data && \
         sync && umount /mnt/agent && mount -t ext4 {DEVICE} /mnt/agent"
    ))?;
    start(
        guest,
        "/mnt/agent/tresorctl",
        "--description /mnt/agent/key.toml",
    )?;
    // The description itself is not needed any more, nor anything that was only read.
    guest.vm.check(
        "rm /mnt/agent/key.toml && sync && echo 3 >/proc/sys/vm/drop_caches && \
         (cat /mnt/agent/data >/run/data 2>&1; echo $? >/run/data.status) </dev/null >/dev/null 2>&1 && \
         echo 3 >/proc/sys/vm/drop_caches",
    )?;
    ensure_resident(guest)?;
    let before = files(guest)?;
    let said = type_to(
        guest,
        &format!(
            "rm /run/data.status; {}; \
             (cat /mnt/agent/data >/run/data; echo $? >/run/data.status) </dev/null >/dev/null 2>&1 & \
             usleep 500000; [ -e /run/data.status ] || echo it waits; {UNTIL_ARMED}",
            lock()
        ),
        &[("it waits", ""), (QUESTION, "wrong"), (QUESTION, &right)],
    )?;
    ensure_said(
        &said,
        &format!("wrong passphrase: it does not give key {id}"),
    )?;
    guest.ensure_state(STATE_ARMED)?;
    guest.vm.check(
        "while [ ! -e /run/data.status ]; do usleep 10000; done; cmp /run/data /mnt/agent/data",
    )?;
    ensure_resident(guest)?;
    let after = files(guest)?;
    ensure!(before == after, "open were {before}, and then {after}");
    end(guest)?;
    guest.vm.check("umount /mnt/agent; rm -f /run/data*")?;
    guest.close_volume("agent")
}

pub(super) fn after_a_suspend_the_agent_asks_and_io_goes_on(guest: &mut Guest) -> Result<()> {
    const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";
    if !guest.vm.run(&format!("[ -e {ALARM} ]"))?.success() {
        return Err(Skip("nothing wakes this kernel".into()).into());
    }
    let (right, id) = begin(guest)?;
    guest.open_filled("agent", &random::<64>()?, 92)?;
    start(guest, "tresorctl", "")?;
    let before = guest.status()?;
    guest.start_disk(
        "agent",
        &format!("dev={DEVICE} seed=92 mode=write seconds=3"),
    )?;
    let said = type_to(
        guest,
        &format!("echo +3 >{ALARM} && echo mem >/sys/power/state && {UNTIL_ARMED}"),
        &[(QUESTION, "wrong"), (QUESTION, &right)],
    )?;
    ensure_said(
        &said,
        &format!("tresor: key {id} is locked (1 volume open, "),
    )?;
    let tally = guest.end_disk("agent")?;
    ensure!(tally.failed == 0 && tally.right > 0, "{tally:?}");
    let after = guest.ensure_state(STATE_ARMED)?;
    ensure!(
        after.parked > before.parked,
        "nothing was parked: {before:?}, then {after:?}"
    );
    guest.verify(DEVICE, 92)?;
    end(guest)?;
    guest.close_volume("agent")
}

pub(super) fn the_agent_ends_when_the_module_is_forced_out(guest: &mut Guest) -> Result<()> {
    begin(guest)?;
    start(guest, "tresorctl", "")?;
    let said = guest.vm.run("rmmod tresor")?;
    ensure!(
        said.text().contains("Module tresor is in use"),
        "rmmod said {:?}",
        said.text()
    );
    // It says that this taints the kernel.
    guest.provokes_complaints();
    guest.vm.check("rmmod -f tresor")?;
    ended(guest, 3)?;
    guest.expect(
        &format!("tail -n 1 {LOG}"),
        0,
        "error: the module was unloaded: there is nothing that the key could be loaded into",
    )
}
