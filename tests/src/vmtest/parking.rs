// SPDX-License-Identifier: GPL-2.0-or-later

//! I/O that meets a locked key: it waits, and nothing of it is lost.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};
use tresor_uapi::{CLEAR_FORCE, STATE_ARMED, STATE_EMPTY, STATE_LOCKED};

use super::disks::{Tally, BYTES};
use super::guest::Guest;
use super::secrets::{random, Key};

/// Every way in which dm-crypt hands out its work.
const WAYS: [&[&str]; 6] = [
    &[],
    &["no_read_workqueue"],
    &["no_write_workqueue"],
    &["no_read_workqueue", "no_write_workqueue"],
    &["same_cpu_crypt"],
    &["submit_from_crypt_cpus"],
];

/// Two disks: one in RAM, whose I/O ends at once where it began, and one whose I/O takes its time.
const DISKS: [&str; 2] = ["/dev/ram0", "/dev/disk/slow"];

/// Adds the second disk.
pub(super) fn machine(usual: tresor_qemu::VmConfig) -> tresor_qemu::VmConfig {
    super::disks::with_disk(usual.smp("4"), "parking", "slow", 32 << 20)
}

/// What ends [`start_io`].
const STOP: &str = "/run/stop";

/// How long a process may be without a whole round, whatever is done to the machine.
const STALL: Duration = Duration::from_secs(120);

/// Two volumes, one on each disk, each with two processes that write, read back and compare.
pub(crate) struct Busy {
    blobs: Vec<[u8; 64]>,
    /// By process: the sectors it had written when it was last asked, and since when they are so many.
    rounds: Vec<(u64, Instant)>,
    /// Usually [`STALL`].
    stall: Duration,
}

/// What [`Busy`] has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Sectors of 512 bytes that were written.
    pub(crate) written: u64,
    /// Sectors that were read back and were right.
    pub(crate) verified: u64,
    /// Requests that failed.
    pub(crate) failed: u64,
    /// Bytes that came back as something else.
    pub(crate) wrong: u64,
}

impl Busy {
    /// Opens the volumes and starts.
    pub(crate) fn start(guest: &mut Guest, options: &[&str]) -> Result<Self> {
        guest.ram_disk()?;
        guest.vm.check(&format!("rm -f {STOP}"))?;
        let mut blobs = Vec::new();
        for (n, disk) in DISKS.iter().enumerate() {
            let blob = random::<64>()?;
            guest.open_volume(&format!("busy{n}"), &blob, disk, options)?;
            blobs.push(blob);
        }
        for (name, volume, at) in Self::processes() {
            let seed = u64::from_le_bytes(random()?);
            guest.start_disk(
                &name,
                &format!(
                    "dev=/dev/mapper/{volume} at={at} seed={seed} mode=cycle stop={STOP} \
                     progress=/run/{name}.progress"
                ),
            )?;
        }
        Ok(Self {
            blobs,
            rounds: Self::processes().map(|_| (0, Instant::now())).collect(),
            stall: STALL,
        })
    }

    /// The blobs of the volumes `busy0` and `busy1`.
    pub(crate) fn blobs(&self) -> &[[u8; 64]] {
        &self.blobs
    }

    /// The processes: name, volume, and where they begin.
    fn processes() -> impl Iterator<Item = (String, String, u64)> {
        (0..4).map(|n| (format!("io{n}"), format!("busy{}", n / 2), n % 2 * BYTES))
    }

    /// What was done so far, as of the last whole round of each process.
    ///
    /// # Errors
    /// If a process has ended, or gets nothing done any more.
    pub(crate) fn progress(&mut self, guest: &mut Guest) -> Result<Done> {
        let mut done = Done::default();
        for ((name, ..), (written, since)) in Self::processes().zip(&mut self.rounds) {
            guest.ensure_disk_runs(&name)?;
            let said = guest.vm.run(&format!("cat /run/{name}.progress"))?;
            if said.success() {
                let tally = Tally::read(&(said.text() + " seed=0"))?;
                if tally.written != *written {
                    (*written, *since) = (tally.written, Instant::now());
                }
                done.add(&tally);
            }
            let stall = guest.vm.limit(self.stall);
            if since.elapsed() > stall {
                let blocked = guest.blocked_tasks()?;
                bail!("{name} has done nothing for {stall:?}\n{blocked}");
            }
        }
        Ok(done)
    }

