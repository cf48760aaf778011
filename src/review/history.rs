//! The state with its history.

use std::collections::{BTreeMap, VecDeque};

use super::command::ReviewCommand;
use super::limits::{
    MAX_MARKS, MAX_REGIONS, MAX_STROKES, check_nucleus, check_outline, check_pixel_size,
    check_threshold, with_short_name,
};
use super::mark::{Mark, MarkStatus, ReviewObject};
use super::region::{COMPLETE_CLASS, NamedRegion};
use super::state::{ModelSetting, PixelSizeSetting, ReviewState};
use super::stroke::Stroke;
use crate::error::{Error, Result};
use crate::instances::Nucleus;

/// Steps that can be undone.
pub const MAX_UNDO_STEPS: usize = 200;

/// The settings that can be undone.
#[derive(Debug, Clone, PartialEq)]
struct UndoableSettings {
    pixel_size: PixelSizeSetting,
    model: ModelSetting,
    threshold: Option<f32>,
    inside_only: bool,
    keep_stain: bool,
}

impl UndoableSettings {
    fn of(state: &ReviewState) -> Self {
        Self {
            pixel_size: state.pixel_size,
            model: state.model.clone(),
            threshold: state.threshold,
            inside_only: state.inside_only,
            keep_stain: state.keep_stain,
        }
    }

    fn put_into(&self, state: &mut ReviewState) {
        state.pixel_size = self.pixel_size;
        state.model = self.model.clone();
        state.threshold = self.threshold;
        state.inside_only = self.inside_only;
        state.keep_stain = self.keep_stain;
    }
}

/// An entry before and after a step; none where it does not exist.
#[derive(Debug)]
struct EntryChange<T> {
    id: u32,
    before: Option<T>,
    after: Option<T>,
}

/// What a command changed.
#[derive(Debug)]
struct Step {
    /// What the command does, for people.
    name: &'static str,
    before: UndoableSettings,
    after: UndoableSettings,
    marks: Vec<EntryChange<Mark>>,
    regions: Vec<EntryChange<NamedRegion>>,
    strokes: Vec<EntryChange<Stroke>>,
}

/// The state, and the steps that led to it.
#[derive(Debug, Default)]
pub struct Review {
    state: ReviewState,
    done: VecDeque<Step>,
    undone: Vec<Step>,
    /// Changes with every step and with every undone one.
    revision: u64,
}

impl Review {
    /// A state without history.
    #[must_use]
    pub fn new(state: ReviewState) -> Self {
        Self { state, done: VecDeque::new(), undone: Vec::new(), revision: 0 }
    }

    /// Another state in place of this one, without history.
    #[must_use]
    pub fn restored(&self, state: ReviewState) -> Self {
        Self { revision: self.revision + 1, ..Self::new(state) }
    }

