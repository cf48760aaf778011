//! The outlines that the screen shows, as lines of the screen.

use super::app_state::AppState;
use crate::raster::{Point, Polygon, Ring};
use crate::review::{MarkStatus, ReviewedNuclei};
use crate::slide::SlideBounds;
use crate::viewer::{
    OUTLINE_WIDTH, OutlinePalette, OutlineStatus, OutlineStroke, ScreenPoint, Viewport, dashes,
};
use crate::whole_slide::SlideNucleus;

/// Objects whose larger side is shorter are dots, screen points.
const MIN_SIDE: f64 = 4.0;
/// Distance between the corners of an outline, screen points.
const MIN_STEP: f64 = 1.5;
/// Side of the squares that hold one dot of the model at most, screen points.
const DOT_CELL: f64 = 3.0;
/// Width of a dot, screen points.
const DOT_WIDTH: f64 = 2.0;
/// Width of the outline of a selected object, screen points.
const SELECTED_WIDTH: f64 = 3.0;
/// Arms of the cross in a rejected object, share of its half side.
const CROSS_SHARE: f64 = 0.6;
/// Dash pattern of regions and of outlines to compare with, screen points.
const REGION_DASH: [f64; 2] = [10.0, 4.0];
const REFERENCE_DASH: [f64; 2] = [2.0, 2.0];
/// Colours of regions and of the ruler.
const REGION_COLOUR: [u8; 3] = [255, 255, 255];
const RULER_COLOUR: [u8; 3] = [255, 255, 255];

/// Everything that is drawn over the picture, what lies above at the end. `scale` is the number of
/// pixels of the screen to a point.
pub(super) fn outline_strokes(app: &AppState, scale: f64) -> Vec<OutlineStroke> {
    let display = &app.review.state().display;
    let mut scene = Scene {
        view: &app.view,
        bounds: app.view.bounds(),
        palette: OutlinePalette::named(&display.palette),
        opacity: app.layers.outline.clamp(0.0, 1.0),
        scale,
        strokes: Vec::new(),
        dots: DotGrid::new(app.view.screen(), scale),
    };
    for region in app.review.state().regions.values() {
        scene.add_polygons(&region.polygons, REGION_COLOUR, &REGION_DASH, 1.0);
    }
    if let Some(reference) = &app.reference {
        for object in &reference.outlines.objects {
            scene.add_polygons(&object.polygons, scene.palette.reference, &REFERENCE_DASH, 1.0);
        }
    }
    if scene.opacity > 0.0 {
        app.with_shown(|shown| {
            if let Some(older) = shown.older {
                scene.add_nuclei(older, OutlineStatus::Older, |nucleus| {
                    !shown.is_replaced(nucleus.centroid)
                });
            }
            scene.add_nuclei(shown.current, OutlineStatus::Model, |_| true);
            scene.add_marks(shown.current);
        });
    }
    for selected in &app.selection.objects {
        let colour = scene.palette.selected;
        for ring in selected.object.nucleus.polygons.iter().flatten() {
            scene.add_ring(ring, colour, &[], Line { width: SELECTED_WIDTH, opacity: 1.0 });
        }
    }
    if let Some(ends) = app.ruler {
        let points = ends.map(|end| app.view.to_screen(end)).to_vec();
        scene.strokes.push(OutlineStroke {
            points,
            colour: RULER_COLOUR,
            opacity: 1.0,
            width: OUTLINE_WIDTH * scale,
        });
    }
    scene.strokes
}

/// Width in screen points, and opacity.
#[derive(Clone, Copy)]
struct Line {
    width: f64,
    opacity: f32,
}

struct Scene<'a> {
    view: &'a Viewport,
    bounds: SlideBounds,
    palette: &'static OutlinePalette,
    opacity: f32,
    /// Pixels of the screen to a point.
    scale: f64,
    strokes: Vec<OutlineStroke>,
    dots: DotGrid,
}

