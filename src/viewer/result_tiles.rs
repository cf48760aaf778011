//! Tiles of a segmentation's results, drawn over those of the image: four bytes a pixel.
//!
//! | byte | content |
//! |---|---|
//! | 0 | probability, 0 to 255 |
//! | 1, 2 | label, 16 bits, low byte first; 0 is background |
//! | 3 | 255 where the image is segmented, 0 elsewhere |

use super::slide_tiles::tile_block;
use super::tile::{
    TEXTURE_BYTES, TileKey, level_count, no_such_tile, short_label, texel_positions,
};
use crate::engine::Block;
use crate::error::Result;
use crate::instances::probability_to_u8;
use crate::raster::{LabelMap, Plane, Point, Polygon, ProbabilityMap, fill_polygon, nearest_index};
use crate::review::ReviewObject;
use crate::slide::SlideBounds;
use crate::whole_slide::NucleusIndex;

/// From this many pixels of the finest level to one of the tile on, a nucleus may be smaller than a
/// pixel and is drawn as a point too.
const POINT_DOWNSAMPLE: f64 = 8.0;

/// Results of an image in memory. All planes have one size, the image's or that at which the model
/// read it.
#[derive(Debug)]
pub struct ResultPlanes<'a> {
    /// Of a pixel belonging to a nucleus, 0 to 1.
    pub probabilities: &'a ProbabilityMap,
    /// Which pixels are segmented.
    pub known: &'a Plane<bool>,
    /// Labels of nuclei, once they are separated.
    pub labels: Option<&'a LabelMap>,
}

/// A tile with its apron of an image's results, `TEXTURE_PX × TEXTURE_PX` pixels of four bytes.
/// Coarse levels take every second, fourth, … pixel. `size` is the image's width and height.
///
/// # Errors
/// [`Error::Mismatch`](crate::error::Error::Mismatch) for a tile that the image has not.
pub fn data_tile(
    size: (usize, usize),
    results: &ResultPlanes<'_>,
    key: TileKey,
) -> Result<Vec<u8>> {
    let (width, height) = size;
    let own_width = results.probabilities.width();
    let own_height = results.probabilities.height();
    if key.level >= level_count(width, height) {
        return Err(no_such_tile());
    }
    let rows = texel_positions(key.row, height.div_ceil(1 << key.level))?;
    let columns = texel_positions(key.column, width.div_ceil(1 << key.level))?;
    let mut texels = Vec::with_capacity(TEXTURE_BYTES);
    for level_y in rows {
        // No averaging: the mean of two labels would be the label of a third nucleus.
        let y = nearest_index((level_y << key.level).min(height - 1), height, own_height);
        for level_x in columns {
            let x = nearest_index((level_x << key.level).min(width - 1), width, own_width);
            let label = results.labels.map_or(0, |labels| labels.get(y, x));
            let [low, high] = short_label(label).to_le_bytes();
            let known = if results.known.get(y, x) { 255 } else { 0 };
            texels.extend([probability_to_u8(results.probabilities.get(y, x)), low, high, known]);
        }
    }
    Ok(texels)
}

/// A tile with its apron of a slide's results, as [`data_tile`] gives it. Nuclei are outlines; the
/// probability inside is the nucleus's mean. `size` is the slide's width and height.
///
/// # Errors
/// [`Error::Mismatch`](crate::error::Error::Mismatch) for a tile that the slide has not.
pub fn nuclei_tile(size: (usize, usize), index: &NucleusIndex, key: TileKey) -> Result<Vec<u8>> {
    let mut canvas = TileCanvas::new(size, key)?;
    let bounds = canvas.bounds();
    for block in index.known(bounds) {
        canvas.mark_known(&block);
    }
    for (label, nucleus) in index.near(bounds) {
        canvas.add(label, &nucleus.polygons, nucleus.centroid, nucleus.probability());
    }
    canvas.texels(size, key)
}

/// What a tile of a reviewed result shows.
#[derive(Debug, Default)]
pub struct ShownObjects {
    /// What is segmented, pixels of the finest level.
    pub known: Vec<SlideBounds>,
    /// Nuclei that count, what lies above at the end.
    pub objects: Vec<ReviewObject>,
}

/// A tile of the nuclei that count after a person's decisions, as [`nuclei_tile`] gives it.
/// `shown_in` gives what reaches into a rectangle.
///
/// # Errors
/// [`Error::Mismatch`](crate::error::Error::Mismatch) for a tile that the slide has not.
pub fn reviewed_tile(
    size: (usize, usize),
    key: TileKey,
    shown_in: impl FnOnce(SlideBounds) -> ShownObjects,
) -> Result<Vec<u8>> {
    let mut canvas = TileCanvas::new(size, key)?;
    let ShownObjects { known, objects } = shown_in(canvas.bounds());
    for block in &known {
        canvas.mark_known(block);
    }
    for ReviewObject { id, nucleus, .. } in &objects {
        let probability = nucleus.measurements.map_or(0.0, |measured| measured.mean_probability);
        canvas.add(*id, &nucleus.polygons, nucleus.centroid, probability);
    }
    canvas.texels(size, key)
}

