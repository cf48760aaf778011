//! A run that can be continued: weights, optimiser state and progress, in one safetensors file that
//! is replaced whole. Everything random is a function of seed and progress, so no state of a
//! generator is stored.

use std::collections::{BTreeMap, HashMap};
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::optimiser::Moments;
use super::recipe::Recipe;
use super::run::EpochLog;
#[cfg(not(target_arch = "wasm32"))]
use crate::error::ErrorContext as _;
use crate::error::{Error, Result};
use crate::model::{Array, Weights, read_arrays, sha256_hex};
#[cfg(not(target_arch = "wasm32"))]
use crate::platform::{read_file, write_atomic};

/// Key of the progress in the file's metadata.
const KEY: &str = "prunella-checkpoint";
#[cfg(not(target_arch = "wasm32"))]
const MAX_BYTES: u64 = 1_000_000_000;

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainProgress {
    /// `run_id`: a checkpoint of another run is not resumed.
    pub run: String,
    /// Complete epochs, from 0.
    pub epoch: u64,
    /// Steps done in this epoch.
    pub step: u64,
    /// Steps done in total.
    pub steps: u64,
    /// Sum of the training losses of this epoch's patches so far.
    pub loss_sum: f64,
    /// Scores of the complete epochs, oldest first.
    pub history: Vec<EpochLog>,
}

/// A stored run.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Position in the run and scores so far.
    pub progress: TrainProgress,
    /// By array name, before the next step.
    pub weights: Weights,
    /// State of the optimiser: array name → its gradient's running means.
    pub moments: BTreeMap<String, Moments>,
    /// Moving average of the weights; empty where none is kept.
    pub average: Weights,
}

/// Hash of everything that decides the result of a run: the program's version, recipe, initial
/// weights (with teachers) and tiles.
#[must_use]
pub(super) fn run_id(recipe: &Recipe, start: &str, tiles: &[String]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    sha256_hex(
        format!("{version}|{}|{start}|{}", serde_json::json!(recipe), tiles.join(",")).as_bytes(),
    )
}

impl Checkpoint {
    /// Writes the checkpoint; a reader sees the old or the new one.
    ///
    /// # Errors
    /// When it cannot be written.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save(&self, path: &Path) -> Result<()> {
        write_atomic(path, &self.to_bytes()?)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_bytes(&read_file(path, MAX_BYTES)?).at(path)
    }

    /// The file's bytes: arrays `weights/NAME`, `first/NAME` and `second/NAME` (moments) and
    /// `average/NAME`, progress as JSON in the metadata.
    ///
    /// # Errors
    /// When numbers cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut arrays: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
        for (name, Array { shape, data }) in &self.weights {
            arrays.insert(format!("weights/{name}"), (shape.clone(), little_endian(data)));
        }
        for (name, Moments { first, second }) in &self.moments {
            arrays.insert(format!("first/{name}"), (vec![first.len()], little_endian(first)));
            arrays.insert(format!("second/{name}"), (vec![second.len()], little_endian(second)));
        }
        for (name, Array { shape, data }) in &self.average {
            arrays.insert(format!("average/{name}"), (shape.clone(), little_endian(data)));
        }
        let mut views = Vec::with_capacity(arrays.len());
        for (name, (shape, data)) in &arrays {
            let view = TensorView::new(Dtype::F32, shape.clone(), data);
            views.push((name, view.map_err(|e| unwritable(&e))?));
        }
        let progress = serde_json::to_string(&self.progress).map_err(|e| unwritable(&e))?;
        let metadata = HashMap::from([(KEY.to_owned(), progress)]);
        safetensors::serialize(views, Some(metadata)).map_err(|e| unwritable(&e))
    }

    /// Reads [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Malformed`] when the bytes are cut short or no checkpoint.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| unreadable(&e))?;
        let progress = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(KEY))
            .ok_or_else(|| unreadable(&"it names no run"))?;
        let progress = serde_json::from_str(progress).map_err(|e| unreadable(&e))?;
        let mut weights = Weights::new();
        let mut average = Weights::new();
        let mut first = BTreeMap::new();
        let mut second = BTreeMap::new();
        for (name, array) in read_arrays(bytes)? {
            match name.split_once('/') {
                Some(("weights", name)) => drop(weights.insert(name.to_owned(), array)),
                Some(("average", name)) => drop(average.insert(name.to_owned(), array)),
                Some(("first", name)) => drop(first.insert(name.to_owned(), array.data)),
                Some(("second", name)) => drop(second.insert(name.to_owned(), array.data)),
                _ => return Err(unreadable(&format!("unknown array '{name}'"))),
            }
        }
        let mut moments = BTreeMap::new();
        for (name, first) in first {
            if let Some(second) = second.remove(&name) {
                moments.insert(name, Moments { first, second });
            }
        }
        Ok(Self { progress, weights, moments, average })
    }
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * 4);
    for value in values {
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

fn unwritable(reason: &dyn std::fmt::Display) -> Error {
    Error::malformed(format!("The checkpoint cannot be written: {reason}"))
}

fn unreadable(reason: &dyn std::fmt::Display) -> Error {
    Error::malformed(format!("The file is no whole checkpoint: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::mix;

    #[test]
    fn every_number_survives_a_checkpoint_to_the_last_bit() {
        let number = |i: u64| (mix(i) >> 11) as f64 / (1u64 << 53) as f64;
        let log = |i: u64| EpochLog {
            epoch: i,
            train_loss: number(6 * i),
            validation_loss: number(6 * i + 1),
            validation_accuracy: number(6 * i + 2),
            validation_dice: (!i.is_multiple_of(9)).then(|| number(6 * i + 3)),
            learning_rate: number(6 * i + 4) * 1e-6,
        };
        let progress = TrainProgress {
            run: "run".into(),
            epoch: 3,
            step: 4,
            steps: 5,
            loss_sum: number(7) * 1e4,
            history: (0..200).map(log).collect(),
        };
        let array = |v: f32| Array { shape: vec![2, 1], data: vec![v, -v] };
        let stored = Checkpoint {
            progress,
            weights: Weights::from([("a.weight".to_owned(), array(0.1))]),
            moments: BTreeMap::from([(
                "a.weight".to_owned(),
                Moments { first: vec![0.3, 1e-30], second: vec![1e-12, 0.7] },
            )]),
            average: Weights::from([("a.weight".to_owned(), array(0.3))]),
        };
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("checkpoint");
        stored.save(&path).expect("saved");
        assert_eq!(Checkpoint::load(&path).expect("loaded"), stored);
        let bytes = std::fs::read(&path).expect("bytes");
        for cut in (0..bytes.len()).step_by(37) {
            assert!(Checkpoint::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
