//! Marks: outlines on which a person has decided.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::instances::Nucleus;
use crate::model::NucleusType;
use crate::raster::polygons_hold;
use crate::slide::SlideBounds;

/// Set in the ids of objects that are marks; ids without it are numbers of a model's nuclei.
pub const MARK_BIT: u32 = 1 << 31;

/// What a person has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkStatus {
    /// A nucleus of a model that is right.
    Accepted,
    /// A nucleus that was drawn, or that came from a split, a merge or a correction.
    Added,
    /// Not a nucleus.
    Rejected,
    /// A nucleus in whose place others were drawn; it is not shown.
    Replaced,
}

impl MarkStatus {
    /// Whether the outline counts as a nucleus.
    #[must_use]
    pub fn counts(self) -> bool {
        matches!(self, Self::Accepted | Self::Added)
    }

    /// As files state it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Added => "added",
            Self::Rejected => "rejected",
            Self::Replaced => "replaced",
        }
    }
}

/// An outline and the decision about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The decision.
    pub status: MarkStatus,
    /// Outline and measurements in pixels of the finest level.
    pub nucleus: Nucleus,
    /// Name of its type, which outlives another model; `nucleus.class` is its place among the types
    /// of the model with which it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
}

impl Mark {
    /// Place of its type among those of a model; none where the model does not know it. Marks of
    /// older states have a place alone.
    #[must_use]
    pub fn class_among(&self, types: &[NucleusType]) -> Option<u8> {
        let Some(name) = &self.type_name else { return self.nucleus.class };
        let place = types.iter().position(|known| known.name.eq_ignore_ascii_case(name))?;
        u8::try_from(place).ok()
    }

    /// Of the outline.
    #[must_use]
    pub fn bounds(&self) -> SlideBounds {
        SlideBounds::of_polygons(&self.nucleus.polygons)
    }

    /// Whether a point lies inside.
    #[must_use]
    pub fn holds(&self, x: f64, y: f64) -> bool {
        polygons_hold(&self.nucleus.polygons, x, y)
    }
}

/// Marks by number, in the order in which they were made.
pub type Marks = BTreeMap<u32, Mark>;

/// An object that is shown: a nucleus of a model or a mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReviewObject {
    /// Number of a model's nucleus, or [`MARK_BIT`] with the number of a mark.
    pub id: u32,
    /// None for a nucleus of a model.
    pub status: Option<MarkStatus>,
    /// Outline and measurements in pixels of the finest level.
    pub nucleus: Nucleus,
    /// Name of its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
}

impl ReviewObject {
    /// Number of the mark, if it is one.
    #[must_use]
    pub fn mark(&self) -> Option<u32> {
        (self.id & MARK_BIT != 0).then_some(self.id & !MARK_BIT)
    }
}
