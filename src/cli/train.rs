//! `prunella train` and `prunella finetune`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::CommandOutcome;
use super::output::{Output, stop_flag};
use super::tiles::{TileArguments, load};
use crate::dataset::{Augmentation, Prior};
use crate::demo::points;
use crate::engine::DeviceChoice;
use crate::error::{Error, Result};
use crate::model::{Architecture, Head, Model, Precision};
use crate::platform::write_atomic;
use crate::report::history_curves;
use crate::train::{EpochLog, Event, Recipe, Schedule, TrainData, Trainer, open};

/// Train a network from random weights.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella train --data kumar --split pretrain --patches 60000 --epochs 1 --augment --awake --out start.safetensors
  prunella train --data my-tiles --network dccn --head sigmoid --device gpu --out dccn.safetensors")]
pub struct TrainArguments {
    /// Which of the paper's networks.
    #[arg(long, value_enum, default_value_t = Family::Dcnn)]
    network: Family,
    #[command(flatten)]
    common: CommonArguments,
}

/// Train an existing model further, after pruning or on other tiles.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella finetune half.safetensors --data kumar --split train --patches 9159 --epochs 30 --augment --awake --out half-tuned.safetensors
  prunella finetune tenth.safetensors --teacher whole.safetensors --data kumar --split train --augment --out tenth-tuned.safetensors")]
