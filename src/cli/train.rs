//! `prunella train` and `prunella finetune`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::CommandOutcome;
use super::labels::{LabelArguments, TeachArguments, TeachRequest, finetune_on_labels};
use super::output::{Output, stop_flag};
use super::output_files::check_outputs;
use super::tiles::{LoadedTiles, NO_TILES, TileArguments, check_labels, load};
use crate::dataset::{AugmentationPreset, PIXEL_SIZES_UM, Prior, Tile};
use crate::demo::points;
use crate::engine::DeviceChoice;
use crate::error::{Error, Result};
use crate::model::{Architecture, Family, Head, Model, PixelClass, Precision};
use crate::platform::write_atomic;
use crate::report::history_curves;
use crate::train::{
    DeadUnitOptions, EpochLog, Event, Recipe, Schedule, TrainData, TrainOutcome, Trainer, open,
    rescue_path, with_border_class,
};

/// Train a network from random weights.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella train --data kumar --split pretrain --patches 60000 --epochs 1 --augment --revive \\
      --out start.safetensors
  prunella train --data tiles --widths 8,16,24,128 --border 0.75 --ema 0.999 --square 16 \\
      --batch 32 --patches 900000 --epochs 6 --augment strong --revive --out small.safetensors
  prunella train --data kumar --data tnbc=2 --data nuinsseg=0.5 --augment wide --revive \\
      --out mixed.safetensors
  prunella train --data tiles --network dccn --head sigmoid --device gpu --out dccn.safetensors")]
pub(super) struct TrainArguments {
    /// Which of the paper's networks.
    #[arg(long, value_enum, default_value_t = Family::Dcnn)]
    network: Family,
    /// Filters of the three convolutions and hidden units of a DCNN, instead of the paper's
    /// 25,50,80,1024.
    #[arg(long, value_delimiter = ',', value_name = "F1,F2,F3,HIDDEN")]
    widths: Vec<usize>,
    /// Types of nuclei to tell apart (comma-separated). Those of the tiles unless given; one type
    /// called nucleus takes all.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    types: Vec<String>,
    /// Pixel size of the model, micrometres; tiles of another are resampled. That of the tiles
    /// unless given, and 0.25 where they disagree.
    #[arg(long, value_name = "MICROMETRES")]
    mpp: Option<f64>,
    #[command(flatten)]
    common: CommonArguments,
}

/// Options that have no meaning where a model learns from marks.
const OF_TILES_ONLY: [&str; 19] = [
    "device",
    "distill",
    "split",
    "tiles",
    "patches",
    "square",
    "epochs",
    "batch",
    "learning_rate",
    "schedule",
    "weight_decay",
    "balanced",
    "augment",
    "revive",
    "ema",
    "head",
    "checkpoint_every",
    "fresh",
    "teacher",
];

/// Train a model further: after pruning, on other tiles or on a person's marks.
///
/// With --labels a model learns from a few marks in seconds, on the processor: it changes where it
/// was corrected and stays as it was elsewhere. Of the other options only --border, --seed and
/// --licence then have a meaning; the rest is refused.
#[derive(Debug, Args)]
#[command(mut_arg("data", |data| data.required(false).required_unless_present("labels")))]
#[command(mut_arg("labels", |labels| labels.conflicts_with_all(OF_TILES_ONLY)))]
#[command(after_help = "Examples:
  prunella finetune half.safetensors --data kumar --split train --patches 9159 --epochs 30 \\
      --augment --revive --out half-tuned.safetensors
  prunella finetune small.safetensors --border 0.75 --data tiles --square 16 \\
      --out bordered.safetensors
  prunella finetune tenth.safetensors --teacher whole.safetensors --data kumar --split train \\
      --augment --out tenth-tuned.safetensors
  prunella finetune models/open-small.safetensors --labels corrections.geojson \\
      --image biopsy.svs --out mine.safetensors")]
pub(super) struct FinetuneArguments {
    /// The model to start from.
    model: PathBuf,
    /// Better models whose mean probability of each pixel is learned (knowledge distillation,
    /// comma-separated). DCNNs on the CPU only.
    #[arg(long, value_name = "MODELS", value_delimiter = ',')]
    teacher: Vec<PathBuf>,
    /// Share of the teachers in the targets, 0 to 1; the rest are labels. At 1 labels are used for
    /// scores alone.
    #[arg(
        long,
        alias = "distil",
        default_value_t = 0.5,
        requires = "teacher",
        value_name = "SHARE"
    )]
    distill: f32,
    #[command(flatten)]
    labels: LabelArguments,
    #[command(flatten)]
    teach: TeachArguments,
    #[command(flatten)]
    common: CommonArguments,
}

