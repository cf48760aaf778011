//! Procedural H&E: a seeded picture of stroma and nuclei with exact labels, so that everything runs
//! without data.
//!
//! Stains are mixed as optical density and turned into light at the end, like tissue under a
//! microscope.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::{LabelMap, Plane, RgbImage, STAINS};
use crate::platform::mix;

/// Share of the picture that nuclei aim to cover.
const NUCLEUS_SHARE: f32 = 0.24;
/// Share of nuclei that are put against an earlier one.
const TOUCHING_SHARE: f32 = 0.35;

/// A phantom of `width × height` pixels at 0.25 µm and its nuclei; the same seed gives the same
/// picture.
#[must_use]
pub fn phantom(width: usize, height: usize, seed: u64) -> (RgbImage, LabelMap) {
    let mut rng = Rng(ChaCha8Rng::seed_from_u64(seed));
    let noise = Noise { seed };
    let nuclei = place_nuclei(width, height, &mut rng);
    let mut labels: LabelMap = Plane::filled(width, height, 0);
    let mut stains = background(width, height, &noise);
    add_distractors(&mut stains, &mut rng);
    for (i, nucleus) in nuclei.iter().enumerate() {
        draw_nucleus(nucleus, i as u32 + 1, &noise, &mut labels, &mut stains);
    }
    let image = develop(&stains, &mut rng);
    (image, labels.renumbered().0)
}

/// Amounts of hematoxylin and eosin, in optical density.
type Stains = Plane<[f32; 2]>;

struct Rng(ChaCha8Rng);

impl Rng {
    fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }
    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
    fn chance(&mut self, share: f32) -> bool {
        self.unit() < share
    }
}

/// Smooth lattice noise in 0..1.
struct Noise {
    seed: u64,
}

impl Noise {
    fn lattice(&self, x: i64, y: i64, layer: u64) -> f32 {
        let key = (x.cast_unsigned() << 32) ^ (y.cast_unsigned() & 0xFFFF_FFFF) ^ (layer << 60);
        (mix(self.seed.wrapping_mul(31) ^ mix(key)) >> 40) as f32 / (1u32 << 24) as f32
    }

    fn at(&self, x: f32, y: f32, layer: u64) -> f32 {
        let (x0, y0) = (x.floor(), y.floor());
        let ease = |t: f32| t * t * (3.0 - 2.0 * t);
        let (fx, fy) = (ease(x - x0), ease(y - y0));
        let corner = |dx: i64, dy: i64| self.lattice(x0 as i64 + dx, y0 as i64 + dy, layer);
        let top = corner(0, 0) * (1.0 - fx) + corner(1, 0) * fx;
        let low = corner(0, 1) * (1.0 - fx) + corner(1, 1) * fx;
        top * (1.0 - fy) + low * fy
    }

    /// Several octaves, each half as strong and twice as fine.
    fn octaves(&self, x: f32, y: f32, count: u32, layer: u64) -> f32 {
        let (mut sum, mut weight, mut total, mut scale) = (0.0, 1.0, 0.0, 1.0);
        for i in 0..count {
            sum += weight * self.at(x * scale, y * scale, layer + u64::from(i));
            total += weight;
            weight *= 0.5;
            scale *= 2.0;
        }
        sum / total
    }
}

#[derive(Debug, Clone, Copy)]
struct PhantomNucleus {
    x: f32,
    y: f32,
    /// Half axes, pixels.
    long: f32,
    short: f32,
    angle: f32,
    /// Strength and phase of the outline's 2nd to 4th harmonic.
    waves: [(f32, f32); 3],
    /// Hematoxylin of its middle.
    depth: f32,
    texture: u64,
}

impl PhantomNucleus {
    /// Distance from the centre over the distance of the outline in that direction: 1 on the
    /// outline.
    fn reach(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.x, y - self.y);
        let (sin, cos) = self.angle.sin_cos();
        let (u, v) = ((dx * cos + dy * sin) / self.long, (dy * cos - dx * sin) / self.short);
        let theta = v.atan2(u);
        let wave: f32 = self
            .waves
            .iter()
            .zip([2.0, 3.0, 4.0])
            .map(|((a, phase), k)| a * (k * theta + phase).cos())
            .sum();
        (u * u + v * v).sqrt() / (1.0 + wave)
    }
}

