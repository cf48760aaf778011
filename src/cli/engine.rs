//! How commands run a model over images: device, blocks, threshold.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use indicatif::ProgressBar;

use super::output::{Output, stop_flag};
use crate::engine::{Control, DeviceChoice, DeviceKind, SegmentOptions, Segmenter};
use crate::error::{Error, Result, Warnings};
use crate::model::{InstanceParameters, Model};
use crate::raster::{
    Orientation, Padding, ProbabilityMaps, RgbImage, StainMode, StainStatistics, stain_note,
};

/// A pixel is nucleus above this, in pixel scores (the paper's choice).
const PIXEL_THRESHOLD: f32 = 0.5;

/// How a model is run over images.
#[derive(Debug, Clone, Args)]
pub(super) struct EngineArguments {
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
    /// auto (colours of a stain that the model never saw are matched to those it did), keep (they
    /// stay as they are) or match (to the mean of the training tiles).
    #[arg(long, default_value = "auto")]
    pub stain: StainMode,
}

/// How often an image is seen.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct ViewArguments {
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
    pub(super) fn several(self) -> bool {
        self.views > 1
    }
}

impl EngineArguments {
    /// Refuses a threshold that is no probability.
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub(super) fn options(&self) -> Result<SegmentOptions> {
        if self.threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
            return Err(Error::invalid("The threshold must be between 0 and 1"));
        }
        Ok(SegmentOptions { stride: self.stride, block_px: self.block })
    }

    /// Threshold of pixel scores.
    pub(super) fn pixel_threshold(&self) -> f32 {
        self.threshold.unwrap_or(PIXEL_THRESHOLD)
    }

    /// The model's parameters for objects, with what the command line says instead.
    pub(super) fn instances(&self, model: &Model) -> InstanceParameters {
        let tuned = model.card().instances;
        InstanceParameters { threshold: self.threshold.unwrap_or(tuned.threshold), ..tuned }
    }

    /// Opens the device and prepares `model` on it; says what was passed over.
    ///
    /// # Errors
    /// When a GPU was demanded and none computes right.
    pub(super) fn open(&self, model: Arc<Model>, output: Output) -> Result<Segmenter> {
        let mut warnings = Warnings::default();
        let segmenter = pollster::block_on(Segmenter::open(model, self.device, &mut warnings));
        warnings.notes.iter().for_each(|note| output.remark(note));
        segmenter
    }
}

/// Runs a prepared model over whole images as a command's options say.
#[derive(Clone, Copy)]
pub(super) struct ImageRunner<'a> {
    pub segmenter: &'a Segmenter,
    pub how: &'a EngineArguments,
    pub views: ViewArguments,
    pub output: Output,
}

/// What running a model over one image gave.
pub(super) struct SegmentedImage {
    pub map: ProbabilityMaps,
    /// Of the network.
    pub milliseconds: f64,
    /// The device that computed it in the end.
    pub device: String,
    /// Whether the network read other colours than the image's own.
    pub stain_matched: bool,
    pub warnings: Warnings,
}

impl ImageRunner<'_> {
    /// Segments one image behind a progress bar of its own and shows what there is to note.
    ///
    /// # Errors
    /// Those of [`Segmenter::segment`].
    pub(super) fn run(&self, image: &RgbImage, name: &str) -> Result<SegmentedImage> {
        let bar = self.output.bar(1, name);
        let segmented = self.run_with(image, &bar)?;
        bar.finish_and_clear();
        segmented.warnings.notes.iter().for_each(|note| self.output.remark(note));
        Ok(segmented)
    }

    /// The same with a bar of the caller's (hidden ones draw nothing); notes are the caller's to
    /// show.
    ///
    /// # Errors
    /// Those of [`Segmenter::segment`].
    pub(super) fn run_with(&self, image: &RgbImage, bar: &ProgressBar) -> Result<SegmentedImage> {
        let stain = StainStatistics::of([image]);
        let stain_lut = self.segmenter.model().card().stain_matching(self.how.stain).lut(stain);
        let padding = Padding::of(image);
        let filled = match &padding {
            Some(padding) => Cow::Owned(padding.filled(image)),
            None => Cow::Borrowed(image),
        };
        let normalised = match &stain_lut {
            Some(lut) => Cow::Owned(lut.apply(&filled)),
            None => filled,
        };
        let mut warnings = Warnings::default();
        if let Some(note) = stain_note(stain.as_ref()) {
            warnings.note(note);
        }
        let begun = Instant::now();
        let (mut map, device) = self.mean_of_views(&normalised, bar, &mut warnings)?;
        if let Some(padding) = &padding {
            padding.clear(&mut map);
        }
        Ok(SegmentedImage {
            map,
            milliseconds: begun.elapsed().as_secs_f64() * 1000.0,
            device: self.segmenter.device_name(device),
            stain_matched: stain_lut.is_some(),
            warnings,
        })
    }

    /// The mean probability over mirrored and turned views of an image.
    fn mean_of_views(
        &self,
        image: &RgbImage,
        bar: &ProgressBar,
        warnings: &mut Warnings,
    ) -> Result<(ProbabilityMaps, DeviceKind)> {
        let options = self.how.options()?;
        let views = self.views.views;
        let mut sum: Option<ProbabilityMaps> = None;
        let mut device = DeviceKind::Cpu;
        for (index, orientation) in (0u64..).zip(Orientation::first(views)) {
            let progress = |done: u64, total: u64| {
                bar.set_length(total * u64::from(views));
                bar.set_position(total * index + done);
                bar.set_message("segmenting");
            };
            let control = Control {
                cancel: Some(stop_flag()),
                progress: Some(&progress),
                ..Control::default()
            };
            let view = if index == 0 {
                Cow::Borrowed(image)
            } else {
                Cow::Owned(orientation.apply(image))
            };
            let segmentation =
                pollster::block_on(self.segmenter.segment(&view, options, &control, warnings))?;
            device = segmentation.device;
            sum = Some(match sum {
                None => segmentation.map,
                Some(mut sum) => {
                    let planes = sum.planes_mut().iter_mut().zip(segmentation.map.planes());
                    for (total, plane) in planes {
                        let upright = orientation.inverse().apply(plane);
                        for (total, value) in total.data_mut().iter_mut().zip(upright.data()) {
                            *total += value;
                        }
                    }
                    sum
                }
            });
        }
        let mut mean = sum.ok_or_else(|| Error::invalid("At least one view is needed"))?;
        let share = 1.0 / f32::from(views);
        for plane in mean.planes_mut() {
            plane.data_mut().iter_mut().for_each(|probability| *probability *= share);
        }
        Ok((mean, device))
    }
}
