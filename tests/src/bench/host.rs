// SPDX-License-Identifier: GPL-2.0-or-later

//! The host's part: whole requests in user space.

use std::time::Duration;

use anyhow::{Context, Result};
use tresor_cipher::{Direction, Engine};
use tresor_qemu::Cache;

use super::codes::{rustcrypto, Tresor, LONGEST, M};
use super::contest::{contest, Contestant, Effort};
use super::floors::{floor, opponents};
use super::linux::{Linux, WIDTHS};
use super::openssl::OpenSsl;
use super::per_block::{Held, PerBlock};
use super::report::{direction_name, Method, Ratio, Report, Row};
use crate::reference::Master;

/// Lengths of the requests in bytes.
pub(crate) const LENGTHS: [usize; 5] = [512, 1024, 2048, 4096, LONGEST];

/// The modes, and the length of their blobs and keys.
const MODES: [(&str, usize); 2] = [("xts-256", 64), ("xts-128", 32)];

impl Effort {
    pub(crate) const FULL: Self = Self {
        rounds: 101,
        slice: Duration::from_micros(500),
    };
    pub(crate) const QUICK: Self = Self {
        rounds: 41,
        slice: Duration::from_micros(100),
    };
}

/// The codes that there are beside our own.
struct Others {
    linux: Option<Linux>,
    openssl: Option<OpenSsl>,
}

impl Others {
    /// Finds them; what is missing is noted.
    fn find(report: &mut Report) -> Self {
        let cache = Cache::open();
        let linux = cache.and_then(|cache| {
            report
                .versions
                .insert("linux".into(), cache.kernel_release.clone());
            Linux::assemble(&cache.linux_source)
        });
        let linux = linux
            .map_err(|error| report.skipped.push(format!("Linux's code: {error:#}")))
            .ok();
        let openssl = OpenSsl::load()
            .map_err(|error| report.skipped.push(format!("OpenSSL: {error:#}")))
            .ok();
        if let Some(openssl) = &openssl {
            let version = openssl.version.clone();
            report.versions.insert("openssl".into(), version);
        }
        Self { linux, openssl }
    }

    /// All codes for one mode and direction. Those that are compared with each other are neighbours.
    fn contestants(
        &self,
        engines: &[Engine],
        direction: Direction,
        blob: &[u8],
    ) -> Result<Vec<Contestant>> {
        let key = Master::new(&M).xts_key(blob)?;
        let mut all = Vec::new();
        let mut add = |name: String, code| all.push(Contestant { name, code });
        for &engine in engines {
            let ours = Box::new(Tresor::new(engine, direction, blob)?);
            add(format!("tresor/{}", engine.name()), ours);
            // Linux has no code for SSE alone: `aesni` stands beside its AVX code, and so do we.
            if let (Some(linux), true) = (&self.linux, WIDTHS.contains(&engine)) {
                let theirs = linux.code(engine, direction, &key)?;
                add(format!("linux/{}", engine.name()), theirs);
            }
        }
        if let Some(openssl) = &self.openssl {
            add("openssl".into(), openssl.code(direction, &key)?);
        }
        add("rustcrypto".into(), rustcrypto(direction, &key));
        for (name, held) in [
            ("tresor/per_block", Held::MasterKey),
            ("tresor2011", Held::VolumeKey),
        ] {
            let code = PerBlock::new(held, direction, blob, &key);
            add(name.into(), Box::new(code));
        }
        Ok(all)
    }
}

/// Times everything, and adds it to the report.
///
/// # Errors
/// If two codes do not compute the same, or one of them fails.
pub(crate) fn run(report: &mut Report, effort: Effort) -> Result<()> {
    let engines: Vec<Engine> = Engine::ALL.into_iter().filter(|e| e.supported()).collect();
    for engine in Engine::ALL {
        if let Some(lack) = engine.lacks() {
            let why = format!("tresor/{}: this CPU lacks {lack}", engine.name());
            report.skipped.push(why);
        }
    }
    let best = Engine::best().context("this CPU runs none of the engine's variants")?;
    let best = format!("tresor/{}", best.name());
    let others = Others::find(report);
    for package in ["aes", "xts-mode"] {
        let version = locked(package)?;
        report
            .versions
            .insert(format!("rustcrypto {package}"), version);
    }
    report.method = Some(Method {
        rounds: effort.rounds,
        slice_us: effort.slice.as_micros() as u64,
        shares: "both in memory: user space has no debug registers".into(),
        fence: "lfence after each request, of all codes".into(),
    });
    for (mode, blob) in MODES {
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            let blob: Vec<u8> = (0..blob).map(|i| i as u8).collect();
            let mut all = others.contestants(&engines, direction, &blob)?;
            for bytes in LENGTHS {
                let direction = direction_name(direction);
                eprintln!(
                    "    {mode}, {direction}, {bytes} bytes: {} codes",
                    all.len()
                );
                let times = contest(&mut all, bytes, effort)?;
                let place = |name: &str| all.iter().position(|c| c.name == name);
                for (i, contestant) in all.iter().enumerate() {
                    let ns = times.ns(i);
                    report.rows.push(Row {
                        code: contestant.name.clone(),
                        mode: mode.into(),
                        direction: direction.into(),
                        bytes,
                        mb_per_s: bytes as f64 * 1000.0 / ns,
                        ns_per_request: ns,
                    });
                    for against in opponents(&contestant.name, &best) {
                        let Some(other) = place(against) else {
                            continue;
                        };
                        let speed = times.speed(i, other);
                        let floor = floor(&contestant.name, against, mode, bytes);
                        report.ratios.push(Ratio {
                            code: contestant.name.clone(),
                            against: against.into(),
                            mode: mode.into(),
                            direction: direction.into(),
                            bytes,
                            speed,
                            floor,
                            met: floor.map(|floor| speed >= floor),
                        });
                    }
                }
            }
        }
    }
    Ok(())
}

/// The version of a package in the lock file.
fn locked(package: &str) -> Result<String> {
    let lock: toml::Table = toml::from_str(include_str!("../../../Cargo.lock"))?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let found = packages
        .into_iter()
        .flatten()
        .find(|p| p.get("name").and_then(toml::Value::as_str) == Some(package));
    let version = found.and_then(|p| p.get("version")?.as_str());
    Ok(version
        .with_context(|| format!("Cargo.lock has no {package}"))?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_codes_give_the_same_output_at_every_length() {
        let mut report = Report::default();
        let effort = Effort {
            rounds: 1,
            slice: Duration::from_nanos(1),
        };
        run(&mut report, effort).unwrap();
        for skipped in report.skipped {
            println!("skipped: {skipped}");
        }
        let codes = 2 * 2 * LENGTHS.len();
        assert_eq!(report.rows.len() % codes, 0);
        // At least the engine's first variant, RustCrypto and the two of the classical design.
        assert!(report.rows.len() / codes >= 4);
        assert!(report.rows.iter().all(|row| row.ns_per_request > 0.0));
    }
}
