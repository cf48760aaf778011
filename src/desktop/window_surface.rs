//! The surface of the window: tiles and the panel drawn by one GPU device.

use std::sync::Arc;

use egui_wgpu::{Renderer, RendererOptions, ScreenDescriptor};
use winit::window::Window;

use crate::engine::gpu::DeviceErrors;
use crate::error::{Error, Result};
use crate::viewer::{Layers, Painter, Viewport};

/// Colour beside the image, 0 to 1.
const CLEAR: [f64; 3] = [0.13, 0.13, 0.14];

/// The panel of one frame, as egui gives it.
pub(super) struct PanelFrame {
    /// Triangles.
    pub primitives: Vec<egui::ClippedPrimitive>,
    /// Textures to create and to free.
    pub textures: egui::TexturesDelta,
    pub pixels_per_point: f32,
}

/// A window's surface and the device behind it.
pub(super) struct WindowSurface {
    surface: wgpu::Surface<'static>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    config: wgpu::SurfaceConfiguration,
    pub painter: Painter,
    panel_renderer: Renderer,
    /// Name and API of the adapter, for display.
    pub adapter: String,
    device_errors: DeviceErrors,
}

impl WindowSurface {
    /// Opens an adapter that can draw in the window.
    ///
    /// # Errors
    /// [`Error::Gpu`] when there is none.
    pub(super) fn open(window: &Arc<Window>) -> Result<Self> {
        pollster::block_on(Self::open_async(window))
    }

    async fn open_async(window: &Arc<Window>) -> Result<Self> {
        let display = Box::new(Arc::clone(window));
        let instance =
            wgpu::Instance::new(wgpu::InstanceDescriptor::new_with_display_handle(display));
        let surface = instance
            .create_surface(Arc::clone(window))
            .map_err(|e| Error::gpu(format!("The window cannot be drawn on: {e}")))?;
        let options = wgpu::RequestAdapterOptions {
            compatible_surface: Some(&surface),
            ..wgpu::RequestAdapterOptions::default()
        };
        let adapter = instance.request_adapter(&options).await.map_err(|e| {
            Error::gpu(format!(
                "No graphics driver here can draw in a window (Vulkan, Metal or DX12): {e}"
            ))
        })?;
        let info = adapter.get_info();
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor::default())
            .await
            .map_err(|e| Error::gpu(format!("The adapter cannot be opened: {e}")))?;
        let device_errors = DeviceErrors::watch(&device);
        let size = window.inner_size();
        let mut config = surface
            .get_default_config(&adapter, size.width.max(1), size.height.max(1))
            .ok_or_else(|| Error::gpu("The adapter cannot draw in the window"))?;
        // Tiles and panel are sRGB values already: an sRGB format would convert them once more.
        let formats = surface.get_capabilities(&adapter).formats;
        config.format = formats.iter().copied().find(|f| !f.is_srgb()).unwrap_or(config.format);
        surface.configure(&device, &config);
        let painter = Painter::new(device.clone(), queue.clone(), config.format);
        let panel_renderer = Renderer::new(&device, config.format, RendererOptions::default());
        let adapter = format!("{} ({:?})", info.name, info.backend);
        Ok(Self { surface, device, queue, config, painter, panel_renderer, adapter, device_errors })
    }

    /// Sets the size of the window, pixels.
    pub(super) fn resize(&mut self, width: u32, height: u32) {
        self.config.width = width.max(1);
        self.config.height = height.max(1);
        self.surface.configure(&self.device, &self.config);
    }

    /// Draws image and panel; false when the frame was not presented and must be drawn again.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device is lost.
    pub(super) fn draw(
        &mut self,
        view: &Viewport,
        layers: &Layers,
        mut panel: PanelFrame,
    ) -> Result<bool> {
        if let Some(message) = self.device_errors.take() {
            panel.textures.clear();
            return Err(Error::gpu(format!("{} failed: {message}", self.adapter)));
        }
        for (id, deltas) in panel.textures.set.drain() {
            for delta in deltas {
                self.panel_renderer.update_texture(&self.device, &self.queue, id, &delta);
            }
        }
        let is_presented = match self.surface.get_current_texture() {
            wgpu::CurrentSurfaceTexture::Success(frame)
            | wgpu::CurrentSurfaceTexture::Suboptimal(frame) => {
                self.render(&frame, view, layers, &panel);
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
        for id in panel.textures.free.drain() {
            self.panel_renderer.free_texture(&id);
        }
        Ok(is_presented)
    }

    fn render(
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
        let uploads = self.panel_renderer.update_buffers(
            &self.device,
            &self.queue,
            &mut encoder,
            &panel.primitives,
            &size,
        );
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
            self.panel_renderer.render(&mut pass.forget_lifetime(), &panel.primitives, &size);
        }
        self.queue.submit(uploads.into_iter().chain([encoder.finish()]));
    }
}