impl ValueEnum for Family {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name());
        Some(match self {
            Self::Dcnn => value.help("916 959 parameters"),
            Self::Dccn => value.help("4 794 754 parameters"),
        })
    }
}

impl ValueEnum for Schedule {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Constant, Self::Cosine, Self::OneCycle]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Constant => "constant",
            Self::Cosine => "cosine",
            Self::OneCycle => "one-cycle",
        }))
    }
}

impl ValueEnum for AugmentationPreset {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::None, Self::Default, Self::Strong, Self::Stains, Self::Wide]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::None => "none",
            Self::Default => "default",
            Self::Strong => "strong",
            Self::Stains => "stains",
            Self::Wide => "wide",
        }))
    }
}

impl ValueEnum for Head {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Softmax, Self::Sigmoid]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Softmax => "softmax",
            Self::Sigmoid => "sigmoid",
        }))
    }
}

/// What defaults are: one recipe for every command.
const DEFAULT: Recipe = Recipe::DEFAULT;

/// The options of [`Recipe`].
#[derive(Debug, Args)]
struct RecipeArguments {
    /// Patches to draw; 70 % of them train, 30 % validate.
    #[arg(long, default_value_t = DEFAULT.patches)]
    patches: usize,
    /// Draw the patches in squares of this side (a multiple of 8) and learn every pixel of a square
    /// from one forward pass: many times faster a patch; neighbouring pixels carry less
    /// information. DCNN on the CPU only.
    #[arg(
        long,
        alias = "spread",
        default_value_t = DEFAULT.square_px,
        value_name = "PIXELS"
    )]
    square: usize,
    #[arg(long, default_value_t = DEFAULT.epochs)]
    epochs: u64,
    /// Patches, or squares, in a step. The CPU works on groups of 32; threads beyond the groups
    /// share the filters of a layer.
    #[arg(long, default_value_t = DEFAULT.batch)]
    batch: usize,
    #[arg(long, default_value_t = DEFAULT.learning_rate)]
    learning_rate: f64,
    #[arg(long, value_enum, default_value_t = DEFAULT.schedule)]
    schedule: Schedule,
    /// Decoupled weight decay (AdamW); 0 is plain Adam.
    #[arg(long, default_value_t = DEFAULT.weight_decay)]
    weight_decay: f64,
    /// Draw both classes equally often instead of as they cover the tiles.
    #[arg(long)]
    balanced: bool,
    /// Augment patches: mirroring, quarter turns and stain jitter in optical density; strong adds
    /// rotation by any angle, zoom, and more jitter; wide adds the most jitter, gamma, brightness,
    /// contrast, blur and JPEG losses.
    #[arg(
        long,
        value_enum,
        num_args = 0..=1,
        default_value_t = AugmentationPreset::None,
        default_missing_value = "default"
    )]
    augment: AugmentationPreset,
    /// Re-initialise dead units (filters that are never active), scale a random start to the tiles,
    /// and centre gradients, so that units stay alive. DCNN only.
    #[arg(long, alias = "awake")]
    revive: bool,
    /// Tell the border of nuclei apart, so that touching ones stay apart: a class of its own inside
    /// nuclei, so many micrometres wide, such as 0.75. A model without this class gets it.
    #[arg(long, value_name = "MICROMETRES")]
    border: Option<f64>,
    /// Score and save an exponential moving average of the weights over steps with this decay, such
    /// as 0.999.
    #[arg(long, default_value_t = DEFAULT.ema, value_name = "DECAY")]
    ema: f64,
    /// How logits become probabilities; sigmoid is the paper's DCCN. The model's own unless given.
    #[arg(long, value_enum)]
    head: Option<Head>,
    /// Decides initial weights, patches, order and augmentation.
    #[arg(long, default_value_t = DEFAULT.seed)]
    seed: u64,
}

impl RecipeArguments {
    /// The recipe for a model with this head.
    fn recipe(&self, head: Head) -> Recipe {
        Recipe {
            patches: self.patches,
            square_px: self.square,
            epochs: self.epochs,
            batch: self.batch,
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            weight_decay: self.weight_decay,
            prior: if self.balanced { Prior::Balanced } else { Prior::Natural },
            augmentation: self.augment.into(),
            distill: DEFAULT.distill,
            dead_units: DeadUnitOptions::all_if(self.revive),
            border_um: self.border,
            ema: self.ema,
            head: self.head.unwrap_or(head),
            seed: self.seed,
        }
    }
}

