//! The transforms of F(4×4, 3×3), Winograd's minimal filtering for 4×4 outputs of a 3×3 kernel
//! (Lavin & Gray 2016, arXiv:1509.09308):
//!
//! ```text
//! Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//!
//! g  3×3 weights        G g Gᵀ  6×6, once when the weights are packed
//! d  6×6 inputs         Bᵀ d B  6×6, once per tile and channel
//! Y  4×4 outputs        ⊙       element by element, summed over channels before Aᵀ … A
//! ```
//!
//! The 16 outputs take 36 products per channel instead of 16 · 9 = 144. The matrices are those of
//! the interpolation points 0, ±1, ±2 and ∞.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::Simd;

use super::super::kernel::madd;

/// Outputs along a side of a tile.
pub(super) const TILE: usize = 4;
/// Inputs along a side of a tile's window.
pub(super) const WINDOW: usize = 6;
/// Products of a tile: the elements of the transformed window.
pub(super) const PRODUCTS: usize = WINDOW * WINDOW;
/// Taps along a side of a kernel piece.
pub(super) const PIECE: usize = 3;

/// G.
const G: [[f64; PIECE]; WINDOW] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// `G g Gᵀ`, row by row, computed in f64.
pub(super) fn weights(kernel: &[[f64; PIECE]; PIECE]) -> [f32; PRODUCTS] {
    let mut transformed = [0.0; PRODUCTS];
    for i in 0..WINDOW {
        for j in 0..WINDOW {
            let mut sum = 0.0;
            for (row, weights) in kernel.iter().enumerate() {
                for (column, weight) in weights.iter().enumerate() {
                    sum += G[i][row] * weight * G[j][column];
                }
            }
            transformed[i * WINDOW + j] = sum as f32;
        }
    }
    transformed
}

/// `Bᵀ d` for one column of a window (or, on its result, `d B` for one row), tiles side by side.
///
/// ```text
///      ⎡ 4  0 −5  0  1  0 ⎤
///      ⎢ 0 −4 −4  1  1  0 ⎥
/// Bᵀ = ⎢ 0  4 −4 −1  1  0 ⎥
///      ⎢ 0 −2 −1  2  1  0 ⎥
///      ⎢ 0  2 −1 −2  1  0 ⎥
///      ⎣ 0  4  0 −5  0  1 ⎦
/// ```
#[inline(always)]
pub(super) fn input<S: Simd>(simd: S, d: [S::f32s; WINDOW]) -> [S::f32s; WINDOW] {
    let two = simd.splat_f32s(2.0);
    let four = simd.splat_f32s(4.0);
    let minus_five = simd.splat_f32s(-5.0);
    let minus_four = simd.splat_f32s(-4.0);
    // Rows 3 and 4 share d₄ − d₂ and 2 (d₃ − d₁).
    let even = simd.sub_f32s(d[4], d[2]);
    let odd = simd.mul_f32s(two, simd.sub_f32s(d[3], d[1]));
    [
        madd(simd, four, d[0], madd(simd, minus_five, d[2], d[4])),
        madd(simd, minus_four, simd.add_f32s(d[1], d[2]), simd.add_f32s(d[3], d[4])),
        madd(simd, four, simd.sub_f32s(d[1], d[2]), simd.sub_f32s(d[4], d[3])),
        simd.add_f32s(even, odd),
        simd.sub_f32s(even, odd),
        madd(simd, four, d[1], madd(simd, minus_five, d[3], d[5])),
    ]
}

/// `Aᵀ m` for one column of products (or `m A` for one row), tiles side by side.
///
/// ```text
///      ⎡ 1  1  1  1  1  0 ⎤
/// Aᵀ = ⎢ 0  1 −1  2 −2  0 ⎥
///      ⎢ 0  1  1  4  4  0 ⎥
///      ⎣ 0  1 −1  8 −8  1 ⎦
/// ```
#[inline(always)]
fn output<S: Simd>(simd: S, m: [S::f32s; WINDOW]) -> [S::f32s; TILE] {
    let two = simd.splat_f32s(2.0);
    let four = simd.splat_f32s(4.0);
    let eight = simd.splat_f32s(8.0);
    let sum_12 = simd.add_f32s(m[1], m[2]);
    let difference_12 = simd.sub_f32s(m[1], m[2]);
    let sum_34 = simd.add_f32s(m[3], m[4]);
    let difference_34 = simd.sub_f32s(m[3], m[4]);
    [
        simd.add_f32s(m[0], simd.add_f32s(sum_12, sum_34)),
        madd(simd, two, difference_34, difference_12),
        madd(simd, four, sum_34, sum_12),
        simd.add_f32s(madd(simd, eight, difference_34, difference_12), m[5]),
    ]
}

/// `Aᵀ m A`: the outputs of tiles side by side, `[row][column]`, from their sums of products, row
/// by row.
#[inline(always)]
pub(super) fn outputs<S: Simd>(simd: S, m: &[S::f32s; PRODUCTS]) -> [[S::f32s; TILE]; TILE] {
    let mut half = [[simd.splat_f32s(0.0); WINDOW]; TILE];
    for j in 0..WINDOW {
        let column = output(simd, [m[j], m[6 + j], m[12 + j], m[18 + j], m[24 + j], m[30 + j]]);
        for i in 0..TILE {
            half[i][j] = column[i];
        }
    }
    [output(simd, half[0]), output(simd, half[1]), output(simd, half[2]), output(simd, half[3])]
}
