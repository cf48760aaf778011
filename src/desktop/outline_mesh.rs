//! Lines of the screen as triangles.

use std::sync::Arc;

use egui::{Color32, Mesh, Pos2, Shape, epaint::Vertex, pos2};

use crate::viewer::{CASING_COLOUR, CASING_OPACITY, CASING_WIDTH, OutlineStroke, ScreenPoint};

/// Vertices across a line.
const ACROSS: u32 = 6;
/// Half the width over which an edge fades, pixels.
const FEATHER_PX: f32 = 0.5;
/// Longest corner, widths of the line.
const MAX_MITRE: f32 = 2.0;
/// Corners of a dot.
const DOT_CORNERS: usize = 8;

/// Triangles of lines given in pixels, `scale` of which make a point.
pub(super) fn stroke_shape(strokes: &[OutlineStroke], scale: f64) -> Shape {
    let mut mesh = Mesh::default();
    let vertices: usize = strokes.iter().map(|stroke| stroke.points.len().max(2)).sum();
    mesh.reserve_vertices(vertices * ACROSS as usize);
    mesh.reserve_triangles(vertices * (ACROSS as usize - 1) * 2);
    let mut builder = MeshBuilder { mesh, scale: scale as f32 };
    for stroke in strokes {
        builder.add(stroke);
    }
    Shape::Mesh(Arc::new(builder.mesh))
}

struct MeshBuilder {
    mesh: Mesh,
    scale: f32,
}

impl MeshBuilder {
    fn add(&mut self, stroke: &OutlineStroke) {
        let colours = Colours::of(stroke);
        let half = stroke.width as f32 / 2.0;
        let offsets = [
            -(half + CASING_WIDTH as f32 * self.scale + FEATHER_PX),
            -(half + FEATHER_PX),
            -(half - FEATHER_PX).max(0.0),
        ];
        let offsets = [offsets[0], offsets[1], offsets[2], -offsets[2], -offsets[1], -offsets[0]];
        if let [centre] = stroke.points[..] {
            self.add_dot(centre, &offsets, &colours);
            return;
        }
        let points = &stroke.points;
        let count = points.len();
        let is_closed = count > 2 && points.first() == points.last();
        let last = if is_closed { count - 1 } else { count };
        let first_vertex = self.mesh.vertices.len() as u32;
        for i in 0..last {
            let before = match (i, is_closed) {
                (0, true) => points[last - 1],
                (0, false) => points[0],
                _ => points[i - 1],
            };
            let after = match (i + 1 == last, is_closed) {
                (true, true) => points[0],
                (true, false) => points[i],
                _ => points[i + 1],
            };
            let normal = corner_normal(before, points[i], after);
            for (offset, colour) in offsets.iter().zip(colours.across()) {
                let x = points[i].x as f32 + normal[0] * offset;
                let y = points[i].y as f32 + normal[1] * offset;
                self.push(x, y, colour);
            }
        }
        let joints = if is_closed { last } else { last - 1 };
        for i in 0..joints as u32 {
            let from = first_vertex + i * ACROSS;
            let to = first_vertex + (i + 1) % last as u32 * ACROSS;
            for k in 0..ACROSS - 1 {
                self.mesh.add_triangle(from + k, from + k + 1, to + k);
                self.mesh.add_triangle(to + k, from + k + 1, to + k + 1);
            }
        }
    }

    fn add_dot(&mut self, centre: ScreenPoint, offsets: &[f32; 6], colours: &Colours) {
        let first = self.mesh.vertices.len() as u32;
        let (x, y) = (centre.x as f32, centre.y as f32);
        self.push(x, y, colours.line);
        let rings = [
            (offsets[3], colours.line),
            (offsets[4], colours.casing),
            (offsets[5], Color32::TRANSPARENT),
        ];
        for (radius, colour) in rings {
            for corner in 0..DOT_CORNERS {
                let angle = corner as f32 / DOT_CORNERS as f32 * std::f32::consts::TAU;
                self.push(x + radius * angle.cos(), y + radius * angle.sin(), colour);
            }
        }
        let corners = DOT_CORNERS as u32;
        for corner in 0..corners {
            let next = (corner + 1) % corners;
            self.mesh.add_triangle(first, first + 1 + corner, first + 1 + next);
            for ring in 0..2 {
                let inner = first + 1 + ring * corners;
                let outer = inner + corners;
                self.mesh.add_triangle(inner + corner, inner + next, outer + corner);
                self.mesh.add_triangle(outer + corner, inner + next, outer + next);
            }
        }
    }

    fn push(&mut self, x: f32, y: f32, color: Color32) {
        let pos: Pos2 = pos2(x / self.scale, y / self.scale);
        self.mesh.vertices.push(Vertex { pos, uv: egui::epaint::WHITE_UV, color });
    }
}

struct Colours {
    line: Color32,
    casing: Color32,
}

impl Colours {
    fn of(stroke: &OutlineStroke) -> Self {
        let colour = |[r, g, b]: [u8; 3], opacity: f32| {
            Color32::from_rgba_unmultiplied(r, g, b, (opacity * 255.0) as u8)
        };
        Self {
            line: colour(stroke.colour, stroke.opacity),
            casing: colour(CASING_COLOUR, stroke.opacity * CASING_OPACITY),
        }
    }

    fn across(&self) -> [Color32; 6] {
        let Self { line, casing } = *self;
        [Color32::TRANSPARENT, casing, line, line, casing, Color32::TRANSPARENT]
    }
}

/// The direction to the side of a line at a corner, so long that parallel lines keep their
/// distance.
fn corner_normal(before: ScreenPoint, at: ScreenPoint, after: ScreenPoint) -> [f32; 2] {
    let first = unit_normal(before, at);
    let second = unit_normal(at, after);
    let (first, second) = match (first, second) {
        (None, None) => return [0.0, 0.0],
        (None, Some(n)) | (Some(n), None) => (n, n),
        (Some(first), Some(second)) => (first, second),
    };
    let sum = [first[0] + second[0], first[1] + second[1]];
    let squared = sum[0] * sum[0] + sum[1] * sum[1];
    // |sum| is 2 cos(half the turn), and the corner lies at 1 / cos of it.
    let scale = (2.0 / squared.max(1e-6)).min(MAX_MITRE / squared.sqrt().max(1e-3));
    [sum[0] * scale, sum[1] * scale]
}

fn unit_normal(from: ScreenPoint, to: ScreenPoint) -> Option<[f32; 2]> {
    let (dx, dy) = ((to.x - from.x) as f32, (to.y - from.y) as f32);
    let length = dx.hypot(dy);
    (length > 1e-6).then(|| [-dy / length, dx / length])
}