#[derive(Debug, Args)]
struct CommonArguments {
    #[command(flatten)]
    tiles: TileArguments,
    /// Where the trained model goes (.safetensors).
    #[arg(long, short)]
    out: PathBuf,
    #[command(flatten)]
    recipe: RecipeArguments,
    /// auto (a hardware GPU, else the CPU), cpu, gpu or gpu:N of 'prunella devices'.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Seconds between checkpoints.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    checkpoint_every: f64,
    /// Replace a checkpoint instead of continuing from it.
    #[arg(long)]
    fresh: bool,
}

/// What is trained, on what, and how.
struct Run {
    start: Model,
    teachers: Vec<Model>,
    recipe: Recipe,
    data: LoadedTiles,
}

impl TrainArguments {
    fn check_pixel_size(&self) -> Result<()> {
        if self.mpp.is_some_and(|mpp| !PIXEL_SIZES_UM.contains(&mpp)) {
            return Err(Error::invalid(format!(
                "The pixel size (--mpp) must be between {} and {} µm",
                PIXEL_SIZES_UM.start(),
                PIXEL_SIZES_UM.end()
            )));
        }
        Ok(())
    }

    /// The network before its classes are known.
    fn architecture(&self) -> Result<Architecture> {
        let paper = self.network.paper();
        if self.widths.is_empty() {
            return Ok(paper);
        }
        if self.network != Family::Dcnn || self.widths.len() != paper.layer_widths().len() {
            return Err(Error::invalid(
                "--widths takes four numbers and is for DCNNs: filters of the three convolutions \
                 and hidden units, such as 8,16,24,128",
            ));
        }
        let architecture = paper.with_layer_widths(&self.widths)?;
        architecture.validate()?;
        Ok(architecture)
    }

    /// Random weights for the classes that are told apart in `tiles`.
    fn start(&self, architecture: Architecture, tiles: &[Tile], output: Output) -> Result<Model> {
        let mut types = self.types.clone();
        if types.is_empty() {
            types = types_of(tiles);
            if !types.is_empty() {
                output.remark(&format!(
                    "The tiles have nuclei of {} types, which the model learns to tell apart: {}. \
                     --types nucleus takes all as one",
                    types.len(),
                    types.join(", ")
                ));
            }
        }
        let classes = PixelClass::of_nuclei(&types, self.common.recipe.border.is_some());
        let architecture = architecture.with_classes(classes.len());
        let random = Model::random(architecture, self.common.recipe.seed)?;
        let mut card = random.card().clone();
        card.classes = classes;
        card.mpp_um = self.mpp.unwrap_or(card.mpp_um);
        Model::new(card, random.weights().clone())
    }
}

/// The types of the objects of some tiles, sorted; none where there are not at least two.
fn types_of(tiles: &[Tile]) -> Vec<String> {
    let mut types: Vec<String> = Vec::new();
    for tile in tiles {
        types.extend(tile.object_types.values().cloned());
    }
    types.sort_unstable();
    types.dedup();
    if types.len() == 1 {
        types.clear();
    }
    types
}

/// `prunella train`.
pub(super) fn train(arguments: &TrainArguments, output: Output) -> Result<CommandOutcome> {
    let architecture = arguments.architecture()?;
    arguments.check_pixel_size()?;
    let recipe = arguments.common.recipe.recipe(Head::Softmax);
    let Some(data) = prepare(&recipe, &arguments.common, arguments.mpp, &[], output)? else {
        return Ok(CommandOutcome::Nothing);
    };
    let start = arguments.start(architecture, &data.tiles, output)?;
    let run = Run { start, teachers: Vec::new(), recipe, data };
    fit(&run, &arguments.common, output)
}

/// `prunella finetune`.
pub(super) fn finetune(arguments: &FinetuneArguments, output: Output) -> Result<CommandOutcome> {
    if arguments.labels.are_given() {
        let request = TeachRequest {
            model: &arguments.model,
            out: &arguments.common.out,
            labels: &arguments.labels,
            settings: &arguments.teach,
            border_um: arguments.common.recipe.border,
            seed: arguments.common.recipe.seed,
            licence: arguments.common.tiles.licence.as_deref(),
        };
        return finetune_on_labels(&request, output);
    }
    let mut teachers = Vec::with_capacity(arguments.teacher.len());
    for path in &arguments.teacher {
        teachers.push(Model::load(path)?);
    }
    let mut read = arguments.teacher.clone();
    read.push(arguments.model.clone());
    let mut start = Model::load(&arguments.model)?;
    let mut recipe = arguments.common.recipe.recipe(start.card().head);
    if !teachers.is_empty() {
        recipe.distill = arguments.distill;
    }
    let has_border = start.card().has_border();
    if has_border && recipe.border_um.is_none() {
        recipe.border_um = start.card().border_um;
    }
    if !has_border && recipe.border_um.is_some() {
        start = with_border_class(&start)?;
    }
    let mpp_um = Some(start.card().mpp_um);
    let Some(data) = prepare(&recipe, &arguments.common, mpp_um, &read, output)? else {
        return Ok(CommandOutcome::Nothing);
    };
    fit(&Run { start, teachers, recipe, data }, &arguments.common, output)
}