fn place_nuclei(width: usize, height: usize, rng: &mut Rng) -> Vec<PhantomNucleus> {
    let (w, h) = (width as f32, height as f32);
    let mut nuclei: Vec<PhantomNucleus> = Vec::new();
    let mut covered = 0.0;
    for _ in 0..width * height / 20 {
        if covered >= NUCLEUS_SHARE * w * h {
            break;
        }
        let mut n = random_nucleus(rng, w, h);
        let touch = (!nuclei.is_empty() && rng.chance(TOUCHING_SHARE))
            .then(|| nuclei[(rng.unit() * nuclei.len() as f32) as usize % nuclei.len()]);
        if let Some(other) = touch {
            let direction = rng.between(0.0, std::f32::consts::TAU);
            let gap = rng.between(0.82, 1.0) * (mean_radius(&n) + mean_radius(&other));
            (n.x, n.y) = (other.x + gap * direction.cos(), other.y + gap * direction.sin());
        }
        let clear = |o: &PhantomNucleus| {
            let apart = ((o.x - n.x).powi(2) + (o.y - n.y).powi(2)).sqrt();
            let need = if touch.is_some() { 0.8 } else { 1.12 };
            apart > need * (mean_radius(&n) + mean_radius(o))
        };
        if nuclei.iter().all(clear) {
            covered += std::f32::consts::PI * n.long * n.short;
            nuclei.push(n);
        }
    }
    nuclei
}

fn mean_radius(n: &PhantomNucleus) -> f32 {
    (n.long * n.short).sqrt()
}

fn random_nucleus(rng: &mut Rng, w: f32, h: f32) -> PhantomNucleus {
    let spindle = rng.chance(0.25);
    let size = rng.between(8.0, 15.0);
    let aspect = if spindle { rng.between(1.8, 2.8) } else { rng.between(1.0, 1.5) };
    let size = if spindle { size * 0.8 } else { size };
    let pale = rng.chance(0.2);
    PhantomNucleus {
        x: rng.between(0.0, w),
        y: rng.between(0.0, h),
        long: size * aspect.sqrt(),
        short: size / aspect.sqrt(),
        angle: rng.between(0.0, std::f32::consts::PI),
        waves: [0.08, 0.06, 0.04]
            .map(|a| (a * rng.unit(), rng.between(0.0, std::f32::consts::TAU))),
        depth: if pale { rng.between(0.55, 0.8) } else { rng.between(0.85, 1.4) },
        texture: u64::from(rng.0.next_u32()),
    }
}

/// Stroma: fibres along a slowly turning direction, pale gaps, a breath of hematoxylin.
fn background(width: usize, height: usize, noise: &Noise) -> Stains {
    let mut stains = Plane::filled(width, height, [0.0; 2]);
    for row in 0..height {
        for column in 0..width {
            let (x, y) = (column as f32, row as f32);
            let angle = 3.0 * noise.octaves(x / 220.0, y / 220.0, 2, 0);
            let (sin, cos) = angle.sin_cos();
            let (along, across) = (x * cos + y * sin, y * cos - x * sin);
            let fibre = noise.octaves(along / 60.0, across / 7.0, 3, 3);
            let cloud = noise.octaves(x / 90.0, y / 90.0, 3, 6);
            let gap = ((noise.octaves(x / 70.0, y / 70.0, 2, 9) - 0.66) * 12.0).clamp(0.0, 1.0);
            let grain = noise.at(x / 1.7, y / 1.7, 11);
            let eosin = (0.18 + 0.55 * fibre * (0.5 + cloud) + 0.06 * grain) * (1.0 - 0.93 * gap);
            let blue = (0.05 + 0.16 * cloud * noise.octaves(x / 25.0, y / 25.0, 2, 13))
                * (1.0 - 0.9 * gap);
            stains.set(row, column, [blue, eosin]);
        }
    }
    stains
}

