//! A network as a list of shader dispatches and the constants they read, before any GPU is known.
//! Plain data: the CPU twin (`twin`) runs the same list, so a wrong kernel and a wrong list are
//! told apart.

use std::collections::BTreeSet;

use bytemuck::{Pod, Zeroable};

use crate::error::{Error, Result};

/// Parameters of `shaders/layer.wgsl`, in its order. Distances are in values, not bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub struct LayerParameters {
    pub width: u32,
    pub height: u32,
    pub channels: u32,
    pub filters: u32,
    pub source_row: u32,
    pub source_plane: u32,
    pub source_width: u32,
    pub source_height: u32,
    pub target_row: u32,
    pub target_plane: u32,
    pub target_base: u32,
    pub groups: u32,
    pub step_x: u32,
    pub step_y: u32,
    pub padding_x: u32,
    pub padding_y: u32,
    pub weights_at: u32,
    pub bias_at: u32,
    pub norm_at: u32,
    pub head_at: u32,
}

/// Parameters of `shaders/pool.wgsl`, in its order.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub struct PoolParameters {
    pub width: u32,
    pub height: u32,
    pub channels: u32,
    pub lanes: u32,
    pub source_row: u32,
    pub source_plane: u32,
    pub source_width: u32,
    pub source_height: u32,
    pub target_row: u32,
    pub target_plane: u32,
    pub target_base: u32,
    pub stride: u32,
    pub step_x: u32,
    pub step_y: u32,
    pub padding_x: u32,
    pub padding_y: u32,
}

/// A compiled form of a shader: its pipeline-overridable constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variant {
    Layer { kernel: u32, vectors: u32, padded: bool, normed: bool, relu: bool, head: bool },
    Pool { kernel: u32, mean: bool },
}

/// One pass over a slot, sizes still open.
#[derive(Debug, Clone)]
pub struct PassStage {
    pub variant: Variant,
    pub source: usize,
    pub target: usize,
    /// First channel written in the target.
    pub first_channel: usize,
    /// Channels read, from the source's first.
    pub channels: usize,
    /// Channels written.
    pub filters: usize,
    /// Pixels between taps.
    pub spread: usize,
    pub stride: usize,
    pub padding: usize,
    pub weights_at: usize,
    pub bias_at: usize,
    pub norm_at: usize,
    pub head_at: usize,
}

/// A network ready for any block or batch size.
#[derive(Debug, Clone)]
pub struct Program {
    pub stages: Vec<PassStage>,
    /// Weights, biases, norms of all stages, in vectors of four.
    pub constants: Vec<[f32; 4]>,
    /// Channels of each slot; slot 0 is the input, the last one holds the logits.
    pub slot_channels: Vec<usize>,
    /// The input is cut into 2×2 phases, a stride-2 first convolution having become a stride-1 one.
    pub phased: bool,
    pub classes: usize,
}

/// What one call of a shader does.
#[derive(Debug, Clone)]
pub struct Dispatch {
    pub variant: Variant,
    pub parameters: Parameters,
    pub source: usize,
    pub target: usize,
    /// Threads wanted in x, y, z.
    pub threads: [u32; 3],
}

#[derive(Debug, Clone, Copy)]
pub enum Parameters {
    Layer(LayerParameters),
    Pool(PoolParameters),
}

impl Parameters {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Layer(p) => bytemuck::bytes_of(p),
            Self::Pool(p) => bytemuck::bytes_of(p),
        }
    }
}

/// A program with sizes.
#[derive(Debug, Clone)]
pub struct BufferLayout {
    pub dispatches: Vec<Dispatch>,
    /// Values that each slot must hold.
    pub slot_len: Vec<usize>,
    /// Values of the result.
    pub result_len: usize,
}

/// Size of what a slot holds at some moment; `width` in pixels, `lanes` values each.
#[derive(Debug, Clone, Copy, Default)]
struct PlaneExtent {
    height: usize,
    width: usize,
}

