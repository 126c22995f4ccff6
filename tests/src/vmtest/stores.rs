// SPDX-License-Identifier: GPL-2.0-or-later

//! Every store of every CPU, compared with the secrets.

use anyhow::{ensure, Result};
use tresor_qemu::{Forms, Hit, StoreReport, VmConfig};

use super::disks::{INLINE, RAM_DISK};
use super::guest::Guest;
use super::secrets::random;

/// The usual VM, under watch.
pub(super) fn machine(usual: VmConfig) -> VmConfig {
    usual.watch_stores().modules(["aesni-intel"])
}

/// Shows what was found, for those who read the run.
fn show(title: &str, report: &StoreReport) {
    println!(
        "    {title}: {} of {} stores checked, {} kinds of hits",
        report.stores_checked,
        report.stores_seen,
        report.hits.len()
    );
    for hit in &report.hits {
        println!("    {}", line(hit));
    }
}

fn line(hit: &Hit) -> String {
    format!(
        "{} x {}: {} by {} [{}], {} bytes at {:#x}, {}",
        hit.count,
        if hit.is_finding() { "FOUND" } else { "allowed" },
        hit.secret,
        hit.symbol,
        hit.process,
        hit.bytes,
        hit.address,
        match (&hit.overwritten_by, hit.resident) {
            (_, true) => "resident".to_owned(),
            (Some(by), _) => format!("overwritten by {by}"),
            _ => "gone unseen".to_owned(),
        }
    )
}

pub(super) fn every_store_of_a_stock_volume_key_is_seen(guest: &mut Guest) -> Result<()> {
    let key = random::<64>()?;
    guest
        .vm
        .store_watch()?
        .add_secret("the stock key", &key, Forms::Xts)?;
    guest.ram_disk()?;
    let opened = guest.try_open_volume("stock", "aes-xts-plain64", &key, RAM_DISK, INLINE)?;
    ensure!(
        opened.is_ok(),
        "the stock volume was not opened: {opened:?}"
    );
    guest.fill("/dev/mapper/stock", 7)?;
    let report = guest.vm.store_watch()?.report()?;
    show("a stock volume", &report);
    guest.close_volume("stock")?;
    Ok(())
}
