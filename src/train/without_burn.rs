//! In place of `burn` in builds without GPU training: a device that does not exist.

#![allow(
    clippy::unnecessary_wraps,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signatures are those of the module that this one stands in for"
)]

use super::batch::{Batch, Sample};
use super::gradients::Gradients;
use crate::dataset::{Augmentation, ClassMap, Tile};
use crate::error::Result;
use crate::model::{Graph, Head, Weights};

#[cfg(not(target_arch = "wasm32"))]
pub(super) use adapter::{AVAILABLE, can_train, open_adapter};

/// No value of this type exists.
#[derive(Debug, Clone, Copy)]
pub enum BurnDevice {}

/// Needs a device.
pub(super) struct BurnTrainer<'a> {
    device: &'a BurnDevice,
}

impl<'a> BurnTrainer<'a> {
    /// # Errors
    /// None: there is no device to call it with.
    pub(super) fn new(
        _: &'a Graph,
        _: &'a [Tile],
        _: Augmentation,
        _: Head,
        _: usize,
        device: &'a BurnDevice,
    ) -> Result<Self> {
        Ok(Self { device })
    }

    /// # Errors
    /// None.
    pub(super) fn gradients(&self, _: &Weights, _: &[Sample], _: &[ClassMap]) -> Result<Gradients> {
        match *self.device {}
    }
}

/// # Errors
/// None.
pub(super) fn burn_gradients(
    _: &Graph,
    _: &Weights,
    _: &Batch,
    _: Head,
    device: &BurnDevice,
) -> Result<Gradients> {
    match *device {}
}

#[cfg(not(target_arch = "wasm32"))]
mod adapter {
    use crate::engine::gpu::AdapterFacts;
    use crate::error::{Error, Result};
    use crate::model::Model;
    use crate::train::Compute;

    /// Whether this build can train on GPUs.
    pub(in crate::train) const AVAILABLE: bool = false;

    /// No adapter can.
    #[must_use]
    pub(in crate::train) fn can_train(_: &[AdapterFacts], _: usize) -> bool {
        false
    }

    /// # Errors
    /// Always.
    pub(in crate::train) fn open_adapter(
        _: &[AdapterFacts],
        _: usize,
        _: &Model,
        _: usize,
    ) -> Result<(Compute, String)> {
        Err(Error::gpu("This program was built without GPU training"))
    }
}
