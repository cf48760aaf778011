//! Weights in the order in which a thread reads them, four filters to a vector.

/// What a pass of each width costs per filter that it holds, against the widest: a narrower one
/// reads its input again.
const WIDTHS: [(usize, f64); 3] = [(4, 1.0), (2, 1.2), (1, 1.6)];

/// A weighted sum ready to be packed: `[filter][channel][row][column]`.
pub struct FilterWeights<'a> {
    pub values: std::borrow::Cow<'a, [f32]>,
    pub bias: Vec<f32>,
    pub filters: usize,
    pub channels: usize,
    pub kernel: usize,
}

#[derive(Default)]
pub struct Constants(pub Vec<[f32; 4]>);

impl Constants {
    /// Appends `values` in vectors of four, zeros at the end, and gives the place of the first.
    pub fn push(&mut self, values: &[f32]) -> usize {
        let at = self.0.len();
        self.0.extend(
            values.chunks(4).map(|c| std::array::from_fn(|i| c.get(i).copied().unwrap_or(0.0))),
        );
        at
    }

    /// Weights as `[group][channel][column][row][filter of the group]`.
    pub fn push_weights(&mut self, w: &FilterWeights<'_>, vectors: usize) -> (usize, usize) {
        let width = 4 * vectors;
        let at = self.0.len();
        let k = w.kernel;
        for group in 0..w.filters.div_ceil(width) {
            for (c, q, r) in (0..w.channels * k * k).map(|i| (i / (k * k), i / k % k, i % k)) {
                let of = |f: usize| {
                    if f < w.filters {
                        w.values[((f * w.channels + c) * k + r) * k + q]
                    } else {
                        0.0
                    }
                };
                let row: Vec<f32> = (group * width..(group + 1) * width).map(of).collect();
                self.push(&row);
            }
        }
        let mut bias = w.bias.clone();
        bias.resize(w.filters.div_ceil(width) * width, 0.0);
        (at, self.push(&bias))
    }

    /// One vector a channel: scale, shift.
    pub fn push_norm(&mut self, scale: &[f32], shift: &[f32]) -> usize {
        let at = self.0.len();
        self.0.extend(scale.iter().zip(shift).map(|(&a, &b)| [a, b, 0.0, 0.0]));
        at
    }

    /// The last layer for the fused head: its bias, then for every four hidden units their weights
    /// for both classes.
    pub fn push_head(
        &mut self,
        weights: &[f32],
        bias: &[f32],
        hidden: usize,
        padded: usize,
    ) -> usize {
        let at = self.push(&bias[..2]);
        for unit in (0..padded).step_by(4) {
            for class in 0..2 {
                let of = |i: usize| {
                    if unit + i < hidden { weights[class * hidden + unit + i] } else { 0.0 }
                };
                self.0.push(std::array::from_fn(of));
            }
        }
        at
    }
}

/// Vectors of four filters that one thread should hold.
pub fn vectors_for(filters: usize) -> usize {
    let cost = |&(v, each): &(usize, f64)| (filters.div_ceil(4 * v) * 4 * v) as f64 * each;
    WIDTHS.iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).map_or(1, |&(v, _)| v)
}

/// Multiplies a following normalisation into the weights.
pub fn fold(weights: &mut FilterWeights<'_>, (scale, shift): &(Vec<f32>, Vec<f32>)) {
    let taps = weights.values.len() / weights.filters;
    for (row, scale) in weights.values.to_mut().chunks_exact_mut(taps).zip(scale) {
        row.iter_mut().for_each(|w| *w *= scale);
    }
    for (bias, (scale, shift)) in weights.bias.iter_mut().zip(scale.iter().zip(shift)) {
        *bias = *bias * scale + shift;
    }
}

/// A stride-2 convolution as a stride-1 convolution over the 2×2 phases of its padded input:
/// channel, phase row, phase column.
pub fn phases<'a>(w: &FilterWeights<'_>) -> FilterWeights<'a> {
    let kernel = w.kernel.div_ceil(2);
    let channels = w.channels * 4;
    let mut values = vec![0.0; w.filters * channels * kernel * kernel];
    for (i, &v) in w.values.iter().enumerate() {
        let (f, c) =
            (i / (w.kernel * w.kernel) / w.channels, i / (w.kernel * w.kernel) % w.channels);
        let (r, q) = (i / w.kernel % w.kernel, i % w.kernel);
        let channel = c * 4 + r % 2 * 2 + q % 2;
        values[((f * channels + channel) * kernel + r / 2) * kernel + q / 2] = v;
    }
    FilterWeights {
        values: values.into(),
        bias: w.bias.clone(),
        filters: w.filters,
        channels,
        kernel,
    }
}
