//! Knowledge distillation (Hinton et al. 2015): trained networks give soft targets to another.

use super::batch::Batch;
use super::sequential_trainer::SequentialTrainer;
use crate::error::{Error, Result};
use crate::model::{Head, Model, PixelClass, Weights};

/// None, one, or several networks, whose mean probability counts.
pub(super) struct Teachers<'a>(Vec<Teacher<'a>>);

struct Teacher<'a> {
    network: SequentialTrainer,
    weights: &'a Weights,
    head: Head,
}

impl<'a> Teachers<'a> {
    /// Teachers of a student with these classes, which must be trained by the native kernels for
    /// DCNNs.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where teacher or student is no DCNN on the CPU; [`Error::Mismatch`]
    /// where they tell apart other classes.
    pub(super) fn new(
        models: &'a [Model],
        student: Option<&SequentialTrainer>,
        classes: &[PixelClass],
    ) -> Result<Self> {
        let mut teachers = Vec::with_capacity(models.len());
        for model in models {
            let (Some(network), Some(_)) = (SequentialTrainer::new(model.graph()), student) else {
                return Err(Error::unsupported(
                    "Learning from a teacher needs two DCNNs and --device cpu",
                ));
            };
            let names = class_names(classes);
            let known = class_names(&model.card().classes);
            if names != known {
                return Err(Error::mismatch(format!(
                    "A teacher must tell apart the classes that its student learns: the teacher \
                     has {}, the student {}",
                    known.join(", "),
                    names.join(", ")
                )));
            }
            teachers.push(Teacher { network, weights: model.weights(), head: model.card().head });
        }
        Ok(Self(teachers))
    }

    /// Gives every class of every pixel of a batch the target `share` · (mean probability of the
    /// teachers) + (1 − `share`) · (1 for its own class, 0 for others). Without teachers labels
    /// alone are the targets.
    pub(super) fn add_soft_targets(&self, batch: &mut Batch, share: f32) {
        if self.0.is_empty() {
            return;
        }
        // `[pixel][class]`
        let mut targets = Vec::new();
        for Teacher { network, weights, head } in &self.0 {
            let mut logits = network.logits(weights, batch);
            targets.resize(logits.len(), 0.0);
            let classes = network.classes();
            for pixel in logits.chunks_exact_mut(classes) {
                head.probabilities(pixel);
            }
            for (sum, probability) in targets.iter_mut().zip(logits) {
                *sum += probability;
            }
        }
        let per_teacher = 1.0 / self.0.len() as f32;
        let classes = targets.len() / batch.classes.len().max(1);
        for (pixel, &own) in targets.chunks_exact_mut(classes.max(1)).zip(&batch.classes) {
            for (class, target) in pixel.iter_mut().enumerate() {
                let label = f32::from(u8::from(class == own));
                *target = share * (*target * per_teacher) + (1.0 - share) * label;
            }
        }
        batch.soft_targets = targets;
    }
}

fn class_names(classes: &[PixelClass]) -> Vec<&str> {
    classes.iter().map(|class| class.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Prior, Sampler, class_targets, phantom};
    use crate::model::{dccn, dcnn};

    fn batch(with_border: bool) -> Batch {
        let tiles = [phantom::tile(96, 96, 1)];
        let classes = PixelClass::of_nuclei(&[], with_border);
        let targets = [class_targets(&tiles[0], &classes, 2.0).expect("classes")];
        let sampler = Sampler::draw(&tiles, 40, Prior::Natural, 3).expect("patches");
        Batch::gather_plain(&tiles, &targets, &sampler.train, 1)
    }

    fn small(seed: u64) -> Model {
        Model::random(dcnn([3, 5, 8], 20, 2), seed).expect("model")
    }

    fn soft_targets(models: &[Model], share: f32) -> Vec<f32> {
        let mut batch = batch(false);
        let student = SequentialTrainer::new(small(1).graph());
        let classes = PixelClass::background_and_nucleus();
        let teachers = Teachers::new(models, student.as_ref(), &classes).expect("teachers");
        teachers.add_soft_targets(&mut batch, share);
        // Those of the nucleus.
        batch.soft_targets.into_iter().skip(1).step_by(2).collect()
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
        let labels: Vec<f32> = batch(false).classes.iter().map(|&class| class as f32).collect();
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
        let classes = PixelClass::background_and_nucleus();
        assert!(Teachers::new(&dcnns, None, &classes).is_err());
        assert!(Teachers::new(&dccns, student.as_ref(), &classes).is_err());
        assert!(Teachers::new(&dcnns, student.as_ref(), &classes).is_ok());
    }

    #[test]
    fn teachers_of_three_classes_teach_all_of_them_and_only_students_with_the_same() {
        let classes = PixelClass::of_nuclei(&[], true);
        let mut teacher = Model::random(dcnn([3, 5, 8], 20, 3), 1).expect("model");
        teacher.card_mut().classes.clone_from(&classes);
        let student = SequentialTrainer::new(teacher.graph());
        let models = [teacher];
        let teachers = Teachers::new(&models, student.as_ref(), &classes).expect("teachers");
        let mut batch = batch(true);
        assert!(batch.classes.contains(&2), "no border");
        teachers.add_soft_targets(&mut batch, 0.5);
        for (pixel, &own) in batch.soft_targets.chunks_exact(3).zip(&batch.classes) {
            assert!((pixel.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert!(pixel[own] > 0.5 && pixel.iter().all(|target| *target > 0.0));
        }
        let message = Teachers::new(&[small(1)], student.as_ref(), &classes).map(drop);
        let message = message.expect_err("two classes").to_string();
        assert!(message.contains("background, nucleus, the student"), "{message}");
    }
}
