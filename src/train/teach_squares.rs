//! Where teaching takes its squares from: images with what the model said of them before, parts of
//! marks, and the windows and targets of squares.

use crate::dataset::{
    Augmentation, ClassMap, SparseTargets, Window, augmented_window, plain_window, window_classes,
};
use crate::engine::Block;
use crate::error::{Error, Result};
use crate::instances::probability_to_u8;
use crate::model::{ClassRole, Model};
use crate::raster::{Plane, ProbabilityMaps, RgbImage};

/// What a model said of an image before: the probability of each class but the first, 0 to 255.
pub type AnswerBefore = Vec<Plane<u8>>;

/// An image to draw squares from.
pub(super) struct Source<'a> {
    pub image: &'a RgbImage,
    /// Class of each pixel, [`UNKNOWN`], or [`LEFT_OUT`].
    pub targets: ClassMap,
    /// Probabilities of all classes but the first, 0 to 255, as the model said before.
    pub before: AnswerBefore,
    /// Mean probability of nucleus, 0 to 1, as the model said before.
    pub nucleus_share: f64,
    pub inside: Block,
}

/// A part of a mark: its pixels in one of the images.
pub(super) struct MarkPart {
    pub source: usize,
    /// Row · width + column, at least one.
    pub pixels: Vec<u32>,
}

/// A square of one of the images.
#[derive(Debug, Clone, Copy)]
pub(super) struct Square {
    pub source: usize,
    pub row: usize,
    pub column: usize,
    pub seed: u64,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        before: AnswerBefore,
        image: &'a RgbImage,
        targets: ClassMap,
        inside: Block,
    ) -> Result<Self> {
        if !targets.same_size(image) || before.iter().any(|plane| !plane.same_size(image)) {
            return Err(Error::mismatch("Marks and image differ in size"));
        }
        let mut sums = vec![0u32; image.data().len()];
        for plane in &before {
            for (sum, value) in sums.iter_mut().zip(plane.data()) {
                *sum += u32::from(*value);
            }
        }
        let sum: f64 = sums.iter().map(|sum| f64::from((*sum).min(255)) / 255.0).sum();
        let nucleus_share = sum / sums.len().max(1) as f64;
        Ok(Self { image, targets, before, nucleus_share, inside })
    }

    pub(super) fn check(&self, square_px: usize) -> Result<()> {
        let Block { row, column, width, height } = self.inside;
        let fits = row + height <= self.image.height() && column + width <= self.image.width();
        if width < square_px || height < square_px || !fits {
            return Err(Error::mismatch(format!(
                "Around a mark the image shows {width}×{height} pixels; to learn from it \
                 {square_px}×{square_px} are needed"
            )));
        }
        Ok(())
    }
}

/// What a model says of an image.
#[cfg(not(feature = "web-teach"))]
pub(super) fn answer_before(model: &Model, image: &RgbImage) -> Result<AnswerBefore> {
    use crate::engine::{Control, SegmentOptions, segment};

    let maps = segment(model, image, SegmentOptions::default(), &Control::default())?;
    Ok(class_bytes(model, &maps))
}

/// Workers of the page get what the model says: its engine is in another wasm.
#[cfg(feature = "web-teach")]
pub(super) fn answer_before(_: &Model, _: &RgbImage) -> Result<AnswerBefore> {
    Err(Error::invalid("What the model said before is missing"))
}

/// The probability of every class but the first, 0 to 255, from what an engine says of an image.
#[must_use]
pub fn class_bytes(model: &Model, maps: &ProbabilityMaps) -> AnswerBefore {
    let nucleus = maps.nucleus();
    let interior = maps.interior();
    let mut types = maps.types().iter();
    let mut planes = Vec::new();
    for class in model.card().classes.iter().skip(1) {
        let plane = match class.role {
            ClassRole::Border => {
                let mut border = nucleus.clone();
                for (value, inside) in border.data_mut().iter_mut().zip(interior.data()) {
                    *value = (*value - inside).max(0.0);
                }
                border
            }
            _ => types.next().unwrap_or(interior).clone(),
        };
        planes.push(plane.map(probability_to_u8));
    }
    planes
}

/// Parts of marks, each with its pixels in the order of the rows, inside of `inside`.
pub(super) fn mark_parts(source: usize, targets: &SparseTargets, inside: Block) -> Vec<MarkPart> {
    let mut parts = Vec::new();
    for _ in 0..targets.count {
        parts.push(MarkPart { source, pixels: Vec::new() });
    }
    for row in inside.row..inside.row + inside.height {
        for column in inside.column..inside.column + inside.width {
            let part = targets.parts.get(row, column) as usize;
            if part > 0 {
                let pixel = row * targets.parts.width() + column;
                parts[part - 1].pixels.push(pixel as u32);
            }
        }
    }
    parts.retain(|part| !part.pixels.is_empty());
    parts
}

/// Where the input and targets of a square go.
pub(super) struct GatheredSquare<'a> {
    pub source: &'a Source<'a>,
    pub square: &'a Square,
    pub window: &'a mut [f32],
    pub labels: &'a mut [usize],
    /// `[pixel][class]`.
    pub soft_targets: &'a mut [f32],
}

impl GatheredSquare<'_> {
    pub(super) fn fill(self, square_px: usize, augmentation: Augmentation) {
        let &Square { row, column, seed, .. } = self.square;
        let Source { image, targets, before, .. } = self.source;
        let context = Window::context(row, column, square_px);
        if augmentation == Augmentation::NONE {
            plain_window(image, context, self.window);
        } else {
            augmented_window(image, context, augmentation, seed, self.window);
        }
        let square = Window::inside(row, column, square_px);
        window_classes(targets, square, augmentation, seed, self.labels);
        let classes = before.len() + 1;
        let mut bytes = vec![0; self.labels.len()];
        for (index, plane) in before.iter().enumerate() {
            window_classes(plane, square, augmentation, seed, &mut bytes);
            for (target, &byte) in self.soft_targets.chunks_exact_mut(classes).zip(&bytes) {
                target[index + 1] = byte as f32 / 255.0;
            }
        }
        for (target, &label) in self.soft_targets.chunks_exact_mut(classes).zip(&*self.labels) {
            if label < classes {
                target.fill(0.0);
                target[label] = 1.0;
            } else {
                let others: f32 = target[1..].iter().sum();
                target[0] = (1.0 - others).max(0.0);
            }
        }
    }
}
