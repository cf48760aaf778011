//! Actions of the user. A script is a list of them, one JSON value a line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::review::ReviewState;
use crate::viewer::ScreenPoint;

/// Most commands of a script.
const MAX_COMMANDS: usize = 100_000;

/// What is segmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentExtent {
    /// What the screen shows.
    View,
    /// The whole slide or image.
    Slide,
}

/// What a person may change of how a model is taught; the rest is
/// [`TeachRecipe::DEFAULT`](crate::train::TeachRecipe::DEFAULT).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct TeachSettings {
    /// Steps of learning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Weight of pixels that nobody marked, where the model stays as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<f64>,
    /// Share of the marks, 0 to 0.5, that are kept aside and decide when to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_back: Option<f64>,
    /// Decides the order of the marks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// One action. Positions are screen pixels unless stated otherwise. Names of variants and fields
/// are the words of scripts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the comment of a variant explains its fields")]
pub enum Command {
    /// A slide or image, by path or http(s) address; or a folder of them, as for
    /// [`Self::OpenAll`].
    Open(String),
    /// Opens the first of several slides or images and lists the others. A folder stands for those
    /// in it.
    OpenAll(Vec<String>),
    /// Another model file.
    Model(PathBuf),
    /// Share of filters to remove from the model, 0 to 0.9.
    Prune(f64),
    /// A pixel belongs to a nucleus above this probability, 0 to 1; none for the model's own.
    Threshold(Option<f32>),
    /// Whether the network reads the colours as they are.
    KeepStain(bool),
    /// Pixel size of the finest level, µm.
    Mpp(f64),
    /// Size of the screen, pixels.
    Resize { width: f64, height: f64 },
    /// Moves the image with the pointer.
    Pan { dx: f64, dy: f64 },
    /// Moves the view by fractions of the screen, animated.
    Glide { across: f64, down: f64 },
    /// Multiplies the scale; the image point at `x`, `y` stays there.
    Zoom { x: f64, y: f64, factor: f64 },
    /// Shows the whole image.
    Fit,
    /// To a point of the image in pixels of the finest level, at least at a scale in screen pixels
    /// an image pixel.
    GoTo { x: f64, y: f64, scale: f64 },
    /// Exactly to a view: centre in pixels of the finest level, screen pixels an image pixel. A
    /// recording has it where the picture moved while something was done to it.
    LookAt { x: f64, y: f64, scale: f64 },
    /// Selects the nucleus at a point of the screen.
    Choose { x: f64, y: f64 },
    /// Selects one more nucleus, or takes it out of the selection.
    ChooseMore { x: f64, y: f64 },
    /// The nucleus at a point of the screen, or the selected ones, are right.
    Accept(Option<ScreenPoint>),
    /// The nucleus at a point of the screen, or the selected ones, are none. One that was added is
    /// removed.
    Reject(Option<ScreenPoint>),
    /// Takes back the decision about a nucleus.
    Forget(Option<ScreenPoint>),
    /// A nucleus that the model has missed: the area inside a stroke, pixels of the finest level.
    Add(Vec<[f64; 2]>),
    /// Another outline for a nucleus: that at a point of the screen, or the selected one. The
    /// stroke is in pixels of the finest level.
    Redraw { object: Option<ScreenPoint>, stroke: Vec<[f64; 2]> },
    /// Cuts a nucleus along a stroke: the one at a point of the screen, the selected one, or the
    /// one in the middle of the stroke.
    Split { object: Option<ScreenPoint>, stroke: Vec<[f64; 2]> },
    /// One outline around the nuclei at points of the screen; of none, around the selected ones.
    Merge(Vec<ScreenPoint>),
    /// Paints a line that says what is under it: `background`, `nucleus` or a type of nuclei. The
    /// points are pixels of the finest level; one alone is a dot.
    Stroke { class: String, width_um: f64, points: Vec<[f64; 2]> },
    /// Removes the painted line at a point, else takes back the decision there; pixels of the
    /// finest level.
    Erase([f64; 2]),
    /// Takes back the last change of marks, regions, threshold, pixel size or model.
    Undo,
    /// Does again what was undone last.
    Redo,
    /// A named region, pixels of the finest level.
    AddRegion { name: String, polygon: Vec<[f64; 2]> },
    /// Another name for a region, by its number.
    RenameRegion { id: u32, name: String },
    /// Removes a region, by its number.
    RemoveRegion(u32),
    /// Every nucleus in a region is marked, given by its number: what in it is none is background.
    RegionComplete(u32),
    /// Takes back that every nucleus in a region is marked.
    RegionIncomplete(u32),
    /// Writes everything that the model can be taught from as GeoJSON, which
    /// `prunella finetune --labels` reads.
    SaveMarks(PathBuf),
    /// The model in use learns from the marks, in the background; none stands for the usual
    /// settings. It stays in use until what came out is kept.
    Teach(Option<TeachSettings>),
    /// Whether the nuclei of the taught model are shown, before it is kept or discarded.
    ShowTaught(bool),
    /// Makes the taught model the one in use, as the next version.
    KeepTaught,
    /// Drops the taught model.
    DiscardTaught,
    /// Makes a version of the model the one in use; 0 is the one that was taught first.
    Version(u32),
    /// Removes a version of the model.
    RemoveVersion(u32),
    /// Writes the model in use as a file.
    SaveModel(PathBuf),
    /// Reads regions from a file of outlines.
    OpenRegions(PathBuf),
    /// Writes the regions as GeoJSON.
    SaveRegions(PathBuf),
    /// Whether only nuclei inside regions count.
    InsideOnly(bool),
    /// Outlines or a label map to compare with, from a file; none closes it. Of a slide, what the
    /// screen shows is compared.
    Reference(Option<PathBuf>),
    /// To the next nucleus without a decision, the least certain first.
    Next,
    /// To the one before.
    Previous,
    /// Measures a distance, pixels of the finest level; none removes the ruler.
    Ruler(Option<[[f64; 2]; 2]>),
    /// Opens the next file of the list.
    NextFile,
    /// Opens the one before.
    PreviousFile,
    /// Name of the palette of outlines.
    Palette(String),
    /// Everything that a person set about the open image, in place of what there is.
    State(Box<ReviewState>),
    /// Removes what is kept of the image on this device, and all marks and regions.
    ForgetState,
    /// Closes the messages about errors.
    CloseMessages,
    /// Strengths of the layers, 0 to 1.
    Layers { outline: f32, mask: f32, heat: f32 },
    /// Starts a segmentation in the background.
    Segment(SegmentExtent),
    /// Stops the segmentation, of which finished blocks are kept, and the teaching, which changes
    /// nothing then.
    Cancel,
    /// Writes GeoJSON and CSV beside each other; the path's extension is replaced.
    Export(PathBuf),
    /// Scripts only: waits for segmentation and teaching.
    Wait,
    /// Scripts only: writes what the screen shows as PNG.
    Picture(PathBuf),
}

