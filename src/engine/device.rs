//! Where a model runs: the choice among GPU and CPU, and what happens when the GPU fails in the
//! middle of an image.

use std::str::FromStr;

use super::gpu::{Gpu, GpuEngine, adapters, prove_integers, prove_model};
use super::{BatchEngine, Block, Control, PATCH_BATCH, SegmentOptions, WinogradEngine, segment};
use crate::error::{Error, Result, Warnings};
use crate::model::{Architecture, Model};
use crate::platform::{seconds, threads};
use crate::raster::{Plane, ProbabilityMap, RgbImage};

/// Side of the block on which GPU and CPU race.
const RACE_PX: usize = 64;
/// Block sides that are tried, one after the other, when the device fails.
const RETRY_SIDES_PX: [usize; 2] = [96, 32];

/// Where an image was segmented in the end.
pub type RanOn = String;

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A real GPU that computes right and is faster, else the CPU.
    #[default]
    Auto,
    /// Adapter number N of `prunella devices`, or the first.
    Gpu(Option<usize>),
    Cpu,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu(None)),
            _ => text
                .strip_prefix("gpu:")
                .and_then(|n| n.parse().ok())
                .map(|n| Self::Gpu(Some(n)))
                .ok_or_else(|| format!("'{text}' is not a device; use auto, cpu, gpu or gpu:N")),
        }
    }
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu(None) => f.write_str("gpu"),
            Self::Gpu(Some(index)) => write!(f, "gpu:{index}"),
        }
    }
}

/// Where segmentation runs.
#[derive(Debug)]
pub enum Device {
    Cpu,
    Gpu(Gpu),
}

impl Device {
    /// For people and results.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Cpu => format!("CPU ({} threads)", threads()),
            Self::Gpu(gpu) => format!("{} ({})", gpu.facts.name, gpu.facts.backend),
        }
    }

    /// Opens what `choice` asks for and proves it on `model`. The report says what was passed over,
    /// and why.
    ///
    /// # Errors
    /// [`Error::Gpu`] when a GPU was demanded and none computes right.
    pub async fn open(choice: DeviceChoice, model: &Model, report: &mut Warnings) -> Result<Self> {
        let index = match choice {
            DeviceChoice::Cpu => return Ok(Self::Cpu),
            DeviceChoice::Gpu(index) => Some(index.unwrap_or(0)),
            DeviceChoice::Auto => None,
        };
        let all = adapters().await;
        let Some(adapter) = all.get(index.unwrap_or(0)) else {
            return if choice == DeviceChoice::Auto {
                Ok(Self::Cpu)
            } else {
                Err(Error::gpu(
                    "There is no such graphics adapter here; 'prunella devices' lists them",
                ))
            };
        };
        if choice == DeviceChoice::Auto && adapter.facts.software {
            tracing::info!(
                adapter = adapter.facts.name,
                "a software adapter is slower than the CPU engine and passed over"
            );
            return Ok(Self::Cpu);
        }
        match proven(adapter, model, choice == DeviceChoice::Auto).await {
            Ok(Some(gpu)) => Ok(Self::Gpu(gpu)),
            Ok(None) => {
                report.note(format!(
                    "The CPU is faster than {} for this model and is used",
                    adapter.facts.name
                ));
                Ok(Self::Cpu)
            }
            Err(e) if choice == DeviceChoice::Auto => {
                report.note(format!("{e}; the CPU is used"));
                Ok(Self::Cpu)
            }
            Err(e) => Err(e),
        }
    }
}

/// An opened and proven device, or none if it lost the race against the CPU.
async fn proven(adapter: &super::gpu::Adapter, model: &Model, race: bool) -> Result<Option<Gpu>> {
    let gpu = Gpu::open(adapter).await?;
    prove_integers(&gpu).await?;
    let engine = GpuEngine::new(&gpu, model)?;
    prove_model(&engine, model).await?;
    let won = !race || faster(&engine, model).await?;
    drop(engine);
    Ok(won.then_some(gpu))
}