    /// A number that changes whenever marks, regions or settings do.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> &ReviewState {
        &self.state
    }

    /// What [`Self::undo`] would undo, for people.
    #[must_use]
    pub fn undo_name(&self) -> Option<&'static str> {
        self.done.back().map(|step| step.name)
    }

    /// What [`Self::redo`] would do again, for people.
    #[must_use]
    pub fn redo_name(&self) -> Option<&'static str> {
        self.undone.last().map(|step| step.name)
    }

    /// Executes a command.
    ///
    /// # Errors
    /// A sentence for people when the command refers to what does not exist, or a limit is
    /// reached; the state is as before then.
    pub fn apply(&mut self, command: ReviewCommand) -> Result<()> {
        match command {
            ReviewCommand::Open { document, pixel_size } => {
                let old = std::mem::take(&mut self.state);
                let document = Some(document);
                let state = ReviewState {
                    document,
                    pixel_size,
                    model: old.model,
                    threshold: old.threshold,
                    keep_stain: old.keep_stain,
                    display: old.display,
                    ..ReviewState::default()
                };
                *self = self.restored(state);
            }
            ReviewCommand::Display(display) => self.state.display = display,
            ReviewCommand::View(view) => self.state.view = view,
            ReviewCommand::Result { slot, facts } => {
                let place = self.state.results.get_mut(slot);
                *place.ok_or_else(|| Error::invalid("There are two results"))? = facts;
            }
            undoable => {
                let step = self.step(undoable)?;
                self.take_step(step);
            }
        }
        Ok(())
    }

    /// What a command that can be undone changes.
    fn step(&self, command: ReviewCommand) -> Result<Step> {
        let before = UndoableSettings::of(&self.state);
        let mut draft = StepDraft {
            after: before.clone(),
            before,
            marks: BTreeMap::new(),
            regions: BTreeMap::new(),
            strokes: BTreeMap::new(),
            state: &self.state,
        };
        let name = match command {
            ReviewCommand::Accept(object) => {
                draft.decide(object, MarkStatus::Accepted)?;
                "accept a nucleus"
            }
            ReviewCommand::Reject(object) => {
                draft.reject(object)?;
                "reject a nucleus"
            }
            ReviewCommand::Forget(object) => {
                let mark = object.mark().ok_or_else(|| Error::invalid("It was not decided yet"))?;
                draft.mark(mark)?;
                draft.marks.insert(mark, None);
                "take back a decision"
            }
            ReviewCommand::Add(nucleus) => {
                draft.add_mark(MarkStatus::Added, nucleus, None)?;
                "add a nucleus"
            }
            ReviewCommand::Replace { old, new } => {
                let name = replacement_name(old.len(), new.len());
                // They are of the type of what was there, of the largest where several were.
                let largest = old.iter().max_by_key(|object| object.nucleus.area_px);
                let class = largest.and_then(|object| object.nucleus.class);
                let type_name = largest.and_then(|object| object.type_name.clone());
                for object in old {
                    draft.replace(object)?;
                }
                for nucleus in new {
                    let nucleus = Nucleus { class: nucleus.class.or(class), ..nucleus };
                    draft.add_mark(MarkStatus::Added, nucleus, type_name.clone())?;
                }
                name
            }
            ReviewCommand::ForgetAll => {
                draft.marks = self.state.marks.keys().map(|id| (*id, None)).collect();
                draft.strokes = self.state.strokes.keys().map(|id| (*id, None)).collect();
                "take back all decisions"
            }
            ReviewCommand::AddRegion(region) => {
                draft.add_region(region)?;
                "add a region"
            }
            ReviewCommand::AddComplete { region, nuclei } => {
                draft.accept_all(nuclei)?;
                draft.add_region(complete(region))?;
                "mark everything in a region"
            }
            ReviewCommand::CompleteRegion { id, nuclei } => {
                draft.accept_all(nuclei)?;
                draft.check_region(id)?;
                draft.regions.insert(id, Some(complete(self.state.regions[&id].clone())));
                "mark everything in a region"
            }
            ReviewCommand::AddRegions(regions) => {
                regions.into_iter().try_for_each(|region| draft.add_region(region))?;
                "open regions"
            }
            ReviewCommand::ChangeRegion { id, region } => {
                draft.check_region(id)?;
                check_outline(&region.polygons)?;
                draft.regions.insert(id, Some(with_short_name(region)));
                "change a region"
            }
            ReviewCommand::RemoveRegion(id) => {
                draft.check_region(id)?;
                draft.regions.insert(id, None);
                "remove a region"
            }
            ReviewCommand::AddStroke(stroke) => {
                draft.add_stroke(stroke)?;
                "paint a stroke"
            }
            ReviewCommand::RemoveStroke(id) => {
                if !self.state.strokes.contains_key(&id) {
                    return Err(Error::invalid("This stroke is not there any more"));
                }
                draft.strokes.insert(id, None);
                "erase a stroke"
            }
            ReviewCommand::InsideOnly(inside_only) => {
                draft.after.inside_only = inside_only;
                "count inside regions"
            }
            ReviewCommand::KeepStain(keep_stain) => {
                draft.after.keep_stain = keep_stain;
                "match stain colours or not"
            }
            ReviewCommand::Threshold(threshold) => {
                check_threshold(threshold)?;
                draft.after.threshold = threshold;
                "change the threshold"
            }
            ReviewCommand::PixelSize(pixel_size) => {
                check_pixel_size(&pixel_size)?;
                draft.after.pixel_size = pixel_size;
                "change the pixel size"
            }
            ReviewCommand::Model(model) => {
                draft.after.model = model;
                "change the model"
            }
            ReviewCommand::Open { .. }
            | ReviewCommand::Display(_)
            | ReviewCommand::View(_)
            | ReviewCommand::Result { .. } => {
                return Err(Error::invalid("This cannot be undone"));
            }
        };
        Ok(draft.finish(name))
    }

    fn take_step(&mut self, step: Step) {
        let has_entries =
            !(step.marks.is_empty() && step.regions.is_empty() && step.strokes.is_empty());
        if !has_entries && step.before == step.after {
            return;
        }
        self.revision += 1;
        step.after.put_into(&mut self.state);
        for change in &step.marks {
            set(&mut self.state.marks, change.id, change.after.as_ref());
        }
        for change in &step.regions {
            set(&mut self.state.regions, change.id, change.after.as_ref());
        }
        for change in &step.strokes {
            set(&mut self.state.strokes, change.id, change.after.as_ref());
        }
        self.undone.clear();
        self.done.push_back(step);
        if self.done.len() > MAX_UNDO_STEPS {
            self.done.pop_front();
        }
    }

    /// Undoes the last step; false if there is none.
    pub fn undo(&mut self) -> bool {
        let Some(step) = self.done.pop_back() else { return false };
        self.revision += 1;
        step.before.put_into(&mut self.state);
        for change in &step.marks {
            set(&mut self.state.marks, change.id, change.before.as_ref());
        }
        for change in &step.regions {
            set(&mut self.state.regions, change.id, change.before.as_ref());
        }
        for change in &step.strokes {
            set(&mut self.state.strokes, change.id, change.before.as_ref());
        }
        self.undone.push(step);
        true
    }

    /// Does again what was undone last; false if nothing was.
    pub fn redo(&mut self) -> bool {
        let Some(step) = self.undone.pop() else { return false };
        let later = std::mem::take(&mut self.undone);
        self.take_step(step);
        self.undone = later;
        true
    }
}

