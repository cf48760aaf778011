//! What a person may do to a desk; a script is a list of these, one JSON value a line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Most commands of a script.
const MAX_COMMANDS: usize = 100_000;

/// What is segmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentExtent {
    /// What the screen shows.
    View,
    /// Everything.
    Slide,
}

/// One action. Places are screen pixels but where they say otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// A slide or image, by path or http(s) address.
    Open(String),
    /// Another model.
    Model(PathBuf),
    /// Share of filters to remove from the model, 0 to 0.9.
    Prune(f64),
    /// A pixel is nucleus above this probability.
    Threshold(f32),
    /// Pixel size of the finest level, micrometres.
    Mpp(f64),
    Resize {
        width: f64,
        height: f64,
    },
    Pan {
        dx: f64,
        dy: f64,
    },
    /// By a share of the screen.
    Glide {
        across: f64,
        down: f64,
    },
    Zoom {
        x: f64,
        y: f64,
        factor: f64,
    },
    Fit,
    /// To a place of the picture, at a scale in screen pixels for one of it.
    GoTo {
        x: f64,
        y: f64,
        scale: f64,
    },
    /// The nucleus under a place of the screen.
    Choose {
        x: f64,
        y: f64,
    },
    /// Strengths of the layers, 0 to 1.
    Layers {
        outline: f32,
        mask: f32,
        heat: f32,
    },
    Segment(SegmentExtent),
    Cancel,
    /// Writes GeoJSON and CSV beside each other; the ending is replaced.
    Export(PathBuf),
    /// Scripts only: until nothing runs.
    Wait,
    /// Scripts only: what the screen shows, as PNG.
    Picture(PathBuf),
}

/// Reads a script: a JSON value a line; empty lines and lines that begin with # are passed over.
///
/// # Errors
/// [`Error::Malformed`] naming the line, [`Error::Limit`] for a script without end.
pub fn script(text: &str) -> Result<Vec<Command>> {
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, l)| !l.trim().is_empty() && !l.trim_start().starts_with('#'));
    let commands: Vec<Command> = lines
        .take(MAX_COMMANDS + 1)
        .map(|(n, line)| {
            serde_json::from_str(line).map_err(|e| {
                Error::malformed(format!("Line {n} of the script cannot be understood: {e}"))
            })
        })
        .collect::<Result<_>>()?;
    if commands.len() > MAX_COMMANDS {
        return Err(Error::limit(format!("The script has more than {MAX_COMMANDS} commands")));
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_read_back_and_name_the_line_that_is_wrong() {
        let all = [
            Command::Open("a b.svs".into()),
            Command::Zoom { x: 1.0, y: 2.0, factor: 1.5 },
            Command::Segment(SegmentExtent::View),
            Command::Wait,
        ];
        let text: Vec<String> =
            all.iter().map(|c| serde_json::to_string(c).expect("line")).collect();
        assert_eq!(
            text[1..],
            [r#"{"zoom":{"x":1.0,"y":2.0,"factor":1.5}}"#, r#"{"segment":"view"}"#, r#""wait""#]
        );
        assert_eq!(script(&format!("# a tour\n\n{}\n", text.join("\n"))).expect("script"), all);
        let said = script("\"fit\"\n\"jump\"").expect_err("no such command").to_string();
        assert!(said.contains("Line 2"), "{said}");
    }
}
