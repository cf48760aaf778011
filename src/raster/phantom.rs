//! Procedural H&E tissue: a seeded image of stroma and nuclei with exact labels, so that everything
//! runs without data.
//!
//! Amounts of hematoxylin and eosin are added as optical densities and converted to light at the
//! end, as in a microscope. Lengths are pixels of 0.25 µm.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::{LabelMap, Plane, RgbImage, STAINS};
use crate::platform::mix;

/// Fraction of the image at which no more nuclei are placed.
const COVERED_FRACTION: f32 = 0.24;
/// Fraction of nuclei that are placed in contact with an earlier one.
const TOUCHING_FRACTION: f32 = 0.35;
/// Density of hematoxylin between those of the two types of [`typed_phantom`].
const MIDDLE_DENSITY: f32 = 0.9;

/// An image of `width × height` pixels at 0.25 µm and the label map of its nuclei; the same seed
/// gives the same pixels.
#[must_use]
pub fn phantom(width: usize, height: usize, seed: u64) -> (RgbImage, LabelMap) {
    let Drawn { image, labels, .. } = drawn(width, height, seed, random_nucleus);
    (image, labels.renumbered().0)
}

/// Tissue with two types of nuclei.
#[derive(Debug, Clone, PartialEq)]
pub struct TypedPhantom {
    /// Pixels of 0.25 µm.
    pub image: RgbImage,
    /// 0 is background.
    pub labels: LabelMap,
    /// Labels of the small dark nuclei; the others are large and pale.
    pub dark: BTreeSet<u32>,
}

/// As [`phantom`], with small dark nuclei and large pale ones.
#[must_use]
pub fn typed_phantom(width: usize, height: usize, seed: u64) -> TypedPhantom {
    let Drawn { image, labels: old, nuclei } = drawn(width, height, seed, random_of_two_types);
    let (labels, _) = old.renumbered();
    let mut dark = BTreeSet::new();
    for (old, new) in old.data().iter().zip(labels.data()) {
        if *old > 0 && nuclei[*old as usize - 1].density > MIDDLE_DENSITY {
            dark.insert(*new);
        }
    }
    TypedPhantom { image, labels, dark }
}

/// An image, and its nuclei as they were placed.
struct Drawn {
    image: RgbImage,
    /// Number i + 1 is that of `nuclei[i]`.
    labels: LabelMap,
    nuclei: Vec<PhantomNucleus>,
}

fn drawn(width: usize, height: usize, seed: u64, random: RandomNucleus) -> Drawn {
    let mut rng = Rng(ChaCha8Rng::seed_from_u64(seed));
    let noise = Noise { seed };
    let nuclei = place_nuclei(width, height, &mut rng, random);
    let mut labels: LabelMap = Plane::filled(width, height, 0);
    let mut stains = background(width, height, &noise);
    add_distractors(&mut stains, &mut rng);
    for (i, nucleus) in nuclei.iter().enumerate() {
        draw_nucleus(nucleus, i as u32 + 1, &noise, &mut labels, &mut stains);
    }
    let image = to_rgb(&stains, &mut rng);
    Drawn { image, labels, nuclei }
}

/// Optical densities of hematoxylin and eosin at each pixel.
type Stains = Plane<[f32; 2]>;

struct Rng(ChaCha8Rng);

impl Rng {
    /// Uniform in 0..1.
    fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }
    /// Uniform in `low..high`.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
    /// True with this probability.
    fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }
}

/// Value noise in 0..1: random values at integer positions, interpolated by a smooth step. `layer`
/// chooses one of several independent fields.
struct Noise {
    seed: u64,
}

impl Noise {
    fn lattice(&self, x: i64, y: i64, layer: u64) -> f32 {
        let key = (x.cast_unsigned() << 32) ^ (y.cast_unsigned() & 0xFFFF_FFFF) ^ (layer << 60);
        (mix(self.seed.wrapping_mul(31) ^ mix(key)) >> 40) as f32 / (1u32 << 24) as f32
    }

    fn at(&self, x: f32, y: f32, layer: u64) -> f32 {
        let fx = smooth_step(x - x.floor());
        let fy = smooth_step(y - y.floor());
        let x0 = x.floor() as i64;
        let y0 = y.floor() as i64;
        let top = self.lattice(x0, y0, layer) * (1.0 - fx) + self.lattice(x0 + 1, y0, layer) * fx;
        let bottom =
            self.lattice(x0, y0 + 1, layer) * (1.0 - fx) + self.lattice(x0 + 1, y0 + 1, layer) * fx;
        top * (1.0 - fy) + bottom * fy
    }