impl Scene<'_> {
    fn add_nuclei(
        &mut self,
        nuclei: ReviewedNuclei<'_>,
        status: OutlineStatus,
        is_visible: impl Fn(&SlideNucleus) -> bool,
    ) {
        for (label, nucleus) in nuclei.index.near(self.bounds) {
            if !nuclei.hidden.holds(label)
                && nuclei.is_inside(nucleus.centroid)
                && is_visible(nucleus)
            {
                self.add_object(&nucleus.polygons, nucleus.centroid, status);
            }
        }
    }

    fn add_marks(&mut self, nuclei: ReviewedNuclei<'_>) {
        for mark in nuclei.marks.values() {
            let status = match mark.status {
                MarkStatus::Accepted => OutlineStatus::Accepted,
                MarkStatus::Added => OutlineStatus::Added,
                MarkStatus::Rejected => OutlineStatus::Rejected,
                MarkStatus::Replaced => continue,
            };
            let centroid = mark.nucleus.centroid;
            if mark.bounds().intersects(&self.bounds) && nuclei.is_inside(centroid) {
                self.add_object(&mark.nucleus.polygons, centroid, status);
            }
        }
    }

    fn add_object(&mut self, polygons: &[Polygon], centroid: (f64, f64), status: OutlineStatus) {
        let extent = SlideBounds::of_points(polygons.iter().flatten().flatten());
        let side = extent.width().max(extent.height()) * self.view.scale() / self.scale;
        let look = self.palette.look(status);
        if side < MIN_SIDE {
            let point = self.view.to_screen(Point { x: centroid.0, y: centroid.1 });
            let is_of_model = matches!(status, OutlineStatus::Model | OutlineStatus::Older);
            if !is_of_model || self.dots.take(point) {
                self.strokes.push(OutlineStroke {
                    points: vec![point],
                    colour: look.colour,
                    opacity: self.opacity,
                    width: DOT_WIDTH * self.scale,
                });
            }
            return;
        }
        let line = Line { width: OUTLINE_WIDTH, opacity: self.opacity };
        for ring in polygons.iter().flatten() {
            self.add_ring(ring, look.colour, look.dash, line);
        }
        if status == OutlineStatus::Rejected {
            let centre = extent.centre();
            let (dx, dy) = (extent.width() / 2.0 * CROSS_SHARE, extent.height() / 2.0 * CROSS_SHARE);
            for sign in [1.0, -1.0] {
                let first = Point { x: centre.x - dx, y: centre.y - sign * dy };
                let last = Point { x: centre.x + dx, y: centre.y + sign * dy };
                let points = vec![self.view.to_screen(first), self.view.to_screen(last)];
                self.push(points, look.colour, line);
            }
        }
    }

    fn add_polygons(
        &mut self,
        polygons: &[Polygon],
        colour: [u8; 3],
        dash: &[f64],
        opacity: f32,
    ) {
        let extent = SlideBounds::of_points(polygons.iter().flatten().flatten());
        if !extent.intersects(&self.bounds) {
            return;
        }
        for ring in polygons.iter().flatten() {
            self.add_ring(ring, colour, dash, Line { width: OUTLINE_WIDTH, opacity });
        }
    }

    fn add_ring(&mut self, ring: &Ring, colour: [u8; 3], dash: &[f64], line: Line) {
        let step = MIN_STEP * self.scale;
        let mut points: Vec<ScreenPoint> = Vec::with_capacity(ring.len());
        for point in ring {
            let point = self.view.to_screen(*point);
            let is_apart = |last: &ScreenPoint| {
                (point.x - last.x).abs().max((point.y - last.y).abs()) >= step
            };
            if points.last().is_none_or(is_apart) {
                points.push(point);
            }
        }
        if points.len() < 2 {
            return;
        }
        let mut pattern = [0.0; 2];
        let pattern = match dash {
            [on, off] => {
                pattern = [on * self.scale, off * self.scale];
                &pattern[..]
            }
            _ => &pattern[..0],
        };
        for piece in dashes(&points, pattern) {
            self.push(piece, colour, line);
        }
    }

    fn push(&mut self, points: Vec<ScreenPoint>, colour: [u8; 3], line: Line) {
        let width = line.width * self.scale;
        self.strokes.push(OutlineStroke { points, colour, opacity: line.opacity, width });
    }
}

/// Squares of the screen that have a dot: slides have a million nuclei.
struct DotGrid {
    cell: f64,
    columns: usize,
    taken: Vec<bool>,
}

impl DotGrid {
    fn new((width, height): (f64, f64), scale: f64) -> Self {
        let cell = DOT_CELL * scale;
        let columns = (width / cell) as usize + 1;
        let rows = (height / cell) as usize + 1;
        Self { cell, columns, taken: vec![false; columns * rows] }
    }

    /// Whether a point is the first in its square.
    fn take(&mut self, point: ScreenPoint) -> bool {
        if point.x < 0.0 || point.y < 0.0 {
            return false;
        }
        let (column, row) = ((point.x / self.cell) as usize, (point.y / self.cell) as usize);
        if column >= self.columns {
            return false;
        }
        let place = self.taken.get_mut(row * self.columns + column);
        place.is_some_and(|taken| !std::mem::replace(taken, true))
    }
}
