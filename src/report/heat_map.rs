//! A map of densities as a picture with a colour scale and a scale bar.

use plotters::style::colors::colormaps::ViridisRGB;

use crate::raster::{Plane, Rgb, RgbImage};

/// Longest side of the drawn map unless it has more squares, pixels.
const MAP_PX: usize = 1000;
/// Around map and scale, pixels.
const MARGIN_PX: usize = 24;
/// Least height of the picture, so that the scale can be read.
const LEAST_HEIGHT_PX: usize = 320;
/// Width of the colour scale.
const SCALE_PX: usize = 28;
/// Room for the numbers beside the scale.
const NUMBERS_PX: usize = 130;
/// Room above the map for the unit, and below it for the scale bar.
const LINE_PX: usize = 40;
/// Pixels of a dot of a letter.
const DOT_PX: usize = 2;
/// Size of a letter, dots, and the distance to the next one.
const LETTER: (usize, usize) = (5, 7);
const ADVANCE_PX: usize = (LETTER.0 + 1) * DOT_PX;
/// Most numbers beside the scale, above 0.
const MOST_TICKS: f64 = 6.0;
/// Where nothing is known.
const UNKNOWN: Rgb = [225, 225, 225];
const PAPER: Rgb = [255, 255, 255];
const INK: Rgb = [20, 20, 20];

/// What stands above the scale.
const UNIT: &str = "nuclei per mm²";

/// Letters that are needed, row by row from the top, five bits a row.
const LETTERS: [(char, [u8; 7]); 23] = [
    ('0', [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110]),
    ('1', [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110]),
    ('2', [0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111]),
    ('3', [0b11110, 0b00001, 0b00001, 0b01110, 0b00001, 0b00001, 0b11110]),
    ('4', [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010]),
    ('5', [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110]),
    ('6', [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110]),
    ('7', [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000]),
    ('8', [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110]),
    ('9', [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100]),
    ('.', [0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b01100, 0b01100]),
    ('c', [0b00000, 0b00000, 0b01110, 0b10000, 0b10000, 0b10001, 0b01110]),
    ('e', [0b00000, 0b00000, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110]),
    ('i', [0b00100, 0b00000, 0b01100, 0b00100, 0b00100, 0b00100, 0b01110]),
    ('l', [0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110]),
    ('m', [0b00000, 0b00000, 0b11010, 0b10101, 0b10101, 0b10101, 0b10101]),
    ('n', [0b00000, 0b00000, 0b10110, 0b11001, 0b10001, 0b10001, 0b10001]),
    ('p', [0b00000, 0b00000, 0b11110, 0b10001, 0b11110, 0b10000, 0b10000]),
    ('r', [0b00000, 0b00000, 0b10110, 0b11001, 0b10000, 0b10000, 0b10000]),
    ('u', [0b00000, 0b00000, 0b10001, 0b10001, 0b10001, 0b10011, 0b01101]),
    ('µ', [0b00000, 0b00000, 0b10010, 0b10010, 0b10010, 0b11101, 0b10000]),
    ('²', [0b01100, 0b00010, 0b00100, 0b01110, 0b00000, 0b00000, 0b00000]),
    (' ', [0; 7]),
];

/// Draws densities of squares of `side_um` micrometres; NaN is grey.
#[must_use]
pub(crate) fn heat_map(densities: &Plane<f32>, side_um: f64) -> RgbImage {
    let longest = densities.width().max(densities.height()).max(1);
    // Each square is a whole number of pixels, or each pixel one of several squares.
    let zoom = (MAP_PX / longest).max(1);
    let step = longest.div_ceil(MAP_PX.max(1)).max(1);
    let shown = shown_squares(densities, step);
    let (width, height) = (shown.width() * zoom, shown.height() * zoom);
    let known = shown.data().iter().copied().filter(|v| v.is_finite());
    let highest = f64::from(known.fold(0.0f32, f32::max));
    let top = if highest > 0.0 { highest } else { 1.0 };
    let mut picture = Plane::filled(
        width + SCALE_PX + NUMBERS_PX + 3 * MARGIN_PX,
        (height + 2 * LINE_PX).max(LEAST_HEIGHT_PX) + 2 * MARGIN_PX,
        PAPER,
    );
    let (map_left, map_top) = (MARGIN_PX, MARGIN_PX + LINE_PX);
    for y in 0..height {
        for x in 0..width {
            let density = f64::from(shown.get(y / zoom, x / zoom));
            let colour = if density.is_nan() { UNKNOWN } else { colour(density / top) };
            picture.set(map_top + y, map_left + x, colour);
        }
    }
    let scale_left = map_left + width + MARGIN_PX;
    let scale_height = height.max(LEAST_HEIGHT_PX - 2 * LINE_PX);
    draw_scale(&mut picture, [scale_left, map_top], scale_height, top);
    let unit_left = (scale_left + SCALE_PX + NUMBERS_PX + MARGIN_PX).saturating_sub(text_px(UNIT));
    write(&mut picture, UNIT, unit_left, MARGIN_PX);
    let px_um = side_um * step as f64 / zoom as f64;
    draw_scale_bar(&mut picture, [map_left, map_top + scale_height + LINE_PX / 2], width, px_um);
    picture
}