/// Reads a script: a JSON value a line; empty lines and lines that begin with # are skipped.
///
/// # Errors
/// [`Error::Malformed`] with the number of the line; [`Error::Limit`] for more than 100 000
/// commands.
pub fn script(text: &str) -> Result<Vec<Command>> {
    let mut commands = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        if commands.len() == MAX_COMMANDS {
            return Err(Error::limit(format!("The script has more than {MAX_COMMANDS} commands")));
        }
        let command = command(line).map_err(|e| {
            Error::malformed(format!("Line {number} of the script cannot be understood"))
                .caused_by(e)
        })?;
        commands.push(command);
    }
    Ok(commands)
}

/// A command from its line. A word alone may stand for a command that can have a value.
fn command(line: &str) -> serde_json::Result<Command> {
    serde_json::from_str(line).or_else(|error| {
        let word: String = serde_json::from_str(line).map_err(|_| error)?;
        serde_json::from_value(serde_json::json!({ word: null }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_read_back_and_errors_name_the_line() {
        let commands = [
            Command::Open("a b.svs".into()),
            Command::Zoom { x: 1.0, y: 2.0, factor: 1.5 },
            Command::Segment(SegmentExtent::View),
            Command::Wait,
            Command::Reject(Some(ScreenPoint { x: 3.0, y: 4.0 })),
            Command::Reject(None),
            Command::Teach(Some(TeachSettings { steps: Some(4), ..TeachSettings::default() })),
        ];
        let lines = commands.each_ref().map(|c| serde_json::to_string(c).expect("line"));
        assert_eq!(
            lines[1..],
            [
                r#"{"zoom":{"x":1.0,"y":2.0,"factor":1.5}}"#,
                r#"{"segment":"view"}"#,
                r#""wait""#,
                r#"{"reject":{"x":3.0,"y":4.0}}"#,
                r#"{"reject":null}"#,
                r#"{"teach":{"steps":4}}"#,
            ]
        );
        let text = format!("# a tour\n\n{}\n", lines.join("\n"));
        assert_eq!(script(&text).expect("script"), commands);
        let words = script("\"teach\"\n\"reject\"\n\"wait\"").expect("words");
        assert_eq!(words, [Command::Teach(None), Command::Reject(None), Command::Wait]);
        let message = script("\"fit\"\n\"jump\"").expect_err("no such command").to_string();
        assert!(message.contains("Line 2"), "{message}");
    }
}