impl Program {
    /// Sizes for an input of `width × height` pixels with `lanes` values side by side in each
    /// pixel.
    ///
    /// # Errors
    /// [`Error::Limit`] when a slot passes `limit_bytes`.
    pub fn lay_out(
        &self,
        width: usize,
        height: usize,
        lanes: usize,
        limit_bytes: u64,
    ) -> Result<BufferLayout> {
        let mut extents = vec![PlaneExtent::default(); self.slot_channels.len()];
        let mut slot_len = vec![0; self.slot_channels.len()];
        extents[0] = PlaneExtent { height, width };
        slot_len[0] = self.slot_channels[0] * width * height * lanes;
        let mut dispatches = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let from = extents[stage.source];
            let to = stage.result_of(from)?;
            extents[stage.target] = to;
            let needs = (stage.first_channel + stage.filters) * to.height * to.width * lanes;
            slot_len[stage.target] = needs.max(slot_len[stage.target]);
            dispatches.push(stage.dispatch(from, to, lanes));
        }
        if let Some(&largest) = slot_len.iter().max().filter(|&&l| l as u64 * 4 > limit_bytes) {
            return Err(Error::limit(format!(
                "The block needs a buffer of {} MB; the device takes {} MB",
                largest * 4 / 1_000_000,
                limit_bytes / 1_000_000
            )));
        }
        let last = extents.last().copied().unwrap_or_default();
        Ok(BufferLayout {
            dispatches,
            result_len: self.classes * last.width * last.height * lanes,
            slot_len,
        })
    }

    /// The distinct compiled forms.
    pub fn variants(&self) -> impl Iterator<Item = Variant> {
        self.stages.iter().map(|s| s.variant).collect::<BTreeSet<_>>().into_iter()
    }
}

impl PassStage {
    fn kernel(&self) -> usize {
        match self.variant {
            Variant::Layer { kernel, .. } | Variant::Pool { kernel, .. } => kernel as usize,
        }
    }

    fn result_of(&self, from: PlaneExtent) -> Result<PlaneExtent> {
        let span = (self.kernel() - 1) * self.spread;
        let side = |n: usize| {
            (n + 2 * self.padding).checked_sub(span + 1).map(|left| left / self.stride + 1)
        };
        match (side(from.height), side(from.width)) {
            (Some(height), Some(width)) => Ok(PlaneExtent { height, width }),
            _ => Err(Error::mismatch("The input is smaller than the network's window")),
        }
    }

    fn dispatch(&self, from: PlaneExtent, to: PlaneExtent, lanes: usize) -> Dispatch {
        let n = |v: usize| u32::try_from(v).unwrap_or(u32::MAX);
        let (source_row, target_row) = (from.width * lanes, to.width * lanes);
        let target_plane = to.height * target_row;
        let width = n(target_row);
        let common = PoolParameters {
            width,
            height: n(to.height),
            channels: n(self.channels),
            lanes: n(lanes),
            source_row: n(source_row),
            source_plane: n(from.height * source_row),
            source_width: n(source_row),
            source_height: n(from.height),
            target_row: n(target_row),
            target_plane: n(target_plane),
            target_base: n(self.first_channel * target_plane),
            stride: n(self.stride),
            step_x: n(self.spread * lanes),
            step_y: n(self.spread),
            padding_x: n(self.padding * lanes),
            padding_y: n(self.padding),
        };
        let (parameters, threads) = match self.variant {
            Variant::Pool { .. } => {
                (Parameters::Pool(common), [width, n(to.height), n(self.channels)])
            }
            Variant::Layer { vectors, head, .. } => {
                let groups = n(self.filters).div_ceil(4 * vectors);
                let parameters = self.layer(&common, groups);
                // Four rows `spread` apart a thread: whole groups of 4 · spread rows.
                let rows = to.height.div_ceil(4 * self.spread) * self.spread;
                (Parameters::Layer(parameters), [width, n(rows), if head { 1 } else { groups }])
            }
        };
        Dispatch {
            variant: self.variant,
            parameters,
            source: self.source,
            target: self.target,
            threads,
        }
    }

    fn layer(&self, common: &PoolParameters, groups: u32) -> LayerParameters {
        let n = |v: usize| u32::try_from(v).unwrap_or(u32::MAX);
        LayerParameters {
            width: common.width,
            height: common.height,
            channels: common.channels,
            filters: n(self.filters),
            source_row: common.source_row,
            source_plane: common.source_plane,
            source_width: common.source_width,
            source_height: common.source_height,
            target_row: common.target_row,
            target_plane: common.target_plane,
            target_base: common.target_base,
            groups,
            step_x: common.step_x,
            step_y: common.step_y,
            padding_x: common.padding_x,
            padding_y: common.padding_y,
            weights_at: n(self.weights_at),
            bias_at: n(self.bias_at),
            norm_at: n(self.norm_at),
            head_at: n(self.head_at),
        }
    }
}
