//! Label maps of outlines.

use super::read::{MAX_NAMED, Outline, Outlines};
use super::set_aside::which_are_nuclei;
use crate::error::{Warnings, counted, listed};
use crate::raster::{LabelMap, Plane, Point, Polygon, fill_rings};

/// Vertices further outside the image than this are reported, pixels.
const OUTSIDE_PX: f64 = 1.0;
/// A region that covers more than this share of the image is noted.
const LARGE_SHARE: f64 = 0.5;
/// Most crossings of all outlines' edges with rows of pixels; 2 million nuclei have 0.2e9.
const MAX_CROSSINGS: f64 = 4e9;

/// A label map and what happened while it was drawn.
#[derive(Debug, Clone)]
pub struct Drawing {
    /// Objects are numbered 1, 2, … in the order of the file.
    pub labels: LabelMap,
    /// Number of objects that cover at least one pixel when they are drawn.
    pub objects: u32,
    /// Class of each in the file, in the order of their numbers.
    pub classes: Vec<Option<String>>,
    /// Number of pixels that a later object took from an earlier one.
    pub overwritten_px: u64,
    /// Number of objects of which no pixel is left in the label map, since later ones cover them.
    pub hidden: usize,
    /// What was unusual and what was done about it.
    pub notes: Warnings,
}

/// Draws the nuclei among outlines. A pixel belongs to the last object that contains its centre, by
/// the even-odd rule. `shift` is added to both coordinates of every vertex. Objects that cover no
/// pixel get no number and are named in a note, as are regions that are no nuclei: tiles, classes
/// that end in `*`, and regions of interest around others.
///
/// ```
/// use prunella::outlines::{draw_outlines, read_outlines};
///
/// # fn main() -> prunella::error::Result<()> {
/// let text = r#"{"type": "Polygon", "coordinates": [[[1, 0], [3, 0], [3, 1], [1, 1], [1, 0]]]}"#;
/// let drawing = draw_outlines(&read_outlines(text.as_bytes())?, 4, 2, 0.0);
/// assert_eq!(drawing.labels.data(), [0, 1, 1, 0, 0, 0, 0, 0]);
/// assert!(drawing.notes.notes.is_empty());
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn draw_outlines(outlines: &Outlines, width: usize, height: usize, shift: f64) -> Drawing {
    let (is_nucleus, mut notes) = which_are_nuclei(&outlines.objects);
    let mut drawing = Drawing {
        labels: Plane::filled(width, height, 0),
        objects: 0,
        classes: Vec::new(),
        overwritten_px: 0,
        hidden: 0,
        notes: Warnings::default(),
    };
    let mut outside_count = 0;
    let mut max_outside_px = 0.0f64;
    let mut beyond = 0;
    let mut no_pixel = Vec::new();
    let mut too_long = 0;
    let mut crossings_left = MAX_CROSSINGS;
    let mut large = Vec::new();
    for (object, _) in outlines.objects.iter().zip(is_nucleus).filter(|(_, is)| *is) {
        crossings_left -= crossings(object, height);
        if crossings_left < 0.0 {
            too_long += 1;
            continue;
        }
        let outside_px = outside_distance(object, width, height);
        let covered = drawing.draw(object, shift);
        if covered == 0 && is_beyond(object, width, height) {
            beyond += 1;
            continue;
        }
        if outside_px > OUTSIDE_PX {
            outside_count += 1;
            max_outside_px = max_outside_px.max(outside_px);
        }
        if covered == 0 {
            no_pixel.push(object.label());
        }
        let share = covered as f64 / (width * height) as f64;
        if share > LARGE_SHARE && outlines.objects.len() > 1 {
            large.push(format!("{} ({:.0} %)", object.label(), share * 100.0));
        }
    }
    if outside_count > 0 {
        notes.note(format!(
            "{} up to {max_outside_px:.1} px outside the image: clipped",
            counted(outside_count, "region reaches", "regions reach")
        ));
    }
    if beyond > 0 {
        notes.note(format!(
            "{} outside the image: left out",
            counted(beyond, "object lies", "objects lie")
        ));
    }
    if too_long > 0 {
        notes.note(format!(
            "{} left out: all outlines together are too long to be drawn",
            counted(too_long, "region is", "regions are")
        ));
    }
    if !no_pixel.is_empty() {
        notes.note(format!(
            "{} no pixel: left out ({})",
            counted(no_pixel.len(), "region covers", "regions cover"),
            listed(&no_pixel, MAX_NAMED)
        ));
    }
    if !large.is_empty() {
        notes.note(format!(
            "{} most of the image: taken for a nucleus all the same ({})",
            counted(large.len(), "region covers", "regions cover"),
            listed(&large, MAX_NAMED)
        ));
    }
    drawing.hidden = hidden(&drawing);
    drawing.notes = notes;
    drawing
}

impl Drawing {
    /// Draws an object; gives the number of its pixels.
    fn draw(&mut self, object: &Outline, shift: f64) -> usize {
        let label = self.objects + 1;
        let [width, height] = [self.labels.width(), self.labels.height()];
        let mut covered = 0;
        for polygon in &object.polygons {
            let shifted: Polygon = polygon
                .iter()
                .map(|ring| ring.iter().map(|p| Point { x: p.x + shift, y: p.y + shift }).collect())
                .collect();
            fill_rings(&shifted, width, height, |row, first, end| {
                for pixel in &mut self.labels.row_mut(row)[first..end] {
                    self.overwritten_px += u64::from(*pixel != 0 && *pixel != label);
                    *pixel = label;
                }
                covered += end - first;
            });
        }
        if covered > 0 {
            self.objects += 1;
            self.classes.push(object.class.clone());
        }
        covered
    }
}

/// Upper bound of the crossings of an object's edges with rows.
fn crossings(object: &Outline, height: usize) -> f64 {
    let mut crossings = 0.0;
    for ring in object.polygons.iter().flatten() {
        for (i, a) in ring.iter().enumerate() {
            let b = ring[(i + 1) % ring.len()];
            crossings += (a.y - b.y).abs().min(height as f64);
        }
    }
    crossings
}

/// Largest distance of a vertex beyond the image along one axis, pixels; 0 inside.
fn outside_distance(object: &Outline, width: usize, height: usize) -> f64 {
    let mut largest = 0.0f64;
    for vertex in object.polygons.iter().flatten().flatten() {
        largest = largest.max(-vertex.x).max(vertex.x - width as f64);
        largest = largest.max(-vertex.y).max(vertex.y - height as f64);
    }
    largest
}

/// Whether every vertex lies beyond the same edge of the image.
fn is_beyond(object: &Outline, width: usize, height: usize) -> bool {
    let vertices = || object.polygons.iter().flatten().flatten();
    vertices().all(|p| p.x <= 0.0)
        || vertices().all(|p| p.x >= width as f64)
        || vertices().all(|p| p.y <= 0.0)
        || vertices().all(|p| p.y >= height as f64)
}

fn hidden(drawing: &Drawing) -> usize {
    let mut is_visible = vec![false; drawing.objects as usize + 1];
    for &label in drawing.labels.data() {
        is_visible[label as usize] = true;
    }
    is_visible.iter().skip(1).filter(|&&is| !is).count()
}
