//! What a run over many slides came to: `slides.csv`, a row for each slide.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output_files::check_outputs;
use super::slide_inputs::{SlideInput, result_key};
use super::slide_segment::SlideResult;
use crate::error::{Error, ErrorContext as _, Result, Warnings};
use crate::platform::{CsvReader, CsvRecord, csv_text, without_apostrophe, write_atomic};

/// Name of the table in the folder of results.
pub(super) const TABLE_FILE: &str = "slides.csv";
/// Columns of the table.
const COLUMNS: [&str; 9] = [
    "slide",
    "nuclei",
    "tissue_mm2",
    "nuclei_per_mm2",
    "seconds",
    "warnings",
    "state",
    "result",
    "run",
];

/// What became of a slide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SlideState {
    /// Its results are there.
    Done,
    /// It could not be segmented; the warnings say why.
    Failed,
    /// Its turn has not come, or it was under way when the run ended.
    Waiting,
}

impl SlideState {
    const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Waiting];

    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
        }
    }
}

/// A row of the table, and what `slide segment --json` prints of each of several slides. Numbers
/// are those of the last run that segmented the slide.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SlideRow {
    pub slide: String,
    pub nuclei: Option<usize>,
    pub tissue_mm2: Option<f64>,
    pub nuclei_per_mm2: Option<f64>,
    pub seconds: Option<f64>,
    /// Sentences about the slide, or why it failed.
    pub warnings: String,
    pub state: SlideState,
    /// Name of its results, without ending.
    pub result: String,
    /// Slide, model and settings as a hash, with the sizes of the results, of the last run that
    /// finished it; empty if none did.
    pub run: String,
}

impl SlideRow {
    fn waiting(input: &SlideInput) -> Self {
        Self {
            slide: input.place.clone(),
            nuclei: None,
            tissue_mm2: None,
            nuclei_per_mm2: None,
            seconds: None,
            warnings: String::new(),
            state: SlideState::Waiting,
            result: input.name.clone(),
            run: String::new(),
        }
    }

    fn line(&self) -> String {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or(String::new(), |value| format!("{value:.digits$}"))
        };
        let fields = [
            csv_text(&self.slide),
            self.nuclei.map_or(String::new(), |count| count.to_string()),
            number(self.tissue_mm2, 4),
            number(self.nuclei_per_mm2, 2),
            number(self.seconds, 1),
            csv_text(&self.warnings),
            self.state.name().to_owned(),
            csv_text(&self.result),
            self.run.clone(),
        ];
        fields.join(",") + "\n"
    }

    /// None for a row that this program did not write.
    fn read(record: &CsvRecord) -> Option<Self> {
        let mut fields = record.fields().map(|field| without_apostrophe(field).to_owned());
        let mut next = || fields.next();
        let number = |text: &str| if text.is_empty() { None } else { text.parse().ok() };
        Some(Self {
            slide: next()?,
            nuclei: next()?.parse().ok(),
            tissue_mm2: number(&next()?),
            nuclei_per_mm2: number(&next()?),
            seconds: number(&next()?),
            warnings: next()?,
            state: {
                let name = next()?;
                SlideState::ALL.into_iter().find(|state| state.name() == name)?
            },
            result: next()?,
            run: next()?,
        })
    }
}

/// The table of a folder of results. Rows of slides that an earlier command segmented stay.
#[derive(Debug)]
pub(super) struct SlideTable {
    file: PathBuf,
    /// Of this command, in its order.
    rows: Vec<SlideRow>,
    /// What the table said of them before.
    earlier: Vec<Option<SlideRow>>,
    /// Of other commands.
    others: Vec<SlideRow>,
}

