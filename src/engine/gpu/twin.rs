//! The shaders again, slowly, on the CPU: same dispatches, same buffers, same order of additions.
//! What the twin computes wrongly is the list's fault; what only the GPU computes wrongly is the
//! kernel's or the driver's.

use super::program::{
    BufferLayout, Dispatch, LayerParameters, Parameters, PoolParameters, Program, Variant,
};
use crate::platform::madd;

/// Runs all passes on `input` and gives the logits.
pub fn run(program: &Program, layout: &BufferLayout, input: &[f32]) -> Vec<f32> {
    let mut slots: Vec<Vec<f32>> = layout.slot_len.iter().map(|&len| vec![f32::NAN; len]).collect();
    slots[0].copy_from_slice(input);
    for dispatch in &layout.dispatches {
        let mut target = std::mem::take(&mut slots[dispatch.target]);
        pass(dispatch, &program.constants, &slots[dispatch.source], &mut target);
        slots[dispatch.target] = target;
    }
    let mut result = slots.pop().unwrap_or_default();
    result.truncate(layout.result_len);
    result
}

fn pass(dispatch: &Dispatch, constants: &[[f32; 4]], source: &[f32], target: &mut [f32]) {
    match (dispatch.variant, &dispatch.parameters) {
        (Variant::Layer { head: true, .. }, Parameters::Layer(p)) => {
            for (y, x) in places(p.width, p.height) {
                let at = 2 * (y * p.width as usize + x);
                target[at..at + 2].copy_from_slice(&logits(
                    dispatch.variant,
                    p,
                    constants,
                    source,
                    (y, x),
                ));
            }
        }
        (Variant::Layer { .. }, Parameters::Layer(p)) => {
            for (y, x) in places(p.width, p.height) {
                for f in 0..p.filters as usize {
                    let at = p.target_base as usize
                        + f * p.target_plane as usize
                        + y * p.target_row as usize
                        + x;
                    target[at] = sum(dispatch.variant, p, constants, source, (f, y, x));
                }
            }
        }
        (Variant::Pool { kernel, mean }, Parameters::Pool(p)) => {
            for (y, x) in places(p.width, p.height) {
                for c in 0..p.channels as usize {
                    let at = p.target_base as usize
                        + c * p.target_plane as usize
                        + y * p.target_row as usize
                        + x;
                    target[at] = pooled(p, kernel, mean, source, (c, y, x));
                }
            }
        }
        _ => {}
    }
}

fn places(width: u32, height: u32) -> impl Iterator<Item = (usize, usize)> {
    (0..height as usize).flat_map(move |y| (0..width as usize).map(move |x| (y, x)))
}

/// `shaders/layer.wgsl` for one filter of one output.
fn sum(
    variant: Variant,
    p: &LayerParameters,
    constants: &[[f32; 4]],
    source: &[f32],
    (f, y, x): (usize, usize, usize),
) -> f32 {
    let Variant::Layer { kernel, vectors, padded, normed, relu, .. } = variant else {
        return f32::NAN;
    };
    let (kernel, width) = (kernel as usize, 4 * vectors as usize);
    let (group, lane) = (f / width, f % width);
    let value = |at: usize, i: usize| constants[at + i / 4][i % 4];
    let mut total = value(p.bias_at as usize + group * vectors as usize, lane);
    for (c, q, r) in (0..p.channels as usize * kernel * kernel)
        .map(|i| (i / (kernel * kernel), i / kernel % kernel, i % kernel))
    {
        let row = (y + r * p.step_y as usize).wrapping_sub(p.padding_y as usize);
        let column = (x + q * p.step_x as usize).wrapping_sub(p.padding_x as usize);
        let mut v = 0.0;
        if !padded || (row < p.source_height as usize && column < p.source_width as usize) {
            v = source[c * p.source_plane as usize + row * p.source_row as usize + column];
            if normed {
                let [scale, shift, ..] = constants[p.norm_at as usize + c];
                v = madd(v, scale, shift).max(0.0);
            }
        }
        let tap = ((group * p.channels as usize + c) * kernel + q) * kernel + r;
        total = madd(v, value(p.weights_at as usize + tap * vectors as usize, lane), total);
    }
    if relu { total.max(0.0) } else { total }
}

fn logits(
    variant: Variant,
    p: &LayerParameters,
    constants: &[[f32; 4]],
    source: &[f32],
    (y, x): (usize, usize),
) -> [f32; 2] {
    let [b0, b1, ..] = constants[p.head_at as usize];
    (0..p.filters as usize).fold([b0, b1], |[z0, z1], f| {
        let hidden = sum(variant, p, constants, source, (f, y, x));
        let at = p.head_at as usize + 1 + 2 * (f / 4);
        [madd(hidden, constants[at][f % 4], z0), madd(hidden, constants[at + 1][f % 4], z1)]
    })
}

/// `shaders/pool.wgsl` for one output.
fn pooled(
    p: &PoolParameters,
    kernel: u32,
    mean: bool,
    source: &[f32],
    (c, y, x): (usize, usize, usize),
) -> f32 {
    let (lanes, stride) = (p.lanes as usize, p.stride as usize);
    let (top, left) = (y * stride, x / lanes * stride * lanes + x % lanes);
    let window = (0..kernel as usize)
        .flat_map(|r| (0..kernel as usize).map(move |q| (r, q)))
        .filter_map(|(r, q)| {
            let row = (top + r * p.step_y as usize).wrapping_sub(p.padding_y as usize);
            let column = (left + q * p.step_x as usize).wrapping_sub(p.padding_x as usize);
            (row < p.source_height as usize && column < p.source_width as usize)
                .then(|| source[c * p.source_plane as usize + row * p.source_row as usize + column])
        });
    if mean {
        window.sum::<f32>() / (kernel * kernel) as f32
    } else {
        window.fold(f32::MIN, f32::max)
    }
}
