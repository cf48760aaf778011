//! `prunella view`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Outcome;
use super::output::Output;
use crate::desktop::{Command, Desk, Wake, script, show};
use crate::engine::Choice;
use crate::error::{At as _, Error, Result};
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
pub struct ViewArguments {
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
    device: Choice,
    /// Write everything that is done in the window to this file, as a script.
    #[arg(long, conflicts_with = "script")]
    record: Option<PathBuf>,
    /// Do what a script says, without a window.
    #[arg(long)]
    script: Option<PathBuf>,
}

/// `prunella view`.
pub fn view(a: &ViewArguments, output: Output) -> Result<Outcome> {
    match &a.script {
        None => show(|wake| desk(a, wake)).map(|()| Outcome::Done),
        Some(file) => play(a, file, output),
    }
}

fn desk(a: &ViewArguments, wake: Wake) -> Result<Desk> {
    let model = match &a.model {
        Some(path) => Model::load(path)?,
        None => Model::from_bytes(OWN_MODEL, FileLimits::default())?,
    };
    let mut desk = Desk::new(model, a.device, wake);
    if let Some(file) = &a.record {
        let opened = std::fs::File::create(file).map_err(|e| Error::io("The script cannot be written", e));
        desk.record(opened.at(file)?);
    }
    if let Some(place) = &a.slide {
        desk.apply(&Command::Open(place.clone()))?;
    }
    if let Some(mpp) = a.mpp {
        desk.apply(&Command::Mpp(mpp))?;
    }
    Ok(desk)
}

fn play(a: &ViewArguments, file: &Path, output: Output) -> Result<Outcome> {
    let text = String::from_utf8(read_file(file, MAX_SCRIPT_BYTES)?)
        .map_err(|_| Error::malformed("The script is not text").at(file))?;
    let commands = script(&text).at(file)?;
    let mut desk = desk(a, std::sync::Arc::new(|| {}))?;
    for command in &commands {
        desk.apply(command).at(file)?;
        // A movement that would glide in a window ends at once.
        desk.view.settle();
        if let Some(alert) = &desk.alert {
            return Err(Error::malformed(alert.clone()).at(file));
        }
    }
    desk.apply(&Command::Wait)?;
    if let Some(alert) = &desk.alert {
        return Err(Error::malformed(alert.clone()).at(file));
    }
    let (nuclei, share) = desk.counts().unwrap_or_default();
    let value = json!({ "slide": desk.name, "nuclei": nuclei, "area_share": share, "commands": commands.len() });
    output.result(&value, &format!("{}: {} commands done. {}", desk.name, commands.len(), desk.said))?;
    Ok(Outcome::Done)
}
