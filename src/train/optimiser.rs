//! AdamW with one state an array, so that a checkpoint is a list of named arrays.

use std::collections::BTreeMap;

use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::{Device, Tensor, TensorData};

use super::network::{BurnNetwork, values};
use crate::error::Result;
use crate::model::Role;

/// PyTorch's default; Burn's own is 1e-5.
const EPSILON: f32 = 1e-8;

/// The state of a run's optimiser.
pub struct Optimiser {
    decayed: AdamW,
    plain: AdamW,
    states: BTreeMap<String, AdamWState<1>>,
}

/// First and second moment of one array.
pub type Moments = (Vec<f32>, Vec<f32>);

impl Optimiser {
    pub fn new(weight_decay: f64) -> Self {
        let adam = |decay: f64| {
            AdamWConfig::new().with_epsilon(EPSILON).with_weight_decay(decay as f32).build()
        };
        Self { decayed: adam(weight_decay), plain: adam(0.0), states: BTreeMap::new() }
    }

    /// One step along `gradients` (by array name). Biases and norms are not decayed.
    ///
    /// # Errors
    /// None of its own; those of the network's update.
    pub fn step(
        &mut self,
        network: &mut BurnNetwork,
        rate: f64,
        gradients: &mut BTreeMap<String, Tensor<1>>,
    ) -> Result<()> {
        network.update(|name, role, tensor| {
            let Some(gradient) = gradients.remove(name) else { return Ok(tensor) };
            let adam = if role == Role::Weight { &self.decayed } else { &self.plain };
            let tracked = tensor.device().is_autodiff();
            let tensor = if tracked { tensor.inner() } else { tensor };
            let (updated, state) = adam.step(rate, tensor, gradient, self.states.remove(name));
            if let Some(state) = state {
                self.states.insert(name.to_owned(), state);
            }
            Ok(if tracked { updated.autodiff().require_grad() } else { updated })
        })
    }

    /// The moments of every array.
    ///
    /// # Errors
    /// When the device does not return its data.
    pub fn moments(&self) -> Result<BTreeMap<String, Moments>> {
        let read = |state: &AdamWState<1>| -> Result<Moments> {
            Ok((values(state.momentum.moment_1.clone())?, values(state.momentum.moment_2.clone())?))
        };
        self.states.iter().map(|(name, state)| Ok((name.clone(), read(state)?))).collect()
    }

    /// Restores what [`Self::moments`] gave after `steps` steps.
    pub fn restore(&mut self, moments: &BTreeMap<String, Moments>, steps: u64, device: &Device) {
        let device = device.clone().inner();
        let tensor =
            |v: &[f32]| Tensor::<1>::from_data(TensorData::new(v.to_vec(), [v.len()]), &device);
        for (name, (first, second)) in moments {
            let momentum =
                AdaptiveMomentumState::new(steps as usize, tensor(first), tensor(second));
            self.states.insert(name.clone(), AdamWState::new(momentum));
        }
    }
}
