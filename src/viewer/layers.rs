//! How results are drawn over the image. Defined twice: in `shaders/viewer.wgsl` for the GPU and
//! here for screens without one.

use super::RESULT_LAYERS;
use super::tile::{APRON_PX, TEXTURE_BYTES, TEXTURE_PX, TILE_PX};
use crate::error::{Error, Result};

/// Red, green, blue, 0 to 1.
type Rgb = [f32; 3];

/// Colours of the masks of each result.
pub(super) const RESULT_COLOURS: [Rgb; RESULT_LAYERS] = [[0.0, 1.0, 0.25], [1.0, 0.66, 0.0]];
/// Opacity of a mask of full strength.
const MASK_OPACITY: f32 = 0.6;
/// Least opacity of a heat map of full strength, where the probability is low.
const MIN_HEAT_OPACITY: f32 = 0.25;
/// Colours of probability 0, ¼, ½, ¾, 1 after viridis, which remains readable with colour vision
/// deficiency (Smith and van der Walt, 2015).
const HEAT_COLOURS: [Rgb; 5] = [
    [0.267, 0.005, 0.329],
    [0.230, 0.322, 0.546],
    [0.128, 0.567, 0.551],
    [0.369, 0.789, 0.383],
    [0.993, 0.906, 0.144],
];

/// Strengths of the layers, 0 to 1, and what they show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layers {
    /// Opacity of outlines. Tiles have none: they are drawn over them, as thick at every scale.
    pub outline: f32,
    /// Strength of the filled mask.
    pub mask: f32,
    /// Strength of the heat map of probabilities.
    pub heat: f32,
    /// A threshold whose mask is shown instead of the nuclei, while it is being changed.
    pub preview: Option<f32>,
    /// Column of the screen where result 1 begins, on its right; without it only result 0 is shown.
    pub divider: Option<f32>,
    /// Whether both halves of the screen show the same place, each with its result; the divider
    /// lies in the middle then.
    pub linked: bool,
}

impl Default for Layers {
    /// Outlines alone.
    fn default() -> Self {
        Self { outline: 1.0, mask: 0.0, heat: 0.0, preview: None, divider: None, linked: false }
    }
}

/// What result tiles hold of one pixel.
struct ResultTexel {
    probability: f32,
    label: u16,
    is_known: bool,
}

impl ResultTexel {
    /// Reads the four bytes at `offset` of a [`super::data_tile`].
    fn read(data: &[u8], offset: usize) -> Self {
        Self {
            probability: f32::from(data[offset]) / 255.0,
            label: u16::from_le_bytes([data[offset + 1], data[offset + 2]]),
            is_known: data[offset + 3] > 0,
        }
    }
}

/// Draws the layers over a tile: RGBA without apron, `TILE_PX × TILE_PX`. `image` and `data` are
/// tiles with apron; `result` is the number of the result, for its colour. The divider is left to
/// the caller.
///
/// # Errors
/// [`Error::Mismatch`] for tiles of another size.
pub fn compose(
    image: &[u8],
    data: Option<&[u8]>,
    result: usize,
    layers: &Layers,
) -> Result<Vec<u8>> {
    if image.len() != TEXTURE_BYTES || data.is_some_and(|d| d.len() != TEXTURE_BYTES) {
        return Err(Error::mismatch("The tile has the wrong size"));
    }
    let colour = RESULT_COLOURS[result.min(RESULT_LAYERS - 1)];
    let mut rgba = Vec::with_capacity(TILE_PX * TILE_PX * 4);
    for y in APRON_PX..APRON_PX + TILE_PX {
        for x in APRON_PX..APRON_PX + TILE_PX {
            let offset = (y * TEXTURE_PX + x) * 4;
            let mut pixel = [0, 1, 2].map(|c| f32::from(image[offset + c]) / 255.0);
            if let Some(data) = data {
                pixel = draw_layers(pixel, data, offset, colour, layers);
            }
            rgba.extend(pixel.map(|v| (v * 255.0 + 0.5) as u8));
            rgba.push(255);
        }
    }
    Ok(rgba)
}

/// One pixel at `offset` of a result tile, bottom to top: image, heat map, mask.
fn draw_layers(image: Rgb, data: &[u8], offset: usize, colour: Rgb, layers: &Layers) -> Rgb {
    let texel = ResultTexel::read(data, offset);
    if !texel.is_known {
        return image;
    }
    let heat_opacity = layers.heat * texel.probability.max(MIN_HEAT_OPACITY);
    let mut pixel = mix(image, heat_colour(texel.probability), heat_opacity);
    let is_inside = match layers.preview {
        Some(threshold) => texel.probability > threshold,
        None => texel.label > 0,
    };
    if is_inside {
        pixel = mix(pixel, colour, layers.mask * MASK_OPACITY);
    }
    pixel
}

/// Linear interpolation: `a` at `share` 0, `b` at 1.
fn mix(a: Rgb, b: Rgb, share: f32) -> Rgb {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * share.clamp(0.0, 1.0))
}

fn heat_colour(probability: f32) -> Rgb {
    let position = probability.clamp(0.0, 1.0) * (HEAT_COLOURS.len() - 1) as f32;
    let low = (position as usize).min(HEAT_COLOURS.len() - 2);
    mix(HEAT_COLOURS[low], HEAT_COLOURS[low + 1], position - low as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grey tile with one nucleus of 3×3 pixels in the middle.
    fn tiles() -> (Vec<u8>, Vec<u8>) {
        let image = [100, 100, 100, 255].repeat(TEXTURE_PX * TEXTURE_PX);
        let mut data = [51, 0, 0, 255].repeat(TEXTURE_PX * TEXTURE_PX);
        for y in 100..103 {
            for x in 100..103 {
                let at = (y * TEXTURE_PX + x) * 4;
                data[at..at + 4].copy_from_slice(&[255, 5, 0, 255]);
            }
        }
        (image, data)
    }

    fn pixel(out: &[u8], y: usize, x: usize) -> [u8; 3] {
        let at = ((y - APRON_PX) * TILE_PX + x - APRON_PX) * 4;
        [out[at], out[at + 1], out[at + 2]]
    }

    #[test]
    fn a_mask_fills_a_nucleus_or_what_lies_above_the_threshold() {
        let (image, data) = tiles();
        let draw = |layers: &Layers| compose(&image, Some(&data), 0, layers).expect("tile");
        let plain = draw(&Layers::default());
        assert_eq!(pixel(&plain, 100, 100), [100; 3], "outlines are drawn elsewhere");
        let filled = draw(&Layers { mask: 1.0, ..Layers::default() });
        assert_ne!(pixel(&filled, 100, 100), [100; 3]);
        assert_eq!(pixel(&filled, 99, 100), [100; 3]);
        let preview = draw(&Layers { mask: 1.0, preview: Some(0.1), ..Layers::default() });
        assert_ne!(pixel(&preview, 99, 100), [100; 3], "0.2 is above 0.1");
    }

    #[test]
    fn unknown_pixels_show_the_image_alone() {
        let (image, mut data) = tiles();
        data.chunks_exact_mut(4).for_each(|p| p[3] = 0);
        let layers = Layers { heat: 1.0, ..Layers::default() };
        let out = compose(&image, Some(&data), 0, &layers).expect("tile");
        assert_eq!(out, compose(&image, None, 0, &layers).expect("tile"));
        assert!(compose(&image[1..], None, 0, &layers).is_err());
    }
}
