//! `prunella slide segment`: one slide, or many in one process.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;
use serde_json::json;

use super::CommandOutcome;
use super::output::{Output, stop_flag};
use super::output_files::{check_outputs, slide_result_name};
use super::slide_inputs::{SlideInput, SlideInputs, is_one_slide, slide_inputs};
use super::slide_segment::{
    ComputedSlide, PreparedSlide, SlideCommon, SlideFiles, SlideSegmentArguments, segment_input,
};
use super::slide_table::{SlideState, SlideTable, TABLE_FILE};
use crate::engine::Segmenter;
use crate::error::{Error, Result, counted};
use crate::model::Model;

/// `prunella slide segment`.
pub(super) fn segment_slides(a: &SlideSegmentArguments, output: Output) -> Result<CommandOutcome> {
    match a.slides.as_slice() {
        [place] if is_one_slide(place) && a.only.is_none() => {
            let input = SlideInput::of_place(place, slide_result_name(place));
            let result = segment_input(a, &input, output)?;
            output.result(&result, &result.describe())?;
            Ok(found(result.nuclei))
        }
        places => segment_many(a, slide_inputs(places, &a.out)?, output),
    }
}

fn found(nuclei: usize) -> CommandOutcome {
    if nuclei == 0 { CommandOutcome::Nothing } else { CommandOutcome::Done }
}

/// Segments slides one after the other: while the network computes one, the next is opened and the
/// results of the one before are written.
fn segment_many(
    a: &SlideSegmentArguments,
    mut inputs: SlideInputs,
    output: Output,
) -> Result<CommandOutcome> {
    output.warnings(&inputs.notes);
    let slides = inputs.all.len();
    if let Some(only) = &a.only {
        inputs.all.retain(|input| input.name == *only);
        if inputs.all.is_empty() {
            return Err(Error::invalid(format!("No slide's results are named '{only}'")));
        }
    }
    check_files(a, &inputs, slides)?;
    let SlideInputs { all: slides, mut lists, .. } = inputs;
    let common = SlideCommon::new(a, Arc::new(Model::load(&a.model)?))?;
    lists.push(a.model.clone());
    let file = a.row.clone().unwrap_or_else(|| a.out.join(TABLE_FILE));
    let segmenter = a.how.open(Arc::clone(&common.model), output)?;
    let mut table = SlideTable::open(file, &slides, &lists)?;
    table.write()?;
    let bar = output.bar(1, "slides");
    bar.set_message(format!("1 of {}", slides.len()));
    let state = RunState {
        table,
        work: WorkDone { slides: slides.len(), ..WorkDone::default() },
        already_done: 0,
        stopped: None,
        error: None,
    };
    let run = ManySlides { a, slides: &slides, common, output, bar, state: Mutex::new(state) };
    run.run(&segmenter);
    run.bar.finish_and_clear();
    run.finish()
}

/// Refuses results that cannot be written or would overwrite each other or what the command reads.
/// What concerns one slide alone is noted in the table when its turn comes. `slides` is the number
/// of all of the command, of which `inputs` may be a part.
pub(super) fn check_files(
    a: &SlideSegmentArguments,
    inputs: &SlideInputs,
    slides: usize,
) -> Result<()> {
    if a.region.is_some() && inputs.all.iter().any(|input| input.inside.is_some()) {
        return Err(Error::invalid(
            "--region and the column 'inside' of a list exclude each other; leave one out",
        ));
    }
    for (option, file) in [("inside", &a.inside), ("regions", &a.regions)] {
        if slides > 1 && file.as_ref().is_some_and(|file| !file.is_dir()) {
            return Err(Error::invalid(format!(
                "Outlines of one slide do not fit several; give --{option} a folder that holds a \
                 file of the name of each slide, or a list of slides with the column '{option}'"
            )));
        }
    }
    let mut read = inputs.lists.clone();
    read.push(a.model.clone());
    let mut written = vec![a.row.clone().unwrap_or_else(|| a.out.join(TABLE_FILE))];
    for input in &inputs.all {
        read.push(PathBuf::from(&input.place));
        read.extend(input.inside.clone());
        read.extend(input.regions.clone());
        written.extend(SlideFiles::of(&a.out, &input.name).results(a, input));
    }
    check_outputs(&written, &read)
}