/// The part of a tile inside the image.
struct TileCanvas {
    /// Position and size, pixels of the tile's level.
    block: Block,
    /// Pixels of the finest level to one of the tile.
    downsample: f64,
    /// As large as [`Self::block`].
    texels: Plane<[u8; 4]>,
}

impl TileCanvas {
    fn new(size: (usize, usize), key: TileKey) -> Result<Self> {
        let block = tile_block(size, key)?;
        let texels = Plane::filled(block.width, block.height, [0; 4]);
        Ok(Self { block, downsample: f64::from(1u32 << key.level), texels })
    }

    /// Pixels of the finest level.
    fn bounds(&self) -> SlideBounds {
        let Block { row, column, width, height } = self.block;
        SlideBounds {
            left: column as f64 * self.downsample,
            top: row as f64 * self.downsample,
            right: (column + width) as f64 * self.downsample,
            bottom: (row + height) as f64 * self.downsample,
        }
    }

    /// From pixels of the finest level to those of the canvas.
    fn to_canvas(&self, point: Point) -> Point {
        Point {
            x: point.x / self.downsample - self.block.column as f64,
            y: point.y / self.downsample - self.block.row as f64,
        }
    }

    fn mark_known(&mut self, bounds: &SlideBounds) {
        let first = self.to_canvas(Point { x: bounds.left, y: bounds.top });
        let last = self.to_canvas(Point { x: bounds.right, y: bounds.bottom });
        for y in round_to(first.y, self.block.height)..round_to(last.y, self.block.height) {
            for x in round_to(first.x, self.block.width)..round_to(last.x, self.block.width) {
                self.texels.row_mut(y)[x][3] = 255;
            }
        }
    }

    /// Fills a polygon, pixels of the finest level.
    fn fill(&mut self, ring: &[Point], texel: [u8; 4]) {
        let points: Vec<Point> = ring.iter().map(|&point| self.to_canvas(point)).collect();
        fill_polygon(&points, self.block.width, self.block.height, |y, from, to| {
            self.texels.row_mut(y)[from..to].fill(texel);
        });
    }

    /// Fills an object whose mean probability is given.
    fn add(&mut self, id: u32, polygons: &[Polygon], (x, y): (f64, f64), probability: f64) {
        let [low, high] = short_label(id).to_le_bytes();
        let texel = [probability_to_u8(probability as f32), low, high, 255];
        for polygon in polygons {
            for (i, ring) in polygon.iter().enumerate() {
                // The first ring is the outline, the others are holes in it.
                self.fill(ring, if i == 0 { texel } else { [0, 0, 0, 255] });
            }
        }
        if self.downsample >= POINT_DOWNSAMPLE {
            self.set_point(Point { x, y }, texel);
        }
    }

    /// All with the apron.
    fn texels(&self, size: (usize, usize), key: TileKey) -> Result<Vec<u8>> {
        let rows = texel_positions(key.row, size.1.div_ceil(1 << key.level))?;
        let columns = texel_positions(key.column, size.0.div_ceil(1 << key.level))?;
        let mut texels = Vec::with_capacity(TEXTURE_BYTES);
        for y in rows {
            for x in columns {
                texels.extend(self.texels.get(y - self.block.row, x - self.block.column));
            }
        }
        Ok(texels)
    }

    fn set_point(&mut self, point: Point, texel: [u8; 4]) {
        let Point { x, y } = self.to_canvas(point);
        if x >= 0.0
            && y >= 0.0
            && (x as usize) < self.block.width
            && (y as usize) < self.block.height
        {
            self.texels.set(y as usize, x as usize, texel);
        }
    }
}

/// Nearest pixel border in `0..=len`.
fn round_to(position: f64, len: usize) -> usize {
    position.round().clamp(0.0, len as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::super::tile::{APRON_PX, TEXTURE_PX};
    use super::*;

    #[test]
    fn data_tiles_hold_probability_label_and_what_is_known() {
        let probabilities = Plane::filled(300, 10, 0.5);
        let mut known = Plane::filled(300, 10, false);
        known.set(0, 1, true);
        known.set(1, 1, true);
        let mut labels = Plane::filled(300, 10, 0);
        labels.set(0, 1, 65_536 + 2);
        let results =
            ResultPlanes { probabilities: &probabilities, known: &known, labels: Some(&labels) };
        let key = TileKey { level: 0, row: 0, column: 0 };
        let tile = data_tile((300, 10), &results, key).expect("tile");
        let texel = |x: usize, y: usize| {
            let at = ((y + APRON_PX) * TEXTURE_PX + x + APRON_PX) * 4;
            &tile[at..at + 4]
        };
        assert_eq!(texel(0, 0), [128, 0, 0, 0]);
        assert_eq!(texel(1, 0), [128, 3, 0, 255], "labels wrap around and never become 0");
        assert!(data_tile((300, 10), &results, TileKey { level: 2, ..key }).is_err());
        // Of an image with half as many pixels in each direction.
        let tile = data_tile((150, 5), &results, key).expect("tile");
        let at = (APRON_PX * TEXTURE_PX + APRON_PX) * 4;
        assert_eq!(tile[at..at + 4], [128, 0, 0, 255], "column 1 of row 1 is the nearest");
    }
}