fn set<T: Clone>(entries: &mut BTreeMap<u32, T>, id: u32, value: Option<&T>) {
    match value {
        Some(value) => {
            entries.insert(id, value.clone());
        }
        None => {
            entries.remove(&id);
        }
    }
}

/// A region in which every nucleus is marked.
fn complete(region: NamedRegion) -> NamedRegion {
    NamedRegion { class: Some(COMPLETE_CLASS.to_owned()), ..region }
}

/// Entries before and after a step.
fn changes<T: Clone>(new: BTreeMap<u32, Option<T>>, old: &BTreeMap<u32, T>) -> Vec<EntryChange<T>> {
    let change = |(id, after)| EntryChange { id, before: old.get(&id).cloned(), after };
    new.into_iter().map(change).collect()
}

fn replacement_name(old: usize, new: usize) -> &'static str {
    match (old, new) {
        (1, 1) => "redraw a nucleus",
        (1, _) => "split a nucleus",
        _ => "merge nuclei",
    }
}

/// Changes of a command before it is executed.
struct StepDraft<'a> {
    state: &'a ReviewState,
    before: UndoableSettings,
    after: UndoableSettings,
    marks: BTreeMap<u32, Option<Mark>>,
    regions: BTreeMap<u32, Option<NamedRegion>>,
    strokes: BTreeMap<u32, Option<Stroke>>,
}

