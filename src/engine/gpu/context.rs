//! Adapters and the one open device. Whatever goes wrong on it is remembered and asked for after
//! each block; nothing panics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::error::{Error, Result};

/// A graphics adapter of this machine or browser.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterFacts {
    pub name: String,
    pub backend: String,
    pub kind: String,
    /// Runs on the CPU: slower than prunella's own CPU engine.
    pub software: bool,
    pub driver: String,
    pub max_binding_bytes: u64,
}

/// An adapter that can be opened.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub facts: AdapterFacts,
    pub(super) handle: wgpu::Adapter,
}

/// Graphics interfaces that are tried. OpenGL has no exact arithmetic to offer.
fn backends() -> wgpu::Backends {
    wgpu::Backends::VULKAN
        | wgpu::Backends::METAL
        | wgpu::Backends::DX12
        | wgpu::Backends::BROWSER_WEBGPU
}

/// What can compute here, real adapters first.
pub async fn adapters() -> Vec<Adapter> {
    let mut settings = wgpu::InstanceDescriptor::new_without_display_handle();
    settings.backends = backends();
    let instance = wgpu::Instance::new(settings);
    let mut found: Vec<Adapter> = available(&instance).await.into_iter().map(describe).collect();
    found.sort_by_key(|a| (a.facts.software, a.facts.kind != "DiscreteGpu"));
    found
}

#[cfg(not(target_arch = "wasm32"))]
async fn available(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    instance.enumerate_adapters(backends()).await
}

/// A browser shows one adapter, the one it would choose.
#[cfg(target_arch = "wasm32")]
async fn available(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let wish = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..wgpu::RequestAdapterOptions::default()
    };
    instance.request_adapter(&wish).await.into_iter().collect()
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
    let known = ["swiftshader", "llvmpipe", "lavapipe", "basic render", "softpipe"];
    let told = [&info.name, &info.driver, &info.driver_info].map(|s| s.to_lowercase());
    info.device_type == wgpu::DeviceType::Cpu
        || known.iter().any(|k| told.iter().any(|t| t.contains(k)))
}

/// What went wrong on a device, as its handlers heard it.
#[derive(Debug, Clone, Default)]
pub struct DeviceErrors {
    first: Arc<Mutex<Option<String>>>,
    lost: Arc<AtomicBool>,
}

impl DeviceErrors {
    /// Listens to a device.
    #[must_use]
    pub fn watch(device: &wgpu::Device) -> Self {
        let (faults, error, lost) = {
            let own = Self::default();
            (own.clone(), own.clone(), own)
        };
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| error.note(e.to_string())));
        device.set_device_lost_callback(move |reason, message| {
            lost.lost.store(true, Ordering::Relaxed);
            lost.note(format!("the device was lost ({reason:?}: {message})"));
        });
        faults
    }

    fn note(&self, what: String) {
        if let Ok(mut first) = self.first.lock() {
            first.get_or_insert(what);
        }
    }

    /// The first thing that went wrong since the last time this was asked.
    #[must_use]
    pub fn take(&self) -> Option<String> {
        self.first.lock().ok().and_then(|mut first| first.take())
    }

    /// The same, without forgetting it.
    #[must_use]
    pub fn first(&self) -> Option<String> {
        self.first
            .lock()
            .map_or_else(|_| Some("a handler failed".to_owned()), |first| first.clone())
    }

    /// Whether the device is gone for good.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

/// An open device.
#[derive(Debug)]
pub struct Gpu {
    pub facts: AdapterFacts,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    faults: DeviceErrors,
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
        let wanted = wgpu::DeviceDescriptor {
            label: Some("prunella"),
            required_limits: wgpu::Limits::default(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = adapter
            .handle
            .request_device(&wanted)
            .await
            .map_err(|e| Error::gpu(format!("{} cannot be opened: {e}", adapter.facts.name)))?;
        let faults = DeviceErrors::watch(&device);
        let limits = device.limits();
        let max_buffer_bytes = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
        Ok(Self { facts: adapter.facts.clone(), device, queue, faults, max_buffer_bytes })
    }

    /// Whether anything has gone wrong since the last time this was asked.
    ///
    /// # Errors
    /// [`Error::Gpu`] with what the driver said.
    pub fn check(&self) -> Result<()> {
        self.faults
            .take()
            .map_or(Ok(()), |what| Err(Error::gpu(format!("{} failed: {what}", self.facts.name))))
    }

    /// Whether the device is gone for good; another must be opened.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.faults.is_lost()
    }

    /// Gives the device up, as a driver's crash would. What is still under way fails.
    pub fn destroy(&self) {
        self.device.destroy();
    }
}
