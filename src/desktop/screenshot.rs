//! What the screen shows, composed on the CPU: for scripts and tests.

use std::ops::Range;

use super::app_state::AppState;
use super::outlines::outline_strokes;
use super::tile_loader::{TileRequest, load_tile};
use crate::error::{Error, Result};
use crate::raster::{Plane, Point, RgbImage};
use crate::viewer::{Layers, ScreenPoint, TILE_PX, compose, draw_strokes};

/// Colour beside the image.
const BACKGROUND: [u8; 3] = [32; 3];
/// Largest picture, pixels.
const MAX_PX: f64 = 100e6;

/// The view with its layers, as large as the screen. Each pixel is the nearest one of the level
/// that the screen would show.
///
/// # Errors
/// Those of the slide's source; [`Error::Limit`] for a huge screen.
pub fn screenshot(app: &AppState) -> Result<RgbImage> {
    let (width, height) = app.view.screen();
    if width * height > MAX_PX {
        return Err(Error::limit(format!("A picture of {width}×{height} pixels is out of range")));
    }
    let mut out = Plane::filled(width as usize, height as usize, BACKGROUND);
    let Some(document) = &app.document else { return Ok(out) };
    let level = app.view.level();
    let downsample = f64::from(1u32 << level);
    let image_width = document.size().0 as f64;
    let image_height = document.size().1 as f64;
    // Outlines are lines of the screen.
    let layers = Layers { outline: 0.0, ..app.layers };
    for key in app.view.visible(level) {
        let image =
            load_tile(TileRequest::Image(key), document, app.shown_results(), app.review_at())?;
        let results = TileRequest::Results { key, finished_blocks: 0 };
        let data = load_tile(results, document, app.shown_results(), app.review_at()).ok();
        let tile = compose(&image, data.as_deref(), 0, &layers)?;
        // The tile's corners, pixels of its level.
        let left = f64::from(key.column) * TILE_PX as f64;
        let top = f64::from(key.row) * TILE_PX as f64;
        let right = left + TILE_PX as f64;
        let bottom = top + TILE_PX as f64;
        let first = app.view.to_screen(Point { x: left * downsample, y: top * downsample });
        let last = app.view.to_screen(Point { x: right * downsample, y: bottom * downsample });
        for y in pixel_range(first.y, last.y, height) {
            for x in pixel_range(first.x, last.x, width) {
                let centre = ScreenPoint { x: x as f64 + 0.5, y: y as f64 + 0.5 };
                let point = app.view.to_image(centre);
                if point.x < 0.0
                    || point.y < 0.0
                    || point.x >= image_width
                    || point.y >= image_height
                {
                    continue;
                }
                let row = tile_position(point.y, downsample, top);
                let column = tile_position(point.x, downsample, left);
                let offset = (row * TILE_PX + column) * 4;
                out.set(y, x, [tile[offset], tile[offset + 1], tile[offset + 2]]);
            }
        }
    }
    draw_strokes(&mut out, &outline_strokes(app, 1.0));
    Ok(out)
}

/// Screen pixels from `from` to `to` along a side of `len` pixels.
fn pixel_range(from: f64, to: f64, len: f64) -> Range<usize> {
    from.ceil().clamp(0.0, len) as usize..to.ceil().clamp(0.0, len) as usize
}

/// Row or column in a tile that begins at `tile_start`, of an image position.
fn tile_position(position: f64, downsample: f64, tile_start: f64) -> usize {
    ((position / downsample - tile_start).max(0.0) as usize).min(TILE_PX - 1)
}