impl StepDraft<'_> {
    fn finish(self, name: &'static str) -> Step {
        let marks = changes(self.marks, &self.state.marks);
        let regions = changes(self.regions, &self.state.regions);
        let strokes = changes(self.strokes, &self.state.strokes);
        Step { name, before: self.before, after: self.after, marks, regions, strokes }
    }

    fn mark(&self, id: u32) -> Result<&Mark> {
        let mark = self.state.marks.get(&id);
        mark.ok_or_else(|| Error::invalid("This nucleus is not there any more"))
    }

    fn check_region(&self, id: u32) -> Result<()> {
        let known = self.state.regions.contains_key(&id);
        if known { Ok(()) } else { Err(Error::invalid("This region is not there any more")) }
    }

    fn next_id<T>(old: &BTreeMap<u32, T>, new: &BTreeMap<u32, Option<T>>) -> u32 {
        let last = |id: Option<&u32>| id.copied().unwrap_or(0);
        last(old.keys().next_back()).max(last(new.keys().next_back())) + 1
    }

    fn add_mark(
        &mut self,
        status: MarkStatus,
        mut nucleus: Nucleus,
        type_name: Option<String>,
    ) -> Result<()> {
        check_nucleus(&nucleus)?;
        if self.state.marks.len() + self.marks.len() >= MAX_MARKS {
            return Err(Error::limit(format!("An image takes {MAX_MARKS} decisions")));
        }
        let id = Self::next_id(&self.state.marks, &self.marks);
        nucleus.label = id;
        self.marks.insert(id, Some(Mark { status, nucleus, type_name }));
        Ok(())
    }

    fn add_region(&mut self, region: NamedRegion) -> Result<()> {
        check_outline(&region.polygons)?;
        if self.state.regions.len() + self.regions.len() >= MAX_REGIONS {
            return Err(Error::limit(format!("An image takes {MAX_REGIONS} regions")));
        }
        let id = Self::next_id(&self.state.regions, &self.regions);
        self.regions.insert(id, Some(with_short_name(region)));
        Ok(())
    }

    fn accept_all(&mut self, nuclei: Vec<ReviewObject>) -> Result<()> {
        nuclei.into_iter().try_for_each(|nucleus| self.decide(nucleus, MarkStatus::Accepted))
    }

    fn add_stroke(&mut self, stroke: Stroke) -> Result<()> {
        stroke.check()?;
        if self.state.strokes.len() >= MAX_STROKES {
            return Err(Error::limit(format!("An image takes {MAX_STROKES} strokes")));
        }
        let id = Self::next_id(&self.state.strokes, &self.strokes);
        self.strokes.insert(id, Some(stroke));
        Ok(())
    }

    /// Gives an object a status: a mark another one, a nucleus of the model its first.
    fn decide(&mut self, object: ReviewObject, status: MarkStatus) -> Result<()> {
        let Some(id) = object.mark() else {
            return self.add_mark(status, object.nucleus, object.type_name);
        };
        let mark = Mark { status, ..self.mark(id)?.clone() };
        self.marks.insert(id, Some(mark));
        Ok(())
    }

    fn reject(&mut self, object: ReviewObject) -> Result<()> {
        self.decide_against(object, MarkStatus::Rejected)
    }

    fn replace(&mut self, object: ReviewObject) -> Result<()> {
        self.decide_against(object, MarkStatus::Replaced)
    }

    /// What was added goes; what a model found gets the status.
    fn decide_against(&mut self, object: ReviewObject, status: MarkStatus) -> Result<()> {
        if let Some(id) = object.mark()
            && self.mark(id)?.status == MarkStatus::Added
        {
            self.marks.insert(id, None);
            return Ok(());
        }
        self.decide(object, status)
    }
}

#[cfg(test)]
mod tests {
    use super::super::mark::MARK_BIT;
    use super::super::state::DocumentFacts;
    use super::*;
    use crate::raster::Point;

    fn square(at: f64) -> Nucleus {
        let corners = [(0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0)];
        let ring = corners.map(|(x, y)| Point { x: x + at, y: y + at }).to_vec();
        Nucleus {
            label: 1,
            polygons: vec![vec![ring]],
            area_px: 81,
            centroid: (at + 4.5, at + 4.5),
            measurements: None,
            class: None,
        }
    }

    fn of_model(at: f64) -> ReviewObject {
        ReviewObject { id: 7, status: None, nucleus: square(at), type_name: None }
    }

    fn of_mark(review: &Review, id: u32) -> ReviewObject {
        let mark = &review.state().marks[&id];
        let nucleus = mark.nucleus.clone();
        ReviewObject { id: MARK_BIT | id, status: Some(mark.status), nucleus, type_name: None }
    }

    fn statuses(review: &Review) -> Vec<MarkStatus> {
        review.state().marks.values().map(|mark| mark.status).collect()
    }

    #[test]
    fn twenty_mixed_steps_are_undone_and_done_again_to_the_same_state() {
        let mut review = Review::default();
        review.apply(ReviewCommand::Add(square(100.0))).expect("added");
        let first = review.state().clone();
        let region = NamedRegion {
            name: "core".into(),
            polygons: square(0.0).polygons,
            ..NamedRegion::default()
        };
        for i in 0..4 {
            let at = f64::from(i) * 20.0;
            let commands = [
                ReviewCommand::Reject(of_model(at)),
                ReviewCommand::Replace {
                    old: vec![of_model(at)],
                    new: vec![square(at), square(at)],
                },
                ReviewCommand::Accept(of_model(at + 5.0)),
                ReviewCommand::Threshold(Some(0.1 + at as f32 / 200.0)),
                ReviewCommand::AddRegion(region.clone()),
            ];
            for command in commands {
                review.apply(command).expect("applied");
            }
        }
        let last = review.state().clone();
        assert_eq!(last.marks.len(), 1 + 4 * 5);
        for _ in 0..20 {
            assert!(review.undo());
        }
        assert_eq!(review.state(), &first);
        for _ in 0..20 {
            assert!(review.redo());
        }
        assert!(!review.redo());
        assert_eq!(review.state(), &last);
        assert_eq!(review.undo_name(), Some("add a region"));
    }

