//! Painted lines, regions that are complete, and everything that a model can be taught from.

use std::path::Path;

use super::app_state::AppState;
use super::command::Command;
use super::document::Document;
use super::lock;
use crate::dataset::SparseLabels;
use crate::error::{Error, Result, counted};
use crate::model::{ClassRole, NucleusType, PixelClass};
use crate::platform::write_atomic;
use crate::raster::Point;
use crate::review::{
    MarkSource, NamedRegion, RegionCounts, ReviewCommand, ReviewObject, ReviewedNuclei, Stroke,
};

/// Class of strokes where there is no nucleus.
pub(super) const BACKGROUND: &str = "background";
/// Class of strokes in nuclei of no type.
pub(super) const NUCLEUS: &str = "nucleus";
/// Colour of strokes where there is no nucleus.
const BACKGROUND_COLOUR: [u8; 3] = [0xff, 0x9a, 0xc1];
/// Colour of strokes in nuclei of no type.
const NUCLEUS_COLOUR: [u8; 3] = [0x0f, 0xd0, 0x8c];
/// Share of a region that must be segmented before it can be complete.
const SEGMENTED_SHARE: f64 = 0.99;
/// Widths of strokes that can be painted, micrometres.
pub(super) const STROKE_WIDTHS_UM: std::ops::RangeInclusive<f64> = 0.5..=50.0;

/// A class that can be painted, with its colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PaintedClass {
    pub name: String,
    /// Red, green, blue.
    pub colour: [u8; 3],
}

impl AppState {
    /// Executes a command about strokes, complete regions or marks.
    pub(super) fn execute_painting(&mut self, command: &Command) -> Result<()> {
        match *command {
            Command::Stroke { ref class, width_um, ref points } => {
                self.paint(class, width_um, points)
            }
            Command::Erase([x, y]) => self.erase(Point { x, y }),
            Command::RegionComplete(id) => self.set_complete(id, true),
            Command::RegionIncomplete(id) => self.set_complete(id, false),
            Command::SaveMarks(ref path) => self.save_marks(path),
            ref other => self.execute_teaching(other),
        }
    }

    fn paint(&mut self, class: &str, width_um: f64, points: &[[f64; 2]]) -> Result<()> {
        if self.document.is_none() {
            return Err(Error::invalid("Nothing is open yet"));
        }
        if !STROKE_WIDTHS_UM.contains(&width_um) {
            return Err(Error::invalid(format!(
                "The width of a stroke must be between {} and {} µm",
                STROKE_WIDTHS_UM.start(),
                STROKE_WIDTHS_UM.end()
            )));
        }
        let stroke = Stroke {
            class: class.trim().to_owned(),
            width_px: width_um / self.label_mpp_um()?,
            points: points.iter().copied().map(Point::from).collect(),
        };
        if !stroke.points.is_empty() && !stroke.bounds().intersects(&self.whole()) {
            return Err(Error::invalid("The stroke lies outside the image"));
        }
        self.change(ReviewCommand::AddStroke(stroke))?;
        self.status = format!("Painted: {}.", class.trim());
        Ok(())
    }

    /// Removes the uppermost line at a point, else takes back the decision there.
    fn erase(&mut self, at: Point) -> Result<()> {
        let strokes = &self.review.state().strokes;
        let uppermost = strokes.iter().rev().find(|(_, stroke)| stroke.holds(at.x, at.y));
        if let Some(id) = uppermost.map(|(id, _)| *id) {
            self.change(ReviewCommand::RemoveStroke(id))?;
            "Erased.".clone_into(&mut self.status);
            return Ok(());
        }
        let object = self.with_shown(|shown| shown.at(at));
        match object.filter(|object| object.mark().is_some()) {
            Some(object) => {
                self.change(ReviewCommand::Forget(object))?;
                "Taken back.".clone_into(&mut self.status);
                Ok(())
            }
            None => Err(Error::invalid("There is neither a stroke nor a decision here")),
        }
    }

    fn set_complete(&mut self, id: u32, is_complete: bool) -> Result<()> {
        let region = self.review.state().regions.get(&id);
        let region = region.ok_or_else(|| Error::invalid("This region is not there any more"))?;
        if region.is_complete() == is_complete {
            return Ok(());
        }
        let region = region.clone();
        if !is_complete {
            self.status = format!("What in '{}' nobody marked is unknown.", region.name);
            let region = NamedRegion { class: None, ..region };
            return self.change(ReviewCommand::ChangeRegion { id, region });
        }
        self.check_segmented(id)?;
        let nuclei = self.undecided_in(&region);
        let accepted = counted(nuclei.len(), "nucleus is", "nuclei are");
        self.change(ReviewCommand::CompleteRegion { id, nuclei })?;
        self.status =
            format!("{accepted} accepted in '{}'; the rest of it is background.", region.name);
        Ok(())
    }

