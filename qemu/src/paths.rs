// SPDX-License-Identifier: GPL-2.0-or-later

//! Where artefacts go.

use std::path::{Path, PathBuf};

/// The folder of the workspace's `Cargo.toml`.
pub fn workspace_dir() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The workspace's `target/`, where everything that a run leaves behind belongs.
///
/// This is not cargo's target directory if that was moved elsewhere: users look for dumps and logs
/// in one place.
pub fn target_dir() -> PathBuf {
    workspace_dir().join("target")
}
