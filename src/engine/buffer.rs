//! Room for values on lanes that vector loads need not cross cache lines to read.

use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

use super::batch::PATCH_BATCH;

/// One value of every lane.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct BatchRow([f32; PATCH_BATCH]);

/// Zeroed values, [`PATCH_BATCH`] a line.
#[derive(Debug, Clone)]
pub struct AlignedBuffer(Vec<BatchRow>);

impl AlignedBuffer {
    /// Room for `lines` × [`PATCH_BATCH`] values.
    #[must_use]
    pub fn zeroed(lines: usize) -> Self {
        Self(vec![BatchRow::zeroed(); lines])
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}