/// Each `step`-th square in both directions is the mean of those that it stands for.
fn shown_squares(densities: &Plane<f32>, step: usize) -> Plane<f32> {
    let [columns, rows] = [densities.width(), densities.height()].map(|n| n.div_ceil(step));
    let mut shown = Plane::filled(columns, rows, f32::NAN);
    for row in 0..rows {
        for column in 0..columns {
            let (mut sum, mut count) = (0.0, 0);
            for y in row * step..((row + 1) * step).min(densities.height()) {
                for x in column * step..((column + 1) * step).min(densities.width()) {
                    let value = densities.get(y, x);
                    if value.is_finite() {
                        sum += value;
                        count += 1;
                    }
                }
            }
            if count > 0 {
                shown.set(row, column, sum / count as f32);
            }
        }
    }
    shown
}

/// Viridis: 0 is dark violet, 1 yellow.
fn colour(share: f64) -> Rgb {
    let colour = ViridisRGB::get_color_normalized(share.clamp(0.0, 1.0), 0.0, 1.0);
    [colour.0, colour.1, colour.2]
}

/// The colours from 0 below to `top` above, with numbers at round values.
fn draw_scale(picture: &mut RgbImage, [left, upper]: [usize; 2], height: usize, top: f64) {
    for y in 0..height {
        let share = 1.0 - (y as f64 + 0.5) / height as f64;
        for x in 0..SCALE_PX {
            picture.set(upper + y, left + x, colour(share));
        }
    }
    let step = round_step(top / MOST_TICKS);
    let mut tick = 0.0;
    while tick <= top * 1.000_001 {
        let y = upper + ((1.0 - tick / top) * (height - 1) as f64).round().max(0.0) as usize;
        for x in 0..8 {
            picture.set(y, left + SCALE_PX + x, INK);
        }
        let half = LETTER.1 * DOT_PX / 2;
        write(picture, &number_text(tick), left + SCALE_PX + 14, y.saturating_sub(half));
        tick += step;
    }
}

/// A bar of a round length, at most a third of the map, with the length beside it.
fn draw_scale_bar(picture: &mut RgbImage, [left, top]: [usize; 2], width: usize, px_um: f64) {
    let mut length_um = round_step(width as f64 * px_um / 3.0);
    if length_um > width as f64 * px_um / 3.0 {
        length_um /= 2.0;
    }
    let length = (length_um / px_um).round().max(1.0) as usize;
    for y in 0..4 {
        for x in 0..length {
            if top + y < picture.height() && left + x < picture.width() {
                picture.set(top + y, left + x, INK);
            }
        }
    }
    let text = if length_um >= 1000.0 {
        format!("{} mm", number_text(length_um / 1000.0))
    } else {
        format!("{} µm", number_text(length_um))
    };
    write(picture, &text, left + length + 12, top.saturating_sub(5));
}

/// The least of 1, 2 and 5 times a power of ten that is not below a value.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-12).log10().floor());
    for factor in [1.0, 2.0, 5.0] {
        if factor * power >= least * 0.999_999 {
            return factor * power;
        }
    }
    10.0 * power
}

/// Without decimals that are not needed.
fn number_text(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn text_px(text: &str) -> usize {
    text.chars().count() * ADVANCE_PX
}

/// Writes a text whose upper left corner lies there; what has no room is cut off.
fn write(picture: &mut RgbImage, text: &str, left: usize, top: usize) {
    for (place, letter) in text.chars().enumerate() {
        let Some((_, rows)) = LETTERS.iter().find(|(of, _)| *of == letter) else { continue };
        for (row, bits) in rows.iter().enumerate() {
            for column in 0..LETTER.0 {
                if bits >> (LETTER.0 - 1 - column) & 1 == 0 {
                    continue;
                }
                for dot in 0..DOT_PX * DOT_PX {
                    let y = top + row * DOT_PX + dot / DOT_PX;
                    let x = left + place * ADVANCE_PX + column * DOT_PX + dot % DOT_PX;
                    if y < picture.height() && x < picture.width() {
                        picture.set(y, x, INK);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_density_and_unknown_squares_are_grey() {
        let densities = Plane::from_vec(3, 1, vec![0.0, 4000.0, f32::NAN]).expect("plane");
        let picture = heat_map(&densities, 100.0);
        let side = MAP_PX / 3;
        let at = |square: usize| {
            picture.get(MARGIN_PX + LINE_PX + side / 2, MARGIN_PX + square * side + side / 2)
        };
        assert_eq!([at(0), at(1), at(2)], [colour(0.0), colour(1.0), UNKNOWN]);
        // The scale ends in the same colours.
        let scale = |row: usize| picture.get(MARGIN_PX + LINE_PX + row, 2 * MARGIN_PX + 3 * side);
        let near = |a: Rgb, b: Rgb| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 2);
        assert!(near(scale(0), colour(1.0)) && near(scale(side - 1), colour(0.0)));
    }

    #[test]
    fn any_size_can_be_drawn() {
        for (width, height) in [(1, 1), (1, 3000), (2500, 2), (40, 30)] {
            for value in [0.0, f32::NAN, 1e9, 0.01] {
                let picture = heat_map(&Plane::filled(width, height, value), 50.0);
                assert!(picture.width() < 1400 && picture.height() < 1400, "{width} {height}");
            }
        }
    }

    #[test]
    fn every_letter_that_is_written_is_there() {
        let written = format!("{UNIT} µm mm 0123456789.");
        for letter in written.chars() {
            assert!(LETTERS.iter().any(|(of, _)| *of == letter), "{letter}");
        }
        assert_eq!([0.0, 2000.0, 0.25].map(number_text), ["0", "2000", "0.25"]);
        let steps = [1.0, 1.2, 3.0, 700.0].map(|least| number_text(round_step(least)));
        assert_eq!(steps, ["1", "2", "5", "1000"]);
    }
}
