// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl may-hibernate`.

use super::print;
use crate::error::{reason, Error, Exit};
use crate::swaps::{self, Swap};
use crate::volumes;
use std::io;

/// Whether no swap in use lies on a volume of ours; says which does.
pub fn run() -> Result<Exit, Error> {
    let ours = match volumes::names() {
        // Without device-mapper there is no volume.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|e| {
            let why = reason(&e);
            Error::new(format!(
                "device-mapper does not tell which volumes are open: {why}; be root to ask it"
            ))
        })?,
    };
    let refused = if ours.is_empty() {
        Vec::new()
    } else {
        let swaps = swaps::in_use().map_err(|e| {
            Error::new(format!(
                "cannot tell what swap lies on: {e}; use `swapoff` for it before hibernation, or swap \
                 on a partition"
            ))
        })?;
        refusals(&swaps, &ours)
    };
    if refused.is_empty() {
        print("no swap in use lies on a tresor volume\n")?;
        return Ok(Exit::Ok);
    }
    print(&refused.concat())?;
    Ok(Exit::No)
}

/// A sentence for each swap area on a volume of ours.
fn refusals(swaps: &[Swap], ours: &[String]) -> Vec<String> {
    let mut sentences = Vec::new();
    for swap in swaps {
        if let Some(volume) = ours.iter().find(|name| swap.volumes.contains(*name)) {
            let path = swap.path.display();
            sentences.push(format!(
                "swap {path} lies on the tresor volume {volume}: whatever is swapped there would wait for \
                 the key when the machine is back; run `swapoff {path}` before hibernation, and swap \
                 elsewhere\n"
            ));
        }
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_swap_on_a_volume_of_ours_is_refused() {
        let swap = |path: &str, volumes: &[&str]| Swap {
            path: path.into(),
            volumes: volumes.iter().map(|&name| name.to_owned()).collect(),
        };
        let swaps = [
            swap("/dev/sda2", &[]),
            swap("/dev/dm-3", &["lvm", "home"]),
            swap("/dev/dm-4", &["stock"]),
        ];
        let refused = refusals(&swaps, &["home".to_owned(), "root".to_owned()]);
        assert_eq!(refused.len(), 1);
        assert!(refused[0].starts_with("swap /dev/dm-3 lies on the tresor volume home: "));
        assert!(refused[0].contains("`swapoff /dev/dm-3`"));
        assert!(refusals(&swaps, &["root".to_owned()]).is_empty());
    }
}
