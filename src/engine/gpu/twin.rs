//! The shaders again, slowly, on the CPU: same passes, same buffers, same order of additions. If
//! the twin's result is wrong, the list of passes is wrong; if only the GPU's is, the shader or the
//! driver is.

use super::program::{
    BufferLayout, LayerParameters, Parameters, PoolKind, PoolParameters, Program, Variant,
};
use crate::platform::madd;

/// Runs all passes on `input` and returns the logits.
pub(super) fn run(program: &Program, layout: &BufferLayout, input: &[f32]) -> Vec<f32> {
    let mut slots = Vec::new();
    for &len in &layout.slot_len {
        slots.push(vec![f32::NAN; len]);
    }
    slots[0].copy_from_slice(input);
    for dispatch in &layout.dispatches {
        let source = slots[dispatch.source].clone();
        let target = &mut slots[dispatch.target];
        match dispatch.parameters {
            Parameters::Layer(p) => {
                let layer = LayerPass {
                    variant: dispatch.variant,
                    p,
                    constants: &program.constants,
                    source: &source,
                };
                layer.run(target);
            }
            Parameters::Pool(p) => pool(dispatch.variant, &p, &source, target),
        }
    }
    let mut result = slots.pop().unwrap_or_default();
    result.truncate(layout.result_len);
    result
}

/// `shaders/layer.wgsl`.
struct LayerPass<'a> {
    variant: Variant,
    p: LayerParameters,
    constants: &'a [[f32; 4]],
    source: &'a [f32],
}

impl LayerPass<'_> {
    fn run(&self, target: &mut [f32]) {
        let Variant::Layer { head_classes, .. } = self.variant else { return };
        for y in 0..self.p.height {
            for x in 0..self.p.width {
                if head_classes > 0 {
                    self.logits(head_classes, x, y, target);
                } else {
                    for filter in 0..self.p.filters {
                        let index = self.p.target_offset
                            + filter * self.p.target_plane_stride
                            + y * self.p.target_row_stride
                            + x;
                        target[index as usize] = self.output(filter, x, y);
                    }
                }
            }
        }
    }

    /// One output of one filter.
    fn output(&self, filter: u32, x: u32, y: u32) -> f32 {
        let Variant::Layer { kernel, vectors, relu, .. } = self.variant else { return f32::NAN };
        let group_filters = 4 * vectors;
        let group = filter / group_filters;
        let in_group = filter % group_filters;
        let mut sum = self.constant(self.p.bias_offset + group * vectors, in_group);
        for channel in 0..self.p.channels {
            for column in 0..kernel {
                for row in 0..kernel {
                    let tap =
                        ((group * self.p.channels + channel) * kernel + column) * kernel + row;
                    let weight = self.constant(self.p.weights_offset + tap * vectors, in_group);
                    let value =
                        self.input(channel, x + column * self.p.step_x, y + row * self.p.step_y);
                    sum = madd(value, weight, sum);
                }
            }
        }
        if relu { sum.max(0.0) } else { sum }
    }

    /// The input at a position of the padded source.
    fn input(&self, channel: u32, padded_x: u32, padded_y: u32) -> f32 {
        let Variant::Layer { padded, normed, .. } = self.variant else { return f32::NAN };
        let mut x = padded_x;
        let mut y = padded_y;
        if padded {
            if padded_x < self.p.padding_x || padded_y < self.p.padding_y {
                return 0.0;
            }
            x -= self.p.padding_x;
            y -= self.p.padding_y;
            if x >= self.p.source_width || y >= self.p.source_height {
                return 0.0;
            }
        }
        let index = channel * self.p.source_plane_stride + y * self.p.source_row_stride + x;
        let value = self.source[index as usize];
        if normed {
            let scale = self.constant(self.p.norm_offset + channel, 0);
            let shift = self.constant(self.p.norm_offset + channel, 1);
            return madd(value, scale, shift).max(0.0);
        }
        value
    }

    /// The logits of one pixel, from its hidden units.
    fn logits(&self, classes: u32, x: u32, y: u32, target: &mut [f32]) {
        let first = (classes * (y * self.p.width + x)) as usize;
        let logits = &mut target[first..][..classes as usize];
        for (class, logit) in (0..).zip(logits.iter_mut()) {
            *logit = self.constant(self.p.head_offset, class);
        }
        for unit in 0..self.p.filters {
            let hidden = self.output(unit, x, y);
            let vectors = self.p.head_offset + 1 + classes * (unit / 4);
            for (class, logit) in (0..).zip(logits.iter_mut()) {
                *logit = madd(hidden, self.constant(vectors + class, unit % 4), *logit);
            }
        }
    }

    /// Element `i` of the vectors from `offset` on.
    fn constant(&self, offset: u32, i: u32) -> f32 {
        self.constants[(offset + i / 4) as usize][(i % 4) as usize]
    }
}

/// `shaders/pool.wgsl`.
fn pool(variant: Variant, p: &PoolParameters, source: &[f32], target: &mut [f32]) {
    let Variant::Pool { kernel, kind } = variant else { return };
    for channel in 0..p.channels {
        for y in 0..p.height {
            for x in 0..p.width {
                let column = x / p.patch_batch;
                let patch = x % p.patch_batch;
                let mut largest = f32::MIN;
                let mut sum = 0.0;
                for row in 0..kernel {
                    for tap_column in 0..kernel {
                        let padded_y = y * p.stride + row * p.step_y;
                        let padded_x =
                            column * p.stride * p.patch_batch + patch + tap_column * p.step_x;
                        if padded_x < p.padding_x || padded_y < p.padding_y {
                            continue;
                        }
                        let source_x = padded_x - p.padding_x;
                        let source_y = padded_y - p.padding_y;
                        if source_x >= p.source_width || source_y >= p.source_height {
                            continue;
                        }
                        let index = channel * p.source_plane_stride
                            + source_y * p.source_row_stride
                            + source_x;
                        largest = f32::max(largest, source[index as usize]);
                        sum += source[index as usize];
                    }
                }
                let index =
                    p.target_offset + channel * p.target_plane_stride + y * p.target_row_stride + x;
                target[index as usize] = match kind {
                    PoolKind::Max => largest,
                    PoolKind::Mean => sum / (kernel * kernel) as f32,
                };
            }
        }
    }
}