/// How much of the work is done, in blocks: those of slides that are not open yet are taken to be
/// as many as those of the others in the mean.
#[derive(Debug, Default)]
struct WorkDone {
    slides: usize,
    /// Slides whose blocks are known, or that have none to compute.
    known: usize,
    /// Blocks to compute of these.
    blocks: usize,
    /// Blocks that were computed.
    done: usize,
}

impl WorkDone {
    /// Blocks of all slides.
    fn all(&self) -> u64 {
        let waiting = self.slides.saturating_sub(self.known);
        let mean = self.blocks as f64 / self.known.max(1) as f64;
        (self.blocks as f64 + mean * waiting as f64).ceil().max(1.0) as u64
    }
}

/// What the threads of a run change.
struct RunState {
    table: SlideTable,
    work: WorkDone,
    /// Number of slides that an earlier run finished.
    already_done: usize,
    /// What is kept of the slide under way when a stop was requested.
    stopped: Option<String>,
    /// What ends the run: a table that cannot be written.
    error: Option<Error>,
}

/// A run over many slides.
struct ManySlides<'a> {
    a: &'a SlideSegmentArguments,
    slides: &'a [SlideInput],
    common: SlideCommon<'a>,
    output: Output,
    bar: ProgressBar,
    state: Mutex<RunState>,
}

/// A slide between two stages, by its place in the list.
type Numbered<T> = (usize, T);

