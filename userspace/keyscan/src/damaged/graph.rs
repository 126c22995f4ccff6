// SPDX-License-Identifier: GPL-2.0-or-later

//! The equations between the bytes of a schedule, as a graph for message passing.
//!
//! Every equation of a key expansion, and of InvMixColumns, says that some bytes, each gone through
//! a permutation of the 256 values (none, the S-box, a multiplication in GF(2^8)), xor to a constant.

use super::spectrum::Table;
use crate::aes::{gf_mul, sub_byte, Step, RCON};
use crate::form::Form;
use std::sync::LazyLock;

/// A permutation of the values of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    Identity,
    SBox,
    Double,
    Triple,
}

static MAPS: LazyLock<[[u8; 256]; 4]> = LazyLock::new(|| {
    let table = |f: &dyn Fn(u8) -> u8| std::array::from_fn(|x| f(x as u8));
    [
        table(&|x| x),
        table(&sub_byte),
        table(&|x| gf_mul(x, 2)),
        table(&|x| gf_mul(x, 3)),
    ]
});

impl Map {
    pub fn table(self) -> &'static [u8; 256] {
        &MAPS[self as usize]
    }
}

/// One byte's part in an equation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    /// The byte.
    pub byte: usize,
    pub map: Map,
}

/// An equation: its edges, as a range of [`Graph::edges`], xor to `constant`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Equation {
    pub first: usize,
    pub count: usize,
    pub constant: u8,
}

/// Most edges in an equation: a row of MixColumns and its result.
pub(crate) const MAX_EDGES: usize = 5;

/// The bytes of a schedule of some form, and their equations.
///
/// Byte `4 * i + b` is byte `b` of word `i` of the encryption schedule. In a decryption layout, where
/// inner words are stored mixed, byte `4 * (words + i) + b` is what is stored for it.
pub(crate) struct Graph {
    pub form: Form,
    pub equations: Vec<Equation>,
    pub edges: Vec<Edge>,
    /// For each byte, its edges.
    pub edges_of: Vec<Vec<usize>>,
    /// For each byte, its offset in memory; `None` if another byte is stored in its place.
    pub place: Vec<Option<usize>>,
}

impl Graph {
    pub fn new(form: Form) -> Self {
        let (words, nk) = (form.words(), form.size.words());
        let bytes = if form.layout.is_decryption() {
            8 * words
        } else {
            4 * words
        };
        let mut graph = Self {
            form,
            equations: Vec::new(),
            edges: Vec::new(),
            edges_of: vec![Vec::new(); bytes],
            place: vec![None; bytes],
        };
        for i in 0..words {
            for b in 0..4 {
                let shift = if form.is_mixed(i) { 4 * words } else { 0 };
                graph.place[shift + 4 * i + b] = Some(form.at(i, b));
            }
        }
        for i in nk..words {
            // MixColumns is linear, so that where all three words are mixed the equation holds for
            // what is stored.
            let mixed = [i, i - 1, i - nk].iter().all(|&i| form.is_mixed(i));
            for b in 0..4 {
                let plain = |i: usize, b| (4 * i + b, Map::Identity);
                match form.size.step_kind(i) {
                    Step::Linear => {
                        let shift = if mixed { words } else { 0 };
                        let terms = [i, i - 1, i - nk].map(|i| plain(shift + i, b));
                        graph.add(&terms, 0);
                    }
                    Step::Sub => {
                        let before = (4 * (i - 1) + b, Map::SBox);
                        graph.add(&[plain(i, b), before, plain(i - nk, b)], 0);
                    }
                    Step::Core(round) => {
                        let before = (4 * (i - 1) + (b + 1) % 4, Map::SBox);
                        let constant = if b == 0 { RCON[round] } else { 0 };
                        graph.add(&[plain(i, b), before, plain(i - nk, b)], constant);
                    }
                }
            }
        }
        for i in (0..words).filter(|&i| form.is_mixed(i)) {
            for b in 0..4 {
                let stored = |k: usize| 4 * (words + i) + (b + k) % 4;
                let terms = [
                    (4 * i + b, Map::Identity),
                    (stored(0), Map::Double),
                    (stored(1), Map::Triple),
                    (stored(2), Map::Identity),
                    (stored(3), Map::Identity),
                ];
                graph.add(&terms, 0);
            }
        }
        graph
    }

    fn add(&mut self, terms: &[(usize, Map)], constant: u8) {
        self.equations.push(Equation {
            first: self.edges.len(),
            count: terms.len(),
            constant,
        });
        for &(byte, map) in terms {
            self.edges_of[byte].push(self.edges.len());
            self.edges.push(Edge { byte, map });
        }
    }
}

/// How likely a stored bit is read wrongly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Channel {
    /// A one as zero.
    pub fall: f64,
    /// A zero as one.
    pub rise: f64,
}

impl Channel {
    /// For each value that is read, how likely each stored value gives it.
    pub fn priors(self) -> Box<[Table; 256]> {
        let bit = [[1.0 - self.rise, self.fall], [self.rise, 1.0 - self.fall]];
        let of = |read: usize, stored: usize| {
            (0..8)
                .map(|b| bit[read >> b & 1][stored >> b & 1])
                .product::<f64>() as f32
        };
        let mut priors = Box::new([[0.0; 256]; 256]);
        for (read, table) in priors.iter_mut().enumerate() {
            *table = std::array::from_fn(|stored| of(read, stored));
        }
        priors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aes::Schedule;

    #[test]
    fn every_equation_holds_in_every_form() {
        let key: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(59) ^ 0xc3).collect();
        for form in Form::all() {
            let graph = Graph::new(form);
            let schedule = Schedule::expand(&key[..form.size.key_len()]).unwrap();
            let memory = form.encode(&schedule);
            let byte = |i: usize| match graph.place[i] {
                Some(at) => memory[at],
                None => schedule.as_bytes()[i],
            };
            for equation in &graph.equations {
                let edges = &graph.edges[equation.first..][..equation.count];
                let sum = edges
                    .iter()
                    .fold(0, |sum, e| sum ^ e.map.table()[usize::from(byte(e.byte))]);
                assert_eq!(sum, equation.constant, "{form:?}");
            }
            let stored = graph.place.iter().flatten().count();
            assert_eq!(stored, form.len());
        }
    }
}
