//! What the screen shows, composed without one: for scripts and tests.

use super::app_state::AppState;
use super::tile_loader::{TileRequest, make};
use crate::error::{Error, Result};
use crate::raster::{Plane, RgbImage};
use crate::viewer::{TILE, compose};

/// Behind the picture.
const BACKGROUND: [u8; 3] = [32; 3];
/// Largest picture, pixels.
const MAX_PX: f64 = 100e6;

/// The view with its layers, as large as the screen; each pixel the nearest one of the level that
/// the screen would show.
///
/// # Errors
/// Those of the slide's source; a screen without size.
pub fn picture(app: &AppState) -> Result<RgbImage> {
    let (width, height) = app.view.screen();
    if width * height > MAX_PX {
        return Err(Error::limit(format!("A picture of {width}×{height} pixels is out of range")));
    }
    let mut out = Plane::filled(width as usize, height as usize, BACKGROUND);
    let Some(document) = &app.document else { return Ok(out) };
    let level = app.view.level();
    let step = f64::from(1u32 << level);
    let size = [document.size().0, document.size().1].map(|n| n as f64);
    for key in app.view.visible(level) {
        let image = make(TileRequest::Image(key), document, app.found())?;
        let data = make(TileRequest::Data(key, 0), document, app.found()).ok();
        let tile = compose(&image, data.as_deref(), 0, &app.layers)?;
        let (left, top) = (f64::from(key.column) * TILE as f64, f64::from(key.row) * TILE as f64);
        let (x0, y0) = app.view.to_screen((left * step, top * step));
        let (x1, y1) =
            app.view.to_screen(((left + TILE as f64) * step, (top + TILE as f64) * step));
        let span = |from: f64, to: f64, len: f64| {
            (from.ceil().clamp(0.0, len) as usize)..(to.ceil().clamp(0.0, len) as usize)
        };
        for y in span(y0, y1, height) {
            for x in span(x0, x1, width) {
                let (px, py) = app.view.to_image((x as f64 + 0.5, y as f64 + 0.5));
                if px < 0.0 || py < 0.0 || px >= size[0] || py >= size[1] {
                    continue;
                }
                let inside =
                    |v: f64, from: f64| ((v / step - from).max(0.0) as usize).min(TILE - 1);
                let at = (inside(py, top) * TILE + inside(px, left)) * 4;
                out.set(y, x, [tile[at], tile[at + 1], tile[at + 2]]);
            }
        }
    }
    Ok(out)
}
