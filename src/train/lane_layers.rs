//! Layers on lanes that are no convolution, and the weight gradient of layers with few outputs.

use pulp::Arch;

use crate::engine::{Buffer, Conv, LANES, Packed, SLACK, Sums, weighted_sums};

/// Samples that one product takes at a time.
const SAMPLES: usize = 512;

/// Maxima over squares that begin at an offset.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    pub stride: usize,
    pub row: usize,
    pub column: usize,
    /// Sides of input and output.
    pub side: usize,
    pub to: usize,
}

impl Pool {
    /// Line of tap `t` of the output at (y, x) of channel `c`.
    fn line(&self, c: usize, y: usize, x: usize, t: usize) -> usize {
        let (dy, dx) = (t / self.stride, t % self.stride);
        let (row, column) = (self.row + y * self.stride + dy, self.column + x * self.stride + dx);
        (c * self.side + row) * self.side + column
    }

    fn each(&self, lines: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let to = self.to;
        (0..lines).map(move |i| (i / (to * to), i / to % to, i % to))
    }
}

/// The maxima of one offset.
pub fn pool(pool: Pool, input: &Buffer) -> Buffer {
    let channels = input.len() / LANES / (pool.side * pool.side);
    let mut out = Buffer::zeroed(channels * pool.to * pool.to);
    let lines = input.as_chunks::<LANES>().0;
    Arch::new().dispatch(|| {
        let count = out.len() / LANES;
        for (line, (c, y, x)) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(pool.each(count)) {
            *line = lines[pool.line(c, y, x, 0)];
            for t in 1..pool.stride * pool.stride {
                let tap = &lines[pool.line(c, y, x, t)];
                line.iter_mut().zip(tap).for_each(|(m, &v)| *m = if v > *m { v } else { *m });
            }
        }
    });
    out
}

/// Sends each output's gradient to the first of its inputs that is largest; offsets add up.
pub fn pool_gradient(pools: &[Pool], input: &Buffer, outputs: &[Buffer]) -> Buffer {
    let mut moved = Buffer::zeroed(input.len() / LANES);
    let lines = input.as_chunks::<LANES>().0;
    Arch::new().dispatch(|| {
        let moved = moved.as_chunks_mut::<LANES>().0;
        for (pool, output) in pools.iter().zip(outputs) {
            let count = output.len() / LANES;
            for (line, (c, y, x)) in output.as_chunks::<LANES>().0.iter().zip(pool.each(count)) {
                let mut best = lines[pool.line(c, y, x, 0)];
                let mut winner = [0u32; LANES];
                for t in 1..(pool.stride * pool.stride) as u32 {
                    let tap = &lines[pool.line(c, y, x, t as usize)];
                    for i in 0..LANES {
                        let larger = tap[i] > best[i];
                        best[i] = if larger { tap[i] } else { best[i] };
                        winner[i] = if larger { t } else { winner[i] };
                    }
                }
                for t in 0..(pool.stride * pool.stride) as u32 {
                    let to = &mut moved[pool.line(c, y, x, t as usize)];
                    for i in 0..LANES {
                        to[i] += if winner[i] == t { line[i] } else { 0.0 };
                    }
                }
            }
        }
    });
    moved
}

/// A rectified value that is not positive passes no gradient.
pub fn mask(moved: &mut Buffer, value: &Buffer) {
    Arch::new().dispatch(|| moved.iter_mut().zip(value.iter()).for_each(|(m, &v)| *m = if v > 0.0 { *m } else { 0.0 }));
}

/// Adds the sum of each filter's values.
pub fn row_sums(moved: &Buffer, sums: &mut [f32]) {
    let each = moved.len() / sums.len();
    Arch::new().dispatch(|| {
        for (sum, values) in sums.iter_mut().zip(moved.chunks_exact(each)) {
            let mut lanes = [0.0f32; LANES];
            for line in values.as_chunks::<LANES>().0 {
                lanes.iter_mut().zip(line).for_each(|(l, v)| *l += v);
            }
            *sum += lanes.iter().sum::<f32>();
        }
    });
}

/// Weight gradient of a layer with few outputs a fragment: outputs and lanes together are the samples of one product.
pub fn by_samples(conv: Conv, inputs: &[Buffer], moved: &[Buffer], weights: &mut [f32]) {
    let each = conv.out_side() * conv.out_side() * LANES;
    let fragments = (SAMPLES / each).max(1);
    for (inputs, moved) in inputs.chunks(fragments).zip(moved.chunks(fragments)) {
        let product = sample_product(conv, inputs, moved, each);
        weights.iter_mut().zip(product).for_each(|(w, p)| *w += p);
    }
}

fn sample_product(conv: Conv, inputs: &[Buffer], moved: &[Buffer], each: usize) -> Vec<f32> {
    let (taps, to) = (conv.taps(), conv.out_side());
    let samples = inputs.len() * each;
    let mut columns = vec![0.0; conv.filters * samples];
    let mut rows = vec![0.0; samples * taps + SLACK];
    for (i, (input, moved)) in inputs.iter().zip(moved).enumerate() {
        for f in 0..conv.filters {
            columns[f * samples + i * each..][..each].copy_from_slice(&moved[f * each..][..each]);
        }
        for (position, t) in (0..to * to).flat_map(|p| (0..taps).map(move |t| (p, t))) {
            let (c, dy, dx) = (t / (conv.kernel * conv.kernel), t / conv.kernel % conv.kernel, t % conv.kernel);
            let line = (c * conv.side + position / to + dy) * conv.side + position % to + dx;
            let first = i * each + position * LANES;
            for (lane, &v) in input[line * LANES..][..LANES].iter().enumerate() {
                rows[(first + lane) * taps + t] = v;
            }
        }
    }
    let packed = Packed::new(&columns, None, conv.filters);
    let offsets: Vec<usize> = (0..samples).map(|s| s * taps).collect();
    let mut out = vec![0.0; conv.filters * taps];
    let sums = Sums {
        packed: &packed,
        source: &rows,
        taps: &offsets,
        runs: &[(0, 0)],
        run_len: taps,
        filter_step: taps,
        relu: false,
    };
    weighted_sums(&sums, &mut out);
    out
}
