//! What a person does, as data: a script, a button and a key give the same commands.

use serde::{Deserialize, Serialize};

use super::mark::ReviewObject;
use super::region::NamedRegion;
use super::state::{DisplaySettings, DocumentFacts, ModelSetting, PixelSizeSetting, ResultFacts};
use super::stroke::Stroke;
use crate::instances::Nucleus;

/// A change of [`ReviewState`](super::ReviewState). Outlines are in pixels of the finest level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the comment of a variant explains its fields")]
pub enum ReviewCommand {
    /// Another image or slide: pixel size, marks, strokes, regions, results and history start anew;
    /// model, threshold and display stay.
    Open { document: DocumentFacts, pixel_size: PixelSizeSetting },
    /// The object is a nucleus.
    Accept(ReviewObject),
    /// The object is none. One that was added is removed.
    Reject(ReviewObject),
    /// Removes the decision about a mark: the model decides again.
    Forget(ReviewObject),
    /// A nucleus that the model has missed.
    Add(Nucleus),
    /// Puts nuclei in the place of objects: one in the place of one redraws it, two in the place of
    /// one split it, one in the place of several merges them.
    Replace { old: Vec<ReviewObject>, new: Vec<Nucleus> },
    /// Removes all marks.
    ForgetAll,
    /// Another region.
    AddRegion(NamedRegion),
    /// Another region in which every nucleus is marked: those of the model in it are accepted.
    AddComplete { region: NamedRegion, nuclei: Vec<ReviewObject> },
    /// Every nucleus in a region is marked: those of the model in it are accepted.
    CompleteRegion { id: u32, nuclei: Vec<ReviewObject> },
    /// Several regions, as a file holds them.
    AddRegions(Vec<NamedRegion>),
    /// Another name or outline of a region.
    ChangeRegion { id: u32, region: NamedRegion },
    /// Removes a region.
    RemoveRegion(u32),
    /// Paints a line.
    AddStroke(Stroke),
    /// Removes a painted line.
    RemoveStroke(u32),
    /// Whether only nuclei inside regions count.
    InsideOnly(bool),
    /// Whether the network reads the colours as they are, not matched to those it learned from.
    KeepStain(bool),
    /// Threshold of probabilities, 0 to 1; none for the model's own.
    Threshold(Option<f32>),
    /// Pixel size of the finest level.
    PixelSize(PixelSizeSetting),
    /// Another model.
    Model(ModelSetting),
    /// How things are drawn. Cannot be undone.
    Display(DisplaySettings),
    /// What is looked at. Cannot be undone.
    View(Option<[f64; 3]>),
    /// A result was made, or removed. Cannot be undone.
    Result { slot: usize, facts: Option<ResultFacts> },
}