pub struct FinetuneArguments {
    /// The model to start from.
    model: PathBuf,
    /// Better models that teach what they believe of each patch, on average (comma-separated).
    /// DCNNs on the CPU only.
    #[arg(long, value_name = "MODELS", value_delimiter = ',')]
    teacher: Vec<PathBuf>,
    /// Share of the teachers in what is taught, 0 to 1; the rest are labels. At 1 labels only
    /// score.
    #[arg(long, default_value_t = 0.5, requires = "teacher", value_name = "SHARE")]
    distil: f32,
    #[command(flatten)]
    common: CommonArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Family {
    /// 916 959 parameters.
    Dcnn,
    /// 4 794 754 parameters.
    Dccn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScheduleName {
    Constant,
    Cosine,
    OneCycle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AugmentName {
    None,
    Default,
    Strong,
    Stains,
}

impl AugmentName {
    fn resolve(self) -> Augmentation {
        match self {
            Self::None => Augmentation::NONE,
            Self::Default => Augmentation::DEFAULT,
            Self::Strong => Augmentation::STRONG,
            Self::Stains => Augmentation::STAINS,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HeadName {
    Softmax,
    Sigmoid,
}

#[derive(Debug, Args)]
struct CommonArguments {
    #[command(flatten)]
    tiles: TileArguments,
    /// Where the trained model goes (.safetensors).
    #[arg(long, short)]
    out: PathBuf,
    /// Patches to draw; 70 % of them train, 30 % validate.
    #[arg(long, default_value_t = 9_159)]
    patches: usize,
    /// Draw the patches in squares of this side (a multiple of 8) and learn every pixel of a square
    /// at once: many times faster a patch, from neighbours that say much the same. DCNN on the CPU
    /// only.
    #[arg(long, default_value_t = 1, value_name = "PIXELS")]
    spread: usize,
    #[arg(long, default_value_t = 30)]
    epochs: u64,
    /// Patches, or squares, in a step. The CPU works on groups of 32; threads beyond these share a
    /// layer's filters.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    #[arg(long, value_enum, default_value_t = ScheduleName::OneCycle)]
    schedule: ScheduleName,
    /// Decoupled weight decay (AdamW); 0 is plain Adam.
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f64,
    /// Draw both classes equally often instead of as they cover the tiles.
    #[arg(long)]
    balanced: bool,
    /// Vary patches: flips, quarter turns, stain jitter in optical density; strong adds any angle
    /// and size, and more jitter.
    #[arg(long, value_enum, num_args = 0..=1, default_value_t = AugmentName::None, default_missing_value = "default")]
    augment: AugmentName,
    /// Draw filters that never answer anew, fit a random start to the tiles, and keep filters from
    /// falling silent. DCNN only.
    #[arg(long)]
    awake: bool,
    /// How logits become probabilities; sigmoid is the paper's DCCN.
    #[arg(long, value_enum)]
    head: Option<HeadName>,
    /// Decides initial weights, patches, order and variation.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// auto (a real GPU, else the CPU), cpu, gpu or gpu:N of 'prunella devices'.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Seconds between checkpoints.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    checkpoint_every: f64,
    /// Replace a checkpoint instead of going on from it.
    #[arg(long)]
    fresh: bool,
}

impl CommonArguments {
    fn recipe(&self, head: Head) -> Recipe {
        Recipe {
            patches: self.patches,
            spread: self.spread,
            epochs: self.epochs,
            batch: self.batch,
            learning_rate: self.learning_rate,
            schedule: match self.schedule {
                ScheduleName::Constant => Schedule::Constant,
                ScheduleName::Cosine => Schedule::Cosine,
                ScheduleName::OneCycle => Schedule::OneCycle,
            },
            weight_decay: self.weight_decay,
            prior: if self.balanced { Prior::Balanced } else { Prior::Natural },
            augmentation: self.augment.resolve(),
            head: match self.head {
                None => head,
                Some(HeadName::Softmax) => Head::Softmax,
                Some(HeadName::Sigmoid) => Head::Sigmoid,
            },
            distil: 0.0,
            awake: self.awake,
            seed: self.seed,
        }
    }
}

/// `prunella train`.
pub fn train(arguments: &TrainArguments, output: Output) -> Result<CommandOutcome> {
    let architecture = match arguments.network {
        Family::Dcnn => Architecture::paper_dcnn(),
        Family::Dccn => Architecture::paper_dccn(),
    };
    let start = Model::random(architecture, arguments.common.seed)?;
    fit(&start, (&[], 0.0), &arguments.common, output)
}

/// `prunella finetune`.
pub fn finetune(arguments: &FinetuneArguments, output: Output) -> Result<CommandOutcome> {
    let teachers =
        arguments.teacher.iter().map(|path| Model::load(path)).collect::<Result<Vec<_>>>()?;
    fit(&Model::load(&arguments.model)?, (&teachers, arguments.distil), &arguments.common, output)
}

/// Trains `start`, perhaps with teachers and their share.
fn fit(
    start: &Model,
    (teachers, share): (&[Model], f32),
    arguments: &CommonArguments,
    output: Output,
) -> Result<CommandOutcome> {
    let distil = if teachers.is_empty() { 0.0 } else { share };
    let recipe = Recipe { distil, ..arguments.recipe(start.card().head) };
    recipe.validate()?;
    let tiles = load(&arguments.tiles, output)?;
    if tiles.is_empty() {
        output.remark("No labelled tiles were found there; 'prunella data check' says what is.");
        output.result(&serde_json::json!({ "tiles": [] }), "")?;
        return Ok(CommandOutcome::Nothing);
    }
    let (compute, why) = open(arguments.device, start, recipe.batch)?;
    output.remark(&why);
    let checkpoint = beside(&arguments.out, "checkpoint");
    if arguments.fresh && checkpoint.exists() {
        std::fs::remove_file(&checkpoint)
            .map_err(|e| Error::io("The checkpoint cannot be removed", e))?;
    }
    let every = Duration::try_from_secs_f64(arguments.checkpoint_every).map_err(|_| {
        Error::mismatch("The time between checkpoints must be a positive number of seconds")
    })?;
    let trainer = Trainer {
        start,
        data: TrainData { tiles: &tiles },
        recipe: &recipe,
        compute: &compute,
        teachers,
        checkpoint: Some(&checkpoint),
        checkpoint_every: every,
        cancel: stop_flag(),
    };
    let bar = output.bar(1, "Training");
    let mut history = Vec::new();
    let outcome = trainer.run(&mut |event| {
        match &event {
            Event::Resumed { history: before, .. } => history.clone_from(before),
            Event::Epoch(log) => history.push(log.clone()),
            Event::Step { .. } | Event::Awake { .. } => {}
        }
        show(&event, &bar, output);
        // Kept up to date for whoever watches; a failure shows when the final log is written.
        if matches!(event, Event::Epoch(_)) {
            drop(write_logs(&arguments.out, &history));
        }
    })?;
    bar.finish_and_clear();
    let mut model = outcome.model;
    arguments.tiles.sign(&mut model);
    model.save(&arguments.out, Precision::F32)?;
    write_logs(&arguments.out, &outcome.history)?;
    drop(std::fs::remove_file(&checkpoint)); // it has served; one left behind is harmless
    tell(&model, &outcome.history, (&compute.name, outcome.seconds), &arguments.out, output)
}

/// The result of a run.
fn tell(
    model: &Model,
    history: &[EpochLog],
    (device, seconds): (&str, f64),
    out: &Path,
    output: Output,
) -> Result<CommandOutcome> {
    let last = history.last();
    let text = last.map_or(String::new(), |l| {
        format!(
            "{}: {} parameters, validation accuracy {:.4}, Dice {:.4}, cross-entropy {:.4} after {} epochs ({:.0} s)",
            out.display(),
            model.graph().parameters(),
            l.validation_accuracy,
            l.validation_dice,
            l.validation_loss,
            l.epoch,
            seconds
        )
    });
    let value = serde_json::json!({
        "model": out, "parameters": model.graph().parameters(), "fingerprint": model.fingerprint(),
        "device": device, "seconds": seconds, "last_epoch": last,
    });
    output.result(&value, &text)?;
    Ok(CommandOutcome::Done)
}

/// Moves the bar along with the run.
pub fn show(event: &Event, bar: &indicatif::ProgressBar, output: Output) {
    match event {
        Event::Awake { redrawn } => {
            let each: Vec<String> =
                redrawn.iter().map(|r| format!("{} {} of {}", r.layer, r.silent, r.filters)).collect();
            output.remark(&format!("Filters that never answer on these tiles are drawn anew: {}", each.join(", ")));
        }
        Event::Resumed { epoch, step, .. } => {
            output.remark(&format!("Going on from a checkpoint in epoch {}, step {step}", epoch + 1));
        }
        Event::Step { done, total, epoch, loss, patches_per_s } => {
            if bar.length() != Some(*total) {
                bar.set_length(*total);
                bar.set_position(*done);
                bar.reset_eta();
            }
            bar.set_position(*done);
            bar.set_message(format!("epoch {epoch} · loss {loss:.4} · {patches_per_s:.0} patches/s"));
        }
        Event::Epoch(log) => bar.suspend(|| {
            output.remark(&format!(
                "epoch {:>3}: training loss {:.4}, validation loss {:.4}, accuracy {:.4}, Dice {:.4}",
                log.epoch, log.train_loss, log.validation_loss, log.validation_accuracy, log.validation_dice
            ));
        }),
    }
}

/// The JSONL log and the SVG of the curves, beside the model.
fn write_logs(out: &Path, history: &[EpochLog]) -> Result<()> {
    let lines: Vec<String> =
        history.iter().map(|log| serde_json::json!(log).to_string() + "\n").collect();
    write_atomic(&beside(out, "log.jsonl"), lines.concat().as_bytes())?;
    write_atomic(&beside(out, "curves.svg"), history_curves(&points(history))?.as_bytes())
}

/// `model.safetensors` → `model.safetensors.checkpoint`.
fn beside(out: &Path, ending: &str) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}
