//! From logits to probability maps: blocks written in place, or a coarse grid upsampled.

use super::block::Block;
use crate::error::Result;
use crate::model::{ClassRole, Head, Model};
use crate::raster::{MapLayout, NucleusMaps, Plane, ProbabilityMap, ProbabilityMaps};

/// Exponentials of logits that lead the background's by less are finite.
const MAX_LEAD: f32 = 80.0;

/// The planes that `model` gives for an image.
#[must_use]
pub fn map_layout(model: &Model) -> MapLayout {
    ClassHead::of(model).layout
}

/// How the logits of a pixel become the values of its planes.
#[derive(Debug, Clone)]
pub(super) struct ClassHead {
    head: Head,
    /// What each output of the network is.
    roles: Vec<ClassRole>,
    layout: MapLayout,
}

impl ClassHead {
    pub(super) fn of(model: &Model) -> Self {
        let card = model.card();
        let roles: Vec<ClassRole> = card.classes.iter().map(|class| class.role).collect();
        let nuclei = roles.iter().filter(|role| **role == ClassRole::Nucleus).count();
        let layout = MapLayout {
            interior: roles.contains(&ClassRole::Border),
            types: if nuclei > 1 { nuclei as u8 } else { 0 },
        };
        Self { head: card.head, roles, layout }
    }

    /// Outputs of the network for a pixel.
    pub(super) fn classes(&self) -> usize {
        self.roles.len()
    }

    pub(super) fn layout(&self) -> MapLayout {
        self.layout
    }

    /// Values of all planes, plane after plane, from logits `[pixel][class]`.
    pub(super) fn values(&self, logits: &[f32]) -> Vec<f32> {
        let pixels = logits.len() / self.classes();
        let mut values = vec![0.0; pixels * self.layout.planes()];
        match self.roles[..] {
            [_, ClassRole::Nucleus] => {
                for (value, z) in values.iter_mut().zip(logits.as_chunks::<2>().0) {
                    *value = self.head.probability(*z);
                }
            }
            [_, ClassRole::Nucleus, ClassRole::Border] if self.head == Head::Softmax => {
                let (nucleus, interior) = values.split_at_mut(pixels);
                let planes = nucleus.iter_mut().zip(interior);
                for ((nucleus, interior), z) in planes.zip(logits.as_chunks::<3>().0) {
                    let leads = [z[1] - z[0], z[2] - z[0]];
                    if leads[0].max(leads[1]) < MAX_LEAD {
                        // Numerator and denominator of the softmax, divided by e^z₀.
                        let [inside, border] = leads.map(f32::exp);
                        let sum = 1.0 + inside + border;
                        *nucleus = (inside + border) / sum;
                        *interior = inside / sum;
                    } else {
                        let mut values = [0.0; 2];
                        self.put_pixel(&mut values, 1, 0, z);
                        [*nucleus, *interior] = values;
                    }
                }
            }
            _ => {
                for (pixel, z) in logits.chunks_exact(self.classes()).enumerate() {
                    self.put_pixel(&mut values, pixels, pixel, z);
                }
            }
        }
        values
    }

    /// The definition: the softmax over all classes, summed by what the classes are.
    fn put_pixel(&self, values: &mut [f32], pixels: usize, pixel: usize, logits: &[f32]) {
        let mut probabilities = logits.to_vec();
        self.head.probabilities(&mut probabilities);
        let mut next_type = 1 + usize::from(self.layout.interior);
        for (probability, role) in probabilities.into_iter().zip(&self.roles) {
            if *role == ClassRole::Background {
                continue;
            }
            values[pixel] += probability;
            if *role == ClassRole::Border {
                continue;
            }
            if self.layout.interior {
                values[pixels + pixel] += probability;
            }
            if self.layout.types > 0 {
                values[next_type * pixels + pixel] = probability;
                next_type += 1;
            }
        }
    }
}

