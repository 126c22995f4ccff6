// SPDX-License-Identifier: GPL-2.0-or-later

//! The oracle of stores: every store of every CPU since power-on, compared with the secrets.

use anyhow::Result;
use tresor_qemu::{Forms, Hit, ShareLine, StoreWatch};

use super::bench::Bench;
use super::cell::Oracle;
use crate::vmtest::secrets::Look;

/// What the watch calls the stock volume's key.
const CONTROL: &str = "control";

impl Bench {
    /// Tells the watch, if the scenario has it, what to look for; `look` shows where the shares are.
    pub(super) fn tell_the_watch(&mut self, look: &Look) -> Result<()> {
        if !self.has(Oracle::Stores) {
            return Ok(());
        }
        let lines: Vec<ShareLine> = (0..)
            .zip(&look.shares)
            .filter_map(|(cpu, line)| line.map(|address| ShareLine { cpu, address }))
            .collect();
        let known = &self.known;
        let watch = self.guest.vm.store_watch()?;
        watch.add_secret("M", &known.m, Forms::Aes)?;
        watch.add_secret("K1 K2", &known.effective, Forms::Xts)?;
        watch.add_secret("the passphrase", known.passphrase.as_bytes(), Forms::Plain)?;
        watch.add_secret(CONTROL, &known.control, Forms::Xts)?;
        watch.follow_shares(&known.m, &lines)
    }

    /// Tells the watch, if the scenario has it, of volume keys that have just become known.
    ///
    /// # Errors
    /// If the watch does not answer.
    pub(super) fn tell_the_watch_of_volumes(&mut self) -> Result<()> {
        if !self.has(Oracle::Stores) {
            return Ok(());
        }
        let known = &self.known;
        let watch = self.guest.vm.store_watch()?;
        watch.add_secret("K1 K2 of LUKS", &known.effective, Forms::Xts)?;
        let name = format!("{CONTROL} of LUKS");
        watch.add_secret(&name, &known.control, Forms::Xts)
    }

    /// Asks the oracle of stores about all that happened until now; once, at the end of a scenario.
    /// Its control is that the keys of the stock volume were seen as they were stored.
    ///
    /// # Errors
    /// If the watch does not answer, or the scenario does not list the oracle.
    pub fn ask_stores(&mut self) -> Result<()> {
        let watch = self.guest.vm.store_watch()?;
        let report = StoreWatch::report(watch)?;
        let of_control = |hit: &&Hit| hit.secret.starts_with(CONTROL);
        let missing = report
            .hits
            .iter()
            .all(|hit| !of_control(&hit))
            .then(|| "no store of the stock volume's keys".to_owned());
        let findings = report.findings().filter(|hit| !of_control(hit));
        let mut findings: Vec<String> = findings.map(line).collect();
        if report.omitted > 0 {
            // They may be the control's, but nobody knows.
            findings.push(format!("{} stores that were not listed", report.omitted));
        }
        self.cell(Oracle::Stores)?.stores_checked = Some(report.stores_checked);
        self.answer(Oracle::Stores, missing, findings)
    }
}

fn line(hit: &Hit) -> String {
    let end = match (&hit.overwritten_by, hit.resident) {
        (_, true) => "still in RAM".to_owned(),
        (Some(by), _) => format!("overwritten by {by}"),
        (None, _) => "no longer in RAM".to_owned(),
    };
    format!(
        "{} bytes of {} stored by {} [{}] at {:#x}, {} times, {end}",
        hit.bytes, hit.secret, hit.symbol, hit.process, hit.address, hit.count
    )
}
