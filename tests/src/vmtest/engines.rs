// SPDX-License-Identifier: GPL-2.0-or-later

//! The module parameter `engine`.

use anyhow::{ensure, Result};

use super::guest::Guest;
use super::Skip;

/// Loads the module with the engine of this name.
///
/// [`Skip`] if the VM's CPU cannot run it; the refusal must say what the CPU lacks.
pub(super) fn insert_engine(guest: &mut Guest, name: &str) -> Result<()> {
    let output = guest.vm.run(&format!("modprobe tresor engine={name}"))?;
    let log = guest.log()?;
    if !output.success() {
        let refusal = format!("tresor: refusing to load: engine {name} wants ");
        let lack = log
            .split_once(&refusal)
            .and_then(|(_, rest)| rest.split_once(", which this CPU lacks"));
        let Some((lack, _)) = lack else {
            anyhow::bail!("it was refused without a reason: {log}");
        };
        ensure!(
            output.text().contains("No such device"),
            "modprobe said {:?}",
            output.text()
        );
        return Err(Skip(format!("the VM's CPU lacks {lack}")).into());
    }
    ensure!(
        log.contains(&format!("tresor: engine {name}: known answers correct")),
        "another engine was tested: {log}"
    );
    let engine = guest.status()?.engine;
    ensure!(engine == name, "the status names {engine}");
    Ok(())
}

fn runs_when_asked_for(guest: &mut Guest, name: &str) -> Result<()> {
    insert_engine(guest, name)?;
    guest.remove()
}

pub(super) fn engine_aesni_runs_when_asked_for(guest: &mut Guest) -> Result<()> {
    runs_when_asked_for(guest, "aesni")
}

pub(super) fn engine_aesni_avx_runs_when_asked_for(guest: &mut Guest) -> Result<()> {
    runs_when_asked_for(guest, "aesni_avx")
}

pub(super) fn engine_vaes_avx2_runs_when_asked_for(guest: &mut Guest) -> Result<()> {
    runs_when_asked_for(guest, "vaes_avx2")
}

pub(super) fn engine_vaes_avx512_runs_when_asked_for(guest: &mut Guest) -> Result<()> {
    runs_when_asked_for(guest, "vaes_avx512")
}

pub(super) fn an_engine_that_there_is_not_is_refused_with_those_that_there_are(
    guest: &mut Guest,
) -> Result<()> {
    let output = guest.vm.run("modprobe tresor engine=aesni2")?;
    ensure!(
        output.status == 1 && output.text().contains("Invalid argument"),
        "modprobe ended with {} and said {:?}",
        output.status,
        output.text()
    );
    let log = guest.log()?;
    ensure!(
        log.contains(
            "tresor: refusing to load: no engine is called \"aesni2\"; there are aesni, aesni_avx, \
             vaes_avx2 and vaes_avx512"
        ),
        "the kernel gave no reason: {log}"
    );
    guest.expect("ls /sys/module/tresor 2>/dev/null", 1, "")
}
