// SPDX-License-Identifier: GPL-2.0-or-later

//! Where cargo leaves the plugins that QEMU loads.

use std::env;
use std::path::PathBuf;

use anyhow::{bail, Context, Result};

/// Our plugins for QEMU, by their packages.
pub(crate) enum Plugin {
    /// Compares every store with secrets.
    StoreWatch,
    /// Counts instructions.
    Counter,
}

impl Plugin {
    fn package(&self) -> &'static str {
        match self {
            Self::StoreWatch => "tresor-storewatch-plugin",
            Self::Counter => "tresor-counter-plugin",
        }
    }

    /// The plugin's file, which cargo built beside the running program.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) fn file(&self) -> Result<PathBuf> {
        let package = self.package();
        let name = format!("lib{}.so", package.replace('-', "_"));
        let program = env::current_exe().context("cannot tell where this program is")?;
        let folders = program.ancestors().skip(1).take(2);
        // What cargo leaves beside programs is only made when the plugin itself is asked for, and
        // may be older than what it makes as a dependency of this program.
        let places = folders.flat_map(|folder| [folder.join("deps"), folder.to_path_buf()]);
        let mut looked = Vec::new();
        for place in places.map(|folder| folder.join(&name)) {
            if place.is_file() {
                return Ok(place);
            }
            looked.push(place.display().to_string());
        }
        bail!(
            "a plugin for QEMU is not built; run cargo build -p {package} with the profile of this \
             program (looked for {})",
            looked.join(", ")
        )
    }
}