    #[test]
    fn what_replaces_a_nucleus_has_its_type_and_what_is_drawn_has_none() {
        let mut review = Review::default();
        let typed = |class, area_px| {
            let nucleus = Nucleus { area_px, class, ..square(0.0) };
            let type_name = class.map(|class: u8| format!("type {class}"));
            ReviewObject { nucleus, type_name, ..of_model(0.0) }
        };
        let old = vec![typed(Some(0), 40), typed(Some(2), 50), typed(Some(1), 30)];
        review.apply(ReviewCommand::Add(square(50.0))).expect("added");
        review.apply(ReviewCommand::Replace { old, new: vec![square(0.0)] }).expect("merged");
        review.apply(ReviewCommand::Accept(typed(Some(1), 81))).expect("accepted");
        let classes: Vec<_> =
            review.state().marks.values().map(|mark| mark.nucleus.class).collect();
        assert_eq!(classes, [None, Some(0), Some(2), Some(1), Some(2), Some(1)]);
        for mark in review.state().marks.values() {
            let name = mark.nucleus.class.map(|class| format!("type {class}"));
            assert_eq!(mark.type_name, name);
        }
        let bytes = review.state().to_bytes().expect("bytes");
        assert_eq!(&ReviewState::from_bytes(&bytes).expect("state"), review.state());
    }

    #[test]
    fn decisions_about_marks_change_them_and_added_ones_go() {
        let mut review = Review::default();
        review.apply(ReviewCommand::Reject(of_model(0.0))).expect("rejected");
        let object = of_mark(&review, 1);
        review.apply(ReviewCommand::Accept(object)).expect("accepted");
        assert_eq!(statuses(&review), [MarkStatus::Accepted]);
        review.apply(ReviewCommand::Add(square(50.0))).expect("added");
        let object = of_mark(&review, 2);
        review.apply(ReviewCommand::Reject(object.clone())).expect("removed");
        assert_eq!(statuses(&review), [MarkStatus::Accepted]);
        assert!(review.apply(ReviewCommand::Reject(object)).is_err(), "it is gone");
        let object = of_mark(&review, 1);
        review.apply(ReviewCommand::Forget(object)).expect("forgotten");
        assert!(review.state().marks.is_empty());
    }

    #[test]
    fn at_most_200_steps_are_kept_and_what_changes_nothing_is_no_step() {
        let mut review = Review::default();
        review.apply(ReviewCommand::InsideOnly(false)).expect("the same");
        assert_eq!(review.undo_name(), None);
        for i in 0..250u16 {
            review.apply(ReviewCommand::Threshold(Some(f32::from(i) / 250.0))).expect("set");
        }
        let mut steps = 0;
        while review.undo() {
            steps += 1;
        }
        assert_eq!(steps, MAX_UNDO_STEPS);
        assert_eq!(review.state().threshold, Some(49.0 / 250.0));
    }

    #[test]
    fn bad_commands_change_nothing() {
        let mut review = Review::default();
        let empty = Nucleus { polygons: Vec::new(), ..square(0.0) };
        let bad = [
            ReviewCommand::Threshold(Some(2.0)),
            ReviewCommand::Threshold(Some(f32::NAN)),
            ReviewCommand::Add(empty.clone()),
            ReviewCommand::Replace { old: vec![of_model(0.0)], new: vec![empty] },
            ReviewCommand::RemoveRegion(1),
            ReviewCommand::Result { slot: 2, facts: None },
            ReviewCommand::PixelSize(PixelSizeSetting { um: Some(-3.0), ..Default::default() }),
        ];
        for command in bad {
            assert!(review.apply(command.clone()).is_err(), "{command:?}");
            assert_eq!(review.state(), &ReviewState::default());
        }
    }

    #[test]
    fn another_image_starts_anew_and_a_saved_state_reads_back() {
        let mut review = Review::default();
        review.apply(ReviewCommand::Add(square(1.0))).expect("added");
        let bytes = review.state().to_bytes().expect("bytes");
        assert_eq!(&ReviewState::from_bytes(&bytes).expect("state"), review.state());
        let pixel_size = PixelSizeSetting::default();
        let document = DocumentFacts::default();
        review.apply(ReviewCommand::Open { document, pixel_size }).expect("opened");
        assert!(review.state().marks.is_empty() && !review.undo());
        assert!(ReviewState::from_bytes(b"{\"format\":0,\"state\":{}}").is_err());
        assert!(ReviewState::from_bytes(&bytes[1..]).is_err());
    }

