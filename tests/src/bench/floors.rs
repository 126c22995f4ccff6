// SPDX-License-Identifier: GPL-2.0-or-later

//! Which codes are compared, and what their ratios shall at least be.

/// The project's floors for XTS-AES-256: code, what it is compared with, bytes, ratio.
const FLOORS: [(&str, &str, usize, f64); 7] = [
    ("tresor/aesni", "linux/aesni_avx", 4096, 0.40),
    ("tresor/aesni_avx", "linux/aesni_avx", 512, 0.62),
    ("tresor/aesni_avx", "linux/aesni_avx", 4096, 0.78),
    ("tresor/vaes_avx2", "linux/vaes_avx2", 512, 0.60),
    ("tresor/vaes_avx2", "linux/vaes_avx2", 4096, 0.72),
    ("tresor/vaes_avx512", "linux/vaes_avx512", 512, 0.65),
    ("tresor/vaes_avx512", "linux/vaes_avx512", 4096, 0.86),
];

/// The same for the fastest variant, in either mode.
const FLOORS_OF_BEST: [(&str, usize, f64); 3] = [
    ("openssl", 4096, 2.0),
    ("rustcrypto", 4096, 2.0),
    ("tresor/per_block", 4096, 20.0),
];

/// How much lower a floor against Linux is for XTS-AES-128, whose rounds take less of a request.
const LESS_FOR_128: f64 = 0.05;

/// What `code` is compared with; `best` is the fastest variant here.
pub(crate) fn opponents(code: &str, best: &str) -> Vec<&'static str> {
    let mut opponents = match code {
        "tresor/aesni" | "tresor/aesni_avx" => vec!["linux/aesni_avx"],
        "tresor/vaes_avx2" => vec!["linux/vaes_avx2"],
        "tresor/vaes_avx512" => vec!["linux/vaes_avx512"],
        _ => vec![],
    };
    if code == best {
        opponents.extend(["openssl", "rustcrypto", "tresor/per_block", "tresor2011"]);
    }
    opponents
}

/// The floor, if there is one.
pub(crate) fn floor(code: &str, against: &str, mode: &str, bytes: usize) -> Option<f64> {
    let linux = FLOORS
        .iter()
        .find(|(c, a, b, _)| (*c, *a, *b) == (code, against, bytes));
    if let Some((.., ratio)) = linux {
        let less = if mode == "xts-128" { LESS_FOR_128 } else { 0.0 };
        return Some(ratio - less);
    }
    FLOORS_OF_BEST
        .iter()
        .find(|(a, b, _)| (*a, *b) == (against, bytes))
        .map(|(.., ratio)| *ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_floor_is_of_a_comparison_that_is_made() {
        let best = "tresor/vaes_avx512";
        for (code, against, ..) in FLOORS {
            assert!(opponents(code, best).contains(&against), "{code} {against}");
        }
        for (against, ..) in FLOORS_OF_BEST {
            assert!(opponents(best, best).contains(&against), "{against}");
        }
    }
}
