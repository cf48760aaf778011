//! Levels whose tiles overlap or lie apart, as a scanner's camera took them: the mosaic of a
//! Ventana BIF, as `OpenSlide` places it. All tiles advance by the same distance, the mean over the
//! overlaps that the scanner measured. `OpenSlide` interpolates between pixels where it is no whole
//! number; here tiles lie at whole pixels.

use std::ops::Range;

use crate::error::{Error, Result};

/// Longest side of a level, pixels.
const MAX_SIDE_PX: f64 = (1 << 24) as f64;

/// Most tiles of the finest level.
const MAX_PIECES: u64 = 1 << 19;

/// Where the tiles of a level lie. Pairs are of x and y.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mosaic {
    areas: Vec<MosaicArea>,
    /// Distance of neighbours, pixels of the level.
    advance: [f64; 2],
    /// Side of a piece, pixels of the level: a tile of the finest level as it appears here.
    piece: [f64; 2],
    /// Side of a stored tile, pixels.
    tile: [usize; 2],
    /// Pieces of a stored tile along a side.
    pieces_per_tile: usize,
    /// Size of the stored image, pixels; what is beyond it in its last tiles is padding.
    stored: [usize; 2],
}

/// A scanned part of the glass: pieces in rows and columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MosaicArea {
    /// Column and row of the first piece in the stored grid.
    pub first: [usize; 2],
    /// Columns and rows.
    pub count: [usize; 2],
    /// Of its first piece, pixels of the level.
    pub corner: [f64; 2],
}

/// A part of a stored tile and where it belongs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece {
    /// Column and row of the stored tile.
    pub tile: [usize; 2],
    /// Its first pixel in the tile.
    pub source: [usize; 2],
    /// Its first pixel in the level.
    pub place: [isize; 2],
    /// Pixels.
    pub size: [usize; 2],
}

impl Mosaic {
    /// Of the finest level: each stored tile is a piece.
    ///
    /// # Errors
    /// [`Error::Malformed`] for areas beyond the stored tiles or over each other, or for tiles that
    /// do not advance; [`Error::Limit`] for a level that is too large.
    pub(super) fn new(
        areas: Vec<MosaicArea>,
        advance: [f64; 2],
        tile: [usize; 2],
        stored: [usize; 2],
    ) -> Result<Self> {
        let piece = tile.map(|side| side as f64);
        let mut pieces = 0u64;
        let mut is_inside = true;
        for area in &areas {
            for axis in 0..2 {
                let end = area.first[axis].checked_add(area.count[axis]);
                let tiles = stored[axis].div_ceil(tile[axis]);
                is_inside &= area.count[axis] > 0 && end.is_some_and(|end| end <= tiles);
            }
            pieces =
                pieces.saturating_add((area.count[0] as u64).saturating_mul(area.count[1] as u64));
        }
        let tiles = stored[0].div_ceil(tile[0]) as u64 * stored[1].div_ceil(tile[1]) as u64;
        let advances =
            (0..2).all(|axis| (piece[axis] / 4.0..=piece[axis] * 2.0).contains(&advance[axis]));
        if pieces > MAX_PIECES {
            return Err(Error::limit(format!(
                "A mosaic of {pieces} tiles is larger than the limit, {MAX_PIECES}"
            )));
        }
        if areas.is_empty() || !is_inside || pieces > tiles || !advances {
            return Err(Error::malformed(
                "The scanned areas and overlaps that the slide states do not fit its tiles",
            ));
        }
        let mosaic = Self { areas, advance, piece, tile, pieces_per_tile: 1, stored };
        mosaic.check_size()?;
        Ok(mosaic)
    }

    fn check_size(&self) -> Result<()> {
        let ends = self.ends();
        if ends.iter().any(|end| !(1.0..=MAX_SIDE_PX).contains(end)) {
            return Err(Error::limit(format!(
                "A mosaic of {}×{} pixels is out of range",
                ends[0], ends[1]
            )));
        }
        Ok(())
    }

    /// Of a level that is smaller by `factor`: a stored tile holds several pieces along each side,
    /// reduced one by one.
    pub(super) fn reduced(&self, factor: f64, stored: [usize; 2]) -> Self {
        let smaller = |pair: [f64; 2]| pair.map(|side| side / factor);
        let mut areas = self.areas.clone();
        for area in &mut areas {
            area.corner = smaller(area.corner);
        }
        Self {
            areas,
            advance: smaller(self.advance),
            piece: smaller(self.piece),
            tile: self.tile,
            pieces_per_tile: (factor as usize).max(1),
            stored,
        }
    }

    /// Whether the tiles lie as in a grid without gaps from the first pixel on.
    pub(super) fn is_grid(&self, tiles: [usize; 2]) -> bool {
        let [area] = &self.areas[..] else { return false };
        area.first == [0; 2]
            && area.count == tiles
            && are_equal(area.corner, [0.0; 2])
            && are_equal(self.advance, self.piece)
    }

    /// Largest x and y.
    fn ends(&self) -> [f64; 2] {
        let mut ends = [0.0f64; 2];
        for area in &self.areas {
            for (axis, end) in ends.iter_mut().enumerate() {
                let last = area.count[axis].saturating_sub(1) as f64 * self.advance[axis];
                *end = end.max(area.corner[axis] + last + self.piece[axis]);
            }
        }
        ends
    }

    /// Width and height of the level, pixels.
    pub(super) fn size(&self) -> [usize; 2] {
        self.ends().map(|end| (end.ceil() as usize).max(1))
    }

