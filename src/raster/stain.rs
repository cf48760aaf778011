//! Stains as optical density. By the law of Beer and Lambert, optical densities of dyes add:
//! od = −ln(I / I₀), one value each for red, green and blue.

/// Unit vectors of optical density in R, G, B; rows: hematoxylin, eosin, residual (Ruifrok &
/// Johnston 2001).
pub const STAINS: [[f32; 3]; 3] =
    [[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]];

/// Optical density of each 8-bit value in natural units, −ln((v + 1) / 256): 0 for 255.
#[must_use]
pub fn optical_density_table() -> [f64; 256] {
    std::array::from_fn(|v| -((v as f64 + 1.0) / 256.0).ln())
}

/// Weights of the optical densities of R, G and B in the amount of hematoxylin: the first column of
/// the inverse of [`STAINS`].
#[must_use]
pub fn hematoxylin_weights() -> [f64; 3] {
    let [h, e, r] = STAINS.map(|row| row.map(f64::from));
    // od = amounts · STAINS, so by Cramer's rule amount of hematoxylin = od · (e × r) / (h · (e ×
    // r)).
    let cross = [e[1] * r[2] - e[2] * r[1], e[2] * r[0] - e[0] * r[2], e[0] * r[1] - e[1] * r[0]];
    let volume: f64 = h.iter().zip(&cross).map(|(a, b)| a * b).sum();
    cross.map(|c| c / volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_amount_is_one_for_hematoxylin_and_zero_for_the_other_stains() {
        let weights = hematoxylin_weights();
        let amount =
            |od: [f32; 3]| od.iter().zip(weights).map(|(&d, w)| f64::from(d) * w).sum::<f64>();
        assert!((amount(STAINS[0]) - 1.0).abs() < 1e-9);
        assert!(amount(STAINS[1]).abs() < 1e-9 && amount(STAINS[2]).abs() < 1e-9);
        assert!(optical_density_table()[255].abs() < 1e-12);
    }
}
