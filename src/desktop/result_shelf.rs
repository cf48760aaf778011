//! Results by the settings that made them. None is thrown away because a setting changed: the old
//! one stays visible until blocks of the new one replace it, and comes back with its settings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::lock;
use crate::model::{Model, NucleusType};
use crate::raster::Point;
use crate::review::{
    MarkStatus, Marks, NamedRegion, ResultFacts, ReviewCounts, ReviewObject, ReviewState,
    ReviewedIndex, ReviewedNuclei,
};
use crate::slide::SlideBounds;
use crate::viewer::ShownObjects;
use crate::whole_slide::{
    KeptBlock, KeptProbabilities, LEAST_THRESHOLD, NucleusIndex, SavedBlock, SlideJob, SlideNucleus,
};

/// Most results that are kept besides the one in use.
const MAX_OLDER: usize = 4;
/// Half the side of what stands for a point where areas are compared, pixels.
const POINT_REACH_PX: f64 = 1e-6;

/// Shared with the threads that fill and draw results.
pub(super) type SharedResults = Arc<Mutex<ResultShelf>>;

/// What decides a result's nuclei besides the pixels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ResultSettings {
    /// Fingerprint of the model.
    pub fingerprint: String,
    /// Number of parameters of the model.
    pub parameters: u64,
    /// Types of nuclei that the model tells apart; empty where there is only one.
    pub types: Vec<NucleusType>,
    /// A pixel belongs to a nucleus above this probability.
    pub threshold: f32,
    /// Pixel size of the finest level, if it is known.
    pub mpp_um: Option<f64>,
    /// Whether the network reads the colours as they are.
    pub keep_stain: bool,
}

impl ResultSettings {
    /// Those that a state asks for; `fingerprint` is the model's.
    pub(super) fn of(state: &ReviewState, model: &Model, fingerprint: &str) -> Self {
        Self {
            fingerprint: fingerprint.to_owned(),
            parameters: model.graph().parameters() as u64,
            types: NucleusType::among(&model.card().classes),
            threshold: state.threshold.unwrap_or(model.card().instances.threshold),
            mpp_um: state.pixel_size.um,
            keep_stain: state.keep_stain,
        }
    }
}

/// Nuclei found so far with one set of settings.
pub(super) struct SlideResult {
    pub settings: ResultSettings,
    pub job: Arc<SlideJob>,
    nuclei: ReviewedIndex,
    /// Revision of the marks that `nuclei` knows.
    marks_of: u64,
    /// Shared by all results of the same model and pixel size.
    kept: Arc<Mutex<KeptProbabilities>>,
}

impl SlideResult {
    pub(super) fn new(settings: ResultSettings, job: SlideJob) -> Self {
        let nuclei = NucleusIndex::new(&job).into();
        Self { settings, job: Arc::new(job), nuclei, marks_of: 0, kept: Arc::default() }
    }

    /// Empty, for another threshold.
    fn at_threshold(&self, settings: ResultSettings) -> Self {
        let job = self.job.with_threshold(settings.threshold);
        Self { kept: Arc::clone(&self.kept), ..Self::new(settings, job) }
    }

    /// Whether another threshold alone leads to some settings.
    fn differs_in_threshold(&self, settings: &ResultSettings) -> bool {
        let ResultSettings { threshold, .. } = self.settings;
        self.settings != *settings
            && self.settings == (ResultSettings { threshold, ..settings.clone() })
    }

    /// Takes a block that was saved; `view` is looked at.
    pub(super) fn take_saved(&mut self, saved: SavedBlock, view: Point) {
        let SavedBlock { block, nuclei, kept } = saved;
        let index = self.nuclei.index_mut();
        index.take(block, nuclei);
        if let Some(kept) = kept {
            let centre = index.bounds(block).centre();
            lock(&self.kept).keep(block, kept, centre, view);
        }
    }

    /// A finished block as it is saved.
    pub(super) fn saved_block(&self, block: usize) -> Option<SavedBlock> {
        let nuclei = self.index().block_nuclei(block)?.to_vec();
        Some(SavedBlock { block, nuclei, kept: lock(&self.kept).get(block).cloned() })
    }

    /// Numbers of the finished blocks.
    pub(super) fn finished(&self) -> Vec<usize> {
        self.index().finished().map(|(block, _)| block).collect()
    }

    /// The nuclei of the model.
    pub(super) fn index(&self) -> &NucleusIndex {
        self.nuclei.index()
    }

    fn refresh(&mut self, revision: u64) {
        if self.marks_of != revision {
            self.nuclei.marks_changed();
            self.marks_of = revision;
        }
    }

    /// Whether a block is finished.
    pub(super) fn has_blocks(&self) -> bool {
        self.index().progress().0 > 0
    }

