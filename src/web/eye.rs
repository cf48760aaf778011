//! What the page itself holds: the view and, where there is a GPU, its painter.

use std::cell::{Cell, RefCell};

use serde_json::json;
use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

use crate::engine::gpu::DeviceErrors;
use crate::error::{Error, Result};
use crate::raster::Point;
use crate::viewer::{Layers, Painter, ScreenPoint, TileKey, Viewport};

use super::Thrown as _;

/// A view of an image on a canvas.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Eye {
    view: RefCell<Viewport>,
    layers: Cell<Layers>,
    background: Cell<[f64; 3]>,
    screen: RefCell<Option<CanvasSurface>>,
}

#[derive(Debug)]
struct CanvasSurface {
    surface: wgpu::Surface<'static>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    config: wgpu::SurfaceConfiguration,
    painter: Painter,
    /// What went wrong, if anything did: nothing more is drawn then.
    faults: DeviceErrors,
}

#[wasm_bindgen]
impl Eye {
    /// A view of nothing yet; sizes in the screen's own pixels.
    #[must_use]
    #[wasm_bindgen(constructor)]
    pub fn new(width: f64, height: f64) -> Self {
        Self {
            view: RefCell::new(Viewport::new((1, 1), (width, height))),
            layers: Cell::new(Layers::default()),
            background: Cell::new([0.0; 3]),
            screen: RefCell::new(None),
        }
    }

    /// Draws on `canvas` by WebGPU from now on. Resolves with JSON about the adapter.
    ///
    /// # Errors
    /// A sentence when there is no WebGPU here, or only by software; the page then draws by itself.
    pub async fn attach(&self, canvas: HtmlCanvasElement) -> std::result::Result<String, JsValue> {
        let size = self.view.borrow().screen();
        let (screen, told) = open(canvas, size).await.thrown()?;
        self.screen.replace(Some(screen));
        Ok(told)
    }

    /// Whether WebGPU draws.
    #[must_use]
    #[wasm_bindgen(getter)]
    pub fn painted(&self) -> bool {
        self.screen.borrow().is_some()
    }

    /// Another image, shown whole.
    pub fn start(&self, width: u32, height: u32) {
        let size = (width as usize, height as usize);
        let screen = self.view.borrow().screen();
        self.view.replace(Viewport::new(size, screen));
        if let Some(screen) = self.screen.borrow_mut().as_mut() {
            screen.painter.start(size);
        }
    }

    /// The canvas has another size.
    pub fn resize(&self, width: f64, height: f64) {
        self.view.borrow_mut().resize((width, height));
        if let Some(screen) = self.screen.borrow_mut().as_mut() {
            (screen.config.width, screen.config.height) =
                (width.max(1.0) as u32, height.max(1.0) as u32);
            screen.surface.configure(&screen.device, &screen.config);
        }
    }

    /// Moves the image with the finger, screen pixels.
    pub fn pan(&self, dx: f64, dy: f64) {
        self.view.borrow_mut().pan(dx, dy);
    }

    /// Glides by a share of the screen.
    pub fn glide(&self, across: f64, down: f64) {
        self.view.borrow_mut().glide(across, down);
    }

    /// Zooms about a point of the screen.
    pub fn zoom(&self, x: f64, y: f64, factor: f64) {
        self.view.borrow_mut().zoom(ScreenPoint { x, y }, factor);
    }

    /// Shows the whole image.
    pub fn fit(&self) {
        self.view.borrow_mut().fit();
    }

    /// Glides to a place of the image, at least at `scale`.
    #[wasm_bindgen(js_name = goTo)]
    pub fn go_to(&self, x: f64, y: f64, scale: f64) {
        self.view.borrow_mut().go_to(Point { x, y }, scale);
    }

    /// Ends a movement at once, for people who want none.
    pub fn settle(&self) {
        self.view.borrow_mut().settle();
    }

    /// Moves on by some seconds; false once at rest.
    #[must_use]
    pub fn step(&self, secs: f64) -> bool {
        self.view.borrow_mut().step(secs)
    }

    /// Centre x, centre y and scale.
    #[must_use]
    pub fn state(&self) -> Vec<f64> {
        self.view.borrow().state().to_vec()
    }

    /// Goes where [`Self::state`] was taken.
    #[wasm_bindgen(js_name = setState)]
    pub fn set_state(&self, x: f64, y: f64, scale: f64) {
        self.view.borrow_mut().set_state([x, y, scale]);
    }

