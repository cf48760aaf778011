//! How outlines look: colours that stay apart with any colour vision, on a dark casing, and dash
//! patterns. `web/outline-canvas.js` has the same numbers.

use super::outline_tiles::OutlineStatus;

/// Width of an outline, screen points.
pub const OUTLINE_WIDTH: f64 = 1.75;
/// Width of the casing on each side of it, screen points.
pub const CASING_WIDTH: f64 = 1.0;
/// Colour of the casing.
pub const CASING_COLOUR: [u8; 3] = [0, 0, 0];
/// Opacity of the casing, 0 to 1.
pub const CASING_OPACITY: f32 = 0.6;

/// Look of the outlines of one status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlineLook {
    /// Red, green, blue.
    pub colour: [u8; 3],
    /// Lengths of dashes and gaps in turn, screen points; a solid line has none.
    pub dash: &'static [f64],
}

/// Colours and dash patterns by status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlinePalette {
    /// As in [`DisplaySettings`](crate::review::DisplaySettings).
    pub name: &'static str,
    /// In the order of [`OutlineStatus`].
    looks: [OutlineLook; 5],
    /// Colour of the selected object.
    pub selected: [u8; 3],
    /// Colour of outlines to compare with.
    pub reference: [u8; 3],
}

const GREY: [u8; 3] = [200, 200, 200];
const WHITE: [u8; 3] = [255, 255, 255];
const BLUE: [u8; 3] = [86, 180, 255];
const YELLOW: [u8; 3] = [255, 221, 51];
const PINK: [u8; 3] = [255, 150, 220];
const DASHES: &[f64] = &[4.0, 3.0];
const DOTS: &[f64] = &[1.5, 3.0];

const fn palette(name: &'static str, model: [u8; 3], person: [u8; 3]) -> OutlinePalette {
    OutlinePalette {
        name,
        looks: [
            OutlineLook { colour: model, dash: &[] },
            OutlineLook { colour: person, dash: &[] },
            OutlineLook { colour: person, dash: &[] },
            OutlineLook { colour: GREY, dash: DASHES },
            OutlineLook { colour: model, dash: DOTS },
        ],
        selected: WHITE,
        reference: PINK,
    }
}

/// The palettes; the first is the one without a choice.
pub const OUTLINE_PALETTES: [OutlinePalette; 2] =
    [palette("blue", BLUE, YELLOW), palette("yellow", YELLOW, BLUE)];

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
        self.looks[status as usize]
    }
}
