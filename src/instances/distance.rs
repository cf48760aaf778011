//! Exact squared Euclidean distance to the nearest background pixel, in integers and in linear time
//! (Meijster, Roerdink & Hesselink 2000; the same lower envelope as Felzenszwalb & Huttenlocher
//! 2012). Pixels beyond the image are not background: a nucleus cut by the border keeps its middle.
//!
//! With g(x, y), the distance to the nearest background pixel of the same column, the squared
//! distance is the minimum over a row of parabolas with apex (i, g(i)²):
//!
//! ```text
//! d²(x) = min over i of (x − i)² + g(i)²
//!
//!    ╲  ╲      ╱   ╱        A stack holds the apexes i of the lower envelope and the first x of
//!     ╲  ╲    ╱   ╱         each. Parabola u > i is below parabola i from
//!      ╲  ╲__╱___╱__
//!       ╲__╱│  u            x > (u² − i² + g(u)² − g(i)²) / 2(u − i)
//!        i  └ start of u
//! ```

use crate::raster::Mask;

/// Squared distance where there is no background at all.
pub(super) const NO_BACKGROUND: u32 = 1 << 30;

/// Calls `each_row` with every row's squared distances to the nearest pixel outside `mask`, in
/// pixels²; 0 outside. Column distances are held in two bytes a pixel, so those above 65 535 count
/// as 65 535.
pub(super) fn squared_distances(mask: &Mask, mut each_row: impl FnMut(usize, &[u32])) {
    let (w, h) = (mask.width(), mask.height());
    // Larger than any distance in the image.
    let infinity = (w + h).min(usize::from(u16::MAX)) as u16;
    // Distance to the nearest background pixel above, then above or below.
    let mut column_distance = vec![infinity; w * h];
    for y in 0..h {
        for (x, &on) in mask.row(y).iter().enumerate() {
            let above = if y == 0 { infinity } else { column_distance[(y - 1) * w + x] };
            column_distance[y * w + x] = if on { above.saturating_add(1).min(infinity) } else { 0 };
        }
    }
    // Upward pass over all columns at once, from the last row but one: i + w is the pixel below.
    for i in (0..w * h.saturating_sub(1)).rev() {
        column_distance[i] = column_distance[i].min(column_distance[i + w].saturating_add(1));
    }
    let mut envelope = LowerEnvelope { apexes: Vec::new(), starts: Vec::new() };
    let mut row = vec![0; w];
    for y in 0..h {
        row_distances(&column_distance[y * w..][..w], infinity, &mut envelope, &mut row);
        each_row(y, &row);
    }
}

/// Squared distances of one row from its column distances. Each run of pixels of the mask is worked
/// on alone, with the background pixels at its ends: none beyond them is nearer.
fn row_distances(
    column_distance: &[u16],
    infinity: u16,
    envelope: &mut LowerEnvelope,
    out: &mut [u32],
) {
    let width = column_distance.len();
    out.fill(0);
    let mut x = 0;
    while x < width {
        if column_distance[x] == 0 {
            x += 1;
            continue;
        }
        let first = x;
        while x < width && column_distance[x] > 0 {
            x += 1;
        }
        // One background pixel on each side, where the run does not end at the border of the image.
        let before = first.saturating_sub(1);
        let after = (x + 1).min(width);
        let run = &column_distance[before..after];
        envelope.build(run);
        envelope.evaluate(run, infinity, first - before, &mut out[first..x]);
    }
}

/// The lower envelope of the parabolas of one run.
struct LowerEnvelope {
    /// Apexes of the parabolas that are lowest anywhere, ascending.
    apexes: Vec<i64>,
    /// The first x at which each of them is lowest.
    starts: Vec<i64>,
}

/// Value at `x` of the parabola with apex `i`.
fn parabola(column_distance: &[u16], x: i64, i: i64) -> i64 {
    (x - i).pow(2) + i64::from(column_distance[i.unsigned_abs() as usize]).pow(2)
}

impl LowerEnvelope {
    fn build(&mut self, column_distance: &[u16]) {
        let width = column_distance.len().cast_signed() as i64;
        self.apexes.clear();
        self.starts.clear();
        for new in 0..width {
            // Parabolas that the new one undercuts already where they start are nowhere lowest.
            while let (Some(&apex), Some(&start)) = (self.apexes.last(), self.starts.last()) {
                if parabola(column_distance, start, apex) <= parabola(column_distance, start, new) {
                    break;
                }
                self.apexes.pop();
                self.starts.pop();
            }
            let start = match self.apexes.last() {
                None => 0,
                Some(&apex) => {
                    // At its apex a parabola has the value g².
                    let numerator = new * new - apex * apex + parabola(column_distance, new, new)
                        - parabola(column_distance, apex, apex);
                    1 + numerator.div_euclid(2 * (new - apex))
                }
            };
            if start < width {
                self.apexes.push(new);
                self.starts.push(start);
            }
        }
    }

    /// Minimum at each x from `first` on, as many as `out` holds.
    fn evaluate(&self, column_distance: &[u16], infinity: u16, first: usize, out: &mut [u32]) {
        let no_background = i64::from(infinity).pow(2);
        // Right to left, with the parabola that is lowest at x: linear time, for the starts ascend.
        let mut lowest = self.apexes.len() - 1;
        for (i, squared_distance) in out.iter_mut().enumerate().rev() {
            let x = (first + i).cast_signed() as i64;
            while lowest > 0 && self.starts[lowest] > x {
                lowest -= 1;
            }
            let value = parabola(column_distance, x, self.apexes[lowest]);
            *squared_distance = if value >= no_background { NO_BACKGROUND } else { value as u32 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Plane;

    fn distance_map(mask: &Mask) -> Plane<u32> {
        let mut out = Plane::filled(mask.width(), mask.height(), 0);
        squared_distances(mask, |y, row| out.row_mut(y).copy_from_slice(row));
        out
    }

    /// The definition: the minimum over all background pixels.
    fn slow_distance_map(mask: &Mask) -> Plane<u32> {
        let (w, h) = (mask.width(), mask.height());
        let mut out = Plane::filled(w, h, NO_BACKGROUND);
        for y in 0..h {
            for x in 0..w {
                for row in 0..h {
                    for column in 0..w {
                        let squared = (y.abs_diff(row).pow(2) + x.abs_diff(column).pow(2)) as u32;
                        if !mask.get(row, column) && squared < out.get(y, x) {
                            out.set(y, x, squared);
                        }
                    }
                }
            }
        }
        out
    }

    proptest::proptest! {
        #[test]
        fn equals_the_definition(
            w in 1usize..24,
            h in 1usize..24,
            seed in 0u64..1000,
            every in 2u64..30,
        ) {
            let bit = |i: usize| {
                let i = i as u64;
                !(i * 7919 + seed * 104_729 + i * i * 31).is_multiple_of(every)
            };
            let mask = Plane::from_vec(w, h, (0..w * h).map(bit).collect()).expect("plane");
            proptest::prop_assert_eq!(distance_map(&mask), slow_distance_map(&mask));
        }
    }

    #[test]
    fn without_background_every_distance_is_infinite() {
        assert_eq!(distance_map(&Plane::filled(4, 3, true)).data(), &[NO_BACKGROUND; 12]);
    }
}
