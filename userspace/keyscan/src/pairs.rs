// SPDX-License-Identifier: GPL-2.0-or-later

//! Tells which schedules are the two keys of an XTS pair.

use crate::report::{Finding, What};
use serde::{Deserialize, Serialize};

/// Most bytes between the schedules of a pair. Linux keeps both directions of both keys in one
/// structure, OpenSSL puts the schedules side by side; neither has more than alignment and a length
/// between them, but one direction of a key may be missing or of another form.
const GAP: u64 = 256;

/// Two schedules that are, by size and place, the two keys of AES-XTS (IEEE 1619, section 5.1).
///
/// Which is the data key and which the tweak key does not show: Linux stores the tweak key's first,
/// OpenSSL the data key's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XtsPair {
    /// Size in bits of each key: 128 or 256.
    pub bits: u16,
    /// Offset of the first schedule of the key that lies first.
    pub first: u64,
    /// Fingerprint of that key.
    pub first_key: String,
    /// Offset of the first schedule of the other key.
    pub second: u64,
    /// Fingerprint of that key.
    pub second_key: String,
}

/// The pairs among `findings`, which are in order: schedules of one key, then those of another of
/// the same size, with nothing else's between and no more than [`GAP`] bytes apart.
pub(crate) fn pairs(findings: &[Finding]) -> Vec<XtsPair> {
    /// Neighbouring schedules of one key.
    struct Group<'a> {
        bits: u16,
        key: &'a str,
        start: u64,
        end: u64,
    }
    let mut groups: Vec<Group> = Vec::new();
    for finding in findings {
        if let What::Schedule {
            bits, fingerprint, ..
        } = &finding.what
        {
            let end = finding.offset + finding.length as u64;
            match groups.last_mut() {
                Some(last) if last.key == fingerprint && finding.offset <= last.end + GAP => {
                    last.end = end;
                }
                _ => groups.push(Group {
                    bits: *bits,
                    key: fingerprint,
                    start: finding.offset,
                    end,
                }),
            }
        }
    }
    let mut pairs = Vec::new();
    let mut rest = &groups[..];
    while let [a, b, ..] = rest {
        let near = (a.end..=a.end + GAP).contains(&b.start);
        if near && a.bits == b.bits && a.bits != 192 && a.key != b.key {
            pairs.push(XtsPair {
                bits: a.bits,
                first: a.start,
                first_key: a.key.to_owned(),
                second: b.start,
                second_key: b.key.to_owned(),
            });
            rest = &rest[2..];
        } else {
            rest = &rest[1..];
        }
    }
    pairs
}
