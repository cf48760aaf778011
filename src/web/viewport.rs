//! The image view of the page: the viewport and, with WebGPU, the painter of its canvas.

use std::cell::{Cell, RefCell};

use serde::Serialize;
use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

use super::{Thrown as _, json};
use crate::engine::gpu::DeviceErrors;
use crate::error::{Error, Result};
use crate::raster::Point;
use crate::viewer::{Layers, Painter, ScreenPoint, TileKey, Viewport};

/// Coarsest level of a tile: one pixel of it covers 2³⁰ of the image, which still fits 32 bits.
const MAX_LEVEL: u32 = 30;

/// A viewport that draws on a canvas, if the canvas was attached.
#[wasm_bindgen]
#[derive(Debug)]
pub struct CanvasViewport {
    viewport: RefCell<Viewport>,
    layers: Cell<Layers>,
    is_linked: Cell<bool>,
    /// Red, green and blue behind the image, 0 to 1.
    background: Cell<[f64; 3]>,
    surface: RefCell<Option<CanvasSurface>>,
}

/// The canvas as a surface of WebGPU, and what draws on it.
#[derive(Debug)]
struct CanvasSurface {
    surface: wgpu::Surface<'static>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    config: wgpu::SurfaceConfiguration,
    painter: Painter,
    /// After the first error nothing more is drawn.
    errors: DeviceErrors,
}

/// JSON of [`CanvasViewport::attach`].
#[derive(Debug, Serialize)]
struct PainterFacts {
    /// Name of the adapter; browsers may leave it empty.
    name: String,
    kind: String,
}

#[wasm_bindgen]
impl CanvasViewport {
    /// A viewport without an image; size of the canvas in device pixels.
    #[must_use]
    #[wasm_bindgen(constructor)]
    pub fn new(width: f64, height: f64) -> Self {
        Self {
            viewport: RefCell::new(Viewport::new((1, 1), (width, height))),
            layers: Cell::new(Layers::default()),
            is_linked: Cell::new(false),
            background: Cell::new([0.0; 3]),
            surface: RefCell::new(None),
        }
    }

    /// Draws on `canvas` by WebGPU from now on. Gives facts about the adapter as JSON.
    ///
    /// # Errors
    /// A sentence if there is no WebGPU, or only a software adapter. The page then draws in 2D.
    pub async fn attach(&self, canvas: HtmlCanvasElement) -> std::result::Result<String, JsValue> {
        let (width, height) = self.viewport.borrow().screen();
        let (surface, facts) = open_surface(canvas, width, height).await.thrown()?;
        self.surface.replace(Some(surface));
        json(&facts)
    }

    /// Whether WebGPU draws.
    #[must_use]
    #[wasm_bindgen(getter, js_name = usesWebGpu)]
    pub fn uses_web_gpu(&self) -> bool {
        self.surface.borrow().is_some()
    }

    /// Shows another image, fitted to the canvas; its size in pixels.
    #[wasm_bindgen(js_name = setImage)]
    pub fn set_image(&self, width: u32, height: u32) {
        let size = (width as usize, height as usize);
        let screen = self.viewport.borrow().screen();
        self.viewport.replace(Viewport::new(size, screen));
        self.with_painter(|painter| painter.start(size));
    }

    /// The canvas has another size, device pixels.
    pub fn resize(&self, width: f64, height: f64) {
        self.viewport.borrow_mut().resize((width, height));
        if let Some(surface) = self.surface.borrow_mut().as_mut() {
            surface.config.width = width.max(1.0) as u32;
            surface.config.height = height.max(1.0) as u32;
            surface.surface.configure(&surface.device, &surface.config);
        }
    }

    /// Moves the image at once, device pixels.
    pub fn pan(&self, dx: f64, dy: f64) {
        self.viewport.borrow_mut().pan(dx, dy);
    }

    /// Moves the view smoothly by a share of the screen.
    pub fn glide(&self, across: f64, down: f64) {
        self.viewport.borrow_mut().glide(across, down);
    }

    /// Zooms about a point of the screen, which keeps its place in the image.
    pub fn zoom(&self, x: f64, y: f64, factor: f64) {
        self.viewport.borrow_mut().zoom(ScreenPoint { x, y }, factor);
    }

    /// Shows the whole image.
    pub fn fit(&self) {
        self.viewport.borrow_mut().fit();
    }

