//! The outlines that the screen shows, as lines of the screen.

use super::app_state::AppState;
use super::painting::colour_of;
use crate::model::NucleusType;
use crate::raster::{Point, Polygon, Ring};
use crate::review::{MarkStatus, ReviewedNuclei};
use crate::slide::SlideBounds;
use crate::viewer::{
    CASING_OPACITY, CASING_WIDTH, DOT_WIDTH, OUTLINE_WIDTH, OutlineLook, OutlinePalette,
    OutlineStatus, OutlineStroke, SELECTED_WIDTH, ScreenPoint, THICK_OUTLINE_WIDTH, Viewport,
    dashes, outline_thinness,
};
use crate::whole_slide::SlideNucleus;

/// Objects whose larger side is shorter are dots, screen points.
const MIN_SIDE: f64 = 4.0;
/// Opacity of painted lines: the tissue below stays visible.
const PAINT_OPACITY: f32 = 0.55;
/// Narrowest painted line on the screen, points.
const MIN_PAINT_WIDTH: f64 = 1.5;
/// Distance between the corners of an outline, screen points.
const MIN_STEP: f64 = 1.5;
/// Side of the squares that hold one dot of the model at most, screen points.
const DOT_CELL: f64 = 3.0;
/// Half the arms of the cross in a rejected object, share of its side.
const CROSS_SHARE: f64 = 0.25;
/// Dash pattern of regions, screen points.
const REGION_DASH: &[f64] = &[10.0, 4.0];
/// Colour of regions, the ruler and the light around what is selected.
const WHITE: [u8; 3] = [255; 3];

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
        thinness: outline_thinness(app.view.scale() / scale),
        casings: Vec::new(),
        lines: Vec::new(),
        dots: DotGrid::new(app.view.screen(), scale),
        types: app.with_shown(|shown| shown.types.to_vec()),
    };
    let white =
        OutlineLook { colour: WHITE, width: OUTLINE_WIDTH, dash: REGION_DASH, opacity: 1.0 };
    for region in app.review.state().regions.values() {
        scene.add_polygons(&region.polygons, white);
    }
    if let Some(reference) = &app.reference {
        let look = scene.palette.look(OutlineStatus::Missed);
        for object in &reference.outlines.objects {
            scene.add_polygons(&object.polygons, look);
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
    // Casings first, so that none lies over a neighbour's line.
    let mut strokes = painted_strokes(app, scale);
    strokes.extend(scene.take());
    scene.thinness = 1.0;
    scene.opacity = 1.0;
    for selected in &app.selection.objects {
        let status = selected.object.status.map_or(OutlineStatus::Model, status_of);
        let polygons = &selected.object.nucleus.polygons;
        let halo = OutlineLook { width: SELECTED_WIDTH, dash: &[], ..white };
        scene.add_polygons(polygons, halo);
        strokes.extend(scene.take());
        let look = scene.look(status, selected.object.nucleus.class);
        let own = OutlineLook { width: THICK_OUTLINE_WIDTH, ..look };
        scene.add_polygons(polygons, own);
        strokes.extend(scene.take());
    }
    if let Some(ends) = app.ruler {
        let points = ends.map(|end| app.view.to_screen(end)).to_vec();
        scene.push(points, OutlineLook { dash: &[], ..white });
        strokes.extend(scene.take());
    }
    strokes
}

/// What was painted, as wide as it is.
fn painted_strokes(app: &AppState, scale: f64) -> Vec<OutlineStroke> {
    let strokes = &app.review.state().strokes;
    if strokes.is_empty() {
        return Vec::new();
    }
    let bounds = app.view.bounds();
    let classes = app.painted_classes();
    let mut shown = Vec::new();
    for stroke in strokes.values().filter(|stroke| stroke.bounds().intersects(&bounds)) {
        let points = stroke.points.iter().map(|point| app.view.to_screen(*point));
        let width_px = stroke.width_px * app.view.scale();
        shown.push(painted_stroke(points, width_px, colour_of(&stroke.class, &classes), scale));
    }
    shown
}

/// A painted line of the screen; widths are in pixels, `scale` of which make a point.
pub(super) fn painted_stroke(
    points: impl Iterator<Item = ScreenPoint>,
    width_px: f64,
    colour: [u8; 3],
    scale: f64,
) -> OutlineStroke {
    let width = width_px.max(MIN_PAINT_WIDTH * scale);
    OutlineStroke { points: apart(points, scale), colour, opacity: PAINT_OPACITY, width }
}

/// Points of a line without those that lie too near to the one before.
fn apart(points: impl Iterator<Item = ScreenPoint>, scale: f64) -> Vec<ScreenPoint> {
    let step = MIN_STEP * scale;
    let mut kept: Vec<ScreenPoint> = Vec::new();
    for point in points {
        let is_apart =
            |last: &ScreenPoint| (point.x - last.x).abs().max((point.y - last.y).abs()) >= step;
        if kept.last().is_none_or(is_apart) {
            kept.push(point);
        }
    }
    kept
}

fn status_of(status: MarkStatus) -> OutlineStatus {
    match status {
        MarkStatus::Accepted => OutlineStatus::Accepted,
        MarkStatus::Added => OutlineStatus::Added,
        MarkStatus::Rejected | MarkStatus::Replaced => OutlineStatus::Rejected,
    }
}

struct Scene<'a> {
    view: &'a Viewport,
    bounds: SlideBounds,
    palette: &'static OutlinePalette,
    opacity: f32,
    /// Pixels of the screen to a point.
    scale: f64,
    /// Share of the widths of lines.
    thinness: f64,
    casings: Vec<OutlineStroke>,
    lines: Vec<OutlineStroke>,
    dots: DotGrid,
    /// Types of nuclei of the result in use.
    types: Vec<NucleusType>,
}

