//! Winograd's minimal filtering F(4×4, 3×3) (Lavin & Gray 2016): sixteen outputs of a 3×3
//! convolution from 36 products instead of 144. Points 0, ±1, ±2, ∞.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::Simd;

use super::super::kernel::madd;

/// Products of a tile.
pub const PRODUCTS: usize = 36;
/// Outputs along a side of a tile.
pub const TILE: usize = 4;
/// Inputs along a side of a tile.
pub const WINDOW: usize = 6;

/// Transform of the weights, `G g Gᵀ`, in f64.
const G: [[f64; 3]; WINDOW] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// The 36 transformed values of a 3×3 kernel.
pub fn weights(kernel: &[[f64; 3]; 3]) -> [f32; PRODUCTS] {
    let value = |i: usize, j: usize| -> f64 {
        (0..9).map(|n| G[i][n / 3] * kernel[n / 3][n % 3] * G[j][n % 3]).sum()
    };
    std::array::from_fn(|k| value(k / WINDOW, k % WINDOW) as f32)
}

/// `Bᵀ d` along one axis.
#[inline(always)]
pub fn input<S: Simd>(simd: S, d: [S::f32s; WINDOW]) -> [S::f32s; WINDOW] {
    let [d0, d1, d2, d3, d4, d5] = d;
    let two = simd.splat_f32s(2.0);
    let four = simd.splat_f32s(4.0);
    let minus_five = simd.splat_f32s(-5.0);
    let minus_four = simd.splat_f32s(-4.0);
    let across = simd.sub_f32s(d4, d2);
    let turn = simd.mul_f32s(two, simd.sub_f32s(d3, d1));
    [
        madd(simd, four, d0, madd(simd, minus_five, d2, d4)),
        madd(simd, minus_four, simd.add_f32s(d1, d2), simd.add_f32s(d3, d4)),
        madd(simd, four, simd.sub_f32s(d1, d2), simd.sub_f32s(d4, d3)),
        simd.add_f32s(across, turn),
        simd.sub_f32s(across, turn),
        madd(simd, four, d1, madd(simd, minus_five, d3, d5)),
    ]
}

/// `Aᵀ m` along one axis.
#[inline(always)]
pub fn output<S: Simd>(simd: S, m: [S::f32s; WINDOW]) -> [S::f32s; TILE] {
    let [m0, m1, m2, m3, m4, m5] = m;
    let (two, four, eight) = (simd.splat_f32s(2.0), simd.splat_f32s(4.0), simd.splat_f32s(8.0));
    let (s1, d1) = (simd.add_f32s(m1, m2), simd.sub_f32s(m1, m2));
    let (s2, d2) = (simd.add_f32s(m3, m4), simd.sub_f32s(m3, m4));
    [
        simd.add_f32s(m0, simd.add_f32s(s1, s2)),
        madd(simd, two, d2, d1),
        madd(simd, four, s2, s1),
        simd.add_f32s(madd(simd, eight, d2, d1), m5),
    ]
}

/// All sixteen outputs of a tile from its 36 sums, rows first.
#[inline(always)]
pub fn outputs<S: Simd>(simd: S, m: &[S::f32s; PRODUCTS]) -> [[S::f32s; TILE]; TILE] {
    let zero = simd.splat_f32s(0.0);
    let mut half = [[zero; WINDOW]; TILE];
    for j in 0..WINDOW {
        let column = output(simd, [m[j], m[6 + j], m[12 + j], m[18 + j], m[24 + j], m[30 + j]]);
        for i in 0..TILE {
            half[i][j] = column[i];
        }
    }
    [output(simd, half[0]), output(simd, half[1]), output(simd, half[2]), output(simd, half[3])]
}
