// SPDX-License-Identifier: GPL-2.0-or-later

//! Probability distributions over a byte, and how that of an xor comes from those of its terms.
//!
//! The distribution of x ^ y is the convolution of those of x and y over the group of bytes under
//! xor, and the Walsh-Hadamard transform turns that convolution into a product.

/// A distribution over the values of a byte, up to a factor, or its transform.
pub(crate) type Table = [f32; 256];

/// Least weight, relative to the greatest, that any value keeps: nothing is impossible, or two
/// wrong certainties would leave no value at all.
const FLOOR: f32 = 1e-7;

/// Scales `table` to a greatest weight of 1 and lifts small ones to [`FLOOR`].
#[inline(always)]
pub(crate) fn normalise(table: &mut Table) {
    // Eight maxima side by side, as vectors have them.
    let mut max = [0f32; 8];
    for eight in table.chunks_exact(8) {
        for (max, &x) in max.iter_mut().zip(eight) {
            *max = if x > *max { x } else { *max };
        }
    }
    let max = max.into_iter().fold(f32::MIN_POSITIVE, f32::max);
    let scale = 1.0 / max;
    for x in table.iter_mut() {
        let scaled = *x * scale;
        *x = if scaled > FLOOR { scaled } else { FLOOR };
    }
}

/// Multiplies `table` by `other`, value by value.
#[inline(always)]
pub(crate) fn multiply(table: &mut Table, other: &Table) {
    for (x, y) in table.iter_mut().zip(other) {
        *x *= y;
    }
}

/// The Walsh-Hadamard transform, with the two hex digits of the index exchanged in the result.
/// Applied twice it multiplies by 256.
#[inline(always)]
pub(crate) fn transform(table: &mut Table) {
    columns(table);
    let mut turned = [0.0; 256];
    for high in 0..16 {
        for low in 0..16 {
            turned[16 * low + high] = table[16 * high + low];
        }
    }
    *table = turned;
    columns(table);
}

/// The transform in the upper hex digit of the index: sixteen at once, side by side.
#[inline(always)]
fn columns(table: &mut Table) {
    let mut half = 16;
    while half < 256 {
        for pair in table.chunks_exact_mut(2 * half) {
            let (a, b) = pair.split_at_mut(half);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_of_transforms_is_the_transform_of_the_distribution_of_the_xor() {
        let a: Table = std::array::from_fn(|i| ((i * 37 + 11) % 101) as f32);
        let b: Table = std::array::from_fn(|i| ((i * 53 + 7) % 89) as f32);
        let mut naive = [0f32; 256];
        for (x, p) in a.iter().enumerate() {
            for (y, q) in b.iter().enumerate() {
                naive[x ^ y] += p * q;
            }
        }
        let (mut fast, mut other) = (a, b);
        transform(&mut fast);
        transform(&mut other);
        multiply(&mut fast, &other);
        transform(&mut fast);
        for (fast, naive) in fast.iter().zip(naive) {
            assert!(
                (fast / 256.0 - naive).abs() <= naive * 1e-4,
                "{fast} {naive}"
            );
        }
    }
}
