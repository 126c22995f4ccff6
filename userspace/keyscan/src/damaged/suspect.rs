// SPDX-License-Identifier: GPL-2.0-or-later

//! Places where a damaged schedule may be, kept until all of a dump has been looked at.

use crate::family::Family;
use std::cmp::Ordering;
use zeroize::Zeroizing;

/// Most places that are kept, the likeliest: about 30 MB.
const MAX: usize = 8192;
/// Most candidates that are kept of one place. More than are ever decoded, unless several schedules lie
/// side by side.
const MAX_CANDIDATES: usize = 16;

/// What may begin at an address that the sieve let through.
pub(crate) struct Candidate {
    pub address: u64,
    pub family: &'static Family,
    /// Whether inner words only are related, as in decryption layouts.
    pub inner: bool,
    /// Share of ones in all of z between inner words.
    pub ones: f64,
    /// By how much z is likelier than random bits.
    pub score: f64,
    /// As many bytes as a schedule has.
    pub memory: Zeroizing<Box<[u8]>>,
}

/// Candidates of one family that overlap.
#[derive(Default)]
pub(crate) struct Suspect {
    candidates: Vec<Candidate>,
    /// Where the last of them ends, kept or not.
    end: u64,
}

impl Suspect {
    /// Whether what begins at `address` does not overlap the candidates.
    pub fn ends_before(&self, address: u64) -> bool {
        !self.candidates.is_empty() && self.end < address
    }

    pub fn add(&mut self, candidate: Candidate) {
        self.end = candidate.address + candidate.memory.len() as u64;
        self.candidates.push(candidate);
        if self.candidates.len() >= 2 * MAX_CANDIDATES {
            self.candidates.sort_by(likelier);
            self.candidates.truncate(MAX_CANDIDATES);
        }
    }

    /// The candidates, likeliest first.
    pub fn by_score(&self) -> impl Iterator<Item = &Candidate> {
        let mut all: Vec<&Candidate> = self.candidates.iter().collect();
        all.sort_by(|a, b| likelier(a, b));
        all.into_iter()
    }

    fn best(&self) -> Option<&Candidate> {
        self.candidates.iter().min_by(|a, b| likelier(a, b))
    }
}

/// The order in which candidates are decoded. Those of equal scores come by address, so that it does not
/// depend on the order in which threads found them.
fn likelier(a: &Candidate, b: &Candidate) -> Ordering {
    let place = |c: &Candidate| (c.address, c.inner, c.family.taps);
    (b.score.total_cmp(&a.score)).then_with(|| place(a).cmp(&place(b)))
}

/// All such places of a dump, or the likeliest.
#[derive(Default)]
pub(crate) struct Suspects {
    list: Vec<Suspect>,
    dropped: u64,
}

impl Suspects {
    pub fn add(&mut self, mut suspect: Suspect) {
        if suspect.candidates.is_empty() {
            return;
        }
        suspect.candidates.sort_by(likelier);
        suspect.candidates.truncate(MAX_CANDIDATES);
        suspect.candidates.shrink_to_fit();
        self.list.push(suspect);
        if self.list.len() >= 2 * MAX {
            self.shrink();
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.dropped += other.dropped;
        self.list.extend(other.list);
        if self.list.len() >= 2 * MAX {
            self.shrink();
        }
    }

    fn sort(&mut self) {
        self.list.sort_by(|a, b| match (a.best(), b.best()) {
            (Some(a), Some(b)) => likelier(a, b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
    }

    fn shrink(&mut self) {
        self.sort();
        self.dropped += self.list.len().saturating_sub(MAX) as u64;
        self.list.truncate(MAX);
    }

    /// Likeliest first, and how many there were besides.
    pub fn into_sorted(mut self) -> (Vec<Suspect>, u64) {
        self.shrink();
        (self.list, self.dropped)
    }
}