    #[test]
    fn a_saved_state_that_no_commands_make_is_refused() {
        let mut review = Review::default();
        review.apply(ReviewCommand::Add(square(1.0))).expect("added");
        let changed = |change: &dyn Fn(&mut ReviewState)| {
            let mut state = review.state().clone();
            change(&mut state);
            ReviewState::from_bytes(&state.to_bytes().expect("bytes"))
        };
        assert!(changed(&|_| ()).is_ok());
        let mark = review.state().marks[&1].clone();
        // The number after it would have the bit of marks, or be 0.
        assert!(changed(&|state| drop(state.marks.insert(u32::MAX, mark.clone()))).is_err());
        assert!(changed(&|state| drop(state.marks.insert(MARK_BIT - 1, mark.clone()))).is_err());
        let set_nucleus = |change: &dyn Fn(&mut Nucleus)| {
            changed(&|state| state.marks.values_mut().for_each(|mark| change(&mut mark.nucleus)))
        };
        assert!(set_nucleus(&|nucleus| nucleus.area_px = u64::MAX).is_err());
        assert!(set_nucleus(&|nucleus| nucleus.centroid = (1e300, 0.0)).is_err());
        assert!(set_nucleus(&|nucleus| nucleus.polygons[0][0][0].x = -1e300).is_err());
        assert!(set_nucleus(&|nucleus| nucleus.polygons[0][0].truncate(2)).is_err());
        assert!(changed(&|state| state.threshold = Some(2.0)).is_err());
        assert!(changed(&|state| state.pixel_size.um = Some(-1.0)).is_err());
    }

    #[test]
    fn strokes_are_painted_erased_and_undone() {
        let mut review = Review::default();
        let points = vec![Point { x: 10.0, y: 10.0 }, Point { x: 30.0, y: 10.0 }];
        let stroke = Stroke { class: "background".to_owned(), width_px: 4.0, points };
        assert!(stroke.holds(20.0, 11.9) && !stroke.holds(20.0, 12.1) && !stroke.holds(33.0, 10.0));
        let dot = Stroke { points: vec![Point { x: 5.0, y: 5.0 }], ..stroke.clone() };
        assert!(dot.holds(6.0, 6.0) && !dot.holds(7.0, 6.0));
        review.apply(ReviewCommand::AddStroke(stroke.clone())).expect("painted");
        review.apply(ReviewCommand::AddStroke(dot)).expect("painted");
        let before = review.state().clone();
        let saved = before.to_bytes().expect("saved");
        assert_eq!(ReviewState::from_bytes(&saved).expect("read"), before);
        review.apply(ReviewCommand::RemoveStroke(1)).expect("erased");
        assert_eq!(review.state().strokes.keys().copied().collect::<Vec<_>>(), [2]);
        assert!(review.apply(ReviewCommand::RemoveStroke(1)).is_err());
        assert!(review.undo());
        assert_eq!(review.state(), &before);
        for wrong in [
            Stroke { width_px: f64::NAN, ..stroke.clone() },
            Stroke { width_px: 0.0, ..stroke.clone() },
            Stroke { class: " ".to_owned(), ..stroke.clone() },
            Stroke { points: Vec::new(), ..stroke.clone() },
            Stroke { points: vec![Point { x: f64::INFINITY, y: 0.0 }], ..stroke },
        ] {
            assert!(review.apply(ReviewCommand::AddStroke(wrong)).is_err());
        }
        assert_eq!(review.state(), &before);
        review.apply(ReviewCommand::ForgetAll).expect("all");
        assert!(review.state().strokes.is_empty() && review.undo());
        assert_eq!(review.state(), &before);
    }

    #[test]
    fn a_complete_region_accepts_its_nuclei_in_one_step() {
        let mut review = Review::default();
        let region = NamedRegion {
            name: "view".into(),
            polygons: square(0.0).polygons,
            ..NamedRegion::default()
        };
        let nuclei = vec![of_model(0.0), of_model(20.0)];
        review.apply(ReviewCommand::AddComplete { region, nuclei }).expect("complete");
        let state = review.state();
        assert!(state.marks.values().all(|mark| mark.status == MarkStatus::Accepted));
        assert_eq!((state.marks.len(), state.regions.len()), (2, 1));
        assert!(state.regions.values().all(NamedRegion::is_complete));
        assert!(review.undo());
        assert_eq!(review.state(), &ReviewState::default());
    }
}
