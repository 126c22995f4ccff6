// SPDX-License-Identifier: GPL-2.0-or-later

//! The oracle of stores.
use super::bench::Bench;
use super::cell::Oracle;
use anyhow::Result;
impl Bench {
    /// Placeholder until the watch is merged.
    pub fn ask_stores(&mut self) -> Result<()> {
        if self.has(Oracle::Stores) {
            self.answer(
                Oracle::Stores,
                Some("the watch is not there".into()),
                Vec::new(),
            )?;
        }
        Ok(())
    }
}