    /// Ends as [`Busy::end`] does, and fails if a request failed, or something was wrong.
    pub(crate) fn end_well(self, guest: &mut Guest) -> Result<Done> {
        let done = self.end(guest)?;
        ensure!(
            done.failed == 0 && done.wrong == 0 && done.verified != 0,
            "{done:?}"
        );
        Ok(done)
    }

    /// Ends the processes, reads all once more, and closes the volumes.
    pub(crate) fn end(self, guest: &mut Guest) -> Result<Done> {
        guest.vm.check(&format!("touch {STOP}"))?;
        let mut done = Done::default();
        for (name, volume, at) in Self::processes() {
            let tally = Tally::read(&guest.end_disk_text(&name)?)?;
            done.add(&tally);
            let again = guest.program(&format!(
                "disk bytes={BYTES} dev=/dev/mapper/{volume} at={at} seed={} mode=read",
                tally.seed
            ))?;
            done.add(&Tally::read(&again)?);
        }
        for n in 0..DISKS.len() {
            guest.close_volume(&format!("busy{n}"))?;
        }
        Ok(done)
    }
}

impl Done {
    fn add(&mut self, tally: &Tally) {
        self.written += tally.written;
        self.verified += tally.verified;
        self.failed += tally.failed;
        self.wrong += tally.wrong;
    }
}

/// Waits until requests are parked.
pub(crate) fn until_parked(guest: &mut Guest) -> Result<()> {
    guest.wait(Duration::from_secs(10), "parked request", |guest| {
        Ok(guest.ensure_state(STATE_LOCKED)?.waiting != 0)
    })
}

/// Loads the key, after which nothing waits for long.
pub(crate) fn resume(guest: &mut Guest, key: &Key) -> Result<()> {
    guest.load(key)?;
    guest.wait(Duration::from_secs(10), "end of the waiting", |guest| {
        let status = guest.ensure_state(STATE_ARMED)?;
        Ok(status.waiting == 0 && status.cpus_armed == status.cpus_online)
    })
}

/// The control of what the soak looks at after each fault.
pub(super) fn a_process_that_gets_nothing_done_is_noticed(guest: &mut Guest) -> Result<()> {
    // The kernel shows what its blocked tasks wait in.
    guest.provokes_complaints();
    let key = guest.insert_and_load()?;
    let mut busy = Busy::start(guest, &[])?;
    busy.progress(guest)?;
    ensure!(guest.lock()? == "ok", "it cannot be locked");
    until_parked(guest)?;
    busy.stall = Duration::from_secs(5);
    let mut said = String::new();
    guest.wait(Duration::from_secs(20), "word of it", |guest| {
        said = busy
            .progress(guest)
            .err()
            .map_or(said.clone(), |e| e.to_string());
        Ok(!said.is_empty())
    })?;
    ensure!(
        said.contains("has done nothing") && said.contains("task:tresor-guest"),
        "another error: {said}"
    );
    resume(guest, &key)?;
    busy.end_well(guest).map(drop)
}

pub(super) fn io_that_meets_a_lock_waits_for_the_key_whatever_dm_crypt_does(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    let mut verified = 0;
    for options in WAYS {
        let busy = Busy::start(guest, options)?;
        for _ in 0..3 {
            ensure!(guest.lock()? == "ok", "it cannot be locked");
            guest.look(&key)?.ensure_clear()?;
            until_parked(guest)?;
            let before = guest.status()?;
            let said = guest.program_with_key("load", &Key::random()?)?;
            ensure!(said == "EKEYREJECTED", "another key: {said}");
            let after = guest.status()?;
            ensure!(
                after.state == STATE_LOCKED && after.waiting >= before.waiting,
                "a refused key changed something: {before:?}, {after:?}"
            );
            thread::sleep(Duration::from_millis(300));
            resume(guest, &key)?;
        }
        verified += busy.end_well(guest)?.verified;
    }
    let status = guest.status()?;
    ensure!(status.parked > 0 && status.volumes == 0, "{status:?}");
    guest.remark(&format!(
        "{} requests parked, {verified} sectors verified, none failed",
        status.parked
    ));
    Ok(())
}