    /// Screen pixels for one of the image.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.view.borrow().scale()
    }

    /// Place of the image under a point of the screen.
    #[must_use]
    #[wasm_bindgen(js_name = toImage)]
    pub fn to_image(&self, x: f64, y: f64) -> Vec<f64> {
        let Point { x, y } = self.view.borrow().to_image(ScreenPoint { x, y });
        vec![x, y]
    }

    /// Point of the screen over a place of the image.
    #[must_use]
    #[wasm_bindgen(js_name = toScreen)]
    pub fn to_screen(&self, x: f64, y: f64) -> Vec<f64> {
        let ScreenPoint { x, y } = self.view.borrow().to_screen(Point { x, y });
        vec![x, y]
    }

    /// The level that the screen needs now.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.view.borrow().level()
    }

    /// Row and column of the tiles of a level that the screen shows, middle first.
    #[must_use]
    pub fn visible(&self, level: u32) -> Vec<u32> {
        self.view
            .borrow()
            .visible(level.min(30))
            .into_iter()
            .flat_map(|k| [k.row, k.column])
            .collect()
    }

    /// Whether the painter holds a tile's pixels.
    #[must_use]
    #[wasm_bindgen(js_name = hasTile)]
    pub fn has_tile(&self, level: u32, row: u32, column: u32) -> bool {
        let key = TileKey { level, row, column };
        self.screen.borrow().as_ref().is_some_and(|s| s.painter.has_image(key))
    }

    /// Takes a tile of the image.
    #[wasm_bindgen(js_name = putTile)]
    pub fn put_tile(&self, level: u32, row: u32, column: u32, rgba: &[u8]) {
        self.with_painter(|p| p.put_image(TileKey { level, row, column }, rgba));
    }

    /// Takes a tile of an answer, 0 or 1.
    #[wasm_bindgen(js_name = putData)]
    pub fn put_data(&self, answer: u32, level: u32, row: u32, column: u32, data: &[u8]) {
        self.with_painter(|p| p.put_data(TileKey { level, row, column }, answer as usize, data));
    }

    /// Forgets an answer.
    #[wasm_bindgen(js_name = clearData)]
    pub fn clear_data(&self, answer: u32) {
        self.with_painter(|p| p.clear_data(answer as usize));
    }

    fn with_painter(&self, work: impl FnOnce(&mut Painter)) {
        if let Some(screen) = self.screen.borrow_mut().as_mut() {
            work(&mut screen.painter);
        }
    }

    /// Strengths of the layers, 0 to 1; a preview threshold or less than 0; the chosen label or 0;
    /// the divider's column on the screen or less than 0.
    #[wasm_bindgen(js_name = setLayers)]
    pub fn set_layers(
        &self,
        outline: f32,
        mask: f32,
        heat: f32,
        preview: f32,
        chosen: u32,
        divider: f32,
    ) {
        self.layers.set(layers([outline, mask, heat, preview], chosen, divider));
    }

    /// Colour behind the image, 0 to 1.
    #[wasm_bindgen(js_name = setBackground)]
    pub fn set_background(&self, red: f64, green: f64, blue: f64) {
        self.background.set([red, green, blue]);
    }

    /// Draws; false when the surface was lost and the page should attach again.
    #[must_use]
    pub fn draw(&self) -> bool {
        let mut screen = self.screen.borrow_mut();
        let Some(screen) = screen.as_mut() else { return true };
        if screen.faults.first().is_some() {
            return false;
        }
        match screen.surface.get_current_texture() {
            wgpu::CurrentSurfaceTexture::Success(frame)
            | wgpu::CurrentSurfaceTexture::Suboptimal(frame) => {
                let target = frame.texture.create_view(&wgpu::TextureViewDescriptor::default());
                screen.painter.draw(
                    &self.view.borrow(),
                    &self.layers.get(),
                    self.background.get(),
                    &target,
                );
                screen.queue.present(frame);
                true
            }
            wgpu::CurrentSurfaceTexture::Outdated => {
                screen.surface.configure(&screen.device, &screen.config);
                true
            }
            wgpu::CurrentSurfaceTexture::Lost | wgpu::CurrentSurfaceTexture::Validation => false,
            wgpu::CurrentSurfaceTexture::Timeout | wgpu::CurrentSurfaceTexture::Occluded => true,
        }
    }

    /// Why WebGPU stopped drawing, if it did.
    #[must_use]
    #[wasm_bindgen(getter)]
    pub fn fault(&self) -> Option<String> {
        self.screen.borrow().as_ref().and_then(|s| s.faults.first())
    }

    /// Gives WebGPU up; the page draws by itself.
    pub fn detach(&self) {
        self.screen.replace(None);
    }
}

/// [`Layers`] from what the script gives.
pub fn layers([outline, mask, heat, preview]: [f32; 4], chosen: u32, divider: f32) -> Layers {
    let some = |v: f32| (v >= 0.0).then_some(v);
    Layers { outline, mask, heat, preview: some(preview), chosen, divider: some(divider) }
}

async fn open(
    canvas: HtmlCanvasElement,
    (width, height): (f64, f64),
) -> Result<(CanvasSurface, String)> {
    let failed = |what: &str, e: &dyn std::fmt::Display| Error::gpu(format!("{what}: {e}"));
    let mut settings = wgpu::InstanceDescriptor::new_without_display_handle();
    settings.backends = wgpu::Backends::BROWSER_WEBGPU;
    let instance = wgpu::Instance::new(settings);
    let surface = instance
        .create_surface(wgpu::SurfaceTarget::Canvas(canvas))
        .map_err(|e| failed("The canvas cannot be drawn on by WebGPU", &e))?;
    let wish = wgpu::RequestAdapterOptions {
        compatible_surface: Some(&surface),
        ..wgpu::RequestAdapterOptions::default()
    };
    let adapter =
        instance.request_adapter(&wish).await.map_err(|e| failed("There is no WebGPU here", &e))?;
    let info = adapter.get_info();
    if info.device_type == wgpu::DeviceType::Cpu {
        return Err(Error::gpu("The adapter draws by software, which a plain canvas does as well"));
    }
    let (device, queue) = adapter
        .request_device(&wgpu::DeviceDescriptor::default())
        .await
        .map_err(|e| failed("The adapter cannot be opened", &e))?;
    let faults = DeviceErrors::watch(&device);
    let config = surface
        .get_default_config(&adapter, width.max(1.0) as u32, height.max(1.0) as u32)
        .ok_or_else(|| Error::gpu("The adapter cannot draw on the canvas"))?;
    surface.configure(&device, &config);
    let told = json!({ "name": info.name, "kind": format!("{:?}", info.device_type) }).to_string();
    let painter = Painter::new(device.clone(), queue.clone(), config.format);
    Ok((CanvasSurface { surface, device, queue, config, painter, faults }, told))
}
