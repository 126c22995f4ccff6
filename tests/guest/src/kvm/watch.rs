// SPDX-License-Identifier: GPL-2.0-or-later

//! What the module says of the CPUs while guests run, and after.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tresor_uapi::{
    Cpu, Status, CPU, CPU_ARMED, CPU_LOST, STATE_ARMED, STATE_EMPTY, STATE_LOCKED, STATUS,
};

use crate::device::{call, open};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(3);

/// How long CPUs may take to be armed again before it is called never.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// CPUs that were found to have lost the key, as often as they were.
    lost: u64,
    /// ... that were found armed again after that.
    armed: u64,
    /// Fewest CPUs that held the key at once.
    fewest: Option<u32>,
    locked: bool,
    /// Most requests that waited.
    waiting: u32,
    /// When a CPU was last seen without the key.
    pub(crate) unarmed: Option<Instant>,
}

fn status(device: &File) -> Result<Status> {
    let mut status = Status::default();
    call(device.as_raw_fd(), STATUS, &raw mut status as usize).context("STATUS fails")?;
    Ok(status)
}

fn state(device: &File, cpu: usize) -> Result<u32> {
    let mut state = Cpu {
        cpu: cpu as u32,
        state: 0,
    };
    call(device.as_raw_fd(), CPU, &raw mut state as usize).context("CPU fails")?;
    Ok(state.state)
}

/// Does `work` and watches these CPUs meanwhile.
pub(crate) fn during(cpus: &[usize], work: impl FnOnce() -> Result<()>) -> Result<Seen> {
    let Ok(device) = open() else {
        work()?;
        return Ok(Seen::default());
    };
    let mut seen = Seen::default();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| seen.watch(&device, cpus, &over));
        let result = work();
        over.store(true, Ordering::Relaxed);
        let watched = watcher.join();
        result.and(watched.unwrap_or_else(|_| anyhow::bail!("the watching thread panicked")))
    })?;
    Ok(seen)
}

impl Seen {
    fn watch(&mut self, device: &File, cpus: &[usize], over: &AtomicBool) -> Result<()> {
        let mut before = vec![CPU_ARMED; cpus.len()];
        let mut ended: Option<Instant> = None;
        loop {
            let status = status(device)?;
            self.locked |= status.state == STATE_LOCKED;
            self.waiting = self.waiting.max(status.waiting);
            let fewest = self.fewest.unwrap_or(u32::MAX);
            self.fewest = Some(fewest.min(status.cpus_armed));
            if status.cpus_armed != status.cpus_online {
                self.unarmed = Some(Instant::now());
            }
            for (before, &cpu) in before.iter_mut().zip(cpus) {
                let now = state(device, cpu)?;
                self.lost += u64::from(*before != CPU_LOST && now == CPU_LOST);
                self.armed += u64::from(*before == CPU_LOST && now == CPU_ARMED);
                *before = now;
            }
            match ended {
                None if over.load(Ordering::Relaxed) => ended = Some(Instant::now()),
                None => {}
                Some(_) if status.state == STATE_EMPTY || status.state == STATE_LOCKED => {
                    return Ok(())
                }
                // What a CPU lost may not have been noticed yet: it is looked at once a second.
                Some(end) if end.elapsed() > PATIENCE => return Ok(()),
                Some(end)
                    if status.state == STATE_ARMED
                        && status.cpus_armed == status.cpus_online
                        && end.elapsed() > Duration::from_millis(1300) =>
                {
                    return Ok(())
                }
                Some(_) => {}
            }
            thread::sleep(PAUSE);
        }
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "lost={} armed={} fewest={} locked={} waiting={}",
            self.lost,
            self.armed,
            self.fewest.unwrap_or_default(),
            u8::from(self.locked),
            self.waiting
        )
    }
}