/// Things that are no nuclei: red blood cells, smudges out of focus, dark specks.
fn add_distractors(stains: &mut Stains, rng: &mut Rng) {
    let (w, h) = (stains.width() as f32, stains.height() as f32);
    let count = (w * h / 9000.0) as usize;
    for i in 0..count {
        let (x, y) = (rng.between(0.0, w), rng.between(0.0, h));
        let (radius, blue, red, soft) = match i % 3 {
            0 => (rng.between(7.0, 10.0), 0.0, rng.between(0.4, 0.7), 0.2),
            1 => (rng.between(12.0, 22.0), rng.between(0.12, 0.25), 0.05, 1.0),
            _ => (rng.between(1.2, 2.4), rng.between(0.5, 1.0), 0.1, 0.5),
        };
        let reach = radius * 1.5;
        for row in
            (y - reach).max(0.0) as usize..((y + reach).max(0.0) as usize).min(stains.height())
        {
            for column in
                (x - reach).max(0.0) as usize..((x + reach).max(0.0) as usize).min(stains.width())
            {
                let d = ((column as f32 - x).powi(2) + (row as f32 - y).powi(2)).sqrt() / radius;
                let cover = ((1.0 + soft / 2.0 - d) / soft).clamp(0.0, 1.0);
                let [b, e] = stains.get(row, column);
                stains.set(row, column, [b + cover * blue, e + cover * red]);
            }
        }
    }
}

fn draw_nucleus(
    n: &PhantomNucleus,
    label: u32,
    noise: &Noise,
    labels: &mut LabelMap,
    stains: &mut Stains,
) {
    let reach = n.long * 1.3 + 2.0;
    let rows =
        (n.y - reach).max(0.0) as usize..((n.y + reach).max(0.0) as usize).min(labels.height());
    let columns =
        (n.x - reach).max(0.0) as usize..((n.x + reach).max(0.0) as usize).min(labels.width());
    let shift = (n.texture % 4096) as f32;
    for (row, column) in rows.flat_map(|r| columns.clone().map(move |c| (r, c))) {
        let (x, y) = (column as f32, row as f32);
        let d = n.reach(x, y);
        let edge_px = (1.0 - d) * n.short;
        let cover = ((edge_px + 0.8) / 1.6).clamp(0.0, 1.0);
        if cover <= 0.0 {
            continue;
        }
        let chromatin = noise.octaves(x / 4.5 + shift, y / 4.5, 2, 15);
        let clumps = ((noise.at(x / 3.2, y / 3.2 + shift, 7) - 0.72) * 8.0).clamp(0.0, 1.0);
        let rim = (1.0 - (edge_px - 1.2).abs() / 1.6).clamp(0.0, 1.0);
        let blue = n.depth * (0.55 + 0.6 * chromatin + 0.25 * clumps) + 0.22 * rim;
        let [b, e] = stains.get(row, column);
        stains.set(row, column, [b + cover * (blue - b * 0.5), e * (1.0 - 0.45 * cover)]);
        if cover > 0.5 && labels.get(row, column) == 0 {
            labels.set(row, column, label);
        }
    }
}

/// Optical density to light, with the blur and noise of a camera.
fn develop(stains: &Stains, rng: &mut Rng) -> RgbImage {
    let (w, h) = (stains.width(), stains.height());
    let mut out = Plane::filled(w, h, [0u8; 3]);
    for row in 0..h {
        for column in 0..w {
            let mut amount = [0.0f32; 2];
            let mut weight = 0.0;
            for (r, c) in [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)] {
                let (Some(r), Some(c)) = (row.checked_add_signed(r), column.checked_add_signed(c))
                else {
                    continue;
                };
                if r < h && c < w {
                    let share = if (r, c) == (row, column) { 2.0 } else { 0.7 };
                    let [b, e] = stains.get(r, c);
                    amount = [amount[0] + share * b, amount[1] + share * e];
                    weight += share;
                }
            }
            let pixel = [0, 1, 2].map(|ch| {
                let od = (amount[0] * STAINS[0][ch] + amount[1] * STAINS[1][ch]) / weight;
                let light = 243.0 * (-1.1 * od).exp() + rng.between(-4.0, 4.0);
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
    fn the_same_seed_gives_the_same_picture_and_another_gives_another() {
        assert_eq!(phantom(80, 60, 1), phantom(80, 60, 1));
        assert_ne!(phantom(80, 60, 1).0, phantom(80, 60, 2).0);
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
        let touching = (0..400)
            .flat_map(|r| (1..400).map(move |c| (r, c)))
            .filter(|&(r, c)| {
                let (a, b) = (labels.get(r, c - 1), labels.get(r, c));
                a > 0 && b > 0 && a != b
            })
            .count();
        assert!(touching > 20, "{touching}");
    }
}