impl SlideTable {
    /// Begins a table: all slides wait.
    ///
    /// # Errors
    /// When the file is another program's or cannot be read.
    pub(super) fn open(file: PathBuf, inputs: &[SlideInput], read: &[PathBuf]) -> Result<Self> {
        check_outputs(std::slice::from_ref(&file), read)?;
        let mut found = BTreeMap::new();
        let mut order = Vec::new();
        for row in read_rows(&file).at(&file)? {
            let key = result_key(&row.result);
            order.push(key.clone());
            found.insert(key, row);
        }
        let mut rows = Vec::with_capacity(inputs.len());
        let mut earlier = Vec::with_capacity(inputs.len());
        for input in inputs {
            let before: Option<SlideRow> = found.remove(&result_key(&input.name));
            let waiting = SlideRow::waiting(input);
            // What an earlier run finished stays so, should this one end before its turn comes.
            rows.push(match &before {
                Some(row) => SlideRow {
                    slide: waiting.slide,
                    state: waiting.state,
                    warnings: waiting.warnings,
                    ..row.clone()
                },
                None => waiting,
            });
            earlier.push(before);
        }
        let others = order.iter().filter_map(|key| found.remove(key)).collect();
        Ok(Self { file, rows, earlier, others })
    }

    /// Where it lies.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The rows of this command.
    pub(super) fn rows(&self) -> &[SlideRow] {
        &self.rows
    }

    /// Takes over what the table said of a slide if it is finished by the run of this name.
    pub(super) fn take_finished(&mut self, slide: usize, run: &str) -> bool {
        let earlier = self.earlier.get(slide).and_then(Option::as_ref);
        let finished = earlier.filter(|row| !row.run.is_empty() && row.run == run);
        match (finished, self.rows.get_mut(slide)) {
            (Some(finished), Some(row)) => {
                // The slide may lie in another place now.
                let warnings = match finished.state {
                    SlideState::Done => finished.warnings.clone(),
                    // Why a later run failed, whose cause is gone.
                    SlideState::Failed | SlideState::Waiting => String::new(),
                };
                *row = SlideRow {
                    slide: row.slide.clone(),
                    state: SlideState::Done,
                    warnings,
                    ..finished.clone()
                };
                true
            }
            _ => false,
        }
    }

    /// A slide is finished.
    pub(super) fn set_done(
        &mut self,
        slide: usize,
        result: &SlideResult,
        run: &str,
        notes: &Warnings,
    ) {
        if let Some(row) = self.rows.get_mut(slide) {
            row.nuclei = Some(result.nuclei);
            row.tissue_mm2 = Some(result.tissue_mm2);
            row.nuclei_per_mm2 = result.nuclei_per_mm2;
            row.seconds = Some(result.seconds);
            row.warnings = notes.notes.join("; ");
            row.state = SlideState::Done;
            run.clone_into(&mut row.run);
        }
    }

    /// A slide could not be segmented.
    pub(super) fn set_failed(&mut self, slide: usize, error: &Error) {
        if let Some(row) = self.rows.get_mut(slide) {
            row.warnings = error.to_string();
            row.state = SlideState::Failed;
        }
    }

    /// Writes the table, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self) -> Result<()> {
        self.take_others()?;
        let mut text = format!("{}\n", COLUMNS.join(","));
        for row in self.rows.iter().chain(&self.others) {
            text += &row.line();
        }
        write_atomic(&self.file, text.as_bytes())
    }
}

impl SlideTable {
    /// Takes over rows that another command wrote meanwhile.
    fn take_others(&mut self) -> Result<()> {
        let own: BTreeSet<String> = self.rows.iter().map(|row| result_key(&row.result)).collect();
        let mut now = read_rows(&self.file).at(&self.file)?;
        now.retain(|row| !own.contains(&result_key(&row.result)));
        let known: BTreeSet<String> = now.iter().map(|row| result_key(&row.result)).collect();
        self.others.retain(|row| !known.contains(&result_key(&row.result)));
        self.others.extend(now);
        Ok(())
    }
}