    /// Moves smoothly to a position in the image, at least at `scale`.
    #[wasm_bindgen(js_name = goTo)]
    pub fn go_to(&self, x: f64, y: f64, scale: f64) {
        self.viewport.borrow_mut().go_to(Point { x, y }, scale);
    }

    /// Ends an animation at once, for people who prefer reduced motion.
    pub fn settle(&self) {
        self.viewport.borrow_mut().settle();
    }

    /// Advances the animation by some seconds. False if it has ended.
    #[must_use]
    pub fn step(&self, secs: f64) -> bool {
        self.viewport.borrow_mut().step(secs)
    }

    /// Centre x, centre y and scale at the end of the animation.
    #[must_use]
    pub fn state(&self) -> Vec<f64> {
        self.viewport.borrow().state().to_vec()
    }

    /// Restores a [`Self::state`].
    #[wasm_bindgen(js_name = setState)]
    pub fn set_state(&self, x: f64, y: f64, scale: f64) {
        self.viewport.borrow_mut().set_state([x, y, scale]);
    }

    /// Device pixels for one of the image, now.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.viewport.borrow().scale()
    }

    /// Position in the image, x and y, under a point of the screen.
    #[must_use]
    #[wasm_bindgen(js_name = toImage)]
    pub fn to_image(&self, x: f64, y: f64) -> Vec<f64> {
        let Point { x, y } = self.viewport.borrow().to_image(ScreenPoint { x, y });
        vec![x, y]
    }

    /// Point of the screen, x and y, over a position in the image.
    #[must_use]
    #[wasm_bindgen(js_name = toScreen)]
    pub fn to_screen(&self, x: f64, y: f64) -> Vec<f64> {
        let ScreenPoint { x, y } = self.viewport.borrow().to_screen(Point { x, y });
        vec![x, y]
    }

    /// Level whose pixels suit the screen now.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.viewport.borrow().level()
    }

    /// Row and column of each tile of a level that the screen shows, those in the middle first.
    #[must_use]
    pub fn visible(&self, level: u32) -> Vec<u32> {
        let mut numbers = Vec::new();
        for tile in self.viewport.borrow().visible(level.min(MAX_LEVEL)) {
            numbers.push(tile.row);
            numbers.push(tile.column);
        }
        numbers
    }

    /// Whether the painter has the pixels of a tile.
    #[must_use]
    #[wasm_bindgen(js_name = hasTile)]
    pub fn has_tile(&self, level: u32, row: u32, column: u32) -> bool {
        let key = TileKey { level, row, column };
        self.surface.borrow().as_ref().is_some_and(|surface| surface.painter.has_image(key))
    }

    /// Gives the painter the pixels of a tile, RGBA with apron.
    #[wasm_bindgen(js_name = putTile)]
    pub fn put_tile(&self, level: u32, row: u32, column: u32, rgba: &[u8]) {
        let key = TileKey { level, row, column };
        self.with_painter(|painter| painter.put_image(key, rgba));
    }

    /// Gives the painter a tile of a result, 0 or 1, as `Session.dataTile` makes it.
    #[wasm_bindgen(js_name = putData)]
    pub fn put_data(&self, result: u32, level: u32, row: u32, column: u32, data: &[u8]) {
        let key = TileKey { level, row, column };
        self.with_painter(|painter| painter.put_data(key, result as usize, data));
    }

    /// Removes the tiles of a result, 0 or 1.
    #[wasm_bindgen(js_name = clearData)]
    pub fn clear_data(&self, result: u32) {
        self.with_painter(|painter| painter.clear_data(result as usize));
    }

    /// Removes all tiles, as those of the image change.
    #[wasm_bindgen(js_name = clearTiles)]
    pub fn clear_tiles(&self) {
        self.with_painter(Painter::clear);
    }

    fn with_painter(&self, action: impl FnOnce(&mut Painter)) {
        if let Some(surface) = self.surface.borrow_mut().as_mut() {
            action(&mut surface.painter);
        }
    }

    /// Strengths of the layers, 0 to 1; preview threshold, below 0 for none; column of the divider
    /// on the screen, below 0 for none.
    #[wasm_bindgen(js_name = setLayers)]
    pub fn set_layers(&self, mask: f32, heat: f32, preview: f32, divider: f32) {
        let divider = (divider >= 0.0).then_some(divider);
        self.layers.set(Layers { divider, ..layers(mask, heat, preview) });
    }

    /// Whether both halves of the canvas show the same place, result 0 left and result 1 right.
    #[wasm_bindgen(js_name = setLinked)]
    pub fn set_linked(&self, is_linked: bool) {
        self.is_linked.set(is_linked);
    }

    /// Colour behind the image, 0 to 1.
    #[wasm_bindgen(js_name = setBackground)]
    pub fn set_background(&self, red: f64, green: f64, blue: f64) {
        self.background.set([red, green, blue]);
    }

    /// Draws. False if the surface is lost; see [`Self::failure`].
    #[must_use]
    pub fn draw(&self) -> bool {
        let mut surface = self.surface.borrow_mut();
        let Some(surface) = surface.as_mut() else { return true };
        if surface.errors.first().is_some() {
            return false;
        }
        match surface.surface.get_current_texture() {
            wgpu::CurrentSurfaceTexture::Success(frame)
            | wgpu::CurrentSurfaceTexture::Suboptimal(frame) => {
                let target = frame.texture.create_view(&wgpu::TextureViewDescriptor::default());
                let linked = self.is_linked.get();
                let layers = Layers { linked, ..self.layers.get() };
                let background = self.background.get();
                surface.painter.draw(&self.viewport.borrow(), &layers, background, &target);
                surface.queue.present(frame);
                true
            }
            wgpu::CurrentSurfaceTexture::Outdated => {
                surface.surface.configure(&surface.device, &surface.config);
                true
            }
            wgpu::CurrentSurfaceTexture::Lost | wgpu::CurrentSurfaceTexture::Validation => false,
            wgpu::CurrentSurfaceTexture::Timeout | wgpu::CurrentSurfaceTexture::Occluded => true,
        }
    }

    /// Why WebGPU stopped drawing, if it did.
    #[must_use]
    #[wasm_bindgen(getter)]
    pub fn failure(&self) -> Option<String> {
        self.surface.borrow().as_ref().and_then(|surface| surface.errors.first())
    }

    /// Stops drawing by WebGPU; the page draws in 2D.
    pub fn detach(&self) {
        self.surface.replace(None);
    }
}