/// The algorithms, and bytes of a blob.
const ALGORITHMS: [(&str, u32); 5] = [
    ("xts(tresor)", 64),
    ("cbc(tresor)", 24),
    ("ctr(tresor)", 16),
    ("ecb(tresor)", 32),
    ("essiv(cbc(tresor),sha256)", 32),
];

pub(super) fn a_request_of_many_sections_goes_on_where_it_stopped(guest: &mut Guest) -> Result<()> {
    guest.vm.check("modprobe tresor_test")?;
    let key = guest.insert_and_load()?;
    let before = guest.status()?;
    let seconds = guest.seconds(4);
    for (algorithm, blob) in ALGORITHMS {
        // Six sections, cut in odd ways, in contexts that may sleep and that may not.
        let len = if algorithm.starts_with("ecb") || algorithm.contains("cbc") {
            20_480
        } else {
            20_477
        };
        guest.vm.check(&format!(
            "(echo 'endure {algorithm} {blob} {len} {seconds}' >/proc/tresor_test; echo $? >/run/endured) \
             2>/run/endure.error &"
        ))?;
        for round in 0..20 {
            for cpu in 0..3 {
                guest
                    .vm
                    .check(&format!("echo 'clobber {cpu}' >/proc/tresor_test"))?;
            }
            if round % 5 == 4 {
                ensure!(guest.lock()? == "ok", "it cannot be locked");
            }
            // Something may have lost it everywhere, which is no error.
            guest.load(&key)?;
        }
        guest.wait(Duration::from_secs(60), "end of the requests", |guest| {
            Ok(guest.vm.run("[ -e /run/endured ]")?.success())
        })?;
        let said = guest
            .vm
            .check("cat /run/endured /run/endure.error; rm /run/endured")?;
        ensure!(said == "0", "{algorithm}: {said}");
    }
    let after = guest.status()?;
    ensure!(
        after.hopped > before.hopped && after.parked > before.parked,
        "{after:?}"
    );
    guest.remark(&format!(
        "{} requests hopped, {} parked",
        after.hopped, after.parked
    ));
    Ok(())
}

pub(super) fn a_forced_clear_fails_what_waits(guest: &mut Guest) -> Result<()> {
    guest.vm.check("modprobe tresor_test")?;
    let key = guest.insert_and_load()?;
    guest.ram_disk()?;
    guest.open_filled("revoked", &random::<64>()?, 55)?;
    guest.vm.check(
        "((echo 'endure xts(tresor) 64 4096 60' | dd of=/proc/tresor_test) 2>/run/endure.new; \
         mv /run/endure.new /run/endured) &",
    )?;
    thread::sleep(Duration::from_millis(300));
    ensure!(guest.lock()? == "ok", "it cannot be locked");
    guest.start_disk("revoked", "dev=/dev/mapper/revoked seed=55 mode=read")?;
    guest.wait(Duration::from_secs(5), "two parked requests", |guest| {
        Ok(guest.status()?.waiting >= 2)
    })?;
    ensure!(guest.clear(0)? == "EBUSY", "it was cleared");
    ensure!(
        guest.clear(CLEAR_FORCE)? == "ok",
        "it was not cleared by force"
    );
    let tally = guest.end_disk("revoked")?;
    ensure!(
        tally.right == 0 && tally.error == "EIO",
        "a revoked read: {tally:?}"
    );
    guest.wait(
        Duration::from_secs(5),
        "end of the other request",
        |guest| Ok(guest.vm.run("[ -e /run/endured ]")?.success()),
    )?;
    let said = guest.vm.check("cat /run/endured; rm /run/endured")?;
    ensure!(
        said.contains("Key has been revoked"),
        "a revoked request says {said}"
    );
    let status = guest.ensure_state(STATE_EMPTY)?;
    ensure!(status.waiting == 0, "{status:?}");
    // Later requests fail as well, until the same key is back.
    let tally = guest.disk("dev=/dev/mapper/revoked seed=55 mode=read")?;
    ensure!(tally.right == 0 && tally.error == "EIO", "{tally:?}");
    guest.load(&key)?;
    guest.verify("/dev/mapper/revoked", 55)?;
    guest.close_volume("revoked")
}