/// Rows of a table that an earlier run wrote; none where there is no file.
fn read_rows(file: &Path) -> Result<Vec<SlideRow>> {
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let foreign = || {
        Error::invalid(
            "A table that is not prunella's has the name of the table of slides and is not \
             replaced; choose another folder, or rename it",
        )
    };
    let opened = std::fs::File::open(file)
        .map_err(|e| Error::io("The table of slides cannot be opened", e))?;
    let mut table = CsvReader::new(BufReader::new(opened), b',');
    let mut record = CsvRecord::default();
    if table.next_record(&mut record)? && !record.fields().eq(COLUMNS) {
        return Err(foreign());
    }
    let mut rows = Vec::new();
    while table.next_record(&mut record)? {
        rows.push(SlideRow::read(&record).ok_or_else(foreign)?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(names: &[&str]) -> Vec<SlideInput> {
        let input = |name: &&str| SlideInput::of_place(&format!("{name}.svs"), (*name).to_owned());
        names.iter().map(input).collect()
    }

    #[test]
    fn finished_slides_are_found_again_and_those_of_other_commands_stay() {
        let dir = tempfile::tempdir().expect("folder");
        let mut table = SlideTable::open(dir.path().join(TABLE_FILE), &inputs(&["a", "b"]), &[])
            .expect("table");
        let row = &mut table.rows[0];
        row.state = SlideState::Done;
        row.run = "id".into();
        (row.nuclei, row.tissue_mm2) = (Some(7), Some(1.5));
        table.set_failed(1, &Error::malformed("Broken, \"quite\"").at("b.svs"));
        table.write().expect("written");
        let text = std::fs::read_to_string(dir.path().join(TABLE_FILE)).expect("text");
        assert_eq!(
            text,
            "slide,nuclei,tissue_mm2,nuclei_per_mm2,seconds,warnings,state,result,run\n\
             a.svs,7,1.5000,,,,done,a,id\n\
             b.svs,,,,,\"Broken, \"\"quite\"\" (b.svs)\",failed,b,\n"
        );
        let mut again = SlideTable::open(dir.path().join(TABLE_FILE), &inputs(&["c", "A"]), &[])
            .expect("table");
        assert!(!again.take_finished(1, "another id") && !again.take_finished(0, "id"));
        assert!(again.take_finished(1, "id"));
        assert_eq!((again.rows[1].nuclei, again.rows[1].slide.as_str()), (Some(7), "A.svs"));
        again.write().expect("written");
        let text = std::fs::read_to_string(dir.path().join(TABLE_FILE)).expect("text");
        let states: Vec<_> = text.lines().map(|line| &line[..5]).collect();
        assert_eq!(states, ["slide", "c.svs", "A.svs", "b.svs"]);
    }

    #[test]
    fn what_was_finished_is_known_after_runs_that_ended_early_or_failed() {
        let dir = tempfile::tempdir().expect("folder");
        let open = |names: &[&str]| {
            SlideTable::open(dir.path().join(TABLE_FILE), &inputs(names), &[]).expect("table")
        };
        let mut first = open(&["a", "b"]);
        for row in &mut first.rows {
            (row.state, row.run, row.nuclei) = (SlideState::Done, "id".into(), Some(7));
        }
        first.write().expect("written");
        // A run that ends before any slide's turn, and one whose regions cannot be read.
        open(&["a", "b"]).write().expect("written");
        let mut failed = open(&["a", "b"]);
        failed.set_failed(0, &Error::malformed("The regions are broken"));
        failed.write().expect("written");
        // Another command with other slides meanwhile.
        let mut other = open(&["c"]);
        let mut last = open(&["a", "b"]);
        assert!(last.take_finished(0, "id") && last.take_finished(1, "id"));
        assert_eq!((last.rows[0].nuclei, last.rows[0].warnings.as_str()), (Some(7), ""));
        other.write().expect("written");
        last.write().expect("written");
        assert_eq!(open(&[]).others.len(), 3, "rows of both commands stay");
    }

    #[test]
    fn a_table_of_another_program_is_not_replaced() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join(TABLE_FILE);
        let header = COLUMNS.join(",");
        for text in ["slide,patient\na,1\n", &format!("{header}\na,b\n")] {
            std::fs::write(&file, text).expect("file");
            let message = SlideTable::open(dir.path().join(TABLE_FILE), &[], &[])
                .expect_err("another")
                .to_string();
            assert!(message.contains("is not replaced"), "{message}");
        }
        std::fs::write(&file, "").expect("file");
        assert!(SlideTable::open(dir.path().join(TABLE_FILE), &[], &[]).is_ok());
        let message = SlideTable::open(dir.path().join(TABLE_FILE), &[], &[file])
            .expect_err("read")
            .to_string();
        assert!(message.contains("that the command reads"), "{message}");
    }
}
