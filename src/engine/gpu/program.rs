//! A network as a list of passes and the constants that they read, before any GPU is known. It is
//! plain data: the CPU twin (`twin`) runs the same list, so an error in the list and an error in a
//! shader can be told apart.
//!
//! **A pass** is one call of a shader over all its outputs. It reads planes from one buffer and
//! writes planes to another:
//!
//! - `shaders/layer.wgsl`: a convolution, with the normalisation and ReLU of its input, its bias
//!   and its ReLU; or both fully connected layers of the dense form at once (the *head*);
//! - `shaders/pool.wgsl`: a maximum or a mean of square windows.
//!
//! **Buffers** are numbered *slots*. A slot is reused as soon as its values were read.
//!
//! ```text
//! slot     dense form                            batches of patches
//! 0        input, planes of red, green, blue     the same, or the phases of a stride-2 layer
//! 1, 2     outputs of passes, in turn            the same
//! 3 …                                            one for each chain of concatenations
//! last     logits, [row][column][class]          logits, [class][patch]
//! ```
//!
//! **Planes** lie as `[channel][row][column][patch]`. A shader sees `column · patch_batch + patch`
//! as one axis, x: the dense form is the case of one patch that is as large as a block.
//!
//! ```text
//! index = channel · plane_stride + row · row_stride + column · patch_batch + patch
//!
//! row 0       │ column 0: patch 0 1 … │ column 1: patch 0 1 … │ …
//! row 1       │ column 0: patch 0 1 … │ …
//! ```
//!
//! **Constants** of all passes lie in one array of vectors of four; `pack` describes their order.

use std::collections::BTreeSet;

use bytemuck::{Pod, Zeroable};

use crate::engine::dense::PlaneSize;
use crate::error::{Error, Result};

/// Parameters of `shaders/layer.wgsl`, in its order. Strides and offsets of planes count values,
/// offsets of constants count vectors of four.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub struct LayerParameters {
    /// Outputs in a row: columns times patches.
    pub width: u32,
    /// Output rows.
    pub height: u32,
    /// Input channels.
    pub channels: u32,
    /// Output channels.
    pub filters: u32,
    /// From a row of the source to the next.
    pub source_row_stride: u32,
    /// From a channel of the source to the next.
    pub source_plane_stride: u32,
    /// Values in a row of the source.
    pub source_width: u32,
    /// Rows of the source.
    pub source_height: u32,
    /// From a row of the target to the next.
    pub target_row_stride: u32,
    /// From a filter of the target to the next.
    pub target_plane_stride: u32,
    /// Where the first filter's outputs begin.
    pub target_offset: u32,
    /// Groups of filters; a thread computes one group (the head: all).
    pub groups: u32,
    /// Distance between taps in x, values.
    pub step_x: u32,
    /// Distance between taps in y, rows.
    pub step_y: u32,
    /// Zeros left of the source, values.
    pub padding_x: u32,
    /// Zeros above the source, rows.
    pub padding_y: u32,
    /// Where the weights begin.
    pub weights_offset: u32,
    /// Where the biases begin.
    pub bias_offset: u32,
    /// Scale and shift of each input channel, if the variant is `normed`.
    pub norm_offset: u32,
    /// Last layer, if the variant computes it.
    pub head_offset: u32,
}

/// Parameters of `shaders/pool.wgsl`, in its order. Strides and offsets count values.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub struct PoolParameters {
    /// Outputs in a row: columns times patches.
    pub width: u32,
    /// Output rows.
    pub height: u32,
    /// Channels of source and target.
    pub channels: u32,
    /// Patches side by side.
    pub patch_batch: u32,
    /// From a row of the source to the next.
    pub source_row_stride: u32,
    /// From a channel of the source to the next.
    pub source_plane_stride: u32,
    /// Values in a row of the source.
    pub source_width: u32,
    /// Rows of the source.
    pub source_height: u32,
    /// From a row of the target to the next.
    pub target_row_stride: u32,
    /// From a channel of the target to the next.
    pub target_plane_stride: u32,
    /// Where the first channel's outputs begin.
    pub target_offset: u32,
    /// Pixels between neighbouring windows.
    pub stride: u32,
    /// Distance between taps in x, values.
    pub step_x: u32,
    /// Distance between taps in y, rows.
    pub step_y: u32,
    /// Width of the margin left of the source, values.
    pub padding_x: u32,
    /// Height of the margin above the source, rows.
    pub padding_y: u32,
}

/// What a pool computes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum PoolKind {
    Max,
    Mean,
}