    /// As the saved state says it.
    pub(super) fn facts(&self) -> ResultFacts {
        let (done, wanted) = self.index().progress();
        ResultFacts {
            fingerprint: self.settings.fingerprint.clone(),
            parameters: self.settings.parameters,
            threshold: self.settings.threshold,
            mpp: self.settings.mpp_um.unwrap_or(0.0),
            stain_matched: self.job.stain_lut().is_some(),
            nuclei: self.index().count() as u64,
            done: done as u32,
            wanted: wanted as u32,
            segmented_px: self.index().area_px(),
        }
    }
}

/// All results of a document.
pub(super) struct ResultShelf {
    /// Without nuclei, where there is no result.
    nothing: ReviewedIndex,
    no_marks: Marks,
    /// Of the settings in use, from the first block on.
    pub current: Option<SlideResult>,
    /// Of other settings, the one used last at the end.
    pub older: Vec<SlideResult>,
    counts: Option<(u64, ReviewCounts)>,
    /// Numbers of nuclei of each type.
    type_counts: Option<(u64, Vec<usize>)>,
    version: u64,
}

impl ResultShelf {
    pub(super) fn new() -> Self {
        Self {
            nothing: NucleusIndex::of_image(1, 1, Vec::new()).into(),
            no_marks: Marks::new(),
            current: None,
            older: Vec::new(),
            counts: None,
            type_counts: None,
            version: 0,
        }
    }

    /// Raised with each change of the results.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    fn note_change(&mut self) {
        self.counts = None;
        self.type_counts = None;
        self.version += 1;
    }

    /// Takes the nuclei of a block of the result in use; gives its bounds.
    pub(super) fn take(&mut self, block: usize, nuclei: Vec<SlideNucleus>) -> Option<SlideBounds> {
        self.note_change();
        let index = self.current.as_mut()?.nuclei.index_mut();
        index.take(block, nuclei);
        Some(index.bounds(block))
    }

    /// Shows a saved result: as the one in use if it is of these settings, else as an older
    /// one.
    pub(super) fn take_result(&mut self, result: SlideResult, settings: &ResultSettings) {
        self.note_change();
        if result.settings == *settings && self.current.is_none() {
            self.current = Some(result);
        } else {
            self.older.push(result);
        }
    }

    /// The result of a job.
    pub(super) fn result_of(&self, job: &Arc<SlideJob>) -> Option<&SlideResult> {
        let mut results = self.current.iter().chain(&self.older);
        results.find(|result| Arc::ptr_eq(&result.job, job))
    }

    /// Keeps the probabilities of a block of the result in use; `view` is looked at.
    pub(super) fn keep(&mut self, block: usize, kept: KeptBlock, view: Point) {
        if let Some(current) = &self.current {
            let centre = current.index().bounds(block).centre();
            lock(&current.kept).keep(block, kept, centre, view);
        }
    }

    /// Begins the result of another threshold over kept probabilities; true if there are any.
    pub(super) fn begin_again(&mut self, settings: &ResultSettings) -> bool {
        if self.current.is_some() || settings.threshold < LEAST_THRESHOLD {
            return false;
        }
        let source = self.older.iter().rev().find(|older| older.differs_in_threshold(settings));
        let begun = source.filter(|older| lock(&older.kept).byte_count() > 0);
        self.current = begun.map(|older| older.at_threshold(settings.clone()));
        self.current.is_some()
    }

    /// Job of the result in use, and its blocks whose probabilities are kept and which are not
    /// finished.
    pub(super) fn kept_job(&self, view: Point) -> Option<(Arc<SlideJob>, Vec<usize>)> {
        let current = self.current.as_ref()?;
        let mut blocks = lock(&current.kept).nearest(view);
        blocks.retain(|block| !current.index().is_finished(*block));
        Some((Arc::clone(&current.job), blocks))
    }

    /// Kept probabilities of a block of the result in use.
    pub(super) fn kept_block(&self, block: usize) -> Option<KeptBlock> {
        lock(&self.current.as_ref()?.kept).get(block).cloned()
    }

    /// Makes the result of some settings the one in use, where there is one.
    pub(super) fn use_settings(&mut self, settings: &ResultSettings) {
        if self.current.as_ref().is_some_and(|result| result.settings == *settings) {
            return;
        }
        self.note_change();
        // One without a block has nothing to show.
        self.older.extend(self.current.take().filter(SlideResult::has_blocks));
        if let Some(place) = self.older.iter().position(|result| result.settings == *settings) {
            self.current = Some(self.older.remove(place));
        }
        if self.older.len() > MAX_OLDER {
            self.older.remove(0);
        }
    }

    /// The nuclei with the marks of a person, at a revision of these.
    pub(super) fn shown<'a>(&'a mut self, review: ReviewAt<'a>) -> ShownNuclei<'a> {
        let ReviewAt { marks, inside, revision } = review;
        for result in self.current.iter_mut().chain(self.older.last_mut()) {
            result.refresh(revision);
        }
        let nuclei = self.current.as_ref().map_or(&self.nothing, |result| &result.nuclei);
        let types = self.current.as_ref().map_or(&[][..], |result| &result.settings.types);
        let current = nuclei.reviewed(marks, inside, types);
        // What marks hide of the older result follows from the same marks.
        let older = self.older.last().map(|result| {
            let nuclei = result.nuclei.reviewed(marks, inside, &result.settings.types);
            ReviewedNuclei { marks: &self.no_marks, ..nuclei }
        });
        let has_blocks = self.current.as_ref().is_some_and(SlideResult::has_blocks);
        ShownNuclei { current, older, has_blocks, types }
    }

    /// Numbers of everything that counts: of the result in use, or, while it has no block, of the
    /// one before.
    pub(super) fn counts(&mut self, review: ReviewAt<'_>) -> ReviewCounts {
        if let Some((of, counts)) = self.counts
            && of == review.revision
        {
            return counts;
        }
        let counts = self.shown(review).counted().counts();
        self.counts = Some((review.revision, counts));
        counts
    }

    /// Types of nuclei of the result whose nuclei count, and how many count of each.
    pub(super) fn counts_of_types(&mut self, review: ReviewAt<'_>) -> Vec<(NucleusType, usize)> {
        let types = self.counted().map_or_else(Vec::new, |result| result.settings.types.clone());
        let counts = match &self.type_counts {
            Some((of, counts)) if *of == review.revision => counts.clone(),
            _ => {
                let counts = self.shown(review).counted().counts_of_types();
                self.type_counts = Some((review.revision, counts.clone()));
                counts
            }
        };
        types.into_iter().zip(counts).collect()
    }

    /// The result whose nuclei count.
    pub(super) fn counted(&self) -> Option<&SlideResult> {
        let current = self.current.as_ref().filter(|result| result.has_blocks());
        current.or(self.older.last())
    }

    /// Whether there is any nucleus or block.
    pub(super) fn is_empty(&self) -> bool {
        self.counted().is_none()
    }
}

