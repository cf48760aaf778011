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
    /// Stops the segmentation; finished blocks are kept.
    Cancel,
    /// Writes GeoJSON and CSV beside each other; the path's extension is replaced.
    Export(PathBuf),
    /// Scripts only: waits for the segmentation.
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
        let command = serde_json::from_str(line).map_err(|e| {
            Error::malformed(format!("Line {number} of the script cannot be understood"))
                .caused_by(e)
        })?;
        commands.push(command);
    }
    Ok(commands)
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
            ]
        );
        let text = format!("# a tour\n\n{}\n", lines.join("\n"));
        assert_eq!(script(&text).expect("script"), commands);
        let message = script("\"fit\"\n\"jump\"").expect_err("no such command").to_string();
        assert!(message.contains("Line 2"), "{message}");
    }
}
