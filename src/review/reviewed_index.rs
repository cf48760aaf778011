//! The nuclei of a result with what marks hide of them, found once for each change of either.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::mark::Marks;
use super::nuclei::{HiddenNuclei, ReviewedNuclei};
use super::region::NamedRegion;
use crate::model::NucleusType;
use crate::whole_slide::NucleusIndex;

/// The nuclei of a model and the numbers of those that marks hide.
#[derive(Debug)]
pub struct ReviewedIndex {
    index: NucleusIndex,
    hidden: OnceCell<HiddenNuclei>,
}

impl From<NucleusIndex> for ReviewedIndex {
    fn from(index: NucleusIndex) -> Self {
        Self { index, hidden: OnceCell::new() }
    }
}

impl ReviewedIndex {
    /// Without nuclei, of an image or slide of that size.
    #[must_use]
    pub fn nothing((width, height): (usize, usize)) -> Self {
        NucleusIndex::of_image(width, height, Vec::new()).into()
    }

    /// The nuclei of the model.
    #[must_use]
    pub fn index(&self) -> &NucleusIndex {
        &self.index
    }

    /// The same, to change them.
    pub fn index_mut(&mut self) -> &mut NucleusIndex {
        self.marks_changed();
        &mut self.index
    }

    /// The marks are others now.
    pub fn marks_changed(&mut self) {
        self.hidden = OnceCell::new();
    }

    /// Together with the marks; `inside` and `types` as of [`ReviewedNuclei`].
    pub fn reviewed<'a>(
        &'a self,
        marks: &'a Marks,
        inside: Option<&'a BTreeMap<u32, NamedRegion>>,
        types: &'a [NucleusType],
    ) -> ReviewedNuclei<'a> {
        let hidden = self.hidden.get_or_init(|| HiddenNuclei::of(&self.index, marks));
        ReviewedNuclei { index: &self.index, hidden, marks, inside, types }
    }
}
