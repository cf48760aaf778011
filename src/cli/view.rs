//! `prunella view`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use crate::desktop::{AppState, Command, Wake, script, show};
use crate::engine::DeviceChoice;
use crate::error::{Error, ErrorContext as _, Result};
use crate::model::{FileLimits, Model};
use crate::platform::read_file;

/// The model in the program: 90 % of the filters removed.
const DEFAULT_MODEL: &[u8] = include_bytes!("../../models/dcnn-90.safetensors");
/// Longest script.
const MAX_SCRIPT_BYTES: u64 = 10_000_000;

/// View slides or images in a window, segment what is shown, export it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella view biopsy.svs
  prunella view https://example.org/biopsy.svs --model models/dcnn-50.safetensors
  prunella view a.svs b.png scans
  prunella view biopsy.svs --record tour.jsonl
  prunella view --script tour.jsonl

A script runs recorded commands without a window; its lines are JSON, such as
{\"segment\":\"view\"}, \"wait\" and {\"picture\":\"view.png\"}.")]
pub(super) struct WindowArguments {
    /// Slides or images by path or http(s) address, or folders of them: the first is opened, the
    /// others are listed. More can be dropped on the window.
    slides: Vec<String>,
    /// Model file [default: one in the program, 90 % of its filters removed].
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
    let model = match &a.model {
        Some(path) => Model::load(path)?,
        None => Model::from_bytes(DEFAULT_MODEL, FileLimits::default())?,
    };
    let mut app = AppState::new(model, a.device, wake);
    if let Some(file) = &a.record {
        let created = std::fs::File::create(file)
            .map_err(|e| Error::io("The script cannot be written", e))
            .at(file)?;
        app.record(created);
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
    check_alert(&app).at(file)?;
    let count = app.counts().unwrap_or_default();
    let notes = [&app.notes[..], &app.job_notes[..]].concat();
    for note in &notes {
        output.remark(&format!("{}: {note}", app.name));
    }
    let value = json!({
        "slide": app.name,
        "notes": notes,
        "nuclei": count.nuclei,
        "area_share": count.area_share,
        "commands": commands.len(),
    });
    let text = format!("{}: {} commands done. {}", app.name, commands.len(), app.status);
    output.result(&value, &text)?;
    Ok(CommandOutcome::Done)
}

/// Background work reports its errors as an alert.
fn check_alert(app: &AppState) -> Result<()> {
    match &app.alert {
        Some(alert) => Err(Error::malformed(alert.clone())),
        None => Ok(()),
    }
}
