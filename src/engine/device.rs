//! The choice of a device: which adapter is opened, and that it computes right.

use std::str::FromStr;
use std::sync::Arc;

use super::gpu::{Gpu, adapters, verify_integers};
use crate::error::{Error, Result, Warnings};
use crate::platform::threads;

/// Which device the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A real GPU that computes right and is faster, else the CPU.
    #[default]
    Auto,
    /// Adapter number N of `prunella devices`, or the first.
    Gpu(Option<usize>),
    /// prunella's own CPU engine.
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

/// Where an image was segmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// prunella's own CPU engine.
    Cpu,
    /// An adapter of wgpu: Vulkan, Metal, Direct3D 12 or WebGPU.
    Gpu,
}

/// A device that computes right.
#[derive(Debug, Clone)]
pub enum Device {
    /// prunella's own CPU engine, always available.
    Cpu,
    /// An open adapter, shared by the segmenters that run on it.
    Gpu(Arc<Gpu>),
}

impl Device {
    /// Name for people and result files.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Cpu => format!("CPU ({} threads)", threads()),
            Self::Gpu(gpu) => format!("{} ({})", gpu.facts.name, gpu.facts.backend),
        }
    }

    /// Opens what `choice` asks for and verifies its arithmetic on a network of small integers.
    /// With [`DeviceChoice::Auto`] an adapter that is absent, emulated in software or wrong is
    /// passed over for the CPU; `warnings` says why.
    ///
    /// # Errors
    /// [`Error::Gpu`] when a GPU was demanded and there is none, or it computes wrongly.
    pub async fn open(choice: DeviceChoice, warnings: &mut Warnings) -> Result<Self> {
        let index = match choice {
            DeviceChoice::Cpu => return Ok(Self::Cpu),
            DeviceChoice::Gpu(index) => index.unwrap_or(0),
            DeviceChoice::Auto => 0,
        };
        let all = adapters().await;
        let Some(adapter) = all.get(index) else {
            return match choice {
                DeviceChoice::Auto => Ok(Self::Cpu),
                _ => Err(Error::gpu(
                    "There is no such graphics adapter here; 'prunella devices' lists them",
                )),
            };
        };
        if choice == DeviceChoice::Auto && adapter.facts.software {
            tracing::info!(
                adapter = adapter.facts.name,
                "a software adapter is slower than the CPU engine and passed over"
            );
            return Ok(Self::Cpu);
        }
        match Self::open_verified(adapter).await {
            Err(error) if choice == DeviceChoice::Auto => {
                warnings.note(format!("{error}; the CPU is used"));
                Ok(Self::Cpu)
            }
            other => other,
        }
    }

    async fn open_verified(adapter: &super::gpu::Adapter) -> Result<Self> {
        #[allow(clippy::arc_with_non_send_sync, reason = "wgpu's handles are both, but on wasm32")]
        let gpu = Arc::new(Gpu::open(adapter).await?);
        verify_integers(&gpu).await?;
        Ok(Self::Gpu(gpu))
    }
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