/// [`Layers`] from the script's numbers: strengths of mask and heat map, and the preview threshold,
/// which is below 0 for none.
pub(super) fn layers(mask: f32, heat: f32, preview: f32) -> Layers {
    let preview = (preview >= 0.0).then_some(preview);
    Layers { mask, heat, preview, ..Layers::default() }
}

/// Opens an adapter that can draw on the canvas; its size in device pixels.
async fn open_surface(
    canvas: HtmlCanvasElement,
    width: f64,
    height: f64,
) -> Result<(CanvasSurface, PainterFacts)> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::BROWSER_WEBGPU;
    let instance = wgpu::Instance::new(descriptor);
    let surface = instance
        .create_surface(wgpu::SurfaceTarget::Canvas(canvas))
        .map_err(|e| Error::gpu(format!("WebGPU cannot draw on the canvas: {e}")))?;
    let options = wgpu::RequestAdapterOptions {
        compatible_surface: Some(&surface),
        ..wgpu::RequestAdapterOptions::default()
    };
    let adapter = instance
        .request_adapter(&options)
        .await
        .map_err(|e| Error::gpu(format!("There is no WebGPU adapter: {e}")))?;
    let info = adapter.get_info();
    if info.device_type == wgpu::DeviceType::Cpu {
        return Err(Error::gpu("A software adapter draws no faster than a 2D canvas"));
    }
    let (device, queue) = adapter
        .request_device(&wgpu::DeviceDescriptor::default())
        .await
        .map_err(|e| Error::gpu(format!("The adapter cannot be opened: {e}")))?;
    let errors = DeviceErrors::watch(&device);
    let config = surface
        .get_default_config(&adapter, width.max(1.0) as u32, height.max(1.0) as u32)
        .ok_or_else(|| Error::gpu("The adapter cannot draw on the canvas"))?;
    surface.configure(&device, &config);
    let painter = Painter::new(device.clone(), queue.clone(), config.format);
    let facts = PainterFacts { name: info.name, kind: format!("{:?}", info.device_type) };
    Ok((CanvasSurface { surface, device, queue, config, painter, errors }, facts))
}