/// Writes the probabilities of a block into the maps and returns them, plane after plane. `logits`
/// is `[row][column][class]`.
pub(super) fn write_block(
    out: &mut ProbabilityMaps,
    block: Block,
    logits: &[f32],
    head: &ClassHead,
) -> Result<Vec<f32>> {
    let values = head.values(logits);
    out.put((block.row, block.column), (block.width, block.height), &values)?;
    Ok(values)
}

/// Probabilities of every `stride`-th pixel of an image.
#[derive(Debug)]
pub(super) struct StrideGrid {
    width: usize,
    height: usize,
    stride: usize,
    /// The grid points as pixels.
    coarse: ProbabilityMaps,
}

impl StrideGrid {
    /// A grid of zeros for an image of `width × height` pixels.
    pub(super) fn new(layout: MapLayout, width: usize, height: usize, stride: usize) -> Self {
        let (columns, rows) = (width.div_ceil(stride), height.div_ceil(stride));
        Self { width, height, stride, coarse: NucleusMaps::filled(layout, columns, rows, 0.0) }
    }

    /// Number of grid points.
    pub(super) fn len(&self) -> usize {
        self.coarse.width() * self.coarse.height()
    }

    /// Image (row, column) of `count` grid points from `first` on.
    pub(super) fn places(&self, first: usize, count: usize) -> Vec<(usize, usize)> {
        let columns = self.coarse.width();
        let mut pixels = Vec::with_capacity(count);
        for point in first..first + count {
            let row = grid_line(point / columns, self.stride, self.height);
            let column = grid_line(point % columns, self.stride, self.width);
            pixels.push((row, column));
        }
        pixels
    }

    /// Stores the probabilities of grid points from `first` on; `logits` is `[point][class]`.
    pub(super) fn put(&mut self, first: usize, logits: &[f32], head: &ClassHead) {
        let values = head.values(logits);
        let points = logits.len() / head.classes();
        for (plane, values) in self.coarse.planes_mut().iter_mut().zip(values.chunks(points)) {
            plane.data_mut()[first..][..points].copy_from_slice(values);
        }
    }

    /// The maps at full size, bilinear between grid points.
    pub(super) fn finish(mut self) -> ProbabilityMaps {
        if self.stride == 1 {
            return self.coarse;
        }
        let mut out = NucleusMaps::filled(self.coarse.layout(), self.width, self.height, 0.0);
        for (plane, coarse) in out.planes_mut().iter_mut().zip(self.coarse.planes_mut()) {
            *plane = upsample(coarse, self.width, self.height, self.stride);
        }
        out
    }
}

/// Image rows (or columns), of `side` in all, that a network evaluates at a stride; those between
/// are interpolated.
pub(super) fn grid_lines(side: usize, stride: usize) -> Vec<usize> {
    let stride = stride.max(1);
    (0..side.div_ceil(stride)).map(|index| grid_line(index, stride, side)).collect()
}

/// Image row or column of grid line `index`: the middle of its cell, so that a stride of 1 gives
/// every pixel.
fn grid_line(index: usize, stride: usize, side: usize) -> usize {
    (index * stride + stride / 2).min(side - 1)
}

/// The two grid lines that an image row or column lies between.
struct Neighbours {
    low: usize,
    high: usize,
    /// Weight of `high`, 0 to 1; `low` has the rest.
    weight: f32,
}

/// Neighbours of image row (or column) `at`, of `side` in all, on a grid of `lines` lines.
fn neighbours(at: usize, side: usize, lines: usize, stride: usize) -> Neighbours {
    // Grid line i lies at i · stride + stride / 2, except the last one, which may be moved inwards.
    let low = (at.saturating_sub(stride / 2) / stride).min(lines - 1);
    let high = (low + 1).min(lines - 1);
    let low_at = grid_line(low, stride, side);
    let high_at = grid_line(high, stride, side);
    let weight = if low_at == high_at {
        0.0
    } else {
        ((at as f32 - low_at as f32) / (high_at - low_at) as f32).clamp(0.0, 1.0)
    };
    Neighbours { low, high, weight }
}

