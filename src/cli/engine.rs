//! How commands run a model over images: device, blocks, threshold.

use std::borrow::Cow;
use std::time::Instant;

use clap::Args;

use super::output::{Output, stop_flag};
use crate::engine::{Control, Device, DeviceChoice, SegmentOptions, segment_on};
use crate::error::{Error, Result, Warnings};
use crate::model::{InstanceParameters, Model};
use crate::raster::{Orientation, ProbabilityMap, RgbImage, StainLut, StainMode, StainStatistics};

/// A pixel is nucleus above this, in pixel scores (the paper's choice).
const PIXEL_THRESHOLD: f32 = 0.5;

/// How a model is run over images.
#[derive(Debug, Args)]
pub struct EngineArguments {
    /// A pixel is nucleus when its probability is above this [default: the model card's for
    /// objects, 0.5 for pixel scores].
    #[arg(long)]
    pub threshold: Option<f32>,
    /// Evaluate every N-th pixel and interpolate (DCCN only; 1 is exact).
    #[arg(long, default_value_t = 1)]
    pub stride: usize,
    /// Side of the blocks worked on at a time, pixels; bounds memory, changes no result.
    #[arg(long)]
    pub block: Option<usize>,
    /// auto (a real GPU that computes right and is faster, else the CPU), cpu, gpu, or gpu:N as
    /// 'prunella devices' lists them.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// auto (colours of a stain that the model never saw are matched to those it did), keep or
    /// match.
    #[arg(long, default_value = "auto")]
    pub stain: StainMode,
}

/// How often an image is seen.
#[derive(Debug, Clone, Copy, Args)]
pub struct ViewArguments {
    /// See each image 1, 2, 4 or 8 ways, mirrored and turned, and take the mean: a little surer for
    /// as many times the work.
    #[arg(long, default_value_t = 1, value_parser = views)]
    views: u8,
}

fn views(text: &str) -> std::result::Result<u8, String> {
    let count = text.parse().map_err(|_| "not a number".to_owned())?;
    if [1, 2, 4, 8].contains(&count) { Ok(count) } else { Err("give 1, 2, 4 or 8".into()) }
}

impl ViewArguments {
    /// Whether images are seen mirrored and turned too.
    pub fn several(self) -> bool {
        self.views > 1
    }
}

impl EngineArguments {
    /// Refuses a threshold that is no probability.
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub fn options(&self) -> Result<SegmentOptions> {
        if self.threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
            return Err(Error::mismatch("The threshold must be between 0 and 1"));
        }
        Ok(SegmentOptions { stride: self.stride, block_px: self.block })
    }

    /// Threshold of pixel scores.
    pub fn pixel_threshold(&self) -> f32 {
        self.threshold.unwrap_or(PIXEL_THRESHOLD)
    }

    /// The model's parameters for objects, with what the command line says instead.
    pub fn instances(&self, model: &Model) -> InstanceParameters {
        let tuned = model.card().instances;
        InstanceParameters { threshold: self.threshold.unwrap_or(tuned.threshold), ..tuned }
    }

    /// Opens the device and proves it on `model`; says what was passed over.
    ///
    /// # Errors
    /// When a GPU was demanded and none computes right.
    pub fn open(&self, model: &Model, output: Output) -> Result<Device> {
        let mut report = Warnings::default();
        let device = pollster::block_on(Device::open(self.device, model, &mut report));
        report.notes.iter().for_each(|n| output.remark(n));
        device
    }
}

/// What running a model over one image gave.
pub struct Segmented {
    pub map: ProbabilityMap,
    pub milliseconds: f64,
    /// The device that computed it in the end.
    pub ran_on: String,
    /// Whether the model saw other colours than the image's own.
    pub stain_matched: bool,
}

/// Segments one image behind a progress bar; also says how long it took.
///
/// # Errors
/// Those of [`segment`].
pub fn timed_segment(
    model: &Model,
    device: &Device,
    image: &RgbImage,
    (how, views): (&EngineArguments, ViewArguments),
    output: Output,
    name: &str,
) -> Result<Segmented> {
    let bar = output.bar(1, name);
    let colours = StainLut::for_mode(how.stain, StainStatistics::of([image]));
    let seen = colours.as_ref().map_or(Cow::Borrowed(image), |c| Cow::Owned(c.apply(image)));
    let begun = Instant::now();
    let mut report = Warnings::default();
    let (map, ran_on) = mean_of_views(model, device, &seen, (how, views), &bar, &mut report)?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    bar.finish_and_clear();
    report.notes.iter().for_each(|n| output.remark(n));
    Ok(Segmented { map, milliseconds, ran_on, stain_matched: colours.is_some() })
}

/// The mean over the wanted views of an image, seen upright again.
fn mean_of_views(
    model: &Model,
    device: &Device,
    image: &RgbImage,
    (how, ViewArguments { views }): (&EngineArguments, ViewArguments),
    bar: &indicatif::ProgressBar,
    report: &mut Warnings,
) -> Result<(ProbabilityMap, String)> {
    let count = u64::from(views);
    let mut sum: Option<(ProbabilityMap, String)> = None;
    for (index, orientation) in (0u64..).zip(Orientation::first(views)) {
        let progress = |done: u64, total: u64| {
            bar.set_length(total * count);
            bar.set_position(total * index + done);
            bar.set_message("segmenting");
        };
        let control =
            Control { cancel: Some(stop_flag()), progress: Some(&progress), ..Control::default() };
        let turned =
            if index == 0 { Cow::Borrowed(image) } else { Cow::Owned(orientation.apply(image)) };
        let (map, ran_on) = pollster::block_on(segment_on(
            device,
            model,
            &turned,
            how.options()?,
            &control,
            report,
        ))?;
        sum = Some(match sum {
            None => (map, ran_on),
            Some((before, _)) => {
                let upright = orientation.inverse().apply(&map);
                let added = before.data().iter().zip(upright.data()).map(|(a, b)| a + b).collect();
                (ProbabilityMap::from_vec(before.width(), before.height(), added)?, ran_on)
            }
        });
    }
    let (map, ran_on) = sum.ok_or_else(|| Error::mismatch("At least one view is needed"))?;
    let share = 1.0 / f32::from(views);
    let mean = map.data().iter().map(|v| v * share).collect();
    Ok((ProbabilityMap::from_vec(map.width(), map.height(), mean)?, ran_on))
}