impl ManySlides<'_> {
    /// Three stages that overlap, each of one slide at a time: open, compute, write.
    fn run(&self, segmenter: &Segmenter) {
        // Rendezvous channels: each stage works at most one slide ahead.
        let (send_prepared, prepared) = sync_channel(0);
        let (send_computed, computed) = sync_channel(0);
        std::thread::scope(|scope| {
            scope.spawn(move || self.prepare_slides(&send_prepared));
            scope.spawn(move || self.write_slides(&computed));
            self.compute_slides(&prepared, segmenter, &send_computed);
            // Both ends of the channels go here, so that the other stages end too.
            drop((prepared, send_computed));
        });
    }

    fn prepare_slides(&self, send: &SyncSender<Numbered<PreparedSlide>>) {
        for (number, input) in self.slides.iter().enumerate() {
            if self.is_ended() {
                return;
            }
            match self.prepare(number, input) {
                Ok(Some(prepared)) => {
                    if send.send((number, prepared)).is_err() {
                        return;
                    }
                }
                Ok(None) => self.count_without_work(),
                Err(error) => {
                    self.fail(number, error);
                    self.count_without_work();
                }
            }
        }
    }

    /// Opens a slide and finds its tissue; none if an earlier run finished it.
    fn prepare(&self, number: usize, input: &SlideInput) -> Result<Option<PreparedSlide>> {
        let files = SlideFiles::of(&self.a.out, &input.name);
        files.check(self.a, input)?;
        let opened = self.common.open(input)?;
        let finished = files.run_name(&opened.run_id);
        if finished.is_some_and(|run| self.state().table.take_finished(number, &run)) {
            // Regions and grid may be others than before, and take seconds.
            for note in &opened.notes.notes {
                self.remark(&format!("{}: {note}", input.place));
            }
            self.common.write_maps(&opened)?;
            let mut state = self.state();
            state.already_done += 1;
            write_table(&mut state);
            return Ok(None);
        }
        let prepared = self.common.prepare(opened)?;
        let mut state = self.state();
        state.work.known += 1;
        state.work.blocks += prepared.blocks();
        Ok(Some(prepared))
    }

    fn compute_slides(
        &self,
        prepared: &Receiver<Numbered<PreparedSlide>>,
        segmenter: &Segmenter,
        send: &SyncSender<Numbered<ComputedSlide>>,
    ) {
        for (number, prepared) in prepared {
            let counted = std::cell::Cell::new(None);
            let progress = |done: usize, _: usize| {
                let mut state = self.state();
                match counted.replace(Some(done)) {
                    // What an earlier run computed says nothing about the time left.
                    None => state.work.blocks = state.work.blocks.saturating_sub(done),
                    Some(before) => state.work.done += done.saturating_sub(before),
                }
                self.bar.set_message(format!("{} of {}", number + 1, self.slides.len()));
                self.bar.set_length(state.work.all());
                self.bar.set_position(state.work.done as u64);
            };
            match self.common.compute(prepared, segmenter, &progress) {
                Ok(computed) => {
                    if send.send((number, computed)).is_err() {
                        return;
                    }
                }
                Err(error) => self.fail(number, error),
            }
            if self.is_ended() {
                return;
            }
        }
    }

    fn write_slides(&self, computed: &Receiver<Numbered<ComputedSlide>>) {
        for (number, computed) in computed {
            let run_id = computed.run_id().to_owned();
            match self.common.write(computed) {
                Ok((result, notes)) => {
                    for note in &notes.notes {
                        self.remark(&format!("{}: {note}", result.slide));
                    }
                    self.remark(&format!(
                        "{} of {}: {}",
                        number + 1,
                        self.slides.len(),
                        result.describe()
                    ));
                    let files = SlideFiles::of(&self.a.out, &self.slides[number].name);
                    let run = files.run_name(&run_id).unwrap_or_default();
                    let mut state = self.state();
                    state.table.set_done(number, &result, &run, &notes);
                    write_table(&mut state);
                }
                Err(error) => self.fail(number, error),
            }
        }
    }

    /// Notes that a slide cannot be segmented; the others are still worth having. A stop ends all.
    fn fail(&self, number: usize, error: Error) {
        let mut state = self.state();
        if let Error::Cancelled { after } = error {
            if !after.is_empty() {
                state.stopped = Some(after);
            }
            return;
        }
        self.remark(&format!("{}: left out: {error}", self.slides[number].place));
        state.table.set_failed(number, &error);
        write_table(&mut state);
    }

    fn count_without_work(&self) {
        self.state().work.known += 1;
    }

    fn is_ended(&self) -> bool {
        stop_flag().load(Ordering::Relaxed) || self.state().error.is_some()
    }

    fn state(&self) -> MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remark(&self, sentence: &str) {
        self.bar.suspend(|| self.output.remark(sentence));
    }

    /// Prints what the run came to.
    fn finish(self) -> Result<CommandOutcome> {
        let RunState { table, already_done, stopped, error, .. } =
            self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = error {
            return Err(error);
        }
        let count = |state| table.rows().iter().filter(|row| row.state == state).count();
        let [done, failed, waiting] =
            [SlideState::Done, SlideState::Failed, SlideState::Waiting].map(count);
        if waiting > 0 {
            let kept = stopped.unwrap_or_else(|| "the same command goes on".to_owned());
            let all = counted(self.slides.len(), "slide", "slides");
            let after = format!("{done} of {all} are segmented; {kept}");
            return Err(Error::Cancelled { after });
        }
        let nuclei: usize = table.rows().iter().filter_map(|row| row.nuclei).sum();
        let value = json!({
            "failed": failed, "already_done": already_done, "nuclei": nuclei,
            "slides": table.rows(), "table": table.file(),
        });
        let earlier = match already_done {
            0 => String::new(),
            count => format!(", {count} of them by an earlier run"),
        };
        let text = format!(
            "{} segmented{earlier}: {} → {}",
            counted(done, "slide", "slides"),
            counted(nuclei, "nucleus", "nuclei"),
            table.file().display()
        );
        self.output.result(&value, &text)?;
        if failed > 0 {
            return Err(Error::mismatch(format!(
                "{failed} of {} could not be segmented; {} says why",
                counted(self.slides.len(), "slide", "slides"),
                table.file().display()
            )));
        }
        Ok(found(nuclei))
    }
}

fn write_table(state: &mut RunState) {
    if let Err(error) = state.table.write() {
        state.error.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slides_that_are_not_open_yet_count_as_the_mean_of_the_others() {
        assert_eq!(WorkDone { slides: 4, ..WorkDone::default() }.all(), 1);
        let work = WorkDone { slides: 4, known: 2, blocks: 30, done: 7 };
        assert_eq!(work.all(), 60);
        // One of the two known has nothing to compute.
        assert_eq!(WorkDone { known: 4, ..work }.all(), 30);
    }
}
