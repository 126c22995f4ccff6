// SPDX-License-Identifier: GPL-2.0-or-later

//! Recovers a schedule of a known form at a known place by belief propagation.
//!
//! The schedule is a code word of a code of rate 128/1408 to 256/1920 with an equation for every byte
//! but those of the key. Each equation tells each of its bytes what the others make of it; after some
//! passes over all equations most bytes are certain. The result is then no estimate: a run of Nk words
//! is taken as it is believed, expanded, and compared with what was read (see [`Evidence`]).

use super::evidence::Evidence;
use super::graph::{Channel, Graph, MAX_EDGES};
use super::spectrum::{multiply, normalise, transform, Table};
use crate::aes::Schedule;
use zeroize::Zeroizing;

/// Bits of proof by which a schedule must be better than those that differ from it in one bit of a run.
const DECIDED: f64 = 4.0;

/// Passes after which it shows whether there is hope.
pub(crate) const EARLY: usize = 8;

/// A schedule recovered, and how it agrees with what was read.
pub(crate) struct Recovered {
    pub schedule: Schedule,
    pub evidence: Evidence,
}

/// Belief propagation over the graph of one form.
pub(crate) struct Decoder {
    pub graph: Graph,
    /// What each byte is by what was read alone.
    prior: Vec<Table>,
    /// By edge, what its equation says of its byte.
    message: Vec<Table>,
    /// Passes made so far.
    pub spent: u64,
}

impl Decoder {
    pub fn new(graph: Graph) -> Self {
        let (bytes, edges) = (graph.edges_of.len(), graph.edges.len());
        Self {
            graph,
            prior: vec![[1.0; 256]; bytes],
            message: vec![[1.0; 256]; edges],
            spent: 0,
        }
    }

    /// Starts anew, with `memory` as it was read.
    pub fn load(&mut self, memory: &[u8], channel: Channel) {
        let priors = channel.priors();
        for (prior, place) in self.prior.iter_mut().zip(&self.graph.place) {
            *prior = match place {
                Some(at) => priors[usize::from(memory[*at])],
                None => [1.0; 256],
            };
            normalise(prior);
        }
        self.message.fill([1.0; 256]);
    }

