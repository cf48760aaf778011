//! The prepared segmenter: one model on one device.

use std::sync::{Arc, OnceLock};

use super::gpu::{Gpu, GpuEngine, verify_model};
use super::{Control, CpuEngine, Device, DeviceChoice, DeviceKind, SegmentOptions};
use crate::error::{Error, Result, Warnings};
use crate::model::{Architecture, Model};
use crate::raster::{ProbabilityMaps, RgbImage};

/// Block sides that are tried, one after the other, when the GPU fails, pixels.
const RETRY_SIDES_PX: [usize; 2] = [96, 32];

/// A model on a device, opened and verified once, then used for every image and block.
///
/// On a GPU the pipelines are compiled, the weights uploaded and the block size chosen when it is
/// made. The weights for the CPU are packed when they are first needed: at once on the CPU, or
/// after a failure of the GPU. It can be used from several threads.
///
/// ```
/// use std::sync::Arc;
/// use prunella::engine::{Control, DeviceChoice, SegmentOptions, Segmenter};
/// use prunella::model::{Model, dcnn};
/// use prunella::raster::phantom;
///
/// let model = Arc::new(Model::random(dcnn([3, 5, 8], 20, 2), 1)?);
/// let segmenter = Segmenter::on_cpu(model)?;
/// let (image, _) = phantom(64, 48, 7);
/// let map = segmenter.segment_on_cpu(&image, SegmentOptions::default(), &Control::default())?;
/// assert_eq!((map.width(), map.height()), (64, 48));
/// # Ok::<(), prunella::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Segmenter {
    model: Arc<Model>,
    device: Device,
    gpu: Option<GpuEngine>,
    cpu: OnceLock<CpuEngine>,
}

/// A probability map and where it was computed.
#[derive(Debug)]
pub struct Segmentation {
    /// Probabilities of every pixel of the image.
    pub map: ProbabilityMaps,
    /// The CPU where the GPU failed.
    pub device: DeviceKind,
}

impl Segmenter {
    /// Opens the device that `choice` asks for and prepares `model` on it. With
    /// [`DeviceChoice::Auto`] a GPU is used only if it computes this model right and faster than
    /// the CPU; `warnings` says what was passed over and why.
    ///
    /// # Errors
    /// [`Error::Gpu`] when a GPU was demanded and none computes right.
    pub async fn open(
        model: Arc<Model>,
        choice: DeviceChoice,
        warnings: &mut Warnings,
    ) -> Result<Self> {
        let device = Device::open(choice, warnings).await?;
        let segmenter = Self::new(Arc::clone(&model), device).await;
        if choice != DeviceChoice::Auto {
            return segmenter;
        }
        match segmenter {
            Ok(segmenter) => segmenter.or_faster_cpu(warnings).await,
            Err(error) => {
                warnings.note(format!("{error}; the CPU is used"));
                Self::on_cpu(model)
            }
        }
    }

