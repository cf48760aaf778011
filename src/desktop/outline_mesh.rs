//! Lines of the screen as triangles.

use std::sync::Arc;

use egui::{Color32, Mesh, Pos2, Shape, epaint::Vertex, pos2};

use crate::viewer::{OutlineStroke, ScreenPoint};

/// Vertices across a line.
const ACROSS: u32 = 4;
/// Half the width over which an edge fades, pixels.
const FEATHER_PX: f32 = 0.5;
/// Longest corner, widths of the line.
const MAX_MITRE: f32 = 2.0;
/// Corners of a small dot.
const DOT_CORNERS: usize = 8;
/// Corners of a large dot, and of the two round ends of a wide line together.
const ROUND_CORNERS: usize = 32;
/// Lines from this width on have round ends, and dots many corners, pixels.
const ROUND_FROM_PX: f32 = 6.0;

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
        let [r, g, b] = stroke.colour;
        let opacity = (stroke.opacity * 255.0 + 0.5) as u8;
        let colour = Color32::from_rgba_unmultiplied(r, g, b, opacity);
        let half = stroke.width as f32 / 2.0;
        let (inner, outer) = ((half - FEATHER_PX).max(0.0), half + FEATHER_PX);
        if let [centre] = stroke.points[..] {
            self.add_dot(centre, inner, outer, colour);
            return;
        }
        let clear = Color32::TRANSPARENT;
        let across = [(-outer, clear), (-inner, colour), (inner, colour), (outer, clear)];
        let points = &stroke.points;
        let count = points.len();
        let is_closed = count > 2 && points.first() == points.last();
        let last = if is_closed { count - 1 } else { count };
        if last == 0 {
            return;
        }
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
            for (offset, colour) in across {
                let x = points[i].x as f32 + normal[0] * offset;
                let y = points[i].y as f32 + normal[1] * offset;
                self.push(x, y, colour);
            }
        }
        if !is_closed && outer > ROUND_FROM_PX / 2.0 && points[0] != points[last - 1] {
            self.add_end(points[0], points[1], inner, outer, colour);
            self.add_end(points[last - 1], points[last - 2], inner, outer, colour);
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

    fn add_dot(&mut self, centre: ScreenPoint, inner: f32, outer: f32, colour: Color32) {
        let first = self.mesh.vertices.len() as u32;
        let (x, y) = (centre.x as f32, centre.y as f32);
        self.push(x, y, colour);
        let corners = if outer > ROUND_FROM_PX / 2.0 { ROUND_CORNERS } else { DOT_CORNERS };
        for (radius, colour) in [(inner, colour), (outer, Color32::TRANSPARENT)] {
            for corner in 0..corners {
                let angle = corner as f32 / corners as f32 * std::f32::consts::TAU;
                self.push(x + radius * angle.cos(), y + radius * angle.sin(), colour);
            }
        }
        let corners = corners as u32;
        for corner in 0..corners {
            let next = (corner + 1) % corners;
            let (inner, outer) = (first + 1, first + 1 + corners);
            self.mesh.add_triangle(first, inner + corner, inner + next);
            self.mesh.add_triangle(inner + corner, inner + next, outer + corner);
            self.mesh.add_triangle(outer + corner, inner + next, outer + next);
        }
    }

    /// Half a disc at the end of a line, away from its `next` point.
    fn add_end(
        &mut self,
        end: ScreenPoint,
        next: ScreenPoint,
        inner: f32,
        outer: f32,
        colour: Color32,
    ) {
        let Some([across_x, across_y]) = unit_normal(end, next) else { return };
        let first = self.mesh.vertices.len() as u32;
        let (x, y) = (end.x as f32, end.y as f32);
        self.push(x, y, colour);
        let corners = ROUND_CORNERS / 2 + 1;
        for (radius, colour) in [(inner, colour), (outer, Color32::TRANSPARENT)] {
            for corner in 0..corners {
                let angle = corner as f32 / (corners - 1) as f32 * std::f32::consts::PI;
                let (sin, cos) = angle.sin_cos();
                // From one side of the line over its end to the other.
                let dx = across_x * cos - across_y * sin;
                let dy = across_y * cos + across_x * sin;
                self.push(x + radius * dx, y + radius * dy, colour);
            }
        }
        let corners = corners as u32;
        for corner in 0..corners - 1 {
            let (inner, outer) = (first + 1 + corner, first + 1 + corners + corner);
            self.mesh.add_triangle(first, inner, inner + 1);
            self.mesh.add_triangle(inner, inner + 1, outer);
            self.mesh.add_triangle(outer, inner + 1, outer + 1);
        }
    }

    fn push(&mut self, x: f32, y: f32, color: Color32) {
        let pos: Pos2 = pos2(x / self.scale, y / self.scale);
        self.mesh.vertices.push(Vertex { pos, uv: egui::epaint::WHITE_UV, color });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(x: f64, y: f64, radius: f64, corners: u32) -> Vec<ScreenPoint> {
        let mut points = Vec::new();
        for corner in 0..=corners {
            let angle = f64::from(corner % corners) / f64::from(corners) * std::f64::consts::TAU;
            points.push(ScreenPoint { x: x + radius * angle.cos(), y: y + radius * angle.sin() });
        }
        points
    }

    fn stroke(points: Vec<ScreenPoint>) -> OutlineStroke {
        OutlineStroke { points, colour: [76, 201, 255], opacity: 1.0, width: 2.0 }
    }

    fn mesh_of(strokes: &[OutlineStroke], scale: f64) -> Arc<Mesh> {
        let Shape::Mesh(mesh) = stroke_shape(strokes, scale) else { unreachable!("a mesh") };
        assert!(mesh.is_valid());
        mesh
    }

    #[test]
    fn a_ring_is_as_wide_as_its_line_and_closed() {
        let mesh = mesh_of(&[stroke(circle(50.0, 50.0, 20.0, 40))], 2.0);
        assert_eq!(mesh.vertices.len(), 40 * ACROSS as usize);
        assert_eq!(mesh.indices.len(), 40 * 3 * (ACROSS as usize - 1) * 2);
        for vertex in &mesh.vertices {
            // Points are half as many as pixels.
            let distance = (vertex.pos - pos2(25.0, 25.0)).length() * 2.0;
            let from_line = (distance - 20.0).abs();
            let is_edge = vertex.color == Color32::TRANSPARENT;
            assert!((from_line - if is_edge { 1.5 } else { 0.5 }).abs() < 0.1, "{from_line}");
        }
    }

    #[test]
    fn wide_lines_have_round_ends() {
        let ends = [(20.0, 50.0), (80.0, 50.0)].map(|(x, y)| ScreenPoint { x, y });
        let wide = OutlineStroke { width: 20.0, ..stroke(ends.to_vec()) };
        let mesh = mesh_of(&[wide], 1.0);
        let reach = |share: fn(&Vertex) -> f32| {
            mesh.vertices
                .iter()
                .map(share)
                .fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(value), high.max(value)))
        };
        let (left, right) = reach(|vertex| vertex.pos.x);
        let (top, bottom) = reach(|vertex| vertex.pos.y);
        for (found, wanted) in [(left, 9.5), (right, 90.5), (top, 39.5), (bottom, 60.5)] {
            assert!((found - wanted).abs() < 0.01, "{found} {wanted}");
        }
    }

    #[test]
    fn odd_lines_give_valid_triangles() {
        let corner = ScreenPoint { x: 3.0, y: 4.0 };
        for points in [vec![], vec![corner], vec![corner; 2], vec![corner; 5]] {
            let mesh = mesh_of(&[stroke(points)], 1.0);
            assert!(mesh.vertices.iter().all(|vertex| vertex.pos.is_finite()));
        }
        let back = [(0.0, 0.0), (9.0, 0.0), (0.0, 0.0)].map(|(x, y)| ScreenPoint { x, y });
        let mesh = mesh_of(&[stroke(back.to_vec())], 1.0);
        let is_near = |vertex: &Vertex| vertex.pos.to_vec2().length() < 30.0;
        assert!(mesh.vertices.iter().all(is_near), "no spikes");
    }

    #[test]
    fn two_thousand_outlines_take_a_part_of_a_frame() {
        let strokes: Vec<OutlineStroke> = (0..4000)
            .map(|i| stroke(circle(f64::from(i % 60) * 20.0, f64::from(i / 60) * 12.0, 8.0, 24)))
            .collect();
        let begun = std::time::Instant::now();
        let mesh = mesh_of(&strokes, 1.0);
        println!(
            "{} vertices in {:.1} ms",
            mesh.vertices.len(),
            begun.elapsed().as_secs_f64() * 1e3
        );
        assert_eq!(mesh.vertices.len(), 4000 * 24 * ACROSS as usize);
    }
}
