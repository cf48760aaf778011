//! How outlines look: bright colours that stay apart with any colour vision on a dark casing, line
//! widths, and dash patterns. `web/palettes.js` and `web/outline-painter.js` have the same numbers.

use super::outline_tiles::OutlineStatus;

/// Width of an outline, screen points; of an accepted one; of the light around a selected one.
pub const OUTLINE_WIDTH: f64 = 1.75;
/// Of an accepted object, and of the selected one.
pub const THICK_OUTLINE_WIDTH: f64 = 2.5;
/// Of the white line below the selected one.
pub const SELECTED_WIDTH: f64 = 7.0;
/// Width of the casing on each side of a line, screen points.
pub const CASING_WIDTH: f64 = 1.0;
/// Opacity of the casing, 0 to 1.
pub const CASING_OPACITY: f32 = 0.85;
/// Width of the dot of an object too small for an outline, screen points.
pub const DOT_WIDTH: f64 = 2.6;
/// Scale below which lines become thinner, screen points an image pixel.
const THIN_BELOW_SCALE: f64 = 0.6;
/// Least share of the width that is left.
const MIN_THINNESS: f64 = 0.55;
/// Lengths of dashes and gaps, screen points.
const REJECTED_DASH: &[f64] = &[4.0, 3.0];
const COMPARISON_DASH: &[f64] = &[7.0, 3.0];
const OLDER_DASH: &[f64] = &[2.5, 3.5];
const OLDER_OPACITY: f32 = 0.7;
/// Of added nuclei in the colour of their type: without types their colour tells them apart.
const ADDED_DASH: &[f64] = &[0.5, 3.5];

/// Look of the outlines of one status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlineLook {
    /// Red, green, blue.
    pub colour: [u8; 3],
    /// Screen points.
    pub width: f64,
    /// Lengths of dashes and gaps in turn, screen points; a solid line has none.
    pub dash: &'static [f64],
    /// 0 to 1.
    pub opacity: f32,
}

/// Colours of outlines; red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlinePalette {
    /// As in [`DisplaySettings`](crate::review::DisplaySettings).
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// Of nuclei of a model.
    pub model: [u8; 3],
    /// Of nuclei that a person added, and of outlines to compare with.
    pub added: [u8; 3],
    /// Of rejected objects.
    pub rejected: [u8; 3],
    /// Around every line.
    pub casing: [u8; 3],
}

const REJECTED: [u8; 3] = [0xba, 0xb7, 0xc2];
const CASING: [u8; 3] = [0x14, 0x12, 0x1c];

/// The palettes; the first is the one without a choice.
pub const OUTLINE_PALETTES: [OutlinePalette; 2] = [
    OutlinePalette {
        name: "blue",
        title: "Blue and yellow",
        model: [0x4c, 0xc9, 0xff],
        added: [0xff, 0xe1, 0x4a],
        rejected: REJECTED,
        casing: CASING,
    },
    OutlinePalette {
        name: "white",
        title: "White and orange",
        model: [0xff, 0xff, 0xff],
        added: [0xff, 0xa0, 0x28],
        rejected: REJECTED,
        casing: CASING,
    },
];

impl OutlinePalette {
    /// The palette of a name, the first for an unknown one.
    #[must_use]
    pub fn named(name: &str) -> &'static Self {
        let known = OUTLINE_PALETTES.iter().find(|palette| palette.name == name);
        known.unwrap_or(&OUTLINE_PALETTES[0])
    }

    /// Look of the outlines of a status.
    #[must_use]
    pub fn look(&self, status: OutlineStatus) -> OutlineLook {
        let plain =
            OutlineLook { colour: self.model, width: OUTLINE_WIDTH, dash: &[], opacity: 1.0 };
        match status {
            OutlineStatus::Model | OutlineStatus::Matched => plain,
            OutlineStatus::Accepted => OutlineLook { width: THICK_OUTLINE_WIDTH, ..plain },
            OutlineStatus::Added | OutlineStatus::Extra => {
                OutlineLook { colour: self.added, ..plain }
            }
            OutlineStatus::Missed => {
                OutlineLook { colour: self.added, dash: COMPARISON_DASH, ..plain }
            }
            OutlineStatus::Rejected => {
                OutlineLook { colour: self.rejected, dash: REJECTED_DASH, ..plain }
            }
            OutlineStatus::Older => {
                OutlineLook { dash: OLDER_DASH, opacity: OLDER_OPACITY, ..plain }
            }
        }
    }

    /// The same in the colour of a type of nuclei, where there is one.
    #[must_use]
    pub fn typed_look(&self, status: OutlineStatus, colour: Option<[u8; 3]>) -> OutlineLook {
        let look = self.look(status);
        let Some(colour) = colour.filter(|_| status.shows_type()) else { return look };
        let dash = if status == OutlineStatus::Added { ADDED_DASH } else { look.dash };
        OutlineLook { colour, dash, ..look }
    }
}

/// Share of the width of lines where nuclei are small on the screen; `scale` is in screen points
/// an image pixel.
#[must_use]
pub fn outline_thinness(scale: f64) -> f64 {
    (scale / THIN_BELOW_SCALE).clamp(MIN_THINNESS, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_and_page_have_the_same_colours_and_lines() {
        let palettes = include_str!("../../web/palettes.js");
        let hex = |[r, g, b]: [u8; 3]| format!("\"#{r:02x}{g:02x}{b:02x}\"");
        for palette in OUTLINE_PALETTES {
            let start = palettes.find(&format!("  {}: {{", palette.name)).expect("palette");
            let entry = &palettes[start..];
            let entry = &entry[..entry.find('}').expect("end")];
            assert!(entry.contains(&format!("name: \"{}\"", palette.title)), "{entry}");
            assert!(entry.contains(&format!("model: {}", hex(palette.model))), "{entry}");
            assert!(entry.contains(&format!("added: {}", hex(palette.added))), "{entry}");
        }
        assert_eq!(palettes.matches("  name: \"").count(), OUTLINE_PALETTES.len());
        assert!(palettes.contains(&format!("const REJECTED = {};", hex(REJECTED))));
        assert!(palettes.contains(&format!("const CASING = {};", hex(CASING))));
        let canvas = concat!(
            include_str!("../../web/outline-painter.js"),
            include_str!("../../web/outline-canvas.js")
        );
        let numbers = [
            ("LINE", OUTLINE_WIDTH),
            ("THICK_LINE", THICK_OUTLINE_WIDTH),
            ("SELECTED_LINE", SELECTED_WIDTH),
            ("CASING", CASING_WIDTH),
            ("DOT", DOT_WIDTH),
            ("THIN_BELOW_SCALE", THIN_BELOW_SCALE),
            ("MIN_THINNESS", MIN_THINNESS),
        ];
        for (name, value) in numbers {
            assert!(canvas.contains(&format!("const {name} = {value};")), "{name}");
        }
        let dashes = [
            ("REJECTED_DASH", REJECTED_DASH),
            ("COMPARISON_DASH", COMPARISON_DASH),
            ("OLDER_DASH", OLDER_DASH),
            ("ADDED_DASH", ADDED_DASH),
        ];
        for (name, dash) in dashes {
            assert!(canvas.contains(&format!("const {name} = [{}, {}];", dash[0], dash[1])));
        }
        assert!(canvas.contains(&format!("const OLDER_OPACITY = {OLDER_OPACITY};")));
        assert!(canvas.contains(&format!("const CASING_OPACITY = {CASING_OPACITY};")));
    }
}
