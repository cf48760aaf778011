//! The picture in an array of a Zarr: which axes are its rows, columns and colours, which chunks
//! make a tile, and its pixels.

use super::objects::{ObjectCache, ObjectRequest, ObjectResult};
use super::zarr::ZarrArray;
use crate::error::{Error, Result};
use crate::raster::{Plane, RgbImage};

/// A picture in an array.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ZarrLevel {
    pub array: ZarrArray,
    pub axes: PictureAxes,
}

/// What the axes of an array are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PictureAxes {
    pub row: usize,
    pub column: usize,
    /// Axis of the channels, and which of them are red, green and blue. `None` of grey pictures.
    pub colours: Option<(usize, [u64; 3])>,
    /// Where the picture lies along each axis; 0 along those of rows, columns and colours.
    pub position: Vec<u64>,
}

impl ZarrLevel {
    /// Width and height, pixels.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.array.shape[self.axes.column], self.array.shape[self.axes.row])
    }

    /// Width and height of a tile: of a chunk, but no more than those of the picture.
    pub(super) fn tile_size(&self) -> (u64, u64) {
        let side = |axis: usize| self.array.chunk[axis].min(self.array.shape[axis]);
        (side(self.axes.column), side(self.axes.row))
    }

    /// Values of a pixel.
    pub(super) fn samples(&self) -> usize {
        if self.axes.colours.is_some() { 3 } else { 1 }
    }

    /// Which chunks along the axis of the channels hold the colours.
    fn colour_chunks(&self) -> Vec<u64> {
        let Some((axis, colours)) = self.axes.colours else { return vec![0] };
        let mut chunks = colours.map(|colour| colour / self.array.chunk[axis]).to_vec();
        chunks.sort_unstable();
        chunks.dedup();
        chunks
    }

    /// The chunks of a tile: one, or one for each colour; `None` for those that there are not.
    ///
    /// # Errors
    /// A missing index of a shard; a broken one.
    pub(super) fn requests(
        &self,
        known: &ObjectCache,
        column: usize,
        row: usize,
    ) -> ObjectResult<Vec<Option<ObjectRequest>>> {
        let mut requests = Vec::new();
        let mut position: Vec<u64> = Vec::with_capacity(self.axes.position.len());
        for (at, chunk) in self.axes.position.iter().zip(&self.array.chunk) {
            position.push(at / chunk);
        }
        position[self.axes.column] = column as u64;
        position[self.axes.row] = row as u64;
        for chunk in self.colour_chunks() {
            if let Some((axis, _)) = self.axes.colours {
                position[axis] = chunk;
            }
            requests.push(self.array.chunk_request(known, &position)?);
        }
        Ok(requests)
    }

    /// A tile from the chunks of [`Self::requests`]; one without bytes has the fill value.
    ///
    /// # Errors
    /// Broken chunks.
    pub(super) fn decode(&self, parts: &[&[u8]]) -> Result<RgbImage> {
        let colour_chunks = self.colour_chunks();
        if parts.len() != colour_chunks.len() {
            return Err(Error::malformed("A tile of the Zarr lacks chunks"));
        }
        let mut chunks = Vec::with_capacity(parts.len());
        for part in parts {
            let is_there = !part.is_empty();
            chunks.push(is_there.then(|| self.array.decode_chunk(part)).transpose()?);
        }
        let (width, height) = self.tile_size();
        let mut tile = Plane::filled(width as usize, height as usize, [self.array.fill; 3]);
        for channel in 0..3 {
            let colour = self.axes.colours.map_or(0, |(_, colours)| colours[channel]);
            let chunk_of = |axis: usize| colour / self.array.chunk[axis];
            let chunk = self.axes.colours.map_or(0, |(axis, _)| chunk_of(axis));
            let at = colour_chunks.iter().position(|other| *other == chunk).unwrap_or_default();
            if let Some(values) = &chunks[at] {
                self.copy_channel(values, colour, channel, &mut tile)?;
            }
        }
        Ok(tile)
    }

    /// Copies the values of one channel of a chunk into a channel of a tile.
    fn copy_channel(
        &self,
        values: &[u8],
        colour: u64,
        channel: usize,
        tile: &mut RgbImage,
    ) -> Result<()> {
        let array = &self.array;
        let mut first = 0;
        for (axis, at) in self.axes.position.iter().enumerate() {
            first += (at % array.chunk[axis]) as usize * array.strides[axis];
        }
        if let Some((axis, _)) = self.axes.colours {
            first += (colour % array.chunk[axis]) as usize * array.strides[axis];
        }
        let column_stride = array.strides[self.axes.column];
        for y in 0..tile.height() {
            let row = values.get(first + y * array.strides[self.axes.row]..);
            let row = row.ok_or_else(|| Error::malformed("A chunk of the Zarr is cut short"))?;
            for (pixel, value) in tile.row_mut(y).iter_mut().zip(row.iter().step_by(column_stride))
            {
                pixel[channel] = *value;
            }
        }
        Ok(())
    }
}