    /// Prepares `model` on a device that is open, and verifies it there on a few pixels.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn new(model: Arc<Model>, device: Device) -> Result<Self> {
        let mut gpu = None;
        let cpu = OnceLock::new();
        match &device {
            Device::Cpu => drop(cpu.set(CpuEngine::new(&model)?)),
            Device::Gpu(open) => {
                let engine = GpuEngine::new(Arc::clone(open), &model)?;
                verify_model(&engine, &model).await?;
                // Before other threads use the device: their load would be measured too.
                engine.choose_block_side().await?;
                gpu = Some(engine);
            }
        }
        Ok(Self { model, device, gpu, cpu })
    }

    /// Prepares `model` on the CPU.
    ///
    /// # Errors
    /// None in practice.
    pub fn on_cpu(model: Arc<Model>) -> Result<Self> {
        let cpu = OnceLock::from(CpuEngine::new(&model)?);
        Ok(Self { model, device: Device::Cpu, gpu: None, cpu })
    }

    /// Moves to the CPU where that is faster. Both are timed at the block size in use with several
    /// blocks under way: on single small blocks latency would decide.
    async fn or_faster_cpu(self, warnings: &mut Warnings) -> Result<Self> {
        let Some(gpu) = &self.gpu else { return Ok(self) };
        let gpu_secs = gpu.seconds_per_pixel().await;
        let cpu_secs = self.cpu()?.seconds_per_pixel()?;
        match gpu_secs {
            // Both times are seconds a pixel.
            Ok(secs) if secs < cpu_secs => return Ok(self),
            Ok(_) => warnings.note(format!(
                "The CPU is faster than {} for this model and is used",
                gpu.gpu().facts.name
            )),
            Err(error) => warnings.note(format!("{error}; the CPU is used")),
        }
        Ok(Self { device: Device::Cpu, gpu: None, ..self })
    }

    /// The model that it runs.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Where it runs unless the GPU fails.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Name of the device that computed a [`Segmentation`].
    #[must_use]
    pub fn device_name(&self, kind: DeviceKind) -> String {
        match kind {
            DeviceKind::Cpu => Device::Cpu.name(),
            DeviceKind::Gpu => self.device.name(),
        }
    }

    /// Segments an image. A GPU that fails is tried again with smaller blocks, then the CPU
    /// computes the whole image; `warnings` says so.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for an empty image or a block size of 0, [`Error::Cancelled`] when asked
    /// to stop.
    pub async fn segment(
        &self,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
        warnings: &mut Warnings,
    ) -> Result<Segmentation> {
        options.check(image)?;
        if self.gpu.is_some() {
            if let Some(map) = self.segment_on_gpu(image, options, control, warnings).await? {
                return Ok(Segmentation { map, device: DeviceKind::Gpu });
            }
            warnings.note("The CPU segmented the image instead");
        }
        let map = self.segment_on_cpu(image, options, control)?;
        Ok(Segmentation { map, device: DeviceKind::Cpu })
    }

    /// Segments an image on the CPU, whatever the device.
    ///
    /// # Errors
    /// As [`Self::segment`].
    pub fn segment_on_cpu(
        &self,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
    ) -> Result<ProbabilityMaps> {
        self.cpu()?.segment(image, options, control)
    }

    /// Segments an image on the GPU, with smaller blocks where it fails. None when there is no GPU
    /// or the CPU has to do it; `warnings` says why.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when asked to stop, and whatever no device could do.
    pub async fn segment_on_gpu(
        &self,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
        warnings: &mut Warnings,
    ) -> Result<Option<ProbabilityMaps>> {
        options.check(image)?;
        let Some(engine) = &self.gpu else { return Ok(None) };
        if engine.gpu().is_lost() {
            warnings.note(format!("{} was lost", engine.gpu().facts.name));
            return Ok(None);
        }
        let mut sides = vec![options.block_px];
        // A network that runs in batches has no blocks to make smaller.
        if matches!(self.model.card().architecture, Architecture::Dcnn { .. }) {
            for side in RETRY_SIDES_PX {
                if options.block_px.is_none_or(|first| side < first) {
                    sides.push(Some(side));
                }
            }
        }
        for block_px in sides {
            let attempt = SegmentOptions { block_px, ..options };
            match engine.segment(image, attempt, control).await {
                Err(error @ (Error::Gpu { .. } | Error::Limit { .. })) => {
                    warnings.note(error.to_string());
                    if engine.gpu().is_lost() {
                        break;
                    }
                }
                other => return other.map(Some),
            }
        }
        Ok(None)
    }

    /// The model packed for the CPU, at the first call.
    ///
    /// # Errors
    /// As [`CpuEngine::new`].
    pub fn cpu(&self) -> Result<&CpuEngine> {
        if let Some(engine) = self.cpu.get() {
            return Ok(engine);
        }
        let engine = CpuEngine::new(&self.model)?;
        // Another thread may have been first; its engine is the same.
        Ok(self.cpu.get_or_init(|| engine))
    }

    /// The device, if it is a GPU.
    #[must_use]
    pub fn gpu(&self) -> Option<&Gpu> {
        self.gpu.as_ref().map(GpuEngine::gpu)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::super::{map_layout, patch_at, patch_logits, segment};
    use super::*;
    use crate::model::{dccn, dcnn};

    #[test]
    fn a_prepared_segmenter_gives_the_same_bits_for_every_image() {
        for architecture in [dcnn([3, 5, 8], 20, 2), dccn(4, 6, 3, [5, 5, 5], 2)] {
            let model = Arc::new(Model::random(architecture, 2).expect("model"));
            let segmenter = Segmenter::on_cpu(Arc::clone(&model)).expect("segmenter");
            for (width, height) in [(9, 7), (1, 1), (40, 3)] {
                let image = picture(width, height);
                let (options, control) = (SegmentOptions::default(), Control::default());
                let map = segmenter.segment_on_cpu(&image, options, &control).expect("map");
                assert_eq!(map, segment(&model, &image, options, &control).expect("map"));
            }
        }
    }

    #[test]
    fn every_network_gives_the_planes_of_its_classes() {
        for architecture in [dcnn([3, 5, 8], 20, 3), dccn(4, 6, 3, [5, 5, 5], 3)] {
            let model = Arc::new(Model::random(architecture, 2).expect("model"));
            let segmenter = Segmenter::on_cpu(Arc::clone(&model)).expect("segmenter");
            let image = picture(5, 4);
            let (options, control) = (SegmentOptions::default(), Control::default());
            let map = segmenter.segment_on_cpu(&image, options, &control).expect("map");
            assert_eq!((map.layout(), map.types().len()), (map_layout(&model), 2));
            for (row, column) in [(0, 0), (3, 4), (2, 1)] {
                let mut expected = patch_logits(&model, &patch_at(&image, row, column));
                model.card().head.probabilities(&mut expected);
                for (plane, expected) in map.types().iter().zip(&expected[1..]) {
                    assert!((plane.get(row, column) - expected).abs() < 1e-4);
                }
                assert!((map.nucleus().get(row, column) - (1.0 - expected[0])).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn empty_steps_and_blocks_are_refused() {
        let two = Arc::new(Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model"));
        let segmenter = Segmenter::on_cpu(two).expect("segmenter");
        let segment =
            |options| segmenter.segment_on_cpu(&picture(3, 3), options, &Control::default());
        assert!(segment(SegmentOptions { stride: 0, block_px: None }).is_err());
        assert!(segment(SegmentOptions { stride: 1, block_px: Some(0) }).is_err());
    }
}
