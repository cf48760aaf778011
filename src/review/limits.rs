//! What a state may hold: checked when a command is executed and when a saved state is read.

use super::mark::MARK_BIT;
use super::region::NamedRegion;
use super::state::{PixelSizeSetting, ReviewState};
use crate::error::{Error, Result};
use crate::instances::Nucleus;
use crate::raster::{Point, Polygon};

/// Most marks of an image.
pub(super) const MAX_MARKS: usize = 200_000;
/// Most regions of an image.
pub(super) const MAX_REGIONS: usize = 10_000;
/// Most strokes of an image.
pub(super) const MAX_STROKES: usize = 20_000;
/// Most vertices of an outline or a stroke.
const MAX_VERTICES: usize = 1_000_000;
/// Longest name of a region or a class, characters.
const MAX_NAME_CHARS: usize = 200;
/// Largest coordinate, pixels. The largest slides have a side of some hundred thousand.
const MAX_COORDINATE: f64 = 1e9;
/// Largest area of a nucleus, pixels: a sum over all marks stays below 2⁶⁴.
const MAX_AREA_PX: u64 = 1 << 40;

/// Checks all that a saved state holds: another program may have written it.
///
/// # Errors
/// A sentence about the first part that no command would have made.
pub(super) fn check_state(state: &ReviewState) -> Result<()> {
    check_pixel_size(&state.pixel_size)?;
    check_threshold(state.threshold)?;
    if state.marks.len() > MAX_MARKS || state.regions.len() > MAX_REGIONS {
        return Err(Error::limit("The saved state has too many decisions or regions"));
    }
    for (id, mark) in &state.marks {
        check_id(*id)?;
        check_nucleus(&mark.nucleus)?;
    }
    for (id, region) in &state.regions {
        check_id(*id)?;
        check_outline(&region.polygons)?;
    }
    if state.strokes.len() > MAX_STROKES {
        return Err(Error::limit("The saved state has too many strokes"));
    }
    for (id, stroke) in &state.strokes {
        check_id(*id)?;
        stroke.check()?;
    }
    Ok(())
}

/// Numbers of marks, strokes and regions leave the bit free that tells marks from nuclei of a
/// model, and room for further ones.
fn check_id(id: u32) -> Result<()> {
    if (1..MARK_BIT / 2).contains(&id) {
        return Ok(());
    }
    Err(Error::invalid("A mark, stroke or region has no possible number"))
}

/// Refuses a pixel size that is no positive number.
pub(super) fn check_pixel_size(pixel_size: &PixelSizeSetting) -> Result<()> {
    match pixel_size.um {
        Some(um) if !(um.is_finite() && um > 0.0) => {
            Err(Error::invalid("The pixel size must be a positive number of micrometres"))
        }
        _ => Ok(()),
    }
}

/// Refuses a threshold that is no probability.
pub(super) fn check_threshold(threshold: Option<f32>) -> Result<()> {
    match threshold {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            Err(Error::invalid("The threshold lies between 0 and 1"))
        }
        _ => Ok(()),
    }
}

/// Refuses a nucleus that no image has.
pub(super) fn check_nucleus(nucleus: &Nucleus) -> Result<()> {
    check_outline(&nucleus.polygons)?;
    let (x, y) = nucleus.centroid;
    if is_coordinate(x) && is_coordinate(y) && nucleus.area_px <= MAX_AREA_PX {
        return Ok(());
    }
    Err(Error::invalid("The nucleus has a place or an area that no image has"))
}

/// Refuses outlines without area and those that no image has.
pub(super) fn check_outline(polygons: &[Polygon]) -> Result<()> {
    let vertices: usize = polygons.iter().flatten().map(Vec::len).sum();
    if vertices < 3 || polygons.iter().flatten().any(|ring| ring.len() < 3) {
        return Err(Error::invalid("An outline needs at least three corners"));
    }
    if vertices > MAX_VERTICES {
        return Err(Error::limit("The outline has too many corners"));
    }
    for point in polygons.iter().flatten().flatten() {
        if !(is_coordinate(point.x) && is_coordinate(point.y)) {
            return Err(Error::invalid("The outline has a corner that lies in no image"));
        }
    }
    Ok(())
}

/// Refuses a line without a point and one that lies in no image.
pub(super) fn check_points(points: &[Point]) -> Result<()> {
    if points.is_empty() || points.len() > MAX_VERTICES {
        return Err(Error::invalid("A stroke needs at least one point, and not millions"));
    }
    if points.iter().all(|point| is_coordinate(point.x) && is_coordinate(point.y)) {
        return Ok(());
    }
    Err(Error::invalid("The stroke has a point that lies in no image"))
}

/// Whether a name is not too long.
pub(super) fn is_short_name(name: &str) -> bool {
    name.chars().count() <= MAX_NAME_CHARS
}

fn is_coordinate(value: f64) -> bool {
    value.abs() <= MAX_COORDINATE
}

/// The same region; a name that is too long is cut.
pub(super) fn with_short_name(region: NamedRegion) -> NamedRegion {
    NamedRegion { name: region.name.chars().take(MAX_NAME_CHARS).collect(), ..region }
}