/// Marks and regions at a revision, for other threads.
pub(super) struct ReviewSnapshot {
    pub marks: Marks,
    pub inside: Option<BTreeMap<u32, NamedRegion>>,
    pub revision: u64,
}

impl ReviewSnapshot {
    pub(super) fn at(&self) -> ReviewAt<'_> {
        let Self { marks, inside, revision } = self;
        ReviewAt { marks, inside: inside.as_ref(), revision: *revision }
    }
}

/// Marks and regions at a revision.
#[derive(Clone, Copy)]
pub(super) struct ReviewAt<'a> {
    pub marks: &'a Marks,
    /// Regions outside of which nothing counts.
    pub inside: Option<&'a BTreeMap<u32, NamedRegion>>,
    pub revision: u64,
}

/// What is shown: nuclei of the result in use with the marks, and those of the result before, which
/// are visible where the one in use has no finished block.
#[derive(Clone, Copy)]
pub(super) struct ShownNuclei<'a> {
    pub current: ReviewedNuclei<'a>,
    /// Without marks: those are among the current ones.
    pub older: Option<ReviewedNuclei<'a>>,
    /// Whether the result in use has a finished block.
    has_blocks: bool,
    /// Types of nuclei of the result in use.
    pub types: &'a [NucleusType],
}

impl<'a> ShownNuclei<'a> {
    /// Whether the result in use has a finished block at a nucleus of the older one.
    pub(super) fn is_replaced(&self, (x, y): (f64, f64)) -> bool {
        let at = SlideBounds::at_point(Point { x, y }).expanded(POINT_REACH_PX);
        self.has_blocks && self.current.index.known(at).any(|block| block.intersects(&at))
    }

    /// The nuclei that count, all of one result.
    pub(super) fn counted(&self) -> ReviewedNuclei<'a> {
        match self.older {
            Some(older) if !self.has_blocks => {
                ReviewedNuclei { marks: self.current.marks, ..older }
            }
            _ => self.current,
        }
    }

    /// What counts, and what older nuclei stand for it, in a rectangle.
    pub(super) fn filled_in(&self, bounds: SlideBounds) -> ShownObjects {
        let mut filled = ShownObjects::default();
        for of in self.older.iter().chain([&self.current]) {
            filled.known.extend(of.index.known(bounds));
        }
        let of_older = self.older.into_iter().flat_map(|older| older.near(bounds));
        filled.objects.extend(of_older.filter(|object| !self.is_replaced(object.nucleus.centroid)));
        filled.objects.extend(self.current.near(bounds));
        filled.objects.retain(|object| object.status.is_none_or(MarkStatus::counts));
        filled
    }

    /// The object at a point: a mark or a nucleus of the result in use before one of the older.
    pub(super) fn at(&self, point: Point) -> Option<ReviewObject> {
        let of_older = || {
            let object = self.older?.at(point.x, point.y)?;
            (!self.is_replaced(object.nucleus.centroid)).then_some(object)
        };
        self.current.at(point.x, point.y).or_else(of_older)
    }
}