    /// Passes all messages once, each equation seeing what those before it have said; from the first
    /// to the last, or back.
    pub fn pass(&mut self, back: bool) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: The CPU has AVX2.
            return unsafe { self.pass_avx2(back) };
        }
        self.pass_any(back);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn pass_avx2(&mut self, back: bool) {
        self.pass_any(back);
    }

    #[inline(always)]
    fn pass_any(&mut self, back: bool) {
        let count = self.graph.equations.len();
        for n in 0..count {
            self.update(if back { count - 1 - n } else { n });
        }
    }

    /// Lets one equation say what it makes of the others' beliefs.
    #[inline(always)]
    fn update(&mut self, n: usize) {
        let equation = self.graph.equations[n];
        let edges = equation.first..equation.first + equation.count;
        let mut terms = [[0f32; 256]; MAX_EDGES];
        for (term, edge) in terms.iter_mut().zip(edges.clone()) {
            let belief = self.belief(self.graph.edges[edge].byte, Some(edge));
            let map = self.graph.edges[edge].map.table();
            for (x, weight) in map.iter().zip(belief) {
                term[usize::from(*x)] = weight;
            }
            transform(term);
            // Keeps products of five in range.
            let scale = 1.0 / term[0];
            term.iter_mut().for_each(|x| *x *= scale);
        }
        for (k, edge) in edges.clone().enumerate() {
            let mut product = [1f32; 256];
            for (other, term) in terms[..equation.count].iter().enumerate() {
                if other != k {
                    multiply(&mut product, term);
                }
            }
            transform(&mut product);
            let map = self.graph.edges[edge].map.table();
            let message = &mut self.message[edge];
            for (x, y) in map.iter().enumerate() {
                message[x] = product[usize::from(y ^ equation.constant)];
            }
            normalise(message);
        }
    }

    /// What is believed of a byte, `except` for what came over this edge.
    #[inline(always)]
    fn belief(&self, byte: usize, except: Option<usize>) -> Table {
        let mut belief = self.prior[byte];
        for &edge in &self.graph.edges_of[byte] {
            if Some(edge) != except {
                multiply(&mut belief, &self.message[edge]);
                normalise(&mut belief);
            }
        }
        belief
    }

    /// Of the schedules that the most likely values of each run of Nk words give, the one that
    /// explains `memory` best, and how many runs give that.
    fn guess(&self, memory: &[u8]) -> Option<(Recovered, usize)> {
        let form = self.graph.form;
        let nk = form.size.words();
        let words: Vec<[u8; 4]> = (0..form.words())
            .map(|i| [0, 1, 2, 3].map(|b| strongest(&self.belief(4 * i + b, None))))
            .collect();
        let guesses = words.windows(nk).enumerate().filter_map(|(first, words)| {
            let schedule = Schedule::from_words(first, words)?;
            let evidence = Evidence::of(&form.encode(&schedule), memory);
            Some(Recovered { schedule, evidence })
        });
        let mut best: Option<(Recovered, usize)> = None;
        for guess in guesses {
            match &mut best {
                Some((best, votes)) if best.schedule.as_bytes() == guess.schedule.as_bytes() => {
                    *votes += 1;
                }
                Some((best, _)) if guess.evidence.information <= best.evidence.information => {}
                _ => best = Some((guess, 1)),
            }
        }
        best
    }

    /// Corrects single bits of any run of Nk words for as long as that explains `memory` better; `None` if
    /// another bit would explain it nearly as well. Little else depends on the last words of a schedule,
    /// so that of one that has decayed far all runs may agree on a wrong bit there.
    fn polish(&self, mut best: Recovered, memory: &[u8]) -> Option<Recovered> {
        let form = self.graph.form;
        let nk = form.size.words();
        loop {
            let mut second: Option<Recovered> = None;
            for first in 0..=form.words() - nk {
                let mut words = Zeroizing::new([[0; 4]; 8]);
                for (i, word) in words[..nk].iter_mut().enumerate() {
                    *word = best.schedule.word(first + i);
                }
                for bit in 0..32 * nk {
                    let (word, byte, mask) = (bit / 32, bit / 8 % 4, 1 << (bit % 8));
                    words[word][byte] ^= mask;
                    if let Some(schedule) = Schedule::from_words(first, &words[..nk]) {
                        let evidence = Evidence::of(&form.encode(&schedule), memory);
                        let information = |r: &Recovered| r.evidence.information;
                        if evidence.information > second.as_ref().map_or(0.0, information) {
                            second = Some(Recovered { schedule, evidence });
                        }
                    }
                    words[word][byte] ^= mask;
                }
            }
            let second = second?;
            if second.evidence.information > best.evidence.information {
                best = second;
            } else if best.evidence.information - second.evidence.information < DECIDED {
                return None;
            } else {
                return Some(best);
            }
        }
    }

    /// The schedule that was at `memory`, if `passes` passes of messages recover it, and the first
    /// [`EARLY`] find one that explains at least `hope` bits.
    pub fn recover(
        &mut self,
        memory: &[u8],
        channel: Channel,
        passes: usize,
        hope: f64,
    ) -> Option<Recovered> {
        let form = self.graph.form;
        let (bits, words) = (form.size.bits(), form.words());
        self.load(memory, channel);
        for n in 0..passes {
            self.pass(n % 2 == 1);
            self.spent += 1;
            let (guess, votes) = self.guess(memory)?;
            if n + 1 == EARLY && guess.evidence.information < hope {
                return None;
            }
            // A schedule with a few wrong bits may be proof enough: the right one is what most of the
            // runs have come to agree on.
            if guess.evidence.proves(bits) && 2 * votes > words {
                // With fewer wrong bits none was ever left: and this takes as long as many passes.
                let many = guess.evidence.flips() as usize > memory.len();
                if !many {
                    return Some(guess);
                }
                if let Some(polished) = self.polish(guess, memory) {
                    return Some(polished);
                }
            }
        }
        None
    }
}

/// The value with the greatest weight.
fn strongest(belief: &Table) -> u8 {
    let mut best = (0, 0.0);
    for (x, &weight) in belief.iter().enumerate() {
        if weight > best.1 {
            best = (x as u8, weight);
        }
    }
    best.0
}