/// The tiles of a run whose recipe and files are in order, with pixels of `mpp_um` or, without, of
/// one size; none where there are none. `read` are the files of models that were read.
fn prepare(
    recipe: &Recipe,
    arguments: &CommonArguments,
    mpp_um: Option<f64>,
    read: &[PathBuf],
    output: Output,
) -> Result<Option<LoadedTiles>> {
    recipe.validate()?;
    let checkpoint = beside(&arguments.out, "checkpoint");
    let log = beside(&arguments.out, "log.jsonl");
    let curves = beside(&arguments.out, "curves.svg");
    check_outputs(&[arguments.out.clone(), checkpoint, log, curves], read)?;
    let mut data = load(&arguments.tiles, output)?;
    if let Some(mpp_um) = mpp_um.or_else(|| data.pixel_size_of_new_model()) {
        data.resample(mpp_um, output);
    }
    if data.tiles.is_empty() {
        output.remark(NO_TILES);
        output.result(&serde_json::json!({ "tiles": [] }), "")?;
        return Ok(None);
    }
    check_labels(&data.tiles)?;
    Ok(Some(data))
}

fn fit(run: &Run, arguments: &CommonArguments, output: Output) -> Result<CommandOutcome> {
    let Run { start, teachers, recipe, data } = run;
    let checkpoint = beside(&arguments.out, "checkpoint");
    let (compute, why) = open(arguments.device, start, recipe.batch)?;
    output.remark(&why);
    if arguments.fresh && checkpoint.exists() {
        std::fs::remove_file(&checkpoint)
            .map_err(|e| Error::io("The checkpoint cannot be removed", e))?;
    }
    let every = Duration::try_from_secs_f64(arguments.checkpoint_every).map_err(|_| {
        Error::invalid("The time between checkpoints must be a positive number of seconds")
    })?;
    let trainer = Trainer {
        start,
        data: TrainData { tiles: &data.tiles },
        recipe,
        compute: &compute,
        teachers,
        checkpoint: Some(&checkpoint),
        checkpoint_every: every,
        ends_collapsed: true,
        cancel: stop_flag(),
    };
    let bar = output.bar(1, "Training");
    let mut history = Vec::new();
    let mut outcome = trainer.run(&mut |event| {
        match &event {
            Event::Resumed { history: before, .. } => history.clone_from(before),
            Event::Epoch(log) => history.push(log.clone()),
            Event::Step { .. } | Event::Revived { .. } | Event::NoCheckpoint { .. } => {}
        }
        show(&event, &bar, output);
        // Up to date while the run goes on; a failure is reported when the final log is written.
        if matches!(event, Event::Epoch(_)) {
            drop(write_logs(&arguments.out, &history));
        }
    })?;
    bar.finish_and_clear();
    data.sign(&mut outcome.model, arguments.tiles.licence.as_deref());
    save_or_rescue(&outcome.model, &arguments.out)?;
    write_logs(&arguments.out, &outcome.history)?;
    drop(std::fs::remove_file(&checkpoint)); // no longer needed; one left behind is harmless
    report(&outcome, &compute.name, &arguments.out, output)
}

/// Writes a trained model; where that fails, into the system's folder of temporary files.
///
/// # Errors
/// That of writing, with the place of the model.
pub(super) fn save_or_rescue(model: &Model, out: &Path) -> Result<()> {
    let Err(error) = model.save(out, Precision::F32) else { return Ok(()) };
    let rescue = rescue_path(out);
    let rest = match model.save(&rescue, Precision::F32) {
        Ok(()) => format!("The trained model is kept in {}", rescue.display()),
        Err(_) => {
            "The trained model could be written nowhere; the last checkpoint stays".to_owned()
        }
    };
    Err(Error::io(rest, std::io::Error::other(error)))
}

