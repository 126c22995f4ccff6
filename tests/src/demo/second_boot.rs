// SPDX-License-Identifier: GPL-2.0-or-later

//! Who can open the volume after a reboot, and who cannot.

use anyhow::{ensure, Context, Result};

use super::first_boot::First;
use super::Demo;
use crate::kernel_log::complaints;
use crate::master;
use crate::report::SecondBoot;
use crate::timeline::Timeline;
use crate::vmtest::secrets::passphrase;

impl Demo<'_> {
    pub(super) fn second_boot(&self, first: &First, timeline: &mut Timeline) -> Result<SecondBoot> {
        let vm = &mut timeline.step("boot again", || self.boot("demo-again"))?;
        let wrong_passphrase = timeline.step("try a wrong passphrase for this key", || {
            vm.write_file(master::DESCRIPTION, &first.description)?;
            let output = master::load(vm, &passphrase()?)?;
            ensure!(!output.success(), "tresorctl took a wrong passphrase");
            Ok(master::last_line(&output))
        })?;
        timeline.note(&wrong_passphrase);

        let (other_key_id, refusal) =
            timeline.step("load another key, try to open the volume with it", || {
                vm.check(&format!("rm {}", master::DESCRIPTION))?;
                master::create(vm, &passphrase()?)?;
                let key_id = master::status(vm)?.key_id.context("no key is loaded")?;
                Ok((key_id, self.tresor.try_open(vm)?))
            })?;
        timeline.note(&format!(
            "key id {other_key_id}; cryptsetup says: {} (exit status {})",
            refusal.text(),
            refusal.status
        ));

        let files_verified = timeline.step("load the first key again, open, verify", || {
            vm.check("tresorctl clear")?;
            vm.write_file(master::DESCRIPTION, &first.description)?;
            let output = master::load(vm, &self.passphrase)?;
            ensure!(output.success(), "tresorctl load: {}", output.text());
            // The image shall stay as the first boot left it and took its sample.
            self.tresor.open_read_only(vm)?;
            self.verified(vm, &[&self.tresor])
        })?;
        self.tresor.unmount(vm)?;
        self.tresor.close(vm)?;
        Ok(SecondBoot {
            other_key_id,
            wrong_passphrase,
            cryptsetup: refusal.text(),
            cryptsetup_status: refusal.status,
            files_verified,
            complaints: complaints(&vm.console().text()?),
        })
    }
}
