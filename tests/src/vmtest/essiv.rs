// SPDX-License-Identifier: GPL-2.0-or-later

//! Volumes with `tresor-cbc-essiv:sha256`.

use anyhow::{ensure, Context, Result};

use super::guest::Guest;
use super::secrets::random;
use super::volumes::{ensure_decrypts, image, luks, on_disk, UUID};
use crate::luks::Header;
use crate::modes::{Cipher, Mode};

const CIPHER: &str = "tresor-cbc-essiv:sha256";

fn open(guest: &mut Guest, blob: &[u8], options: &[&str]) -> Result<()> {
    let opened = guest.try_open_volume("essiv", CIPHER, blob, "/dev/disk/tresor", options)?;
    opened.map_err(|said| anyhow::anyhow!("dmsetup: {said}"))
}

pub(super) fn what_reaches_the_disk_with_essiv_is_aes_cbc_under_the_derived_keys(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    let mut seed = 60;
    for bytes in [16, 32, 24] {
        let blob = &random::<32>()?[..bytes];
        let cipher = Cipher::new(&key.master, Mode::EssivCbc, blob)?;
        for (sector_size, options) in [
            (512, ["no_read_workqueue", "no_write_workqueue"]),
            (4096, ["same_cpu_crypt", "submit_from_crypt_cpus"]),
        ] {
            seed += 1;
            let what = format!("{} bits, sectors of {sector_size}", bytes * 8);
            let sector = format!("sector_size:{sector_size}");
            let options = [&[sector.as_str()], &options[..]].concat();
            open(guest, blob, &options).context(what.clone())?;
            guest.fill("/dev/mapper/essiv", seed)?;
            guest.close_volume("essiv")?;
            let bytes = on_disk(guest, "tresor", 0)?;
            ensure_decrypts(bytes, seed, |data| {
                cipher.decrypt_sectors(data, sector_size)
            })
            .context(what.clone())?;
            open(guest, blob, &options)?;
            guest.verify("/dev/mapper/essiv", seed).context(what)?;
            guest.close_volume("essiv")?;
        }
    }
    guest.remark("blobs of 128, 192 and 256 bits, sectors of 512 and 4096 bytes");
    Ok(())
}

pub(super) fn a_luks2_volume_with_essiv_works(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    for bits in [256, 128] {
        let slot_key = key.master.slot_key(UUID);
        let blob = luks(guest, "tresor", UUID, (CIPHER, bits), &slot_key)?;
        ensure!(
            blob.len() * 8 == bits,
            "the volume's key has {} bytes",
            blob.len()
        );
        let seed = bits as u64;
        guest.fill("/dev/mapper/tresor", seed)?;
        guest.vm.check("cryptsetup close tresor")?;
        let reopen = "cryptsetup open --key-file - /dev/disk/tresor tresor";
        let output = guest.vm.run_with_input(reopen, &slot_key)?;
        ensure!(output.success(), "cryptsetup: {}", output.text());
        guest.verify("/dev/mapper/tresor", seed)?;
        guest.vm.check("cryptsetup close tresor")?;

        let header = Header::read(&image("tresor"))?;
        ensure!(header.cipher == CIPHER, "the cipher is {}", header.cipher);
        let bytes = on_disk(guest, "tresor", header.data_offset)?;
        let cipher = Cipher::new(&key.master, Mode::EssivCbc, &blob)?;
        ensure_decrypts(bytes, seed, |data| {
            cipher.decrypt_sectors(data, header.sector_size)
        })?;
    }
    guest.remark("blobs of 128 and 256 bits");
    Ok(())
}
