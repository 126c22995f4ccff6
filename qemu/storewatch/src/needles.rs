// SPDX-License-Identifier: GPL-2.0-or-later

//! Which bytes are of which secret, exactly.

use std::collections::HashMap;

use crate::filter::{sample, SAMPLE, STRIDE};
use crate::forms::{is_regular, Form, MIN_RUN};

/// Forms of secrets by the samples in them.
#[derive(Default)]
pub struct Needles {
    forms: Vec<Form>,
    samples: HashMap<u64, Vec<(usize, usize)>>,
}

/// Bytes in a row that are of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Index of the form.
    pub form: usize,
    /// Where in the form it begins.
    pub offset: usize,
    /// Where in the bytes searched it begins.
    pub start: usize,
    /// How many.
    pub len: usize,
}

impl Needles {
    /// Adds a form; its index. The caller puts [`samples`] of it into a filter.
    pub fn add(&mut self, form: Form) -> usize {
        let index = self.forms.len();
        for (offset, sample) in samples(&form.bytes) {
            self.samples
                .entry(sample)
                .or_default()
                .push((index, offset));
        }
        self.forms.push(form);
        index
    }

    /// All forms, by index.
    pub fn forms(&self) -> &[Form] {
        &self.forms
    }

    /// Every run of at least [`MIN_RUN`] bytes of which at least one is in `from..to`, as far as it
    /// goes in `bytes`; regular ones, which ordinary memory contains, are left out.
    pub fn runs(&self, bytes: &[u8], from: usize, to: usize) -> Vec<Run> {
        let mut runs = Vec::new();
        let first = from.saturating_sub(MIN_RUN - 1);
        for at in first..(to + STRIDE - 1).min(bytes.len()) {
            self.runs_at(bytes, at, from, to, &mut runs);
        }
        runs
    }

    /// Those of them that contain the sample at `at`, unless `runs` has them.
    pub fn runs_at(&self, bytes: &[u8], at: usize, from: usize, to: usize, runs: &mut Vec<Run>) {
        let Some(sample) = sample(bytes, at) else {
            return;
        };
        for &(form, offset) in self.samples.get(&sample).into_iter().flatten() {
            let run = extend(bytes, at, &self.forms[form].bytes, offset);
            let run = Run { form, ..run };
            let of_interest = run.len >= MIN_RUN && run.start < to && from < run.start + run.len;
            if of_interest
                && !is_regular(&bytes[run.start..run.start + run.len])
                && !runs.contains(&run)
            {
                runs.push(run);
            }
        }
    }
}

/// The samples of a form and their offsets.
pub fn samples(form: &[u8]) -> impl Iterator<Item = (usize, u64)> + '_ {
    (0..(form.len() + 1).saturating_sub(SAMPLE))
        .filter_map(|offset| Some((offset, sample(form, offset)?)))
}

/// The longest run that contains the sample at `at`, which is that of `form` at `offset`.
fn extend(bytes: &[u8], at: usize, form: &[u8], offset: usize) -> Run {
    let before = bytes[..at]
        .iter()
        .rev()
        .zip(form[..offset].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let after = bytes[at..]
        .iter()
        .zip(&form[offset..])
        .take_while(|(a, b)| a == b)
        .count();
    Run {
        form: 0,
        offset: offset - before,
        start: at - before,
        len: before + after,
    }
}