/// A compiled form of a shader: its pipeline-overridable constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Variant {
    Layer {
        /// Taps along each side of the window.
        kernel: u32,
        /// Vectors of four filters that one thread computes: 1, 2 or 4.
        vectors: u32,
        /// Whether windows reach beyond the source; values there are zero.
        padded: bool,
        /// Whether inputs are normalised and rectified as they are read.
        normed: bool,
        /// Whether a ReLU follows.
        relu: bool,
        /// Outputs of the last layer, 2 to 4, where it follows in the same pass; else 0.
        head_classes: u32,
    },
    Pool {
        kernel: u32,
        kind: PoolKind,
    },
}

impl Variant {
    fn kernel(self) -> usize {
        match self {
            Self::Layer { kernel, .. } | Self::Pool { kernel, .. } => kernel as usize,
        }
    }
}

/// One pass; the size of its planes is still open.
#[derive(Debug, Clone)]
pub(super) struct GpuPass {
    pub variant: Variant,
    /// Slot that it reads.
    pub source: usize,
    /// Slot that it writes.
    pub target: usize,
    /// First channel that it writes in the target.
    pub first_channel: usize,
    /// Channels that it reads, from the source's first on.
    pub channels: usize,
    /// Channels that it writes.
    pub filters: usize,
    /// Pixels between neighbouring taps.
    pub dilation: usize,
    /// Pixels between neighbouring windows.
    pub stride: usize,
    pub padding: usize,
    /// The last four: see [`LayerParameters`].
    pub weights_offset: usize,
    pub bias_offset: usize,
    pub norm_offset: usize,
    pub head_offset: usize,
}

/// A network for blocks or batches of any size.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub passes: Vec<GpuPass>,
    /// Weights, biases and norms of all passes.
    pub constants: Vec<[f32; 4]>,
    /// Channels of each slot.
    pub slot_channels: Vec<usize>,
    /// Whether the input is split into 2×2 phases, for a first convolution of stride 2
    /// (`pack::phases`).
    pub phased: bool,
    pub classes: usize,
}

/// One call of a shader, with sizes.
#[derive(Debug, Clone)]
pub(super) struct Dispatch {
    pub variant: Variant,
    pub parameters: Parameters,
    /// Slot that it reads.
    pub source: usize,
    /// Slot that it writes.
    pub target: usize,
    /// Threads in x, y and z; workgroups are rounded up.
    pub threads: [u32; 3],
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Parameters {
    Layer(LayerParameters),
    Pool(PoolParameters),
}

impl Parameters {
    /// The uniform buffer's content.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Layer(p) => bytemuck::bytes_of(p),
            Self::Pool(p) => bytemuck::bytes_of(p),
        }
    }
}

/// A program with sizes.
#[derive(Debug, Clone)]
pub(super) struct BufferLayout {
    pub dispatches: Vec<Dispatch>,
    /// Values that each slot must hold.
    pub slot_len: Vec<usize>,
    /// Values of the result, at the beginning of the last slot.
    pub result_len: usize,
}

impl Program {
    /// Sizes for an input of `width × height` pixels of `patch_batch` patches side by side.
    ///
    /// # Errors
    /// [`Error::Limit`] when a slot needs more than `limit_bytes`, [`Error::Mismatch`] for an input
    /// smaller than the network's window.
    pub(super) fn lay_out(
        &self,
        width: usize,
        height: usize,
        patch_batch: usize,
        limit_bytes: u64,
    ) -> Result<BufferLayout> {
        // Size of the planes that each slot holds at the moment.
        let mut sizes = vec![PlaneSize::default(); self.slot_channels.len()];
        let mut slot_len = vec![0; self.slot_channels.len()];
        sizes[0] = PlaneSize { height, width };
        slot_len[0] = self.slot_channels[0] * width * height * patch_batch;
        let mut dispatches = Vec::with_capacity(self.passes.len());
        for pass in &self.passes {
            let from = sizes[pass.source];
            let to = pass.output_size(from)?;
            sizes[pass.target] = to;
            let channels = pass.first_channel + pass.filters;
            let len = channels * to.height * to.width * patch_batch;
            slot_len[pass.target] = len.max(slot_len[pass.target]);
            dispatches.push(pass.dispatch(from, to, patch_batch));
        }
        let largest_bytes = slot_len.iter().max().map_or(0, |len| len * 4);
        if largest_bytes as u64 > limit_bytes {
            return Err(Error::limit(format!(
                "The block needs a buffer of {} MB; the device takes {} MB",
                largest_bytes / 1_000_000,
                limit_bytes / 1_000_000
            )));
        }
        let logits = sizes.last().copied().unwrap_or_default();
        let result_len = self.classes * logits.width * logits.height * patch_batch;
        Ok(BufferLayout { dispatches, slot_len, result_len })
    }

