// SPDX-License-Identifier: GPL-2.0-or-later

//! Drives both searches over all of a dump, on all cores.

use crate::aes::{Schedule, MAX_SCHEDULE};
use crate::damaged::{self, Damage, Evidence};
use crate::form::Form;
use crate::matcher::Matcher;
use crate::report::{Finding, FoundKey, NeedleCount, Report, What};
use crate::source::{Access, Source};
use crate::{exact, pairs, Error, Needles};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes that one thread searches at a time: both searches find them in the second-level cache.
const CHUNK: usize = 512 << 10;
/// Bytes that one thread reads at a time from a file that is not mapped.
const WINDOW: usize = 8 * CHUNK;

/// What to search for, beside the needles, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Search for key schedules.
    pub schedules: bool,
    /// Search for damaged schedules, too; `None` for undamaged ones only.
    pub damage: Option<Damage>,
    /// List at most this many findings; more are only counted.
    pub max_findings: usize,
    /// How [`scan_file`] reads.
    pub access: Access,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schedules: true,
            damage: None,
            max_findings: 10_000,
            access: Access::Auto,
        }
    }
}

/// Scans memory; offsets in the report count from its beginning.
///
/// `progress` is called from many threads, with the number of bytes done since the last call.
pub fn scan_bytes(
    data: &[u8],
    needles: &Needles,
    options: &Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Report {
    let scan = Scan::new(needles, options);
    let tally = (0..data.len().div_ceil(CHUNK))
        .into_par_iter()
        .map(|i| {
            let starts = i * CHUNK..data.len().min((i + 1) * CHUNK);
            let done = starts.len() as u64;
            let tally = scan.window(data, 0, starts);
            progress(done);
            tally
        })
        .reduce(|| scan.tally(), |a, b| a.merge(b, options.max_findings));
    scan.report(tally, data.len() as u64)
}

/// Scans a raw dump; offsets in the report count from the beginning of the file.
///
/// `progress` is called from many threads, with the number of bytes done since the last call.
///
/// # Errors
///
/// [`Error::Open`] and [`Error::Read`]; nothing is reported of a file that cannot be read to its
/// end.
pub fn scan_file(
    path: &Path,
    needles: &Needles,
    options: &Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Report, Error> {
    let source = Source::open(path, options.access)?;
    if let Some(data) = source.mapped() {
        return Ok(scan_bytes(data, needles, options, progress));
    }
    let scan = Scan::new(needles, options);
    // A pattern may begin in one window and end in the next; whether a word lies in a longer
    // pattern shows only with what is before it.
    let margin = needles.longest().max(2 * MAX_SCHEDULE);
    let len = source.len();
    let tally = (0..len.div_ceil(WINDOW as u64))
        .into_par_iter()
        .map_init(Vec::new, |buffer, i| {
            let start = i * WINDOW as u64;
            let end = len.min(start + WINDOW as u64);
            let base = start.saturating_sub(margin as u64);
            buffer.resize((len.min(end + margin as u64) - base) as usize, 0);
            source.read(buffer, base)?;
            let mut tally = scan.tally();
            for from in (start..end).step_by(CHUNK) {
                let to = end.min(from + CHUNK as u64);
                let starts = (from - base) as usize..(to - base) as usize;
                tally = tally.merge(scan.window(buffer, base, starts), options.max_findings);
                progress(to - from);
            }
            Ok(tally)
        })
        .try_reduce(|| scan.tally(), |a, b| Ok(a.merge(b, options.max_findings)))?;
    Ok(scan.report(tally, len))
}

/// What all threads share.
struct Scan<'a> {
    needles: &'a Needles,
    matcher: Matcher<'a>,
    damaged: Option<damaged::Search>,
    options: &'a Options,
}

/// What some part of the dump gave.
struct Tally {
    schedules: u64,
    /// By index of the needle.
    needles: Vec<u64>,
    findings: Vec<Finding>,
}

impl Tally {
    /// Puts together what two neighbouring parts gave, keeping the first `max` findings.
    fn merge(mut self, other: Self, max: usize) -> Self {
        self.schedules += other.schedules;
        for (sum, more) in self.needles.iter_mut().zip(other.needles) {
            *sum += more;
        }
        let room = max.saturating_sub(self.findings.len());
        self.findings.extend(other.findings.into_iter().take(room));
        self
    }
}

impl<'a> Scan<'a> {
    fn new(needles: &'a Needles, options: &'a Options) -> Self {
        Self {
            needles,
            matcher: Matcher::new(needles),
            damaged: options.damage.map(damaged::Search::new),
            options,
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            schedules: 0,
            needles: vec![0; self.needles.names.len()],
            findings: Vec::new(),
        }
    }

    /// Searches for what begins within `starts` of `data`, which begins at `base` in the dump.
    fn window(&self, data: &[u8], base: u64, starts: Range<usize>) -> Tally {
        let mut tally = self.tally();
        let mut findings = Vec::new();
        if self.options.schedules {
            self.schedules(
                data,
                starts.clone(),
                &mut |start, form, schedule, evidence| {
                    tally.schedules += 1;
                    if findings.len() < self.options.max_findings {
                        let key = &schedule.as_bytes()[..form.size.key_len()];
                        findings.push(Finding {
                            offset: base + start as u64,
                            length: form.len(),
                            order: form.order(),
                            what: What::Schedule {
                                bits: form.size.bits(),
                                layout: form.layout,
                                fallen: evidence.map_or(0, |e| e.fallen),
                                risen: evidence.map_or(0, |e| e.risen),
                                fingerprint: fingerprint(key),
                                key: FoundKey(Zeroizing::new(key.to_vec())),
                            },
                        });
                    }
                },
            );
        }
        self.matcher
            .find(data, starts, &mut |start, length, meaning| {
                tally.needles[meaning.needle] += 1;
                if findings.len() < self.options.max_findings {
                    findings.push(Finding {
                        offset: base + start as u64,
                        length,
                        order: meaning.order,
                        what: meaning.part.what(&self.needles.names[meaning.needle]),
                    });
                }
            });
        findings.sort_by_key(|finding| (finding.offset, std::cmp::Reverse(finding.length)));
        findings.truncate(self.options.max_findings);
        tally.findings = findings;
        tally
    }

    /// Searches for schedules, undamaged and, if wanted, damaged.
    fn schedules(
        &self,
        data: &[u8],
        starts: Range<usize>,
        found: &mut dyn FnMut(usize, Form, Schedule, Option<Evidence>),
    ) {
        let Some(search) = &self.damaged else {
            return exact::find(data, starts, &mut |hit| {
                found(hit.start, hit.form, hit.schedule, None);
            });
        };
        // An undamaged one that begins outside of `starts` is not reported, but must not be taken for
        // damaged ones inside.
        let around =
            starts.start.saturating_sub(MAX_SCHEDULE)..(starts.end + MAX_SCHEDULE).min(data.len());
        let mut known = Vec::new();
        exact::find(data, around, &mut |hit| {
            known.push(hit.start..hit.start + hit.form.len());
            if starts.contains(&hit.start) {
                found(hit.start, hit.form, hit.schedule, None);
            }
        });
        known.sort_by_key(|range| range.start);
        search.find(data, starts, &known, &mut |hit| {
            found(hit.start, hit.form, hit.schedule, Some(hit.evidence));
        });
    }

    fn report(&self, tally: Tally, bytes_scanned: u64) -> Report {
        let total = tally.schedules + tally.needles.iter().sum::<u64>();
        let needles = self.needles.names.iter().zip(tally.needles).enumerate();
        Report {
            bytes_scanned,
            schedules: self.options.schedules.then_some(tally.schedules),
            needles: needles
                .map(|(i, (name, found))| NeedleCount {
                    name: name.clone(),
                    patterns: self.needles.patterns_of(i),
                    found,
                })
                .collect(),
            xts_pairs: pairs::pairs(&tally.findings),
            omitted: total - tally.findings.len() as u64,
            findings: tally.findings,
        }
    }
}

fn fingerprint(key: &[u8]) -> String {
    Sha256::digest(key)[..8]
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