    /// The pieces that intersect a rectangle, in the order in which they are laid on each other:
    /// the one at the bottom right is the uppermost.
    pub(super) fn pieces(&self, columns: &Range<usize>, rows: &Range<usize>) -> Vec<Piece> {
        let mut numbered = Vec::new();
        for area in &self.areas {
            let [from_column, to_column] = self.near(area, 0, columns);
            let [from_row, to_row] = self.near(area, 1, rows);
            for row in from_row..to_row {
                for column in from_column..to_column {
                    let piece = self.piece(area, column, row);
                    if piece.meets(columns, 0) && piece.meets(rows, 1) {
                        numbered.push(([area.first[1] + row, area.first[0] + column], piece));
                    }
                }
            }
        }
        numbered.sort_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, piece)| piece).collect()
    }

    /// Numbers of the columns or rows of an area of which some may lie in a range.
    fn near(&self, area: &MosaicArea, axis: usize, range: &Range<usize>) -> [usize; 2] {
        let number = |at: f64| (at - area.corner[axis]) / self.advance[axis];
        // A pixel more on both sides: places are rounded.
        let from = number(range.start as f64 - self.piece[axis] - 1.0).floor().max(0.0) as usize;
        let to = number(range.end as f64 + 1.0).ceil().max(0.0) as usize;
        [from, to.min(area.count[axis])]
    }

    fn piece(&self, area: &MosaicArea, column: usize, row: usize) -> Piece {
        let mut piece = Piece { tile: [0; 2], source: [0; 2], place: [0; 2], size: [0; 2] };
        for (axis, number) in [column, row].into_iter().enumerate() {
            let stored = area.first[axis] + number;
            let in_tile = stored % self.pieces_per_tile;
            let tile_px = self.tile[axis];
            piece.tile[axis] = stored / self.pieces_per_tile;
            piece.source[axis] = tile_px * in_tile / self.pieces_per_tile;
            let end = (tile_px * (in_tile + 1)).div_ceil(self.pieces_per_tile);
            let padding_from = self.stored[axis].saturating_sub(piece.tile[axis] * tile_px);
            piece.size[axis] = end.min(padding_from).saturating_sub(piece.source[axis]);
            let at = area.corner[axis] + number as f64 * self.advance[axis];
            piece.place[axis] = at.round() as isize;
        }
        piece
    }
}

impl Piece {
    fn meets(&self, range: &Range<usize>, axis: usize) -> bool {
        let start = self.place[axis];
        let end = start.saturating_add_unsigned(self.size[axis]);
        start < range.end.cast_signed() && end > range.start.cast_signed()
    }
}

fn are_equal(a: [f64; 2], b: [f64; 2]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(first: [usize; 2], count: [usize; 2], corner: [f64; 2]) -> MosaicArea {
        MosaicArea { first, count, corner }
    }

    #[test]
    fn tiles_overlap_and_the_one_at_the_bottom_right_is_uppermost() {
        let mosaic =
            Mosaic::new(vec![area([0, 0], [2, 2], [5.0, 0.0])], [28.0, 30.4], [32, 32], [64, 50])
                .expect("a mosaic");
        assert_eq!(mosaic.size(), [65, 63]);
        let pieces = mosaic.pieces(&(0..65), &(0..63));
        let tiles: Vec<[usize; 2]> = pieces.iter().map(|piece| piece.tile).collect();
        assert_eq!(tiles, [[0, 0], [1, 0], [0, 1], [1, 1]]);
        assert_eq!(pieces[3].place, [33, 30]);
        // Row 50 of the stored image is its last.
        assert_eq!((pieces[3].size, pieces[0].size), ([32, 18], [32, 32]));
        assert_eq!(mosaic.pieces(&(0..5), &(0..63)), []);
        assert_eq!(mosaic.pieces(&(36..37), &(0..10)).len(), 2);
        assert_eq!(mosaic.pieces(&(37..38), &(0..10)).len(), 1);
    }

    #[test]
    fn a_tile_of_a_coarser_level_holds_several_pieces() {
        let finest =
            Mosaic::new(vec![area([0, 0], [4, 3], [0.0; 2])], [28.0, 32.0], [32, 32], [128, 96])
                .expect("a mosaic");
        let half = finest.reduced(2.0, [64, 48]);
        assert_eq!(half.size(), [58, 48]);
        let pieces = half.pieces(&(0..58), &(0..16));
        let last = pieces.last().expect("pieces");
        assert_eq!((last.tile, last.source, last.place), ([1, 0], [16, 0], [42, 0]));
        assert_eq!((pieces[0].tile, pieces[0].source), ([0, 0], [0, 0]));
        assert_eq!((pieces[0].place, pieces[0].size), ([0, 0], [16, 16]));
    }

    #[test]
    fn areas_that_do_not_fit_are_refused() {
        let refused = |areas: Vec<MosaicArea>, advance| {
            Mosaic::new(areas, advance, [32, 32], [64, 64]).is_err()
        };
        let whole = || area([0, 0], [2, 2], [0.0; 2]);
        assert!(!refused(vec![whole()], [32.0; 2]));
        assert!(refused(vec![], [32.0; 2]));
        assert!(refused(vec![whole(), whole()], [32.0; 2]));
        assert!(refused(vec![area([1, 0], [2, 2], [0.0; 2])], [32.0; 2]));
        assert!(refused(vec![area([usize::MAX, 0], [2, 2], [0.0; 2])], [32.0; 2]));
        assert!(refused(vec![area([0, 0], [0, 2], [0.0; 2])], [32.0; 2]));
        for advance in [f64::NAN, 0.0, -3.0, 1e9, f64::INFINITY] {
            assert!(refused(vec![whole()], [32.0, advance]), "{advance}");
        }
        for corner in [1e12, f64::NAN, -1e12] {
            assert!(refused(vec![area([0, 0], [2, 2], [corner, 0.0])], [32.0; 2]), "{corner}");
        }
    }
}