/// Prints the result of a run.
fn report(
    outcome: &TrainOutcome,
    device: &str,
    out: &Path,
    output: Output,
) -> Result<CommandOutcome> {
    let TrainOutcome { model, history, seconds } = outcome;
    let last = history.last();
    let text = last.map_or(String::new(), |l| {
        format!(
            "{}: {} parameters, validation accuracy {:.4}, Dice {}, cross-entropy {:.4} after {} \
             epochs ({:.0} s)",
            out.display(),
            model.graph().parameters(),
            l.validation_accuracy,
            dice_text(l.validation_dice),
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

/// Four digits; a dash where no validation pixel is nucleus.
fn dice_text(dice: Option<f64>) -> String {
    dice.map_or("–".to_owned(), |dice| format!("{dice:.4}"))
}

/// Shows an event of a run: on the progress bar, or as a line.
pub(super) fn show(event: &Event, bar: &indicatif::ProgressBar, output: Output) {
    match event {
        Event::Revived { units } => {
            let mut layers = Vec::with_capacity(units.len());
            for layer in units {
                layers.push(format!("{} {} of {}", layer.layer, layer.dead, layer.units));
            }
            let layers = layers.join(", ");
            output.remark(&format!(
                "Units that are never active on these tiles are re-initialised: {layers}"
            ));
        }
        Event::Resumed { epoch, step, .. } => {
            let epoch = epoch + 1;
            output.remark(&format!("Going on from a checkpoint in epoch {epoch}, step {step}"));
        }
        Event::Step { done, total, epoch, loss, patches_per_s } => {
            if bar.length() != Some(*total) {
                bar.set_length(*total);
                bar.set_position(*done);
                bar.reset_eta();
            }
            bar.set_position(*done);
            bar.set_message(format!(
                "epoch {epoch} · loss {loss:.4} · {patches_per_s:.0} patches/s"
            ));
        }
        Event::Epoch(log) => bar.suspend(|| {
            output.remark(&format!(
                "epoch {:>3}: training loss {:.4}, validation loss {:.4}, accuracy {:.4}, Dice {}",
                log.epoch,
                log.train_loss,
                log.validation_loss,
                log.validation_accuracy,
                dice_text(log.validation_dice)
            ));
        }),
        Event::NoCheckpoint { reason } => bar.suspend(|| {
            output.remark(&format!("No checkpoint: {reason}. The training goes on"));
        }),
    }
}

/// The JSONL log and the SVG of the curves, beside the model.
fn write_logs(out: &Path, history: &[EpochLog]) -> Result<()> {
    let mut lines = String::new();
    for log in history {
        lines += &serde_json::json!(log).to_string();
        lines.push('\n');
    }
    write_atomic(&beside(out, "log.jsonl"), lines.as_bytes())?;
    write_atomic(&beside(out, "curves.svg"), history_curves(&points(history))?.as_bytes())
}

/// `model.safetensors` → `model.safetensors.checkpoint`.
fn beside(out: &Path, ending: &str) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Finetune {
        #[command(flatten)]
        arguments: FinetuneArguments,
    }

    fn parsed(options: &[&str]) -> FinetuneArguments {
        let required = ["finetune", "m.safetensors", "--data", "tiles", "--out", "o.safetensors"];
        Finetune::try_parse_from([&required[..], options].concat()).expect("options").arguments
    }

    #[test]
    fn without_options_a_recipe_is_the_default_with_the_models_head() {
        let recipe = parsed(&[]).common.recipe.recipe(Head::Sigmoid);
        assert_eq!(recipe, Recipe { head: Head::Sigmoid, ..Recipe::DEFAULT });
    }

    #[test]
    fn former_option_names_still_work() {
        let former =
            parsed(&["--awake", "--spread", "8", "--teacher", "t.safetensors", "--distil", "0.3"]);
        let now = parsed(&[
            "--revive",
            "--square",
            "8",
            "--teacher",
            "t.safetensors",
            "--distill",
            "0.3",
        ]);
        let recipe = |arguments: &FinetuneArguments| arguments.common.recipe.recipe(Head::Softmax);
        assert_eq!(recipe(&former), recipe(&now));
        assert_eq!(recipe(&now).dead_units, DeadUnitOptions::ALL);
        assert_eq!(recipe(&now).square_px, 8);
        assert!((former.distill - now.distill).abs() < f32::EPSILON && now.distill < 0.4);
    }

    #[test]
    fn the_named_values_are_those_of_files() {
        for schedule in Schedule::value_variants() {
            let name = schedule.to_possible_value().expect("a name");
            assert_eq!(serde_json::json!(schedule), name.get_name());
        }
        for augment in AugmentationPreset::value_variants() {
            let name = augment.to_possible_value().expect("a name");
            assert_eq!(serde_json::json!(augment), name.get_name());
        }
    }
}
