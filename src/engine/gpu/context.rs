//! Adapters and the open device. Errors of the device are stored by its handlers and checked after
//! each block; nothing panics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::error::{Error, Result};

/// Names of software rasterisers in the description of an adapter, in lower case.
const SOFTWARE_NAMES: [&str; 5] =
    ["swiftshader", "llvmpipe", "lavapipe", "basic render", "softpipe"];

/// A graphics adapter of this machine or browser.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterFacts {
    /// Product name, as the driver reports it.
    pub name: String,
    /// Graphics interface, such as `Vulkan`.
    pub backend: String,
    /// Type of device, such as `DiscreteGpu`.
    pub kind: String,
    /// Runs on the CPU: slower than prunella's own CPU engine.
    pub software: bool,
    /// Name and version of the driver; empty where the platform hides it.
    pub driver: String,
    /// Largest storage buffer that a shader can be given, bytes.
    pub max_binding_bytes: u64,
}

/// An adapter that can be opened.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// What the platform reports about it.
    pub facts: AdapterFacts,
    pub(super) handle: wgpu::Adapter,
}

/// Graphics interfaces in use. OpenGL is left out: its arithmetic is not exact.
fn backends() -> wgpu::Backends {
    wgpu::Backends::VULKAN
        | wgpu::Backends::METAL
        | wgpu::Backends::DX12
        | wgpu::Backends::BROWSER_WEBGPU
}

/// All adapters: hardware before software, discrete GPUs first.
pub async fn adapters() -> Vec<Adapter> {
    // wgpu panics where it was built without any backend, as the crate without features has it.
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return Vec::new();
    }
    let mut settings = wgpu::InstanceDescriptor::new_without_display_handle();
    settings.backends = backends();
    let instance = wgpu::Instance::new(settings);
    let handles = available(&instance).await;
    let mut adapters: Vec<Adapter> = handles.into_iter().map(describe).collect();
    adapters.sort_by_key(|adapter| {
        let is_discrete = adapter.facts.kind == "DiscreteGpu";
        (adapter.facts.software, !is_discrete)
    });
    adapters
}

#[cfg(not(target_arch = "wasm32"))]
async fn available(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    instance.enumerate_adapters(backends()).await
}

/// A browser gives one adapter, of its own choice.
#[cfg(target_arch = "wasm32")]
async fn available(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..wgpu::RequestAdapterOptions::default()
    };
    instance.request_adapter(&options).await.into_iter().collect()
}

fn describe(handle: wgpu::Adapter) -> Adapter {
    let info = handle.get_info();
    let facts = AdapterFacts {
        software: is_software(&info),
        backend: format!("{:?}", info.backend),
        kind: format!("{:?}", info.device_type),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        name: if info.name.is_empty() { "WebGPU adapter".to_owned() } else { info.name },
        max_binding_bytes: handle.limits().max_storage_buffer_binding_size,
    };
    Adapter { facts, handle }
}

fn is_software(info: &wgpu::AdapterInfo) -> bool {
    let description =
        format!("{}\n{}\n{}", info.name, info.driver, info.driver_info).to_lowercase();
    info.device_type == wgpu::DeviceType::Cpu
        || SOFTWARE_NAMES.iter().any(|name| description.contains(name))
}

/// Errors of a device, as its handlers reported them.
#[derive(Debug, Clone, Default)]
pub struct DeviceErrors {
    first: Arc<Mutex<Option<String>>>,
    latest: Arc<Mutex<LatestError>>,
    lost: Arc<AtomicBool>,
}

/// The last error and how many there were.
#[derive(Debug, Default)]
struct LatestError {
    count: u64,
    message: String,
}

impl DeviceErrors {
    /// Installs handlers on a device.
    #[must_use]
    pub fn watch(device: &wgpu::Device) -> Self {
        let errors = Self::default();
        let on_error = errors.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            on_error.store(error.to_string());
        }));
        let on_loss = errors.clone();
        device.set_device_lost_callback(move |reason, message| {
            on_loss.lost.store(true, Ordering::Relaxed);
            on_loss.store(format!("the device was lost ({reason:?}: {message})"));
        });
        errors
    }

    /// Keeps the first error since the last [`Self::take`].
    fn store(&self, error: String) {
        if let Ok(mut latest) = self.latest.lock() {
            latest.count += 1;
            latest.message.clone_from(&error);
        }
        if let Ok(mut first) = self.first.lock() {
            first.get_or_insert(error);
        }
    }

    /// Number of errors so far.
    fn count(&self) -> u64 {
        self.latest.lock().map_or(u64::MAX, |latest| latest.count)
    }

    /// The last error, if there were more than `count`.
    fn since(&self, count: u64) -> Option<String> {
        match self.latest.lock() {
            Ok(latest) => (latest.count > count).then(|| latest.message.clone()),
            Err(_) => Some("a handler failed".to_owned()),
        }
    }

    /// The first error since the last call.
    #[must_use]
    pub fn take(&self) -> Option<String> {
        self.first.lock().ok().and_then(|mut first| first.take())
    }

    /// The first error since the last [`Self::take`], which stays stored.
    #[must_use]
    pub fn first(&self) -> Option<String> {
        self.first
            .lock()
            .map_or_else(|_| Some("a handler failed".to_owned()), |first| first.clone())
    }

    /// Whether the device is lost; it cannot be used again.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

/// An open device.
#[derive(Debug)]
pub struct Gpu {
    /// What the platform reports about its adapter.
    pub facts: AdapterFacts,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    errors: DeviceErrors,
    /// Largest buffer, bytes.
    pub(super) max_buffer_bytes: u64,
}

impl Gpu {
    /// Opens an adapter within WebGPU's default limits, so that what works here works in any
    /// browser.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the driver refuses.
    pub async fn open(adapter: &Adapter) -> Result<Self> {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("prunella"),
            required_limits: wgpu::Limits::default(),
            ..wgpu::DeviceDescriptor::default()
        };
        let opened = adapter.handle.request_device(&descriptor).await;
        let (device, queue) = opened.map_err(|e| {
            Error::gpu(format!("{} cannot be opened", adapter.facts.name)).caused_by(e)
        })?;
        let errors = DeviceErrors::watch(&device);
        let limits = device.limits();
        let max_buffer_bytes = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
        Ok(Self { facts: adapter.facts.clone(), device, queue, errors, max_buffer_bytes })
    }

    /// Number of errors that the device has reported so far; for [`Self::check_since`].
    #[must_use]
    pub fn error_count(&self) -> u64 {
        self.errors.count()
    }

    /// Fails if the device has reported an error since there were `count`. Errors name no work, so
    /// an error fails everything that is under way on the device, on every thread.
    ///
    /// # Errors
    /// [`Error::Gpu`] with the driver's message.
    pub fn check_since(&self, count: u64) -> Result<()> {
        match self.errors.since(count) {
            None => Ok(()),
            Some(error) => Err(Error::gpu(format!("{} failed: {error}", self.facts.name))),
        }
    }

    /// Whether the device is lost; another must be opened.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.errors.is_lost()
    }

    /// Destroys the device, with the effect of a crash of its driver: work under way fails.
    pub fn destroy(&self) {
        self.device.destroy();
    }
}
