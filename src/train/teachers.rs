//! Trained networks that say what they believe of a batch, for another to learn (distillation,
//! Hinton et al. 2015).

use super::batch::Batch;
use super::sequential_trainer::SequentialTrainer;
use crate::error::{Error, Result};
use crate::model::Model;

/// What is asked for beliefs: none, one network, or several whose mean counts.
pub struct Teachers<'a>(Vec<(SequentialTrainer, &'a Model)>);

impl<'a> Teachers<'a> {
    /// Who teaches a network; `lanes` says whether that network is trained by this crate's own
    /// kernels for the DCNN.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where teacher or student is no DCNN on the CPU.
    pub fn of(models: &'a [Model], lanes: bool) -> Result<Self> {
        let open = |model: &'a Model| {
            let network = SequentialTrainer::of(model.graph()).filter(|_| lanes);
            let refused =
                || Error::unsupported("Learning from a teacher needs two DCNNs and --device cpu");
            Ok((network.ok_or_else(refused)?, model))
        };
        models.iter().map(open).collect::<Result<_>>().map(Self)
    }

    /// Lets the batch teach `share` of what the teachers believe on average, and the rest of its
    /// labels.
    pub fn teach(&self, batch: &mut Batch, share: f32) {
        let mut believed = vec![0.0; batch.classes.len()];
        for (network, model) in &self.0 {
            let head = model.card().head;
            let logits = network.logits(model.weights(), batch);
            believed.iter_mut().zip(logits).for_each(|(sum, z)| *sum += head.probability(z));
        }
        if !self.0.is_empty() {
            let each = 1.0 / self.0.len() as f32;
            let mix =
                |(sum, &class): (f32, &usize)| share * (sum * each) + (1.0 - share) * class as f32;
            batch.soft = believed.into_iter().zip(&batch.classes).map(mix).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Augmentation, Prior, Sampler, phantom};
    use crate::model::{dccn, dcnn};

    fn batch() -> Batch {
        let tiles = [phantom::tile(96, 96, 1)];
        let sampler = Sampler::draw(&tiles, 40, Prior::Natural, 3).expect("patches");
        let places: Vec<_> = (0..28).map(|index| (sampler.training_place(0, index), 7)).collect();
        Batch::gather(&tiles, &places, 1, Augmentation::NONE)
    }

    fn beliefs(models: &[Model], share: f32) -> Vec<f32> {
        let mut batch = batch();
        Teachers::of(models, true).expect("teachers").teach(&mut batch, share);
        batch.soft
    }

    #[test]
    fn several_teach_the_mean_of_what_each_believes_and_none_leaves_the_labels() {
        let models = [1, 2].map(|seed| Model::random(dcnn([3, 5, 8], 20, 2), seed).expect("model"));
        let both = beliefs(&models, 1.0);
        let [one, other] = [beliefs(&models[..1], 1.0), beliefs(&models[1..], 1.0)];
        assert_ne!(one, other);
        for ((both, one), other) in both.iter().zip(&one).zip(&other) {
            assert!(
                (both - f32::midpoint(*one, *other)).abs() < 1e-6,
                "{both} of {one} and {other}"
            );
        }
        assert_eq!(beliefs(&[], 1.0), Vec::<f32>::new());
    }

    #[test]
    fn the_share_lies_between_labels_and_beliefs() {
        let models = [Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model")];
        let labels: Vec<f32> = batch().classes.iter().map(|&class| class as f32).collect();
        assert!(labels.contains(&0.0) && labels.contains(&1.0));
        assert_eq!(beliefs(&models, 0.0), labels);
        let quarter = beliefs(&models, 0.25);
        for ((soft, label), whole) in quarter.iter().zip(&labels).zip(beliefs(&models, 1.0)) {
            assert!((soft - (0.75 * label + 0.25 * whole)).abs() < 1e-6);
        }
    }

    #[test]
    fn only_dcnns_teach_and_learn() {
        let chain = [Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model")];
        assert!(Teachers::of(&chain, false).is_err());
        let other = [Model::random(dccn(5, 7, 3, [6, 5, 9], 2), 1).expect("model")];
        assert!(Teachers::of(&other, true).is_err());
    }
}