impl Scene<'_> {
    fn look(&self, status: OutlineStatus, class: Option<u8>) -> OutlineLook {
        let colour = NucleusType::of(&self.types, class).map(|of| of.colour);
        self.palette.typed_look(status, colour)
    }

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
                let look = self.look(status, nucleus.class);
                self.add_object(&nucleus.polygons, nucleus.centroid, status, look);
            }
        }
    }

    fn add_marks(&mut self, nuclei: ReviewedNuclei<'_>) {
        for mark in nuclei.marks.values() {
            if mark.status == MarkStatus::Replaced {
                continue;
            }
            let status = status_of(mark.status);
            let centroid = mark.nucleus.centroid;
            if mark.bounds().intersects(&self.bounds) && nuclei.is_inside(centroid) {
                let look = self.look(status, mark.nucleus.class);
                self.add_object(&mark.nucleus.polygons, centroid, status, look);
            }
        }
    }

    fn add_object(
        &mut self,
        polygons: &[Polygon],
        centroid: (f64, f64),
        status: OutlineStatus,
        look: OutlineLook,
    ) {
        let extent = SlideBounds::of_points(polygons.iter().flatten().flatten());
        let side = extent.width().max(extent.height()) * self.view.scale() / self.scale;
        if side < MIN_SIDE {
            let point = self.view.to_screen(Point { x: centroid.0, y: centroid.1 });
            let is_of_model = matches!(status, OutlineStatus::Model | OutlineStatus::Older);
            if !is_of_model || self.dots.take(point) {
                let width = DOT_WIDTH / self.thinness;
                self.push(vec![point], OutlineLook { width, dash: &[], ..look });
            }
            return;
        }
        for ring in polygons.iter().flatten() {
            self.add_ring(ring, look);
        }
        if status == OutlineStatus::Rejected {
            let centre = extent.centre();
            let arm = extent.width().min(extent.height()) * CROSS_SHARE;
            for sign in [1.0, -1.0] {
                let first = Point { x: centre.x - arm, y: centre.y - sign * arm };
                let last = Point { x: centre.x + arm, y: centre.y + sign * arm };
                self.push(vec![self.view.to_screen(first), self.view.to_screen(last)], look);
            }
        }
    }

    fn add_polygons(&mut self, polygons: &[Polygon], look: OutlineLook) {
        let extent = SlideBounds::of_points(polygons.iter().flatten().flatten());
        if extent.intersects(&self.bounds) {
            for ring in polygons.iter().flatten() {
                self.add_ring(ring, look);
            }
        }
    }

    fn add_ring(&mut self, ring: &Ring, look: OutlineLook) {
        let corners = ring.iter().map(|point| self.view.to_screen(*point));
        let mut points = apart(corners, self.scale);
        if points.len() < 2 {
            return;
        }
        if look.dash.is_empty() {
            points.push(points[0]);
            self.push(points, look);
            return;
        }
        let pattern: Vec<f64> = look.dash.iter().map(|length| length * self.scale).collect();
        for points in dashes(&points, &pattern) {
            self.lines.push(self.line(points, look));
        }
        // A dashed casing would be filled by its ends.
        points.push(points[0]);
        self.casings.push(self.casing(points, look));
    }

    /// Adds a line with its casing.
    fn push(&mut self, points: Vec<ScreenPoint>, look: OutlineLook) {
        self.casings.push(self.casing(points.clone(), look));
        self.lines.push(self.line(points, look));
    }

    fn line(&self, points: Vec<ScreenPoint>, look: OutlineLook) -> OutlineStroke {
        let width = look.width * self.thinness * self.scale;
        OutlineStroke { points, colour: look.colour, opacity: look.opacity * self.opacity, width }
    }

    fn casing(&self, points: Vec<ScreenPoint>, look: OutlineLook) -> OutlineStroke {
        let width = (look.width + 2.0 * CASING_WIDTH) * self.thinness * self.scale;
        let opacity = look.opacity * CASING_OPACITY * self.opacity;
        OutlineStroke { points, colour: self.palette.casing, opacity, width }
    }

    /// Everything that was added, casings below.
    fn take(&mut self) -> Vec<OutlineStroke> {
        let mut strokes = std::mem::take(&mut self.casings);
        strokes.append(&mut self.lines);
        strokes
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
