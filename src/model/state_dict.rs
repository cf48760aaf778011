//! Networks of other programs: the architecture that a PyTorch state dict belongs to, by the names
//! and shapes of its arrays.
//!
//! ```text
//! DCNN  conv1, conv2, conv3, fc1, fc2                              .weight and .bias
//! DCCN  features.conv0, features.norm0,
//!       features.denseblock1.denselayer1.{norm1,conv1,norm2,conv2}, …
//!       features.transition1.{norm,conv}, …, classifier            names of torchvision's DenseNet
//! ```

use super::{Architecture, Card, DenseBlock, Model, Weights, dcnn};
use crate::error::{Error, Result};

/// Prefixes of `torch.nn.DataParallel` and of `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

impl Model {
    /// A model of the arrays of a PyTorch state dict. Its card is that of unknown weights: widths
    /// come from the shapes, everything else is the default.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another network than a DCNN or a DCCN, and those of
    /// [`Model::new`], which name the array that does not fit.
    pub fn from_state_dict(weights: Weights) -> Result<Self> {
        let mut own_names = Weights::new();
        for (name, array) in weights {
            let mut own_name = name.as_str();
            while let Some(inner) = WRAPPERS.iter().find_map(|w| own_name.strip_prefix(w)) {
                own_name = inner;
            }
            if own_names.insert(own_name.to_owned(), array).is_some() {
                return Err(Error::mismatch(format!(
                    "The array '{own_name}' is there twice, under its own name and within a \
                     wrapper ('{name}')"
                )));
            }
        }
        let architecture = architecture_of(&own_names)?;
        architecture.validate()?;
        Self::new(Card::new(architecture), own_names)
    }
}

fn architecture_of(weights: &Weights) -> Result<Architecture> {
    if weights.contains_key("conv1.weight") && weights.contains_key("fc1.weight") {
        let mut filters = [0; 3];
        for (number, width) in (1..).zip(&mut filters) {
            *width = outputs(weights, &format!("conv{number}"))?;
        }
        return Ok(dcnn(filters, outputs(weights, "fc1")?, outputs(weights, "fc2")?));
    }
    if weights.contains_key("features.conv0.weight") {
        return Ok(Architecture::Dccn {
            stem: outputs(weights, "features.conv0")?,
            blocks: dense_blocks(weights)?,
            classes: outputs(weights, "classifier")?,
        });
    }
    let first = weights.keys().next().map_or("no array", String::as_str);
    Err(Error::unsupported(format!(
        "These arrays ('{first}', …) are of no DCNN (conv1, conv2, conv3, fc1, fc2) and no DCCN \
         (features.conv0, features.denseblock1, …, classifier); rename the layers of the network"
    )))
}

fn dense_blocks(weights: &Weights) -> Result<Vec<DenseBlock>> {
    let mut blocks = Vec::new();
    loop {
        let number = blocks.len() + 1;
        let mut layers = Vec::new();
        loop {
            let layer = format!("features.denseblock{number}.denselayer{}", layers.len() + 1);
            if !weights.contains_key(&format!("{layer}.conv1.weight")) {
                break;
            }
            let bottleneck = outputs(weights, &format!("{layer}.conv1"))?;
            layers.push([bottleneck, outputs(weights, &format!("{layer}.conv2"))?]);
        }
        if layers.is_empty() {
            return Ok(blocks);
        }
        let transition = outputs(weights, &format!("features.transition{number}.conv"))?;
        blocks.push(DenseBlock { layers, transition });
    }
}

/// Filters or units of a layer: the first size of its weights.
fn outputs(weights: &Weights, layer: &str) -> Result<usize> {
    let array = weights.get(&format!("{layer}.weight"));
    array.and_then(|array| array.shape.first().copied()).ok_or_else(|| {
        Error::mismatch(format!("The file lacks the array '{layer}.weight' of the network"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Array, dccn};

    #[test]
    fn widths_come_from_the_shapes() {
        let networks = [
            dcnn([3, 5, 8], 20, 4),
            Architecture::paper_dcnn(),
            dccn(4, 6, 3, [5, 7, 8], 3),
            Architecture::Dccn {
                stem: 4,
                blocks: vec![DenseBlock { layers: vec![[3, 2], [5, 1]], transition: 6 }],
                classes: 2,
            },
        ];
        for architecture in networks {
            let model = Model::random(architecture.clone(), 1).expect("model");
            let read = Model::from_state_dict(model.weights().clone()).expect("state dict");
            assert_eq!(read.card().architecture, architecture);
            assert_eq!(read.weights(), model.weights());
            let wrapped = |(name, array): (&String, &Array)| {
                (format!("_orig_mod.module.{name}"), array.clone())
            };
            let mut wrapped: Weights = model.weights().iter().map(wrapped).collect();
            let read = Model::from_state_dict(wrapped.clone()).expect("state dict");
            assert_eq!(read.weights(), model.weights());
            let (name, array) = model.weights().iter().next().expect("an array");
            wrapped.insert(name.clone(), array.clone());
            let error = Model::from_state_dict(wrapped).expect_err("twice").to_string();
            assert!(error.contains("is there twice"), "{error}");
        }
    }

    #[test]
    fn other_networks_are_refused_by_a_sentence() {
        let array = |shape: &[usize]| {
            let values = vec![0.0; shape.iter().product()];
            Array::new(shape.to_vec(), values).expect("array")
        };
        let unknown = Weights::from([("encoder.0.weight".to_owned(), array(&[1]))]);
        let error = Model::from_state_dict(unknown).expect_err("unknown").to_string();
        assert!(error.contains("'encoder.0.weight'"), "{error}");
        let mut weights =
            Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model").weights().clone();
        weights.remove("conv2.weight");
        let error = Model::from_state_dict(weights.clone()).expect_err("no conv2").to_string();
        assert!(error.contains("'conv2.weight'"), "{error}");
        weights.insert("conv2.weight".into(), array(&[5, 3, 3, 3]));
        assert!(Model::from_state_dict(weights.clone()).is_err(), "another kernel");
        weights.insert("conv2.weight".into(), array(&[]));
        assert!(Model::from_state_dict(weights).is_err(), "a number without axes");
    }
}