/// Bilinear interpolation to `width × height` pixels; beyond the outer grid lines the value of the
/// nearest.
fn upsample(coarse: &ProbabilityMap, width: usize, height: usize, stride: usize) -> ProbabilityMap {
    let mut out = Plane::filled(width, height, 0.0);
    for row in 0..height {
        let rows = neighbours(row, height, coarse.height(), stride);
        for column in 0..width {
            let columns = neighbours(column, width, coarse.width(), stride);
            let upper = along_row(coarse, rows.low, &columns);
            let lower = along_row(coarse, rows.high, &columns);
            out.set(row, column, upper * (1.0 - rows.weight) + lower * rows.weight);
        }
    }
    out
}

fn along_row(coarse: &ProbabilityMap, row: usize, columns: &Neighbours) -> f32 {
    coarse.get(row, columns.low) * (1.0 - columns.weight)
        + coarse.get(row, columns.high) * columns.weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PixelClass, dcnn};

    /// The head of a network with classes of these names.
    fn head(names: &[&str]) -> ClassHead {
        let mut model = Model::random(dcnn([1, 1, 1], 1, names.len()), 1).expect("model");
        model.card_mut().classes = names.iter().map(|name| PixelClass::named(*name)).collect();
        ClassHead::of(&model)
    }

    #[test]
    fn planes_add_what_belongs_together() {
        let logits = [0.3, -1.0, 2.0, 0.7f32];
        let mut all = logits;
        Head::Softmax.probabilities(&mut all);
        let types = head(&["background", "a", "b", "border"]);
        let layout = MapLayout { interior: true, types: 2 };
        assert_eq!(types.layout(), layout);
        let expected = [all[1] + all[2] + all[3], all[1] + all[2], all[1], all[2]];
        for (value, expected) in types.values(&logits).into_iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
        // Two pixels: plane after plane.
        let twice = types.values(&[logits, logits].concat());
        assert_eq!((twice.len(), twice[0], twice[2]), (8, twice[1], twice[3]));
    }

    #[test]
    fn the_short_form_for_a_border_equals_the_definition() {
        let border = head(&["background", "nucleus", "border"]);
        for logits in [[0.3, -1.0, 2.0], [30.0, -20.0, 5.0], [-300.0, 200.0, 0.0]] {
            let mut slow = [0.0; 2];
            border.put_pixel(&mut slow, 1, 0, &logits);
            for (fast, slow) in border.values(&logits).into_iter().zip(slow) {
                assert!((fast - slow).abs() < 1e-6, "{logits:?}: {fast} {slow}");
            }
        }
    }

    #[test]
    fn at_grid_points_the_map_holds_their_own_values() {
        let (width, height, stride) = (21, 13, 4);
        let head = head(&["background", "nucleus"]);
        let mut grid = StrideGrid::new(head.layout(), width, height, stride);
        let logits: Vec<f32> = (0..grid.len()).flat_map(|i| [0.0, (i % 7) as f32 - 3.0]).collect();
        grid.put(0, &logits, &head);
        let values = grid.coarse.nucleus().data().to_vec();
        let map = grid.finish().into_nucleus();
        let rows = grid_lines(height, stride);
        let columns = grid_lines(width, stride);
        assert_eq!(rows, [2, 6, 10, 12]);
        assert_eq!(columns, [2, 6, 10, 14, 18, 20]);
        for (r, &row) in rows.iter().enumerate() {
            for (c, &column) in columns.iter().enumerate() {
                let value = map.get(row, column);
                assert_eq!(value.to_bits(), values[r * columns.len() + c].to_bits());
            }
        }
        assert_eq!(grid_lines(5, 1), [0, 1, 2, 3, 4]);
    }
}