async fn faster(engine: &GpuEngine<'_>, model: &Model) -> Result<bool> {
    // A batch network answers a few pixels in the time in which a dense one answers a block.
    let side = if matches!(model.card().architecture, Architecture::Dcnn { .. }) {
        RACE_PX
    } else {
        RACE_PX / 8
    };
    let image = Plane::filled(side, side, [127, 90, 160]);
    let whole = Block { row: 0, column: 0, width: side, height: side };
    let gpu_secs = engine.time(&image, whole).await?;
    Ok(gpu_secs < cpu_secs(model, &image, whole)?)
}

/// What the CPU would take, all threads busy, weights packed beforehand as on the GPU.
fn cpu_secs(model: &Model, image: &RgbImage, whole: Block) -> Result<f64> {
    if let Architecture::Dccn { .. } = model.card().architecture {
        let engine = BatchEngine::new(model)?;
        let begun = seconds();
        drop(engine.run(image, &[(0, 0); PATCH_BATCH]));
        let batches = (whole.width * whole.height) as f64 / PATCH_BATCH as f64;
        return Ok((seconds() - begun) * batches / threads() as f64);
    }
    let engine = WinogradEngine::new(model)?;
    let begun = seconds();
    drop(engine.run(image, whole));
    Ok((seconds() - begun) / threads() as f64)
}

/// Segments on `device` and says where it ran. A GPU that fails is tried again with smaller blocks,
/// then the CPU does the whole image; the report says so.
///
/// # Errors
/// Those of [`segment`].
pub async fn segment_on(
    device: &Device,
    model: &Model,
    image: &RgbImage,
    options: SegmentOptions,
    control: &Control<'_>,
    report: &mut Warnings,
) -> Result<(ProbabilityMap, RanOn)> {
    super::check_options(model, image, options)?;
    if let Device::Gpu(gpu) = device {
        if let Some(map) = segment_on_gpu(gpu, model, image, options, control, report).await? {
            return Ok((map, device.name()));
        }
        report.note("The CPU segmented the image instead");
    }
    Ok((segment(model, image, options, control)?, Device::Cpu.name()))
}

/// Segments on a GPU, with smaller blocks where it fails; none when the CPU has to do it. The
/// report says why.
///
/// # Errors
/// [`Error::Cancelled`] when asked to stop, and whatever no device could do.
pub async fn segment_on_gpu(
    gpu: &Gpu,
    model: &Model,
    image: &RgbImage,
    options: SegmentOptions,
    control: &Control<'_>,
    report: &mut Warnings,
) -> Result<Option<ProbabilityMap>> {
    super::check_options(model, image, options)?;
    // A network that runs in batches has no blocks to make smaller.
    let blocks = matches!(model.card().architecture, Architecture::Dcnn { .. });
    let smaller = |side: &usize| blocks && options.block_px.is_none_or(|first| *side < first);
    let sides =
        [options.block_px].into_iter().chain(RETRY_SIDES_PX.into_iter().filter(smaller).map(Some));
    for side in sides {
        let attempt = SegmentOptions { block_px: side, ..options };
        let result = match GpuEngine::new(gpu, model) {
            Ok(engine) => engine.segment(image, attempt, control).await,
            Err(e) => Err(e),
        };
        match result {
            Err(e @ (Error::Gpu { .. } | Error::Limit { .. })) => {
                report.note(e.to_string());
                if gpu.is_lost() {
                    break;
                }
            }
            Err(e @ Error::Unsupported { .. }) => {
                report.note(e.to_string());
                break;
            }
            other => return other.map(Some),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_asked_for_by_word() {
        assert_eq!("gpu:2".parse(), Ok(DeviceChoice::Gpu(Some(2))));
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert!("gpu2".parse::<DeviceChoice>().expect_err("wrong").contains("gpu:N"));
    }
}
