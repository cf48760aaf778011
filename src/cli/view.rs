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

/// The model that comes with the program: 90 % of the filters removed.
const OWN_MODEL: &[u8] = include_bytes!("../../models/dcnn-90.safetensors");
/// Longest script.
const MAX_SCRIPT_BYTES: u64 = 10_000_000;

/// Look at a slide or image in a window, segment what is seen, export it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella view biopsy.svs
  prunella view https://example.org/biopsy.svs --model models/dcnn-50.safetensors
  prunella view biopsy.svs --record tour.jsonl
  prunella view --script tour.jsonl

A script does without a window what was recorded in one; its lines are JSON, such as {\"segment\":\"view\"}, \"wait\" and
{\"picture\":\"view.png\"}.")]
pub struct WindowArguments {
    /// A slide or image, by path or http(s) address; more can be dropped on the window.
    slide: Option<String>,
    /// Model file [default: the one that comes with the program, 90 % of its filters removed].
    #[arg(long, short)]
    model: Option<PathBuf>,
    /// Pixel size of the finest level, micrometres.
    #[arg(long, value_name = "UM")]
    mpp: Option<f64>,
    /// auto, cpu, gpu, or gpu:N as 'prunella devices' lists them.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Write everything that is done in the window to this file, as a script.
    #[arg(long, conflicts_with = "script")]
    record: Option<PathBuf>,
    /// Do what a script says, without a window.
    #[arg(long)]
    script: Option<PathBuf>,
}

/// `prunella view`.
pub fn view(a: &WindowArguments, output: Output) -> Result<CommandOutcome> {
    match &a.script {
        None => show(|wake| app(a, wake)).map(|()| CommandOutcome::Done),
        Some(file) => play(a, file, output),
    }
}

fn app(a: &WindowArguments, wake: Wake) -> Result<AppState> {
    let model = match &a.model {
        Some(path) => Model::load(path)?,
        None => Model::from_bytes(OWN_MODEL, FileLimits::default())?,
    };
    let mut app = AppState::new(model, a.device, wake);
    if let Some(file) = &a.record {
        let opened =
            std::fs::File::create(file).map_err(|e| Error::io("The script cannot be written", e));
        app.record(opened.at(file)?);
    }
    if let Some(place) = &a.slide {
        app.apply(&Command::Open(place.clone()))?;
    }
    if let Some(mpp) = a.mpp {
        app.apply(&Command::Mpp(mpp))?;
    }
    Ok(app)
}

fn play(a: &WindowArguments, file: &Path, output: Output) -> Result<CommandOutcome> {
    let text = String::from_utf8(read_file(file, MAX_SCRIPT_BYTES)?)
        .map_err(|_| Error::malformed("The script is not text").at(file))?;
    let commands = script(&text).at(file)?;
    let mut app = app(a, std::sync::Arc::new(|| {}))?;
    for command in &commands {
        app.apply(command).at(file)?;
        // A movement that would glide in a window ends at once.
        app.view.settle();
        if let Some(alert) = &app.alert {
            return Err(Error::malformed(alert.clone()).at(file));
        }
    }
    app.apply(&Command::Wait)?;
    if let Some(alert) = &app.alert {
        return Err(Error::malformed(alert.clone()).at(file));
    }
    let (nuclei, share) = app.counts().unwrap_or_default();
    let value = json!({ "slide": app.name, "nuclei": nuclei, "area_share": share, "commands": commands.len() });
    output
        .result(&value, &format!("{}: {} commands done. {}", app.name, commands.len(), app.said))?;
    Ok(CommandOutcome::Done)
}
