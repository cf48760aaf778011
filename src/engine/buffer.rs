//! Buffers of a batch of patches, aligned so that no vector load crosses a cache line.

use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

use super::batch::PATCH_BATCH;

/// One value of every patch of a batch.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct BatchRow([f32; PATCH_BATCH]);

/// Values as `[row][patch]`, where a row holds one value of each of [`PATCH_BATCH`] patches.
#[derive(Debug, Clone)]
pub struct AlignedBuffer(Vec<BatchRow>);

impl AlignedBuffer {
    /// `rows` × [`PATCH_BATCH`] zeros.
    #[must_use]
    pub fn zeroed(rows: usize) -> Self {
        Self(vec![BatchRow::zeroed(); rows])
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
