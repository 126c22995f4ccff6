// SPDX-License-Identifier: GPL-2.0-or-later

//! Drives both searches over all of a dump, on all cores.

use crate::aes::MAX_SCHEDULE;
use crate::damaged::{self, Damage, Evidence, Suspects};
use crate::dump::{Buffers, Dump};
use crate::form::Form;
use crate::map::Map;
use crate::matcher::Matcher;
use crate::report::{Finding, FoundKey, NeedleCount, Report, What};
use crate::{exact, pairs, Error, Needles};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes that one thread searches at a time: both searches find them in the second-level cache.
const CHUNK: usize = 512 << 10;
/// Addresses that one thread reads at a time.
const WINDOW: u64 = 8 * CHUNK as u64;

/// What to search for, beside the needles, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Search for key schedules.
    pub schedules: bool,
    /// Search for damaged schedules, too; `None` for undamaged ones only.
    pub damage: Option<Damage>,
    /// With `damage`: how many passes of messages may go over places that turn out to be no schedule.
    /// A pass takes about a millisecond of one core. The likeliest places come first; those left out are
    /// counted in [`Report::undecoded`].
    pub budget: u64,
    /// List at most this many findings; more are only counted.
    pub max_findings: usize,
    /// Draw a [`Map`] of the dump with at most this many cells; 0 for none.
    pub map_cells: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schedules: true,
            damage: None,
            budget: 20_000,
            max_findings: 10_000,
            map_cells: 0,
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
    let len = data.len() as u64;
    let map = Map::new(std::slice::from_ref(&(0..len)), options.map_cells);
    let scan = Scan::new(needles, options, map);
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
    scan.report(tally)
}

/// Opens a dump of any [format](crate::Format) and scans it: see [`scan_dump`].
///
/// # Errors
///
/// Those of [`Dump::open`].
pub fn scan_file(
    path: &Path,
    needles: &Needles,
    options: &Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Report, Error> {
    Ok(scan_dump(&Dump::open(path)?, needles, options, progress))
}

/// Scans a dump; offsets in the report are its [addresses](Dump::addresses).
///
/// What cannot be read is told in [`Report::problems`], and the rest is scanned. `progress` is called
/// from many threads, with the number of addresses done since the last call; they add up to
/// [`Dump::span`].
pub fn scan_dump(
    dump: &Dump,
    needles: &Needles,
    options: &Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Report {
    let ranges = dump.ranges();
    let scan = Scan::new(needles, options, Map::new(ranges, options.map_cells));
    // The number of the first window of each range.
    let mut count = 0;
    let firsts: Vec<u64> = ranges
        .iter()
        .map(|range| {
            let first = count;
            count += (range.end - range.start).div_ceil(WINDOW);
            first
        })
        .collect();
    let tally = (0..count)
        .into_par_iter()
        .map_init(Default::default, |memory: &mut Memory, window| {
            let range = firsts.partition_point(|&first| first <= window) - 1;
            let start = ranges[range].start + (window - firsts[range]) * WINDOW;
            let end = ranges[range].end.min(start.saturating_add(WINDOW));
            scan.read(dump, &ranges[range], start..end, memory, progress)
        })
        .reduce(|| scan.tally(), |a, b| a.merge(b, options.max_findings));
    let mut report = scan.report(tally);
    report.format = dump.format();
    report.flattened = dump.is_flattened();
    report.addresses = dump.addresses();
    (report.problems, report.more_problems) = dump.problems.list();
    report
}

/// What one thread reads into.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    missing: Vec<Range<usize>>,
    buffers: Buffers,
}

/// What all threads share.
struct Scan<'a> {
    needles: &'a Needles,
    matcher: Matcher<'a>,
    damaged: Option<damaged::Search>,
    options: &'a Options,
    map: Map,
}

/// What some part of the dump gave.
struct Tally {
    bytes: u64,
    schedules: u64,
    /// By index of the needle.
    needles: Vec<u64>,
    findings: Vec<Finding>,
    suspects: Suspects,
}

impl Tally {
    /// Puts together what two neighbouring parts gave, keeping the first `max` findings.
    fn merge(mut self, other: Self, max: usize) -> Self {
        self.bytes += other.bytes;
        self.schedules += other.schedules;
        for (sum, more) in self.needles.iter_mut().zip(other.needles) {
            *sum += more;
        }
        let room = max.saturating_sub(self.findings.len());
        self.findings.extend(other.findings.into_iter().take(room));
        self.suspects.merge(other.suspects);
        self
    }
}

impl<'a> Scan<'a> {
    fn new(needles: &'a Needles, options: &'a Options, map: Map) -> Self {
        Self {
            needles,
            matcher: Matcher::new(needles),
            damaged: options.damage.map(damaged::Search::new),
            options,
            map,
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            bytes: 0,
            schedules: 0,
            needles: vec![0; self.needles.names.len()],
            findings: Vec::new(),
            suspects: Suspects::default(),
        }
    }