pub(super) fn a_new_volume_wants_the_key_and_an_open_one_only_its_return(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    guest.open_filled("old", &random::<64>()?, 56)?;
    ensure!(guest.lock()? == "ok", "it cannot be locked");
    let new = guest.try_open_volume(
        "new",
        "tresor-xts-plain64",
        &random::<64>()?,
        "/dev/ram0",
        &[],
    )?;
    ensure!(
        new.is_err_and(|said| said.contains("Required key not available")),
        "a new volume was opened while the key is locked"
    );
    // What luksSuspend and luksResume do.
    let blob = hex::encode(random::<64>()?);
    guest.vm.check(&format!(
        "dmsetup suspend old && dmsetup message old 0 key wipe && \
         dmsetup message old 0 key set {blob} && dmsetup resume old"
    ))?;
    guest.start_disk("old", "dev=/dev/mapper/old seed=57 mode=write")?;
    until_parked(guest)?;
    resume(guest, &key)?;
    let tally = guest.end_disk("old")?;
    ensure!(tally.failed == 0, "{tally:?}");
    guest.verify("/dev/mapper/old", 57)?;
    guest.close_volume("old")
}

pub(super) fn a_table_may_be_suspended_and_replaced_while_requests_wait(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    let blob = random::<64>()?;
    guest.open_filled("table", &blob, 58)?;
    ensure!(guest.lock()? == "ok", "it cannot be locked");
    guest.start_disk("table", "dev=/dev/mapper/table seed=58 mode=read")?;
    until_parked(guest)?;
    // In use: refused. A suspend waits for the request, as any does.
    ensure!(
        !guest.vm.run("dmsetup remove table")?.success(),
        "a volume in use was removed"
    );
    guest
        .vm
        .check("(dmsetup suspend table; echo $? >/run/suspended) >/dev/null 2>&1 &")?;
    thread::sleep(Duration::from_millis(500));
    ensure!(
        !guest.vm.run("[ -e /run/suspended ]")?.success(),
        "it was suspended although a request waits"
    );
    resume(guest, &key)?;
    guest.wait(Duration::from_secs(5), "end of the suspend", |guest| {
        Ok(guest
            .vm
            .run("cat /run/suspended; rm /run/suspended")?
            .text()
            == "0")
    })?;
    let table = format!(
        "0 $(blockdev --getsz /dev/ram0) crypt tresor-xts-plain64 {} 0 /dev/ram0 0",
        hex::encode(blob)
    );
    // The new table's tfm is keyed while the key is there; its requests wait as well.
    guest
        .vm
        .check(&format!("dmsetup reload table --table \"{table}\""))?;
    ensure!(guest.lock()? == "ok", "it cannot be locked");
    guest.vm.check("dmsetup resume table")?;
    until_parked(guest)?;
    resume(guest, &key)?;
    let tally = guest.end_disk("table")?;
    ensure!(tally.failed == 0, "{tally:?}");
    guest.verify("/dev/mapper/table", 58)?;
    guest.close_volume("table")
}

pub(super) fn forcing_the_module_out_fails_what_waits_and_ends_with_the_last_volume(
    guest: &mut Guest,
) -> Result<()> {
    guest.provokes_complaints();
    guest.spend();
    let key = guest.insert_and_load()?;
    guest.open_filled("forced", &random::<64>()?, 59)?;
    ensure!(guest.lock()? == "ok", "it cannot be locked");
    guest.start_disk("forced", "dev=/dev/mapper/forced seed=59 mode=read")?;
    until_parked(guest)?;
    guest
        .vm
        .check("(rmmod -f tresor; echo $? >/run/forced) >/dev/null 2>&1 &")?;
    let tally = guest.end_disk("forced")?;
    ensure!(tally.right == 0 && tally.error == "EIO", "{tally:?}");
    let tally = guest.disk("dev=/dev/mapper/forced seed=59 mode=write")?;
    ensure!(tally.right == 0 && tally.error == "EIO", "{tally:?}");
    ensure!(
        !guest.vm.run("[ -e /run/forced ]")?.success(),
        "the module is gone although a volume is open"
    );
    guest.close_volume("forced")?;
    guest.wait(Duration::from_secs(5), "end of rmmod", |guest| {
        Ok(guest.vm.run("cat /run/forced")?.text() == "0")
    })?;
    guest.insert()?;
    guest.load(&key)?;
    guest.look_armed(&key)?;
    let log = guest.vm.console().text()?;
    for bad in ["BUG", "Oops", "general protection"] {
        ensure!(!log.contains(bad), "the kernel's log has {bad}");
    }
    Ok(())
}
