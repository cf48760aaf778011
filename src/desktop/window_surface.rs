//! What a window is drawn with: surface, tiles, and the panel over them.

use std::sync::Arc;

use egui_wgpu::{Renderer, RendererOptions, ScreenDescriptor};
use winit::window::Window;

use crate::engine::gpu::DeviceErrors;
use crate::error::{Error, Result};
use crate::viewer::{Layers, Painter, Viewport};

/// Behind the picture, linear.
const CLEAR: [f64; 3] = [0.13, 0.13, 0.14];

/// The panel as triangles.
pub struct PanelFrame {
    pub jobs: Vec<egui::ClippedPrimitive>,
    pub textures: egui::TexturesDelta,
    pub pixels_per_point: f32,
}

/// A window's surface and the device behind it.
pub struct WindowSurface {
    surface: wgpu::Surface<'static>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    config: wgpu::SurfaceConfiguration,
    pub painter: Painter,
    panel: Renderer,
    pub adapter: String,
    faults: DeviceErrors,
}

impl WindowSurface {
    /// Opens the adapter that can draw on the window.
    ///
    /// # Errors
    /// [`Error::Gpu`] when there is none.
    pub fn open(window: &Arc<Window>) -> Result<Self> {
        pollster::block_on(Self::opened(window))
    }

    async fn opened(window: &Arc<Window>) -> Result<Self> {
        let failed = |what: &str, e: &dyn std::fmt::Display| Error::gpu(format!("{what}: {e}"));
        let display = Box::new(Arc::clone(window));
        let instance =
            wgpu::Instance::new(wgpu::InstanceDescriptor::new_with_display_handle(display));
        let surface = instance
            .create_surface(Arc::clone(window))
            .map_err(|e| failed("The window cannot be drawn on", &e))?;
        let wish = wgpu::RequestAdapterOptions {
            compatible_surface: Some(&surface),
            ..wgpu::RequestAdapterOptions::default()
        };
        let adapter = instance.request_adapter(&wish).await.map_err(|e| {
            failed("No graphics driver here can draw in a window (Vulkan, Metal or DX12)", &e)
        })?;
        let info = adapter.get_info();
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor::default())
            .await
            .map_err(|e| failed("The adapter cannot be opened", &e))?;
        let faults = DeviceErrors::watch(&device);
        let size = window.inner_size();
        let mut config = surface
            .get_default_config(&adapter, size.width.max(1), size.height.max(1))
            .ok_or_else(|| Error::gpu("The adapter cannot draw in the window"))?;
        // Tiles and panel are in the screen's own brightness, which such a format takes as it is.
        let formats = surface.get_capabilities(&adapter).formats;
        config.format = formats.iter().copied().find(|f| !f.is_srgb()).unwrap_or(config.format);
        surface.configure(&device, &config);
        let painter = Painter::new(device.clone(), queue.clone(), config.format);
        let panel = Renderer::new(&device, config.format, RendererOptions::default());
        let adapter = format!("{} ({:?})", info.name, info.backend);
        Ok(Self { surface, device, queue, config, painter, panel, adapter, faults })
    }

    /// The window has another size.
    pub fn resize(&mut self, width: u32, height: u32) {
        (self.config.width, self.config.height) = (width.max(1), height.max(1));
        self.surface.configure(&self.device, &self.config);
    }

    /// Draws picture and panel; false when this frame was lost and the next should be drawn soon.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device is gone.
    pub fn draw(
        &mut self,
        view: &Viewport,
        layers: &Layers,
        mut panel: PanelFrame,
    ) -> Result<bool> {
        if let Some(what) = self.faults.take() {
            panel.textures.clear();
            return Err(Error::gpu(format!("{} failed: {what}", self.adapter)));
        }
        for (id, deltas) in panel.textures.set.drain() {
            deltas
                .iter()
                .for_each(|delta| self.panel.update_texture(&self.device, &self.queue, id, delta));
        }
        let drawn = match self.surface.get_current_texture() {
            wgpu::CurrentSurfaceTexture::Success(frame)
            | wgpu::CurrentSurfaceTexture::Suboptimal(frame) => {
                self.fill(&frame, view, layers, &panel);
                self.queue.present(frame);
                true
            }
            wgpu::CurrentSurfaceTexture::Lost | wgpu::CurrentSurfaceTexture::Validation => {
                return Err(Error::gpu(format!("{} lost the window", self.adapter)));
            }
            wgpu::CurrentSurfaceTexture::Outdated => {
                self.surface.configure(&self.device, &self.config);
                false
            }
            wgpu::CurrentSurfaceTexture::Timeout | wgpu::CurrentSurfaceTexture::Occluded => false,
        };
        panel.textures.free.drain().for_each(|id| self.panel.free_texture(&id));
        Ok(drawn)
    }

    fn fill(
        &mut self,
        frame: &wgpu::SurfaceTexture,
        view: &Viewport,
        layers: &Layers,
        panel: &PanelFrame,
    ) {
        let target = frame.texture.create_view(&wgpu::TextureViewDescriptor::default());
        self.painter.draw(view, layers, CLEAR, &target);
        let size = ScreenDescriptor {
            size_in_pixels: [self.config.width, self.config.height],
            pixels_per_point: panel.pixels_per_point,
        };
        let mut encoder = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("panel") });
        let before =
            self.panel.update_buffers(&self.device, &self.queue, &mut encoder, &panel.jobs, &size);
        {
            let pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                label: Some("panel"),
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view: &target,
                    depth_slice: None,
                    resolve_target: None,
                    ops: wgpu::Operations { load: wgpu::LoadOp::Load, store: wgpu::StoreOp::Store },
                })],
                ..wgpu::RenderPassDescriptor::default()
            });
            self.panel.render(&mut pass.forget_lifetime(), &panel.jobs, &size);
        }
        self.queue.submit(before.into_iter().chain([encoder.finish()]));
    }
}