    /// The distinct compiled forms.
    pub(super) fn variants(&self) -> BTreeSet<Variant> {
        self.passes.iter().map(|pass| pass.variant).collect()
    }
}

impl GpuPass {
    /// A pass without dilation, stride, padding and constants.
    pub(super) fn new(
        variant: Variant,
        source: usize,
        target: usize,
        channels: usize,
        filters: usize,
    ) -> Self {
        Self {
            variant,
            source,
            target,
            first_channel: 0,
            channels,
            filters,
            dilation: 1,
            stride: 1,
            padding: 0,
            weights_offset: 0,
            bias_offset: 0,
            norm_offset: 0,
            head_offset: 0,
        }
    }

    fn output_size(&self, from: PlaneSize) -> Result<PlaneSize> {
        Ok(PlaneSize {
            height: self.output_side(from.height)?,
            width: self.output_side(from.width)?,
        })
    }

    fn output_side(&self, side: usize) -> Result<usize> {
        let window = (self.variant.kernel() - 1) * self.dilation + 1;
        match (side + 2 * self.padding).checked_sub(window) {
            Some(last) => Ok(last / self.stride + 1),
            None => Err(Error::mismatch("The input is smaller than the network's window")),
        }
    }

    fn dispatch(&self, from: PlaneSize, to: PlaneSize, patch_batch: usize) -> Dispatch {
        let source_row = from.width * patch_batch;
        let target_row = to.width * patch_batch;
        let target_plane = to.height * target_row;
        let pool = PoolParameters {
            width: to_u32(target_row),
            height: to_u32(to.height),
            channels: to_u32(self.channels),
            patch_batch: to_u32(patch_batch),
            source_row_stride: to_u32(source_row),
            source_plane_stride: to_u32(from.height * source_row),
            source_width: to_u32(source_row),
            source_height: to_u32(from.height),
            target_row_stride: to_u32(target_row),
            target_plane_stride: to_u32(target_plane),
            target_offset: to_u32(self.first_channel * target_plane),
            stride: to_u32(self.stride),
            step_x: to_u32(self.dilation * patch_batch),
            step_y: to_u32(self.dilation),
            padding_x: to_u32(self.padding * patch_batch),
            padding_y: to_u32(self.padding),
        };
        let parameters;
        let threads;
        match self.variant {
            Variant::Pool { .. } => {
                parameters = Parameters::Pool(pool);
                threads = [pool.width, pool.height, pool.channels];
            }
            Variant::Layer { vectors, head_classes, .. } => {
                let groups = to_u32(self.filters).div_ceil(4 * vectors);
                parameters = Parameters::Layer(self.layer_parameters(&pool, groups));
                // A thread computes four rows, `dilation` apart.
                let thread_rows = to.height.div_ceil(4 * self.dilation) * self.dilation;
                let depth = if head_classes > 0 { 1 } else { groups };
                threads = [pool.width, to_u32(thread_rows), depth];
            }
        }
        Dispatch {
            variant: self.variant,
            parameters,
            source: self.source,
            target: self.target,
            threads,
        }
    }

    /// Parameters of a layer; sizes and strides are those of a pool over the same planes.
    fn layer_parameters(&self, planes: &PoolParameters, groups: u32) -> LayerParameters {
        LayerParameters {
            width: planes.width,
            height: planes.height,
            channels: planes.channels,
            filters: to_u32(self.filters),
            source_row_stride: planes.source_row_stride,
            source_plane_stride: planes.source_plane_stride,
            source_width: planes.source_width,
            source_height: planes.source_height,
            target_row_stride: planes.target_row_stride,
            target_plane_stride: planes.target_plane_stride,
            target_offset: planes.target_offset,
            groups,
            step_x: planes.step_x,
            step_y: planes.step_y,
            padding_x: planes.padding_x,
            padding_y: planes.padding_y,
            weights_offset: to_u32(self.weights_offset),
            bias_offset: to_u32(self.bias_offset),
            norm_offset: to_u32(self.norm_offset),
            head_offset: to_u32(self.head_offset),
        }
    }
}

/// Sizes beyond `u32` fail the test against the device's limit before they are used.
fn to_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