    /// Reads and searches the addresses `wanted`, and as much around them, within `range`, as belongs to
    /// what begins there.
    fn read(
        &self,
        dump: &Dump,
        range: &Range<u64>,
        wanted: Range<u64>,
        memory: &mut Memory,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Tally {
        // A pattern may begin in one window and end in the next; whether a word lies in a longer
        // pattern shows only with what is before it.
        let margin = self.needles.longest().max(2 * MAX_SCHEDULE) as u64;
        let base = wanted.start.saturating_sub(margin).max(range.start);
        let end = wanted.end.saturating_add(margin).min(range.end);
        let Memory {
            bytes,
            missing,
            buffers,
        } = memory;
        bytes.resize((end - base) as usize, 0);
        missing.clear();
        dump.read(base, bytes, buffers, &mut |part| missing.push(part));
        let wanted = (wanted.start - base) as usize..(wanted.end - base) as usize;
        let mut tally = self.tally();
        for there in present(bytes.len(), missing) {
            let starts = wanted.start.max(there.start)..wanted.end.min(there.end);
            if starts.is_empty() {
                continue;
            }
            let data = &bytes[there.clone()];
            let starts = starts.start - there.start..starts.end - there.start;
            for from in starts.clone().step_by(CHUNK) {
                let part = from..starts.end.min(from + CHUNK);
                let part = self.window(data, base + there.start as u64, part);
                tally = tally.merge(part, self.options.max_findings);
            }
        }
        progress(wanted.len() as u64);
        tally
    }

    /// Searches for what begins within `starts` of `data`, which begins at `base` in the dump.
    fn window(&self, data: &[u8], base: u64, starts: Range<usize>) -> Tally {
        let mut tally = self.tally();
        tally.bytes = starts.len() as u64;
        self.map
            .add(base + starts.start as u64, &data[starts.clone()]);
        let mut findings = Vec::new();
        if self.options.schedules {
            self.schedules(data, base, starts.clone(), &mut tally, &mut findings);
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
        sort(&mut findings, self.options.max_findings);
        tally.findings = findings;
        tally
    }

    /// Searches for undamaged schedules, and for places where damaged ones may be.
    fn schedules(
        &self,
        data: &[u8],
        base: u64,
        starts: Range<usize>,
        tally: &mut Tally,
        findings: &mut Vec<Finding>,
    ) {
        // An undamaged one that begins outside of `starts` is not reported, but must not be taken for
        // damaged ones inside.
        let around = if self.damaged.is_some() {
            starts.start.saturating_sub(MAX_SCHEDULE)..(starts.end + MAX_SCHEDULE).min(data.len())
        } else {
            starts.clone()
        };
        let mut known = Vec::new();
        exact::find(data, around, &mut |hit| {
            known.push(hit.start..hit.start + hit.form.len());
            if starts.contains(&hit.start) {
                tally.schedules += 1;
                if findings.len() < self.options.max_findings {
                    let key = &hit.schedule.as_bytes()[..hit.form.size.key_len()];
                    findings.push(schedule(base + hit.start as u64, hit.form, key, None));
                }
            }
        });
        if let Some(search) = &self.damaged {
            known.sort_by_key(|range| range.start);
            search.find(data, base, starts, &known, &mut tally.suspects);
        }
    }

    fn report(&self, mut tally: Tally) -> Report {
        let mut undecoded = 0;
        if let Some(search) = &self.damaged {
            let suspects = std::mem::take(&mut tally.suspects);
            let (hits, left) = search.decode(suspects, self.options.budget);
            undecoded = left;
            tally.schedules += hits.len() as u64;
            tally.findings.extend(hits.into_iter().map(|hit| {
                let key = &hit.schedule.as_bytes()[..hit.form.size.key_len()];
                schedule(hit.address, hit.form, key, Some(hit.evidence))
            }));
            sort(&mut tally.findings, self.options.max_findings);
        }
        let total = tally.schedules + tally.needles.iter().sum::<u64>();
        let needles = self.needles.names.iter().zip(tally.needles).enumerate();
        Report {
            bytes_scanned: tally.bytes,
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
            undecoded,
            map: self.map.take(),
            ..Report::default()
        }
    }
}

/// The parts of `0..len` that are not missing.
fn present(len: usize, missing: &mut [Range<usize>]) -> Vec<Range<usize>> {
    missing.sort_by_key(|part| part.start);
    let mut parts = Vec::new();
    let mut from = 0;
    for part in missing.iter() {
        if from < part.start {
            parts.push(from..part.start);
        }
        from = from.max(part.end);
    }
    if from < len {
        parts.push(from..len);
    }
    parts
}

fn sort(findings: &mut Vec<Finding>, max: usize) {
    findings.sort_by_key(|finding| (finding.offset, std::cmp::Reverse(finding.length)));
    findings.truncate(max);
}

fn schedule(offset: u64, form: Form, key: &[u8], evidence: Option<Evidence>) -> Finding {
    Finding {
        offset,
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
