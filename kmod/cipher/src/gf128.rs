// SPDX-License-Identifier: GPL-2.0-or-later

//! Powers of x in GF(2^128), the field of XTS tweaks (IEEE 1619 section 5.2). Public values only.

/// An element, low half first: bit i of the 128 is the coefficient of x^i.
pub(super) type Element = [u64; 2];

/// x^128 mod the field's polynomial x^128 + x^7 + x^2 + x + 1.
const POLY: u64 = 0x87;

/// 1.
pub(super) const ONE: Element = [1, 0];

/// x^n, by squaring: what a data unit's first tweak is multiplied by to get that of its n-th block.
#[cold]
#[inline(never)]
pub(super) const fn power_of_x(n: u64) -> Element {
    if n == 0 {
        return ONE;
    }
    // x to the leading bits of n that make an exponent below 64, then a squaring for each further.
    let mut left = (u64::BITS - n.leading_zeros()).saturating_sub(6);
    let mut e = [1 << (n >> left), 0];
    while left > 0 {
        left -= 1;
        e = square(e);
        if n >> left & 1 != 0 {
            e = times_x(e);
        }
    }
    e
}

const fn times_x([lo, hi]: Element) -> Element {
    [
        lo << 1 ^ if hi >> 63 != 0 { POLY } else { 0 },
        hi << 1 | lo >> 63,
    ]
}

const fn square([lo, hi]: Element) -> Element {
    let (h0, h1) = (spread(hi as u32), spread((hi >> 32) as u32));
    // The upper 128 bits of the product, h1:h0, times POLY. What h1 times POLY carries out of its
    // 64 bits (at most 7 bits) comes in again at the bottom.
    let carry = h1 >> 63 ^ h1 >> 62 ^ h1 >> 57;
    [
        spread(lo as u32) ^ by_poly(h0) ^ by_poly(carry),
        spread((lo >> 32) as u32) ^ by_poly(h1) ^ h0 >> 63 ^ h0 >> 62 ^ h0 >> 57,
    ]
}

/// Low 64 bits of `w` times POLY.
const fn by_poly(w: u64) -> u64 {
    w ^ w << 1 ^ w << 2 ^ w << 7
}

/// Bit i of `w` to bit 2i: squaring in GF(2)[x].
const fn spread(w: u32) -> u64 {
    let mut w = w as u64;
    w = (w | w << 16) & 0x0000_ffff_0000_ffff;
    w = (w | w << 8) & 0x00ff_00ff_00ff_00ff;
    w = (w | w << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    w = (w | w << 2) & 0x3333_3333_3333_3333;
    (w | w << 1) & 0x5555_5555_5555_5555
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_is_as_many_doublings_as_its_exponent() {
        let mut e = [1, 0];
        for n in 0..5000 {
            assert_eq!(power_of_x(n), e, "x^{n}");
            e = times_x(e);
        }
    }

    #[test]
    fn the_multiplicative_group_has_order_2_to_the_128_less_1() {
        // x^(2^64) by 64 squarings of x, x^(2^64 - 1) by the function: they differ by one doubling.
        let mut e = [2, 0];
        for _ in 0..64 {
            e = square(e);
        }
        assert_eq!(times_x(power_of_x(u64::MAX)), e);
        // 64 more squarings come back to x.
        for _ in 0..64 {
            e = square(e);
        }
        assert_eq!(e, [2, 0]);
    }
}
