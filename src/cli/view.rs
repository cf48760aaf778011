//! `prunella view`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use crate::desktop::{AppState, Command, StateStore, Wake, data_folder, script, show};
use crate::engine::DeviceChoice;
use crate::error::{Error, ErrorContext as _, Result};
use crate::model::{FileLimits, Model};
use crate::platform::read_file;

/// The model in the program: about 50 000 parameters, for every use.
const DEFAULT_MODEL: &[u8] = include_bytes!("../../models/open-small.safetensors");
/// Longest script.
const MAX_SCRIPT_BYTES: u64 = 10_000_000;

/// View slides or images in a window, segment what is shown, export it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella view biopsy.svs
  prunella view https://example.org/biopsy.svs --model models/paper-50.safetensors
  prunella view a.svs b.png scans
  prunella view biopsy.svs --record tour.jsonl
  prunella view --script tour.jsonl

A script runs recorded commands without a window; its lines are JSON, such as
{\"segment\":\"view\"}, \"wait\" and {\"picture\":\"view.png\"}. A model is taught by
{\"stroke\":{\"class\":\"background\",\"width_um\":3,\"points\":[[40,60],[90,70]]}},
\"teach\", \"wait\" and \"keep-taught\" or \"discard-taught\".")]
pub(super) struct WindowArguments {
    /// Slides or images by path or http(s) address, or folders of them: the first is opened, the
    /// others are listed. More can be dropped on the window.
    slides: Vec<String>,
    /// Model file [default: open-small, which is in the program].
    #[arg(long, short)]
    model: Option<PathBuf>,
    /// Pixel size of the finest level, micrometres.
    #[arg(long, value_name = "UM")]
    mpp: Option<f64>,
    /// auto, cpu, gpu, or gpu:N as 'prunella devices' lists them.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Write all commands of the window to this file, as a script.
    #[arg(long, conflicts_with = "script")]
    record: Option<PathBuf>,
    /// Run a script, without a window.
    #[arg(long)]
    script: Option<PathBuf>,
    /// Folder in which corrections, strokes, regions, settings, taught models and nuclei of each
    /// image are kept [default: the user's folder for data of programs; with --script nothing is
    /// kept].
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_state")]
    state: Option<PathBuf>,
    /// Neither read nor keep corrections, strokes, regions, settings, taught models and nuclei.
    #[arg(long)]
    no_state: bool,
}

/// `prunella view`.
pub(super) fn view(a: &WindowArguments, output: Output) -> Result<CommandOutcome> {
    match &a.script {
        None => show(|wake| app_state(a, wake)).map(|()| CommandOutcome::Done),
        Some(file) => run_script(a, file, output),
    }
}

/// The state that the arguments describe.
fn app_state(a: &WindowArguments, wake: Wake) -> Result<AppState> {
    let model = Model::from_bytes(DEFAULT_MODEL, FileLimits::default())?;
    // A script does the same on every machine.
    let is_kept = !a.no_state && a.script.is_none();
    let folder = a.state.clone().or_else(|| data_folder().filter(|_| is_kept));
    let store = folder.map_or_else(StateStore::in_memory, StateStore::in_folder);
    let mut app = AppState::new(model, a.device, store, wake);
    if let Some(file) = &a.record {
        let created = std::fs::File::create(file)
            .map_err(|e| Error::io("The script cannot be written", e))
            .at(file)?;
        app.record(created);
    }
    if let Some(path) = &a.model {
        app.apply(&Command::Model(path.clone()))?;
    }
    match &a.slides[..] {
        [] => {}
        [location] => app.apply(&Command::Open(location.clone()))?,
        several => app.apply(&Command::OpenAll(several.to_vec()))?,
    }
    if let Some(mpp) = a.mpp {
        app.apply(&Command::Mpp(mpp))?;
    }
    Ok(app)
}

fn run_script(a: &WindowArguments, file: &Path, output: Output) -> Result<CommandOutcome> {
    let text = String::from_utf8(read_file(file, MAX_SCRIPT_BYTES)?)
        .map_err(|_| Error::malformed("The script is not text").at(file))?;
    let commands = script(&text).at(file)?;
    let mut app = app_state(a, std::sync::Arc::new(|| {}))?;
    for command in &commands {
        app.apply(command).at(file)?;
        // Animations are for windows.
        app.view.settle();
        check_alert(&app).at(file)?;
    }
    app.apply(&Command::Wait)?;
    app.finish_saving();
    check_alert(&app).at(file)?;
    let count = app.counts().unwrap_or_default();
    let notes = [&app.notes[..], &app.job_notes[..]].concat();
    for note in &notes {
        output.remark(&format!("{}: {note}", app.name));
    }
    let mut regions = Vec::new();
    for region in app.region_counts() {
        regions.push(json!({
            "id": region.id,
            "name": region.name,
            "nuclei": region.counts.nuclei,
            "area_px": region.area_px,
            "segmented_px": region.segmented_px,
            "density_per_mm2": region.density_per_mm2(app.mpp_um()),
            "area_share": region.area_share(),
        }));
    }
    let versions: Vec<u32> = app.versions().iter().map(|version| version.number).collect();
    let taught = app.taught().map(|taught| {
        json!({
            "outcome": taught.outcome,
            "nuclei": taught.nuclei,
            "new_types": taught.new_types,
            "marks": taught.marks,
        })
    });
    let scores = app.reference_scores().and_then(|(_, scores)| scores);
    let value = json!({
        "slide": app.name,
        "notes": notes,
        "nuclei": count.counts.nuclei,
        "area_share": count.area_share(),
        "accepted": count.counts.accepted,
        "added": count.counts.added,
        "rejected": count.counts.rejected,
        "threshold": app.threshold(),
        "mpp_um": app.mpp_um(),
        "older_settings": app.older_note(),
        "regions": regions,
        "scores": scores.map(|scores| scores.scores),
        "strokes": app.review().state().strokes.len(),
        "model": app.model.fingerprint(),
        "taught": taught,
        "version": app.version(),
        "versions": versions,
        "undo": app.review().undo_name(),
        "status": app.status,
        "commands": commands.len(),
    });
    let text = format!("{}: {} commands done. {}", app.name, commands.len(), app.status);
    output.result(&value, &text)?;
    Ok(CommandOutcome::Done)
}

/// Background work reports its errors as an alert.
fn check_alert(app: &AppState) -> Result<()> {
    match app.alerts.first() {
        Some(alert) => Err(Error::malformed(alert.clone())),
        None => Ok(()),
    }
}
