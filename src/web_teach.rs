//! The interface to the scripts of a second wasm, which the page loads only when someone teaches
//! (feature `web-teach`): a worker. Every worker of a teaching holds the same run, computes the
//! gradients of some groups of each step, and takes the step with those of all, so that all stay
//! the same.

#[path = "web/thrown.rs"]
mod thrown;

use wasm_bindgen::prelude::*;

use self::thrown::{Thrown as _, json};

use crate::error::{Error, Result};
use crate::train::{TaughtWeights, TeachRun, TeachTask};

/// A run of teaching. It ends with its worker, and with that its memory is free.
#[wasm_bindgen]
pub struct TeachWorker {
    run: Option<TeachRun<'static>>,
    weights: Vec<f32>,
}

impl TeachWorker {
    fn running(&self) -> Result<&TeachRun<'static>> {
        self.run.as_ref().ok_or_else(|| Error::invalid("The teaching has ended"))
    }
}

#[wasm_bindgen]
impl TeachWorker {
    /// Begins with the bytes that `Session.teachTask` gave.
    ///
    /// # Errors
    /// A sentence where nothing can be learned.
    #[wasm_bindgen(constructor)]
    pub fn new(task: &[u8]) -> std::result::Result<Self, JsValue> {
        // The run borrows its task; both stay until the worker ends.
        let task: &'static TeachTask = Box::leak(Box::new(TeachTask::from_bytes(task).thrown()?));
        Ok(Self { run: Some(TeachRun::begin(task.job()).thrown()?), weights: Vec::new() })
    }

    /// Groups of a step.
    ///
    /// # Errors
    /// A sentence after the end.
    pub fn groups(&self) -> std::result::Result<usize, JsValue> {
        Ok(self.running().thrown()?.groups())
    }

    /// The gradients of a group of the next step.
    ///
    /// # Errors
    /// A sentence after the end.
    pub fn gradients(&self, group: usize) -> std::result::Result<Vec<f32>, JsValue> {
        Ok(self.running().thrown()?.group_gradients(group))
    }

    /// Takes a step by the gradients of all groups, one after the other. Gives a `TeachStep` as
    /// JSON.
    ///
    /// # Errors
    /// A sentence where the loss is no longer a number.
    pub fn step(&mut self, gradients: &[f32]) -> std::result::Result<String, JsValue> {
        let groups = self.groups()?;
        let parts: Vec<&[f32]> =
            gradients.chunks((gradients.len() / groups.max(1)).max(1)).collect();
        let run = self.run.as_mut().ok_or_else(|| Error::invalid("The teaching has ended"));
        json(&run.and_then(|run| run.step_by_groups(&parts)).thrown()?)
    }

    /// Ends the run. Gives a `TeachOutcome` as JSON; [`Self::weights`] gives what was learned.
    ///
    /// # Errors
    /// A sentence where weights are no longer numbers.
    pub fn finish(&mut self) -> std::result::Result<String, JsValue> {
        let run = self.run.take().ok_or_else(|| Error::invalid("The teaching has ended"));
        let TaughtWeights { weights, outcome } = run.and_then(TeachRun::finish_weights).thrown()?;
        self.weights = weights.into_values().flat_map(|array| array.data).collect();
        json(&outcome)
    }

    /// The taught weights, array after array in the order of their names; empty before the end.
    #[must_use]
    pub fn weights(&self) -> Vec<f32> {
        self.weights.clone()
    }
}
