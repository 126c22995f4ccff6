// SPDX-License-Identifier: GPL-2.0-or-later

//! Times codes against each other.
//!
//! In one round each code is timed once, one right after the other, so that what slows the machine
//! down for a while slows all of them; every second round goes through them backwards. A code's time
//! is the median over the rounds, and how much faster one code is than another is the median of their
//! ratios in the rounds, not the ratio of medians.

use std::time::Duration;

use anyhow::{ensure, Result};

use super::codes::{Buffers, Code, IV};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds; odd, so that there is a middle one.
    pub(crate) rounds: usize,
    /// Length of one timing.
    pub(crate) slice: Duration,
}

/// A code and its name.
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) code: Box<dyn Code>,
}

/// Nanoseconds per request: of each contestant, in each round.
pub(crate) struct Times(Vec<Vec<f64>>);

impl Times {
    /// The contestant's median.
    pub(crate) fn ns(&self, contestant: usize) -> f64 {
        median(self.0[contestant].clone())
    }

    /// How many times as fast as `other` the contestant is.
    pub(crate) fn speed(&self, contestant: usize, other: usize) -> f64 {
        let rounds = self.0[contestant].iter().zip(&self.0[other]);
        median(rounds.map(|(ours, theirs)| theirs / ours).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Fails unless all give the same output for `len` bytes: a comparison of codes that do not compute
/// the same would mean nothing.
fn ensure_equal(contestants: &mut [Contestant], len: usize) -> Result<()> {
    let mut wanted: Option<Vec<u8>> = None;
    for contestant in contestants {
        let mut buffers = Buffers::new();
        let Buffers { src, dst } = &mut *buffers;
        // For the one that works in place.
        dst.copy_from_slice(src);
        contestant.code.request(&IV, &mut dst[..len], &src[..len]);
        let wanted = wanted.get_or_insert_with(|| dst[..len].to_vec());
        ensure!(
            dst[..len] == wanted[..],
            "{} computes something else than the others from {len} bytes",
            contestant.name
        );
    }
    Ok(())
}

/// Times all of them with requests of `len` bytes.
///
/// # Errors
/// If they do not compute the same.
pub(crate) fn contest(contestants: &mut [Contestant], len: usize, effort: Effort) -> Result<Times> {
    ensure_equal(contestants, len)?;
    let mut buffers = Buffers::new();
    let mut requests = Vec::new();
    for contestant in contestants.iter_mut() {
        // The second time it is warm.
        contestant.code.time(20, &mut buffers, len);
        let ns = contestant.code.time(100, &mut buffers, len);
        requests.push((effort.slice.as_nanos() as f64 / ns).max(1.0) as u32);
    }
    let mut times = vec![Vec::with_capacity(effort.rounds); contestants.len()];
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    for _ in 0..effort.rounds {
        for &i in &order {
            times[i].push(contestants[i].code.time(requests[i], &mut buffers, len));
        }
        order.reverse();
    }
    Ok(Times(times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_round_does_not_change_the_result() {
        let times = Times(vec![vec![10.0, 11.0, 900.0], vec![20.0, 22.0, 18.0]]);
        assert_eq!(times.ns(0), 11.0);
        assert_eq!(times.speed(0, 1), 2.0);
    }

    /// Turns every byte over, or fails to in the last one.
    struct Flip(bool);

    impl Code for Flip {
        fn request(&mut self, _: &[u8; 16], dst: &mut [u8], src: &[u8]) {
            for (to, from) in dst.iter_mut().zip(src) {
                *to = !from;
            }
            if self.0 {
                dst[src.len() - 1] ^= 1;
            }
        }
    }

    #[test]
    fn codes_that_differ_in_a_byte_are_not_compared() {
        let flip = |name: &str, wrong| Contestant {
            name: name.to_owned(),
            code: Box::new(Flip(wrong)),
        };
        let effort = Effort {
            rounds: 1,
            slice: Duration::from_micros(1),
        };
        assert!(contest(&mut [flip("a", false), flip("b", false)], 512, effort).is_ok());
        let wrong = contest(&mut [flip("a", false), flip("b", true)], 512, effort);
        assert!(wrong.err().unwrap().to_string().contains("b computes"));
    }
}
