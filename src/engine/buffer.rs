//! Room for values on lanes that vector loads need not cross cache lines to read.

use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

use super::lanes::LANES;

/// One value of every lane.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Line([f32; LANES]);

/// Zeroed values, [`LANES`] a line.
#[derive(Debug, Clone)]
pub struct Buffer(Vec<Line>);

impl Buffer {
    /// Room for `lines` × [`LANES`] values.
    #[must_use]
    pub fn zeroed(lines: usize) -> Self {
        Self(vec![Line::zeroed(); lines])
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}
