//! Knowledge distillation (Hinton et al. 2015): trained networks give soft targets to another.

use super::batch::Batch;
use super::sequential_trainer::SequentialTrainer;
use crate::error::{Error, Result};
use crate::model::{Head, Model, Weights};

/// None, one, or several networks, whose mean probability counts.
pub(super) struct Teachers<'a>(Vec<Teacher<'a>>);

struct Teacher<'a> {
    network: SequentialTrainer,
    weights: &'a Weights,
    head: Head,
}

impl<'a> Teachers<'a> {
    /// Teachers of a student, which must be trained by the native kernels for DCNNs.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where teacher or student is no DCNN on the CPU.
    pub(super) fn new(models: &'a [Model], student: Option<&SequentialTrainer>) -> Result<Self> {
        let mut teachers = Vec::with_capacity(models.len());
        for model in models {
            let (Some(network), Some(_)) = (SequentialTrainer::new(model.graph()), student) else {
                return Err(Error::unsupported(
                    "Learning from a teacher needs two DCNNs and --device cpu",
                ));
            };
            teachers.push(Teacher { network, weights: model.weights(), head: model.card().head });
        }
        Ok(Self(teachers))
    }

    /// Gives every pixel of a batch the target `share` · (mean probability of the teachers) +
    /// (1 − `share`) · label. Without teachers labels alone are the targets.
    pub(super) fn add_soft_targets(&self, batch: &mut Batch, share: f32) {
        if self.0.is_empty() {
            return;
        }
        let mut sums = vec![0.0; batch.classes.len()];
        for teacher in &self.0 {
            let logits = teacher.network.logits(teacher.weights, batch);
            for (sum, logits) in sums.iter_mut().zip(logits) {
                *sum += teacher.head.probability(logits);
            }
        }
        let per_teacher = 1.0 / self.0.len() as f32;
        batch.soft_targets = Vec::with_capacity(sums.len());
        for (sum, &class) in sums.into_iter().zip(&batch.classes) {
            batch.soft_targets.push(share * (sum * per_teacher) + (1.0 - share) * class as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Prior, Sampler, phantom};
    use crate::model::{dccn, dcnn};

    fn batch() -> Batch {
        let tiles = [phantom::tile(96, 96, 1)];
        let sampler = Sampler::draw(&tiles, 40, Prior::Natural, 3).expect("patches");
        Batch::gather_plain(&tiles, &sampler.train, 1)
    }

    fn small(seed: u64) -> Model {
        Model::random(dcnn([3, 5, 8], 20, 2), seed).expect("model")
    }

    fn soft_targets(models: &[Model], share: f32) -> Vec<f32> {
        let mut batch = batch();
        let student = SequentialTrainer::new(small(1).graph());
        let teachers = Teachers::new(models, student.as_ref()).expect("teachers");
        teachers.add_soft_targets(&mut batch, share);
        batch.soft_targets
    }

    #[test]
    fn several_teachers_give_the_mean_of_their_probabilities_and_none_leaves_the_labels() {
        let models = [1, 2].map(small);
        let both = soft_targets(&models, 1.0);
        let one = soft_targets(&models[..1], 1.0);
        let other = soft_targets(&models[1..], 1.0);
        assert_ne!(one, other);
        for ((both, one), other) in both.iter().zip(&one).zip(&other) {
            let mean = f32::midpoint(*one, *other);
            assert!((both - mean).abs() < 1e-6, "{both} of {one} and {other}");
        }
        assert_eq!(soft_targets(&[], 1.0), Vec::<f32>::new());
    }

    #[test]
    fn the_share_lies_between_labels_and_probabilities() {
        let models = [small(1)];
        let labels: Vec<f32> = batch().classes.iter().map(|&class| class as f32).collect();
        assert!(labels.contains(&0.0) && labels.contains(&1.0));
        assert_eq!(soft_targets(&models, 0.0), labels);
        let quarter = soft_targets(&models, 0.25);
        let whole = soft_targets(&models, 1.0);
        for ((soft, label), whole) in quarter.iter().zip(&labels).zip(whole) {
            assert!((soft - (0.75 * label + 0.25 * whole)).abs() < 1e-6);
        }
    }

    #[test]
    fn only_dcnns_on_the_cpu_teach_and_learn() {
        let dcnns = [small(1)];
        let dccns = [Model::random(dccn(5, 7, 3, [6, 5, 9], 2), 1).expect("model")];
        let student = SequentialTrainer::new(dcnns[0].graph());
        assert!(Teachers::new(&dcnns, None).is_err());
        assert!(Teachers::new(&dccns, student.as_ref()).is_err());
        assert!(Teachers::new(&dcnns, student.as_ref()).is_ok());
    }
}
