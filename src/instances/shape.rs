//! Shape of an outline by its convex hull, as QuPath measures it.

use crate::raster::{Point, Polygon, doubled_area, polygon_area};

/// A point counts as inside a circle up to this share of its radius outside.
const ON_CIRCLE: f64 = 1.0 + 1e-12;

/// Measures of an outline, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OutlineShape {
    /// Area without holes by that of the convex hull, at most 1.
    pub solidity: f64,
    /// Diameter of the smallest circle around it.
    pub max_diameter: f64,
    /// Least distance of two parallel lines that enclose it (least Feret diameter).
    pub min_diameter: f64,
}

impl OutlineShape {
    /// Of all parts together; none for an outline without area.
    pub(super) fn of(polygons: &[Polygon]) -> Option<Self> {
        let outlines = polygons.iter().filter_map(|polygon| polygon.first());
        let hull = convex_hull(outlines.flatten().copied().collect());
        let hull_area = doubled_area(&hull).abs() / 2.0;
        if hull.len() < 3 || hull_area <= 0.0 {
            return None;
        }
        let area: f64 = polygons.iter().map(|polygon| polygon_area(polygon)).sum();
        Some(Self {
            solidity: (area / hull_area).min(1.0),
            max_diameter: 2.0 * smallest_circle(&hull).radius,
            min_diameter: least_width(&hull),
        })
    }
}

/// The corners of the convex hull in order (Andrew 1979).
fn convex_hull(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    points.dedup();
    if points.len() < 3 {
        return points;
    }
    let half = |points: &mut dyn Iterator<Item = Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for point in points {
            while let [.., before, last] = chain[..]
                && turn(before, last, point) <= 0.0
            {
                chain.pop();
            }
            chain.push(point);
        }
        // The last one begins the other half.
        chain.pop();
        chain
    };
    let mut hull = half(&mut points.iter().copied());
    hull.extend(half(&mut points.iter().rev().copied()));
    hull
}

/// Twice the area of the triangle, positive where the way over `b` turns clockwise on the screen.
fn turn(a: Point, b: Point, c: Point) -> f64 {
    (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x)
}

/// The least width of a convex polygon: one of the two lines lies along an edge.
fn least_width(hull: &[Point]) -> f64 {
    let mut least = f64::INFINITY;
    for (index, &from) in hull.iter().enumerate() {
        let to = hull[(index + 1) % hull.len()];
        let length = (to.x - from.x).hypot(to.y - from.y);
        let farthest = hull.iter().map(|&point| turn(from, to, point).abs()).fold(0.0, f64::max);
        least = least.min(farthest / length);
    }
    least
}

#[derive(Debug, Clone, Copy)]
struct Circle {
    centre: Point,
    radius: f64,
}

impl Circle {
    fn holds(&self, point: Point) -> bool {
        distance(self.centre, point) <= self.radius * ON_CIRCLE
    }

    /// The smallest through two points.
    fn of_two(a: Point, b: Point) -> Self {
        let centre = Point { x: f64::midpoint(a.x, b.x), y: f64::midpoint(a.y, b.y) };
        Self { centre, radius: distance(a, b) / 2.0 }
    }

    /// Through three points; around the farthest two of points on a line.
    fn of_three(a: Point, b: Point, c: Point) -> Self {
        let [bx, by, cx, cy] = [b.x - a.x, b.y - a.y, c.x - a.x, c.y - a.y];
        let divisor = 2.0 * (bx * cy - by * cx);
        if divisor == 0.0 {
            let pairs = [Self::of_two(a, b), Self::of_two(a, c), Self::of_two(b, c)];
            return pairs.into_iter().fold(pairs[0], |largest, circle| {
                if circle.radius > largest.radius { circle } else { largest }
            });
        }
        let [b2, c2] = [bx * bx + by * by, cx * cx + cy * cy];
        let [x, y] = [(cy * b2 - by * c2) / divisor, (bx * c2 - cx * b2) / divisor];
        Self { centre: Point { x: a.x + x, y: a.y + y }, radius: x.hypot(y) }
    }
}

fn distance(a: Point, b: Point) -> f64 {
    (a.x - b.x).hypot(a.y - b.y)
}

/// The smallest circle around points (Welzl 1991, without recursion): where a point lies outside of
/// the circle of those before it, it lies on the new one.
fn smallest_circle(points: &[Point]) -> Circle {
    let mut circle = Circle { centre: points[0], radius: 0.0 };
    for (i, &first) in points.iter().enumerate() {
        if circle.holds(first) {
            continue;
        }
        circle = Circle { centre: first, radius: 0.0 };
        for (j, &second) in points[..i].iter().enumerate() {
            if circle.holds(second) {
                continue;
            }
            circle = Circle::of_two(first, second);
            for &third in &points[..j] {
                if !circle.holds(third) {
                    circle = Circle::of_three(first, second, third);
                }
            }
        }
    }
    circle
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(points: &[[f64; 2]]) -> Vec<Point> {
        points.iter().copied().map(Point::from).collect()
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn known_shapes_have_known_measures() {
        // 3 × 4 without a corner of 1 × 1, and with a hole of 1: hull 11.5, area 10.
        let outline =
            ring(&[[0.0, 0.0], [3.0, 0.0], [3.0, 3.0], [2.0, 3.0], [2.0, 4.0], [0.0, 4.0]]);
        let hole = ring(&[[1.0, 1.0], [1.0, 2.0], [2.0, 2.0], [2.0, 1.0]]);
        let shape = OutlineShape::of(&[vec![outline, hole]]).expect("shape");
        assert!(near(shape.solidity, 10.0 / 11.5), "{shape:?}");
        assert!(near(shape.min_diameter, 3.0), "{shape:?}");
        // An equilateral triangle: its circle is wider than its sides.
        let height = 3f64.sqrt() / 2.0;
        let triangle = ring(&[[0.0, 0.0], [1.0, 0.0], [0.5, height]]);
        let shape = OutlineShape::of(&[vec![triangle]]).expect("shape");
        assert!(near(shape.max_diameter, 2.0 / 3f64.sqrt()) && near(shape.min_diameter, height));
        assert!(near(shape.solidity, 1.0));
        let circle = (0..64).map(|i| {
            let angle = f64::from(i) * std::f64::consts::TAU / 64.0;
            Point { x: 10.0 + 5.0 * angle.cos(), y: -3.0 + 5.0 * angle.sin() }
        });
        let shape = OutlineShape::of(&[vec![circle.collect()]]).expect("shape");
        assert!(near(shape.max_diameter, 10.0), "{shape:?}");
        let two = [
            vec![ring(&[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])],
            vec![ring(&[[3.0, 0.0], [4.0, 0.0], [4.0, 1.0], [3.0, 1.0]])],
        ];
        let shape = OutlineShape::of(&two).expect("shape");
        assert!(near(shape.solidity, 0.5) && near(shape.min_diameter, 1.0), "{shape:?}");
        for nothing in [ring(&[]), ring(&[[1.0, 1.0]]), ring(&[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])]
        {
            assert_eq!(OutlineShape::of(&[vec![nothing]]), None);
        }
        assert_eq!(OutlineShape::of(&[]), None);
    }
}
