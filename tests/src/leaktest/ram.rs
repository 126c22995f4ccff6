// SPDX-License-Identifier: GPL-2.0-or-later

//! The oracles that search RAM, and the same search in a file.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tresor_qemu::{DebugRegisters, Vm};

use super::bench::Bench;
use super::cell::Oracle;
use crate::evidence::Evidence;

/// Which CPUs must hold the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holders {
    /// Every CPU.
    Every,
    /// The first one; the others come and go.
    First,
    /// None: every debug register must be zero.
    Nobody,
}

/// How often a look is repeated that came between the two halves of a refresh: a CPU's registers and
/// its line in RAM do not fit each other then, for some nanoseconds of every second.
const LOOKS: usize = 3;

/// How long the machine runs in between.
const REST: Duration = Duration::from_millis(50);

impl Bench {
    /// Stops the machine and asks the RAM oracles of the scenario.
    ///
    /// The control of the known secrets is that S_c = M xor DR_c is found for each CPU that must
    /// hold the key, and words of the stock volume's keys; the control of the schedules is that both
    /// schedules of the stock volume are found. Returns the registers.
    ///
    /// # Errors
    /// If the machine cannot be looked at.
    pub fn look(&mut self, holders: Holders) -> Result<Vec<DebugRegisters>> {
        self.look_with(holders, true)
    }

    /// [`Bench::look`], without the search for schedules unless `schedules` asks for it.
    ///
    /// # Errors
    /// If the machine cannot be looked at.
    pub fn look_with(&mut self, holders: Holders, schedules: bool) -> Result<Vec<DebugRegisters>> {
        let schedules = schedules && self.has(Oracle::Schedules);
        let known = &self.known;
        let mut looks = Vec::new();
        let cpus = loop {
            let (cpus, evidence) = self.guest.while_stopped(|vm| {
                let cpus = vm.debug_registers()?;
                let held: Vec<_> = held(&cpus);
                Ok((cpus, Evidence::in_ram(vm.ram()?, &held, known, schedules)?))
            })?;
            let whole = missing_share(holders, &cpus, &evidence).is_none();
            looks.push(evidence);
            if whole || looks.len() == LOOKS {
                break cpus;
            }
            self.torn += 1;
            // Stopped at once again, the CPU would stand between the two halves still.
            thread::sleep(REST);
        };
        self.judge(holders, &cpus, &looks, schedules)?;
        Ok(cpus)
    }

    /// Asks the RAM oracles about a machine that is stopped already and stays so.
    ///
    /// # Errors
    /// If the machine cannot be looked at.
    pub fn look_at_stopped(&mut self, holders: Holders) -> Result<Vec<DebugRegisters>> {
        let schedules = self.has(Oracle::Schedules);
        let cpus = self.guest.vm.debug_registers()?;
        let ram = self.guest.vm.ram()?;
        let evidence = Evidence::in_ram(ram, &held(&cpus), &self.known, schedules)?;
        self.judge(holders, &cpus, &[evidence], schedules)?;
        Ok(cpus)
    }

    /// The answers that these looks, of which the last counts for the controls, give.
    fn judge(
        &mut self,
        holders: Holders,
        cpus: &[DebugRegisters],
        looks: &[Evidence],
        schedules: bool,
    ) -> Result<()> {
        let Some(last) = looks.last() else {
            return Ok(());
        };
        let mut findings: Vec<String> = looks
            .iter()
            .flat_map(|look| &look.findings)
            .filter(|finding| !looks.iter().any(|look| look.schedules.contains(finding)))
            .cloned()
            .collect();
        if holders == Holders::Nobody {
            let dirty = held(cpus);
            findings.extend(
                dirty
                    .iter()
                    .map(|cpu| format!("the debug registers of CPU {} are not zero", cpu.cpu)),
            );
        }
        let missing = missing_share(holders, cpus, last).or_else(|| {
            (last.control_words == 0).then(|| "no word of the stock volume's keys".to_owned())
        });
        self.answer(Oracle::Secrets, missing, findings)?;
        if schedules {
            let missing = last
                .control_schedules
                .contains(&0)
                .then(|| "no schedule of a key of the stock volume".to_owned());
            let findings = looks.iter().flat_map(|look| look.schedules.clone());
            self.answer(Oracle::Schedules, missing, findings.collect())?;
        }
        Ok(())
    }

    /// Adds the shares of this moment to what may never be found again. The registers are kept as
    /// they are; call it before what shall erase them.
    ///
    /// # Errors
    /// If the machine cannot be looked at.
    pub fn remember_shares(&mut self, when: &str) -> Result<()> {
        let cpus = self.guest.while_stopped(Vm::debug_registers)?;
        for cpu in held(&cpus) {
            let share = crate::evidence::share(&self.known.m, &cpu);
            for (half, bytes) in [("DR", cpu.bytes()), ("S", share)] {
                let name = format!("{half} share of CPU {} {when}", cpu.cpu);
                self.known.others.push((name, bytes.to_vec()));
            }
        }
        Ok(())
    }

    /// Asks `oracle` about a file: the same search as in RAM, of known secrets and of schedules. The
    /// control is that words of the stock volume's keys are found, unless `control` says, in words,
    /// that another one is missing or, with `Some(None)`, that it was found.
    ///
    /// # Errors
    /// If the file cannot be read, or the scenario does not list the oracle.
    pub fn search_file(
        &mut self,
        oracle: Oracle,
        file: &Path,
        registers: &[DebugRegisters],
        control: Option<Option<String>>,
    ) -> Result<()> {
        let evidence = Evidence::gather(file, &held(registers), &self.known)?;
        let missing = control.unwrap_or_else(|| {
            (evidence.control_words == 0)
                .then(|| format!("no word of the stock volume's keys in {}", evidence.file))
        });
        self.answer(oracle, missing, evidence.findings)
    }
}

fn held(cpus: &[DebugRegisters]) -> Vec<DebugRegisters> {
    let held = cpus.iter().filter(|cpu| !cpu.is_clear());
    held.copied().collect()
}

fn missing_share(holders: Holders, cpus: &[DebugRegisters], look: &Evidence) -> Option<String> {
    let needed = match holders {
        Holders::Every => cpus.len(),
        Holders::First => 1,
        Holders::Nobody => 0,
    };
    let lacks = |cpu: &&DebugRegisters| look.shares.get(&cpu.cpu).is_none_or(Vec::is_empty);
    let cpu = cpus.iter().take(needed).find(lacks)?;
    Some(if cpu.is_clear() {
        format!("the debug registers of CPU {} are zero", cpu.cpu)
    } else {
        format!("no M xor DR of CPU {}", cpu.cpu)
    })
}