    /// Weighted mean of `count` octaves, each half as strong and twice as fine as the one before.
    fn octaves(&self, x: f32, y: f32, count: u32, layer: u64) -> f32 {
        let mut sum = 0.0;
        let mut total = 0.0;
        let mut weight = 1.0;
        let mut scale = 1.0;
        for i in 0..count {
            sum += weight * self.at(x * scale, y * scale, layer + u64::from(i));
            total += weight;
            weight *= 0.5;
            scale *= 2.0;
        }
        sum / total
    }
}

/// Interpolation weight with zero slope at both ends: 3t² − 2t³.
fn smooth_step(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

/// An ellipse whose outline is modulated by three harmonics.
#[derive(Debug, Clone, Copy)]
struct PhantomNucleus {
    /// Centre, pixels.
    x: f32,
    y: f32,
    /// Half axes, pixels.
    long: f32,
    short: f32,
    /// Direction of the long axis, radians.
    angle: f32,
    /// Modulation of the outline by its 2nd, 3rd and 4th harmonic.
    harmonics: [Harmonic; 3],
    /// Optical density of hematoxylin in the centre.
    density: f32,
    /// Seed of the chromatin texture.
    texture: u64,
}

#[derive(Debug, Clone, Copy)]
struct Harmonic {
    /// Relative to the radius.
    amplitude: f32,
    /// Radians.
    phase: f32,
}

impl PhantomNucleus {
    /// Distance of a point from the centre, relative to that of the outline in the same direction:
    /// 1 on the outline.
    fn relative_distance(&self, x: f32, y: f32) -> f32 {
        let dx = x - self.x;
        let dy = y - self.y;
        let (sin, cos) = self.angle.sin_cos();
        // In the frame of the half axes the ellipse is the unit circle.
        let u = (dx * cos + dy * sin) / self.long;
        let v = (dy * cos - dx * sin) / self.short;
        let theta = v.atan2(u);
        let mut modulation = 0.0;
        for (order, harmonic) in [2.0, 3.0, 4.0].into_iter().zip(self.harmonics) {
            modulation += harmonic.amplitude * (order * theta + harmonic.phase).cos();
        }
        (u * u + v * v).sqrt() / (1.0 + modulation)
    }

    /// Radius of the circle of the ellipse's area, pixels.
    fn mean_radius(&self) -> f32 {
        (self.long * self.short).sqrt()
    }
}

/// Makes a nucleus anywhere in an image of that width and height.
type RandomNucleus = fn(&mut Rng, f32, f32) -> PhantomNucleus;

fn place_nuclei(
    width: usize,
    height: usize,
    rng: &mut Rng,
    random: RandomNucleus,
) -> Vec<PhantomNucleus> {
    let (w, h) = (width as f32, height as f32);
    let mut nuclei: Vec<PhantomNucleus> = Vec::new();
    let mut covered = 0.0;
    for _ in 0..width * height / 20 {
        if covered >= COVERED_FRACTION * w * h {
            break;
        }
        let mut new = random(rng, w, h);
        // Centres of two nuclei are at least this far apart, relative to the sum of their radii.
        let mut min_distance = 1.12;
        if !nuclei.is_empty() && rng.chance(TOUCHING_FRACTION) {
            let other = nuclei[(rng.unit() * nuclei.len() as f32) as usize % nuclei.len()];
            let direction = rng.between(0.0, std::f32::consts::TAU);
            let distance = rng.between(0.82, 1.0) * (new.mean_radius() + other.mean_radius());
            new.x = other.x + distance * direction.cos();
            new.y = other.y + distance * direction.sin();
            min_distance = 0.8;
        }
        let is_free = nuclei.iter().all(|other| {
            let distance = ((other.x - new.x).powi(2) + (other.y - new.y).powi(2)).sqrt();
            distance > min_distance * (new.mean_radius() + other.mean_radius())
        });
        if is_free {
            covered += std::f32::consts::PI * new.long * new.short;
            nuclei.push(new);
        }
    }
    nuclei
}

fn random_nucleus(rng: &mut Rng, width: f32, height: f32) -> PhantomNucleus {
    let is_spindle = rng.chance(0.25);
    let mut radius = rng.between(8.0, 15.0);
    let aspect = if is_spindle { rng.between(1.8, 2.8) } else { rng.between(1.0, 1.5) };
    if is_spindle {
        radius *= 0.8;
    }
    let is_pale = rng.chance(0.2);
    PhantomNucleus {
        x: rng.between(0.0, width),
        y: rng.between(0.0, height),
        long: radius * aspect.sqrt(),
        short: radius / aspect.sqrt(),
        angle: rng.between(0.0, std::f32::consts::PI),
        harmonics: [0.08, 0.06, 0.04].map(|max_amplitude| Harmonic {
            amplitude: max_amplitude * rng.unit(),
            phase: rng.between(0.0, std::f32::consts::TAU),
        }),
        density: if is_pale { rng.between(0.55, 0.8) } else { rng.between(0.85, 1.4) },
        texture: u64::from(rng.0.next_u32()),
    }
}

/// A nucleus that is small and dark or large and pale.
fn random_of_two_types(rng: &mut Rng, width: f32, height: f32) -> PhantomNucleus {
    let is_dark = rng.chance(0.6);
    let radius = if is_dark { rng.between(7.0, 9.0) } else { rng.between(13.0, 16.0) };
    let density = if is_dark { rng.between(1.2, 1.5) } else { rng.between(0.5, 0.65) };
    let other = random_nucleus(rng, width, height);
    let aspect = rng.between(1.0, 1.3);
    let (long, short) = (radius * aspect.sqrt(), radius / aspect.sqrt());
    PhantomNucleus { long, short, density, ..other }
}

/// Stroma: eosin fibres along a slowly varying direction, pale gaps, a little hematoxylin.
fn background(width: usize, height: usize, noise: &Noise) -> Stains {
    let mut stains = Plane::filled(width, height, [0.0; 2]);
    for row in 0..height {
        for column in 0..width {
            let x = column as f32;
            let y = row as f32;
            let angle = 3.0 * noise.octaves(x / 220.0, y / 220.0, 2, 0);
            let (sin, cos) = angle.sin_cos();
            // Noise is stretched along the direction of the fibres.
            let along = x * cos + y * sin;
            let across = y * cos - x * sin;
            let fibre = noise.octaves(along / 60.0, across / 7.0, 3, 3);
            let cloud = noise.octaves(x / 90.0, y / 90.0, 3, 6);
            let gap = ((noise.octaves(x / 70.0, y / 70.0, 2, 9) - 0.66) * 12.0).clamp(0.0, 1.0);
            let grain = noise.at(x / 1.7, y / 1.7, 11);
            let eosin = (0.18 + 0.55 * fibre * (0.5 + cloud) + 0.06 * grain) * (1.0 - 0.93 * gap);
            let hematoxylin = (0.05 + 0.16 * cloud * noise.octaves(x / 25.0, y / 25.0, 2, 13))
                * (1.0 - 0.9 * gap);
            stains.set(row, column, [hematoxylin, eosin]);
        }
    }
    stains
}

/// A stained disc that is not a nucleus.
struct Distractor {
    radius: f32,
    hematoxylin: f32,
    eosin: f32,
    /// Width of the blurred edge, relative to the radius.
    blur: f32,
}

/// Objects that are not nuclei: red blood cells, smudges out of focus, dark specks.
fn add_distractors(stains: &mut Stains, rng: &mut Rng) {
    let w = stains.width() as f32;
    let h = stains.height() as f32;
    let count = (w * h / 9000.0) as usize;
    for i in 0..count {
        let x = rng.between(0.0, w);
        let y = rng.between(0.0, h);
        let disc = match i % 3 {
            0 => Distractor {
                radius: rng.between(7.0, 10.0),
                hematoxylin: 0.0,
                eosin: rng.between(0.4, 0.7),
                blur: 0.2,
            },
            1 => Distractor {
                radius: rng.between(12.0, 22.0),
                hematoxylin: rng.between(0.12, 0.25),
                eosin: 0.05,
                blur: 1.0,
            },
            _ => Distractor {
                radius: rng.between(1.2, 2.4),
                hematoxylin: rng.between(0.5, 1.0),
                eosin: 0.1,
                blur: 0.5,
            },
        };
        let reach = disc.radius * 1.5;
        for row in pixels_around(y, reach, stains.height()) {
            for column in pixels_around(x, reach, stains.width()) {
                let distance =
                    ((column as f32 - x).powi(2) + (row as f32 - y).powi(2)).sqrt() / disc.radius;
                let cover = ((1.0 + disc.blur / 2.0 - distance) / disc.blur).clamp(0.0, 1.0);
                let [hematoxylin, eosin] = stains.get(row, column);
                stains.set(
                    row,
                    column,
                    [hematoxylin + cover * disc.hematoxylin, eosin + cover * disc.eosin],
                );
            }
        }
    }
}

/// Indices from `centre - reach` to `centre + reach`, clipped to `0..len`.
fn pixels_around(centre: f32, reach: f32, len: usize) -> std::ops::Range<usize> {
    let first = (centre - reach).max(0.0) as usize;
    let end = ((centre + reach).max(0.0) as usize).min(len);
    first..end
}

fn draw_nucleus(
    nucleus: &PhantomNucleus,
    label: u32,
    noise: &Noise,
    labels: &mut LabelMap,
    stains: &mut Stains,
) {
    let reach = nucleus.long * 1.3 + 2.0;
    // Each nucleus reads its own part of the noise.
    let shift = (nucleus.texture % 4096) as f32;
    for row in pixels_around(nucleus.y, reach, labels.height()) {
        for column in pixels_around(nucleus.x, reach, labels.width()) {
            let x = column as f32;
            let y = row as f32;
            // Depth inside the outline, about in pixels; the edge is blurred over 1.6 of them.
            let depth = (1.0 - nucleus.relative_distance(x, y)) * nucleus.short;
            let cover = ((depth + 0.8) / 1.6).clamp(0.0, 1.0);
            if cover <= 0.0 {
                continue;
            }
            let chromatin = noise.octaves(x / 4.5 + shift, y / 4.5, 2, 15);
            let clumps = ((noise.at(x / 3.2, y / 3.2 + shift, 7) - 0.72) * 8.0).clamp(0.0, 1.0);
            let membrane = (1.0 - (depth - 1.2).abs() / 1.6).clamp(0.0, 1.0);
            let density =
                nucleus.density * (0.55 + 0.6 * chromatin + 0.25 * clumps) + 0.22 * membrane;
            let [hematoxylin, eosin] = stains.get(row, column);
            stains.set(
                row,
                column,
                [hematoxylin + cover * (density - hematoxylin * 0.5), eosin * (1.0 - 0.45 * cover)],
            );
            if cover > 0.5 && labels.get(row, column) == 0 {
                labels.set(row, column, label);
            }
        }
    }
}

/// Optical density to 8-bit light, with the blur (a cross of five pixels) and the noise of a
/// camera.
fn to_rgb(stains: &Stains, rng: &mut Rng) -> RgbImage {
    const CROSS: [(isize, isize); 5] = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)];
    let (w, h) = (stains.width(), stains.height());
    let mut out = Plane::filled(w, h, [0u8; 3]);
    for row in 0..h {
        for column in 0..w {
            let mut hematoxylin = 0.0f32;
            let mut eosin = 0.0f32;
            let mut total = 0.0;
            for (down, right) in CROSS {
                let neighbour = row.checked_add_signed(down).zip(column.checked_add_signed(right));
                let Some((r, c)) = neighbour.filter(|&(r, c)| r < h && c < w) else { continue };
                let weight = if (r, c) == (row, column) { 2.0 } else { 0.7 };
                let amounts = stains.get(r, c);
                hematoxylin += weight * amounts[0];
                eosin += weight * amounts[1];
                total += weight;
            }
            let pixel = [0, 1, 2].map(|channel| {
                let density =
                    (hematoxylin * STAINS[0][channel] + eosin * STAINS[1][channel]) / total;
                let light = 243.0 * (-1.1 * density).exp() + rng.between(-4.0, 4.0);
                light.round().clamp(0.0, 255.0) as u8
            });
            out.set(row, column, pixel);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_image_and_another_gives_another() {
        assert_eq!(phantom(80, 60, 1), phantom(80, 60, 1));
        assert_ne!(phantom(80, 60, 1).0, phantom(80, 60, 2).0);
    }

    #[test]
    fn dark_nuclei_are_small_and_pale_ones_large() {
        let TypedPhantom { image, labels, dark } = typed_phantom(300, 300, 4);
        assert_eq!(typed_phantom(300, 300, 4).dark, dark);
        let all = labels.labels();
        let mut pixels = [0.0, 0.0];
        let mut red = [0.0, 0.0];
        for (label, pixel) in labels.data().iter().zip(image.data()) {
            if *label > 0 {
                let is_dark = usize::from(dark.contains(label));
                pixels[is_dark] += 1.0;
                red[is_dark] += f64::from(pixel[0]);
            }
        }
        let counts = [(all.len() - dark.len()) as f64, dark.len() as f64];
        assert!(counts.iter().all(|count| *count > 8.0), "{counts:?}");
        assert!(pixels[0] / counts[0] > 2.0 * pixels[1] / counts[1], "{pixels:?}");
        assert!(red[0] / pixels[0] > red[1] / pixels[1] + 30.0, "{red:?}");
    }

    #[test]
    fn nuclei_cover_about_a_quarter_are_darker_than_stroma_and_some_touch() {
        let (image, labels) = phantom(400, 400, 3);
        let cells = labels.data().iter().filter(|&&l| l > 0).count() as f64 / 160_000.0;
        assert!((0.12..0.35).contains(&cells), "{cells}");
        let mean = |inside: bool| {
            let red = image.data().iter().zip(labels.data()).filter(|(_, l)| (**l > 0) == inside);
            let (sum, n) = red.fold((0.0, 0.0), |(s, n), (p, _)| (s + f64::from(p[0]), n + 1.0));
            sum / n
        };
        assert!(mean(true) + 40.0 < mean(false));
        let mut touching = 0;
        for row in 0..400 {
            let pairs = labels.row(row).windows(2);
            touching += pairs.filter(|p| p[0] > 0 && p[1] > 0 && p[0] != p[1]).count();
        }
        assert!(touching > 20, "{touching}");
    }
}