    /// Nuclei of the model in a region on which nobody decided.
    fn undecided_in(&self, region: &NamedRegion) -> Vec<ReviewObject> {
        self.with_shown(|shown| {
            let nuclei = ReviewedNuclei { inside: None, ..shown.counted() };
            let near = nuclei.near(region.bounds()).filter(|object| object.status.is_none());
            let is_inside = |object: &ReviewObject| {
                let (x, y) = object.nucleus.centroid;
                region.holds(x, y)
            };
            near.filter(is_inside).collect()
        })
    }

    /// Refuses to call a region complete that is not segmented: the rest would be background.
    fn check_segmented(&self, id: u32) -> Result<()> {
        let counts = self.region_counts().into_iter().find(|region| region.id == id);
        let Some(RegionCounts { name, area_px, segmented_px, .. }) = counts else { return Ok(()) };
        if segmented_px >= SEGMENTED_SHARE * area_px {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{:.0} % of '{name}' is segmented; segment all of it, correct what is wrong, and then \
             say that it is complete",
            100.0 * segmented_px / area_px.max(1.0)
        )))
    }

    fn save_marks(&mut self, path: &Path) -> Result<()> {
        let mpp_um = self.label_mpp_um()?;
        let labels = self.labels(mpp_um)?;
        if labels.marks.is_empty() {
            return Err(nothing_marked());
        }
        write_atomic(path, &labels.to_geojson(Some(mpp_um))?)?;
        let marks = counted(labels.marks.len(), "mark", "marks");
        self.status = format!("{marks} → {}", path.display());
        Ok(())
    }

    /// Pixel size of the finest level in which marks are measured, micrometres: that of the model
    /// for an image of unknown size.
    pub(super) fn label_mpp_um(&self) -> Result<f64> {
        match (self.mpp_um(), self.document.as_deref()) {
            (_, None) => Err(Error::invalid("Nothing is open yet")),
            (Some(um), _) => Ok(um),
            (None, Some(Document::Image { .. })) => Ok(self.model.card().mpp_um),
            (None, Some(Document::Slide { .. })) => {
                Err(Error::invalid("The pixel size is not known; state it first (micrometres)"))
            }
        }
    }

    /// What a person said of pixels.
    pub(super) fn labels(&self, mpp_um: f64) -> Result<SparseLabels> {
        let state = self.review.state();
        let shelf = lock(self.results());
        let counted = shelf.counted();
        let types = match counted {
            Some(result) => result.settings.types.clone(),
            None => NucleusType::among(&self.model.card().classes),
        };
        let source = MarkSource {
            marks: &state.marks,
            strokes: &state.strokes,
            regions: &state.regions,
            types: &types,
            mpp_um,
        };
        source.labels()
    }

    /// Number of strokes, decisions about nuclei, and complete regions.
    #[must_use]
    pub fn mark_count(&self) -> usize {
        let state = self.review.state();
        let complete = state.regions.values().filter(|region| region.is_complete());
        state.strokes.len() + state.marks.len() + complete.count()
    }

    /// What can be painted: background, the types of the model, and those that strokes name.
    pub(super) fn painted_classes(&self) -> Vec<PaintedClass> {
        let of_model = &self.model.card().classes;
        let mut nuclei: Vec<PixelClass> =
            of_model.iter().filter(|class| class.role == ClassRole::Nucleus).cloned().collect();
        for Stroke { class, .. } in self.review.state().strokes.values() {
            let mut known = of_model.iter().chain(&nuclei).map(|known| known.name.as_str());
            let is_untyped = [BACKGROUND, NUCLEUS].iter().any(|n| n.eq_ignore_ascii_case(class));
            if !is_untyped && !known.any(|known| known.eq_ignore_ascii_case(class)) {
                nuclei.push(PixelClass::named(class.clone()));
            }
        }
        let background = PaintedClass { name: BACKGROUND.into(), colour: BACKGROUND_COLOUR };
        let types = NucleusType::among(&nuclei);
        if types.is_empty() {
            return vec![background, PaintedClass { name: NUCLEUS.into(), colour: NUCLEUS_COLOUR }];
        }
        let typed = types.into_iter().map(|of| PaintedClass { name: of.name, colour: of.colour });
        [background].into_iter().chain(typed).collect()
    }
}

/// Why nothing can be taught or written.
pub(super) fn nothing_marked() -> Error {
    Error::invalid(
        "Nothing is marked yet: paint strokes, or accept, reject and draw nuclei, before the model \
         is taught",
    )
}

/// Colour of a class; that of nuclei for a name that is not there yet.
pub(super) fn colour_of(class: &str, classes: &[PaintedClass]) -> [u8; 3] {
    let known = classes.iter().find(|known| known.name.eq_ignore_ascii_case(class));
    known.map_or(NUCLEUS_COLOUR, |known| known.colour)
}
