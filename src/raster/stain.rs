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
    let [hematoxylin, eosin, residual] = STAINS.map(|row| row.map(f64::from));
    amount_weights(hematoxylin, eosin, residual)
}

/// The same for eosin.
#[must_use]
pub fn eosin_weights() -> [f64; 3] {
    let [hematoxylin, eosin, residual] = STAINS.map(|row| row.map(f64::from));
    amount_weights(eosin, residual, hematoxylin)
}

/// Weights of the optical densities of R, G and B in the amount of the stain `h`, in a mixture with
/// the stains `e` and `r`, in cyclic order of [`STAINS`].
fn amount_weights(h: [f64; 3], e: [f64; 3], r: [f64; 3]) -> [f64; 3] {
    // od = amounts · STAINS, so by Cramer's rule amount of h = od · (e × r) / (h · (e × r)).
    let cross = [e[1] * r[2] - e[2] * r[1], e[2] * r[0] - e[0] * r[2], e[0] * r[1] - e[1] * r[0]];
    let volume: f64 = h.iter().zip(&cross).map(|(a, b)| a * b).sum();
    cross.map(|c| c / volume)
}

/// A stain that can be shown alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stain {
    /// Blue to violet, mostly in nuclei.
    Hematoxylin,
    /// Pink, in everything else.
    Eosin,
}

/// Shows one stain of an image alone, by colour deconvolution (Ruifrok & Johnston 2001): the amount
/// of the stain is separated, and the image is what that amount alone would look like.
#[derive(Debug, Clone)]
pub struct StainFilter {
    /// Of each 8-bit value, natural units.
    densities: [f64; 256],
    /// Of the optical densities in the amount.
    weights: [f64; 3],
    /// Optical densities of an amount of 1.
    colour: [f64; 3],
}

impl StainFilter {
    /// A filter for one stain.
    #[must_use]
    pub fn new(stain: Stain) -> Self {
        let [hematoxylin, eosin, residual] = STAINS.map(|row| row.map(f64::from));
        let (weights, colour) = match stain {
            Stain::Hematoxylin => (amount_weights(hematoxylin, eosin, residual), hematoxylin),
            Stain::Eosin => (amount_weights(eosin, residual, hematoxylin), eosin),
        };
        Self { densities: optical_density_table(), weights, colour }
    }

    /// R, G and B of the stain alone in a pixel. An amount below 0, which no mixture of the stains
    /// has, is 0.
    #[must_use]
    pub fn pixel(&self, rgb: [u8; 3]) -> [u8; 3] {
        let mut amount = 0.0;
        for (value, weight) in rgb.iter().zip(self.weights) {
            amount += self.densities[usize::from(*value)] * weight;
        }
        let amount = amount.max(0.0);
        self.colour.map(|density| {
            let value = (-amount * density).exp() * 256.0 - 1.0;
            value.round().clamp(0.0, 255.0) as u8
        })
    }

    /// Filters pixels of R, G, B and A in place; A stays.
    pub fn apply(&self, rgba: &mut [u8]) {
        for pixel in rgba.as_chunks_mut::<4>().0 {
            let [red, green, blue, _] = *pixel;
            let [red, green, blue] = self.pixel([red, green, blue]);
            pixel[..3].copy_from_slice(&[red, green, blue]);
        }
    }
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
        let weights = eosin_weights();
        let amount =
            |od: [f32; 3]| od.iter().zip(weights).map(|(&d, w)| f64::from(d) * w).sum::<f64>();
        assert!((amount(STAINS[1]) - 1.0).abs() < 1e-9);
        assert!(amount(STAINS[0]).abs() < 1e-9 && amount(STAINS[2]).abs() < 1e-9);
        assert!(optical_density_table()[255].abs() < 1e-12);
    }

    /// `separate_stains` and `combine_stains` of scikit-image 0.26 with the same matrix, on
    /// (v + 1) / 256.
    #[test]
    fn one_stain_alone_looks_as_in_scikit_image() {
        let pixels = [
            [200, 120, 180],
            [90, 60, 140],
            [235, 170, 200],
            [255, 255, 255],
            [0, 0, 0],
            [30, 200, 40],
            [120, 60, 110],
            [240, 240, 238],
        ];
        let hematoxylin = [
            [225, 222, 241],
            [97, 89, 166],
            [255, 255, 255],
            [255, 255, 255],
            [2, 1, 36],
            [39, 33, 112],
            [151, 144, 202],
            [244, 243, 250],
        ];
        let eosin = [
            [247, 165, 244],
            [250, 191, 247],
            [250, 197, 248],
            [255, 255, 255],
            [255, 255, 255],
            [255, 255, 255],
            [247, 161, 243],
            [255, 255, 255],
        ];
        for (stain, wanted) in [(Stain::Hematoxylin, hematoxylin), (Stain::Eosin, eosin)] {
            let filter = StainFilter::new(stain);
            assert_eq!(pixels.map(|pixel| filter.pixel(pixel)), wanted, "{stain:?}");
        }
        let mut rgba = [90, 60, 140, 77];
        StainFilter::new(Stain::Hematoxylin).apply(&mut rgba);
        assert_eq!(rgba, [97, 89, 166, 77], "opacity stays");
    }
}
