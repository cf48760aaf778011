//! A run on disk: weights, optimiser and progress, in one file that is replaced whole. Everything
//! random is a function of seed and progress, so no generator state is needed.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::optimiser::Moments;
use super::recipe::Recipe;
use super::trainer::EpochLog;
use crate::error::{Error, ErrorContext as _, Result};
use crate::model::{Array, Weights, read_arrays, sha256_hex};
use crate::platform::{read_file, write_atomic};

const KEY: &str = "prunella-checkpoint";
const MAX_BYTES: u64 = 1_000_000_000;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainProgress {
    /// Identifies recipe, data and start: a checkpoint of another run is not resumed.
    pub run: String,
    pub epoch: u64,
    /// Steps done in this epoch.
    pub step: u64,
    /// Steps done in all.
    pub steps: u64,
    /// Sum of this epoch's training losses so far, over patches.
    pub loss_sum: f64,
    pub history: Vec<EpochLog>,
}

/// A stored run.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub progress: TrainProgress,
    pub weights: Weights,
    pub moments: BTreeMap<String, Moments>,
}

/// Name of a run: what decides its result, the program's version included.
#[must_use]
pub fn run_id(recipe: &Recipe, start: &str, tiles: &[String]) -> String {
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
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut arrays: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
        let bytes = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        for (name, Array { shape, data }) in &self.weights {
            arrays.insert(format!("weights/{name}"), (shape.clone(), bytes(data)));
        }
        for (name, (first, second)) in &self.moments {
            arrays.insert(format!("first/{name}"), (vec![first.len()], bytes(first)));
            arrays.insert(format!("second/{name}"), (vec![second.len()], bytes(second)));
        }
        let broken = |e: &dyn std::fmt::Display| {
            Error::malformed(format!("The checkpoint cannot be written: {e}"))
        };
        let mut views = Vec::new();
        for (name, (shape, data)) in &arrays {
            views.push((
                name,
                TensorView::new(Dtype::F32, shape.clone(), data).map_err(|e| broken(&e))?,
            ));
        }
        let progress = serde_json::to_string(&self.progress).map_err(|e| broken(&e))?;
        let file = safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), progress)])));
        write_atomic(path, &file.map_err(|e| broken(&e))?)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_bytes(&read_file(path, MAX_BYTES)?).at(path)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let none = |e: &dyn std::fmt::Display| {
            Error::malformed(format!("The file is no whole checkpoint: {e}"))
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| none(&e))?;
        let progress = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(KEY))
            .ok_or_else(|| none(&"it names no run"))?;
        let progress = serde_json::from_str(progress).map_err(|e| none(&e))?;
        let (mut weights, mut first, mut second) =
            (Weights::new(), BTreeMap::new(), BTreeMap::new());
        for (name, array) in read_arrays(bytes)? {
            match name.split_once('/') {
                Some(("weights", name)) => drop(weights.insert(name.to_owned(), array)),
                Some(("first", name)) => drop(first.insert(name.to_owned(), array.data)),
                Some(("second", name)) => drop(second.insert(name.to_owned(), array.data)),
                _ => return Err(none(&format!("unknown array '{name}'"))),
            }
        }
        let moments =
            first.into_iter().filter_map(|(n, a)| second.remove(&n).map(|b| (n, (a, b)))).collect();
        Ok(Self { progress, weights, moments })
    }
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
            validation_dice: number(6 * i + 3),
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
                (vec![0.3, 1e-30], vec![1e-12, 0.7]),
            )]),
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
