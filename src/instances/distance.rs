//! Exact squared Euclidean distance to the nearest background pixel (Meijster, Roerdink & Hesselink
//! 2000), in integers and in linear time. What lies beyond the image is no background: a nucleus
//! cut by the border keeps its middle.

use crate::raster::Mask;

/// Distance where there is no background at all.
pub const FAR: u32 = 1 << 30;

/// Calls `each` with every row's squared distances to the nearest pixel outside `mask`; 0 outside.
/// Two bytes a pixel are held, so columns count up to 65 535 and no further.
pub fn squared_distances(mask: &Mask, mut each: impl FnMut(usize, &[u32])) {
    let (w, h) = (mask.width(), mask.height());
    let far = (w + h).min(usize::from(u16::MAX)) as u16;
    let mut vertical = vec![far; w * h];
    for y in 0..h {
        for (x, &on) in mask.row(y).iter().enumerate() {
            let above = if y == 0 { far } else { vertical[(y - 1) * w + x] };
            vertical[y * w + x] = if on { above.saturating_add(1).min(far) } else { 0 };
        }
    }
    for at in (0..w * h.saturating_sub(1)).rev() {
        vertical[at] = vertical[at].min(vertical[at + w].saturating_add(1));
    }
    let mut envelope = Envelope { apex: Vec::new(), start: Vec::new() };
    let mut row = vec![0; w];
    for y in 0..h {
        envelope.row(&vertical[y * w..][..w], i64::from(far), &mut row);
        each(y, &row);
    }
}

/// Lower envelope of the parabolas of one run of a row.
struct Envelope {
    apex: Vec<i64>,
    start: Vec<i64>,
}

impl Envelope {
    /// Each run of nuclear pixels is worked on alone, with the background pixels at its ends:
    /// nothing beyond them is nearer.
    fn row(&mut self, vertical: &[u16], far: i64, out: &mut [u32]) {
        out.fill(0);
        let mut begin = 0;
        while let Some(first) = vertical[begin..].iter().position(|&d| d > 0).map(|i| begin + i) {
            let end = vertical[first..]
                .iter()
                .position(|&d| d == 0)
                .map_or(vertical.len(), |i| first + i);
            let (from, to) = (first.saturating_sub(1), (end + 1).min(vertical.len()));
            self.run(&vertical[from..to], far, first - from, &mut out[first..end]);
            begin = end;
        }
    }

    /// Distances of the values from `skip` on.
    fn run(&mut self, vertical: &[u16], far: i64, skip: usize, out: &mut [u32]) {
        let g = |i: i64| i64::from(vertical[i.unsigned_abs() as usize]);
        let height = |x: i64, i: i64| (x - i).pow(2) + g(i).pow(2);
        let width = vertical.len().cast_signed() as i64;
        self.apex.clear();
        self.start.clear();
        for u in 0..width {
            while let (Some(&s), Some(&t)) = (self.apex.last(), self.start.last()) {
                if height(t, s) <= height(t, u) {
                    break;
                }
                self.apex.pop();
                self.start.pop();
            }
            let from = self.apex.last().map_or(0, |&i| {
                1 + (u * u - i * i + g(u).pow(2) - g(i).pow(2)).div_euclid(2 * (u - i))
            });
            if from < width {
                self.apex.push(u);
                self.start.push(from);
            }
        }
        let mut q = self.apex.len();
        for (i, d) in out.iter_mut().enumerate().rev() {
            let x = (i + skip).cast_signed() as i64;
            while q > 1 && self.start[q - 1] > x {
                q -= 1;
            }
            let nearest = height(x, self.apex[q - 1]);
            *d = if nearest >= far * far { FAR } else { nearest as u32 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Plane;

    fn squared_distance(mask: &Mask) -> Plane<u32> {
        let mut out = Plane::filled(mask.width(), mask.height(), 0);
        squared_distances(mask, |y, row| out.row_mut(y).copy_from_slice(row));
        out
    }

    fn slow(mask: &Mask) -> Plane<u32> {
        let (w, h) = (mask.width(), mask.height());
        let holes: Vec<(usize, usize)> =
            (0..w * h).map(|i| (i / w, i % w)).filter(|&(y, x)| !mask.get(y, x)).collect();
        let far = |y: usize, x: usize| {
            holes
                .iter()
                .map(|&(r, c)| (y.abs_diff(r).pow(2) + x.abs_diff(c).pow(2)) as u32)
                .min()
                .unwrap_or(FAR)
        };
        Plane::from_vec(w, h, (0..w * h).map(|i| far(i / w, i % w)).collect()).expect("plane")
    }

    proptest::proptest! {
        #[test]
        fn equals_the_slow_definition(w in 1usize..24, h in 1usize..24, seed in 0u64..1000, every in 2u64..30) {
            let bit = |i: usize| !(i as u64 * 7919 + seed * 104_729 + i as u64 * i as u64 * 31).is_multiple_of(every);
            let mask = Plane::from_vec(w, h, (0..w * h).map(bit).collect()).expect("plane");
            proptest::prop_assert_eq!(squared_distance(&mask), slow(&mask));
        }
    }

    #[test]
    fn without_background_everything_is_far() {
        assert_eq!(squared_distance(&Plane::filled(4, 3, true)).data(), &[FAR; 12]);
    }
}
