//! What is drawn over the image, and how: once for the GPU (`shaders/viewer.wgsl`) and once here,
//! for screens without one.

use super::pyramid::{APRON, TEXTURE, TILE};
use crate::error::{Error, Result};

/// Colours of the two answers' outlines and fills.
pub const COLOURS: [[f32; 3]; super::RESULT_LAYERS] = [[0.0, 1.0, 0.25], [1.0, 0.66, 0.0]];
/// Colour of the chosen nucleus.
const CHOSEN: [f32; 3] = [1.0, 1.0, 1.0];
/// Probability 0, ¼, ½, ¾, 1: dark to bright, told apart by people who see colours differently
/// (after viridis).
const HEAT: [[f32; 3]; 5] = [
    [0.267, 0.005, 0.329],
    [0.230, 0.322, 0.546],
    [0.128, 0.567, 0.551],
    [0.369, 0.789, 0.383],
    [0.993, 0.906, 0.144],
];

/// Strengths of the layers, 0 to 1, and what is pointed out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layers {
    pub outline: f32,
    pub mask: f32,
    pub heat: f32,
    /// While the threshold moves: the mask is where the probability is above this. Otherwise the
    /// nuclei.
    pub preview: Option<f32>,
    /// Label of the nucleus that was chosen; 0 is none.
    pub chosen: u32,
    /// Left of this column of the screen answer 0 is shown, right of it answer 1; none shows answer
    /// 0 alone.
    pub divider: Option<f32>,
}

impl Default for Layers {
    fn default() -> Self {
        Self { outline: 1.0, mask: 0.0, heat: 0.0, preview: None, chosen: 0, divider: None }
    }
}

impl Layers {
    /// [`Self::chosen`] as data tiles carry labels.
    #[must_use]
    pub fn short_label(&self) -> u32 {
        if self.chosen == 0 { 0 } else { (self.chosen - 1) % 65_535 + 1 }
    }
}

/// RGBA of a tile without its apron, layers drawn over the image; the divider is the caller's
/// affair.
///
/// # Errors
/// [`Error::Mismatch`] when the tiles are not of the size that [`super::Pyramid`] makes.
pub fn compose(
    image: &[u8],
    data: Option<&[u8]>,
    answer: usize,
    layers: &Layers,
) -> Result<Vec<u8>> {
    let len = TEXTURE * TEXTURE * 4;
    if image.len() != len || data.is_some_and(|d| d.len() != len) {
        return Err(Error::mismatch("The tile has the wrong size"));
    }
    let colour = COLOURS[answer.min(COLOURS.len() - 1)];
    let mut out = Vec::with_capacity(TILE * TILE * 4);
    for (y, x) in (APRON..APRON + TILE).flat_map(|y| (APRON..APRON + TILE).map(move |x| (y, x))) {
        let at = (y * TEXTURE + x) * 4;
        let mut pixel = [0, 1, 2].map(|c| f32::from(image[at + c]) / 255.0);
        if let Some(data) = data.filter(|d| d[at + 3] > 0) {
            pixel = over(pixel, data, at, colour, layers);
        }
        out.extend(pixel.map(|v| (v * 255.0 + 0.5) as u8));
        out.push(255);
    }
    Ok(out)
}

fn over(image: [f32; 3], data: &[u8], at: usize, colour: [f32; 3], layers: &Layers) -> [f32; 3] {
    let label = |at: usize| u32::from(data[at + 1]) | u32::from(data[at + 2]) << 8;
    let (own, probability) = (label(at), f32::from(data[at]) / 255.0);
    let mut pixel = mix(image, heat(probability), layers.heat * probability.max(0.25));
    let inside = layers.preview.map_or(own > 0, |threshold| probability > threshold);
    if inside {
        pixel = mix(pixel, colour, layers.mask * 0.6);
    }
    let beside = [at - 4, at + 4, at - TEXTURE * 4, at + TEXTURE * 4];
    if own > 0 && beside.iter().any(|&b| label(b) != own) {
        let chosen = own == layers.short_label();
        pixel = mix(
            pixel,
            if chosen { CHOSEN } else { colour },
            if chosen { 1.0 } else { layers.outline },
        );
    }
    pixel
}

fn mix(a: [f32; 3], b: [f32; 3], share: f32) -> [f32; 3] {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * share.clamp(0.0, 1.0))
}

fn heat(probability: f32) -> [f32; 3] {
    let at = probability.clamp(0.0, 1.0) * (HEAT.len() - 1) as f32;
    let low = (at as usize).min(HEAT.len() - 2);
    mix(HEAT[low], HEAT[low + 1], at - low as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grey tile with one nucleus of 3×3 pixels in the middle.
    fn tiles() -> (Vec<u8>, Vec<u8>) {
        let image = [100, 100, 100, 255].repeat(TEXTURE * TEXTURE);
        let mut data = [51, 0, 0, 255].repeat(TEXTURE * TEXTURE);
        for (y, x) in (0..9).map(|i| (100 + i / 3, 100 + i % 3)) {
            data[(y * TEXTURE + x) * 4..][..4].copy_from_slice(&[255, 5, 0, 255]);
        }
        (image, data)
    }

    fn pixel(out: &[u8], y: usize, x: usize) -> [u8; 3] {
        let at = ((y - APRON) * TILE + x - APRON) * 4;
        [out[at], out[at + 1], out[at + 2]]
    }

    #[test]
    fn outlines_run_round_a_nucleus_and_fill_stays_inside() {
        let (image, data) = tiles();
        let draw = |layers: &Layers| compose(&image, Some(&data), 0, layers).expect("tile");
        let out = draw(&Layers::default());
        assert_eq!(pixel(&out, 100, 100), [0, 255, 64]);
        assert_eq!(pixel(&out, 101, 101), [100; 3]);
        assert_eq!(pixel(&out, 99, 100), [100; 3]);
        let filled = draw(&Layers { outline: 0.0, mask: 1.0, ..Layers::default() });
        assert_ne!(pixel(&filled, 101, 101), [100; 3]);
        assert_eq!(pixel(&filled, 99, 100), [100; 3]);
        let preview =
            draw(&Layers { outline: 0.0, mask: 1.0, preview: Some(0.1), ..Layers::default() });
        assert_ne!(pixel(&preview, 99, 100), [100; 3], "0.2 is above 0.1");
        let chosen = draw(&Layers { chosen: 5, ..Layers::default() });
        assert_eq!(pixel(&chosen, 100, 100), [255; 3]);
    }

    #[test]
    fn what_is_not_known_is_the_image_alone() {
        let (image, mut data) = tiles();
        data.chunks_exact_mut(4).for_each(|p| p[3] = 0);
        let layers = Layers { heat: 1.0, ..Layers::default() };
        let out = compose(&image, Some(&data), 0, &layers).expect("tile");
        assert_eq!(out, compose(&image, None, 0, &layers).expect("tile"));
        assert!(compose(&image[1..], None, 0, &layers).is_err());
    }
}
