//! The window: events become commands, updates of the state become pixels.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use egui::{ColorImage, TextureHandle, TextureOptions};
use egui_winit::State as EguiState;
use winit::application::ApplicationHandler;
use winit::dpi::LogicalSize;
use winit::event::WindowEvent;
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::window::{Window, WindowId};

use super::Wake;
use super::app_state::{AppState, ScreenUpdate};
use super::command::Command;
use super::outline_mesh::stroke_shape;
use super::outlines::{outline_strokes, painted_stroke};
use super::overlay::overlay;
use super::painting::colour_of;
use super::panel::{Draft, PANEL_WIDTH, PanelFacts, panel};
use super::window_input::{Tool, WindowInput};
use super::window_surface::{PanelFrame, WindowSurface};
use crate::error::{Error, Result};
use crate::viewer::{APRON_PX, Layers, OutlineStroke, TEXTURE_PX, TILE_PX, TileKey};

/// First size of the window, points.
const WINDOW_SIZE: LogicalSize<f64> = LogicalSize::new(1280.0, 800.0);
/// Longest step of an animation, seconds: after a pause it does not jump.
const MAX_STEP_SECS: f64 = 0.05;

/// Opens a window with the state that `make_state` returns and runs until it is closed.
///
/// # Errors
/// [`Error::Unsupported`] without a display; [`Error::Gpu`] when nothing can draw in a window.
pub fn show(make_state: impl FnOnce(Wake) -> Result<AppState>) -> Result<()> {
    let event_loop = EventLoop::<()>::with_user_event().build().map_err(|e| {
        tracing::debug!("{e}");
        Error::unsupported(
            "There is no display to open a window on; 'prunella slide segment' works without one, \
             and so does 'prunella view --script'",
        )
    })?;
    let proxy = event_loop.create_proxy();
    // After the window has closed the event is not delivered, which does not matter.
    let wake: Wake = Arc::new(move || proxy.send_event(()).unwrap_or_default());
    let state = make_state(wake)?;
    let mut app = WindowApp {
        draft: Draft::of(&state),
        state,
        window: None,
        error: None,
        input: WindowInput::default(),
        dropped: Vec::new(),
    };
    event_loop.run_app(&mut app).map_err(|e| Error::gpu("The window failed").caused_by(e))?;
    app.error.map_or(Ok(()), Err)
}

/// The panel's context, with fonts that have arrows and squares too.
fn panel_context() -> egui::Context {
    let mut fonts = egui::FontDefinitions::default();
    let monospaced = fonts.families.get(&egui::FontFamily::Monospace).cloned().unwrap_or_default();
    if let Some(names) = fonts.families.get_mut(&egui::FontFamily::Proportional) {
        for name in monospaced {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let context = egui::Context::default();
    context.set_fonts(fonts);
    context
}

/// The window and what draws in it.
struct OpenWindow {
    window: Arc<Window>,
    surface: WindowSurface,
    egui: EguiState,
    /// The whole as the overview shows it.
    overview: Option<TextureHandle>,
    /// Whether the pointer was released in the last pass of the panel.
    was_clicked: bool,
    last_frame: Instant,
}

impl OpenWindow {
    fn open(event_loop: &ActiveEventLoop) -> Result<Self> {
        let attributes =
            Window::default_attributes().with_title("prunella").with_inner_size(WINDOW_SIZE);
        let window = event_loop
            .create_window(attributes)
            .map_err(|e| Error::gpu("No window can be opened").caused_by(e))?;
        let window = Arc::new(window);
        let surface = WindowSurface::open(&window)?;
        let viewport_id = egui::ViewportId::ROOT;
        let theme = window.theme();
        let egui = EguiState::new(panel_context(), viewport_id, &window, None, theme, None);
        Ok(Self {
            window,
            surface,
            egui,
            overview: None,
            was_clicked: false,
            last_frame: Instant::now(),
        })
    }

    /// Keeps the tile that shows the whole of an image of `size`.
    fn take_overview(&mut self, (width, height): (usize, usize), key: TileKey, tile: &[u8]) {
        let [width, height] = [width, height].map(|len| len.div_ceil(1 << key.level).min(TILE_PX));
        let mut rgba = Vec::with_capacity(width * height * 4);
        for row in tile.chunks_exact(TEXTURE_PX * 4).skip(APRON_PX).take(height) {
            rgba.extend(&row[APRON_PX * 4..(APRON_PX + width) * 4]);
        }
        let image = ColorImage::from_rgba_unmultiplied([width, height], &rgba);
        let context = self.egui.egui_ctx();
        self.overview = Some(context.load_texture("overview", image, TextureOptions::LINEAR));
    }

    /// Shows the panel: its triangles, and the commands of the user.
    fn run_panel(
        &mut self,
        app: &AppState,
        draft: &mut Draft,
        pointer: &mut WindowInput,
    ) -> PanelOutput {
        let facts = PanelFacts { adapter: &self.surface.adapter, tool: pointer.tool };
        let pixels_per_point = self.window.scale_factor();
        let mut strokes = outline_strokes(app, pixels_per_point);
        strokes.extend(brush_stroke(app, pointer, pixels_per_point));
        let shape = stroke_shape(&strokes, pixels_per_point);
        let mut tool = pointer.tool;
        let whole_picture = self.overview.as_ref().map(TextureHandle::id);
        let input = self.egui.take_egui_input(&self.window);
        let context = self.egui.egui_ctx().clone();
        let mut commands = Vec::new();
        let output = context.run_ui(input, |ui| {
            ui.painter().add(shape.clone());
            // The brush shows what it paints.
            let is_painting = matches!(pointer.tool, Tool::Paint | Tool::Erase);
            let stroke = if is_painting { &[][..] } else { &pointer.stroke };
            commands = overlay(ui, app, stroke, pixels_per_point, whole_picture);
            let side = egui::Panel::right("panel").exact_size(PANEL_WIDTH).resizable(false);
            let brush = &mut pointer.brush;
            let of_panel = side.show(ui, |ui| panel(ui, app, draft, brush, &facts)).inner;
            commands.extend(of_panel.commands);
            tool = of_panel.tool;
        });
        // A clicked button would take the keys of the picture from now on. A number becomes
        // a field of text one pass after the click.
        if std::mem::take(&mut self.was_clicked) && !context.text_edit_focused() {
            context.memory_mut(|memory| {
                memory.focused().inspect(|focused| memory.surrender_focus(*focused));
            });
        }
        self.was_clicked = context.input(|input| input.pointer.any_released());
        if tool != pointer.tool {
            pointer.take_tool(tool);
        }
        self.egui.handle_platform_output(&self.window, output.platform_output);
        let pixels_per_point = output.pixels_per_point;
        let frame = PanelFrame {
            primitives: context.tessellate(output.shapes, pixels_per_point),
            textures: output.textures_delta,
            pixels_per_point,
        };
        let is_animated = output.viewport_output.values().any(|v| v.repaint_delay.is_zero());
        let needs_redraw = is_animated || self.was_clicked;
        PanelOutput { commands, frame, needs_redraw }
    }
}

/// The line that is being painted, or the brush where the pointer is.
fn brush_stroke(app: &AppState, pointer: &WindowInput, scale: f64) -> Option<OutlineStroke> {
    if pointer.tool != Tool::Paint {
        return None;
    }
    let width_px = pointer.brush.width_um / app.label_mpp_um().ok()? * app.view.scale();
    let colour = colour_of(&pointer.brush.class, &app.painted_classes());
    let at_pointer = [pointer.pointer];
    let points = if pointer.stroke.is_empty() { &at_pointer[..] } else { &pointer.stroke };
    Some(painted_stroke(points.iter().copied(), width_px, colour, scale))
}

/// One pass of the panel.
struct PanelOutput {
    commands: Vec<Command>,
    frame: PanelFrame,
    /// Whether egui animates something.
    needs_redraw: bool,
}

struct WindowApp {
    state: AppState,
    draft: Draft,
    /// None before the first [`ApplicationHandler::resumed`].
    window: Option<OpenWindow>,
    /// Why the window closed itself.
    error: Option<Error>,
    input: WindowInput,
    /// Files that were dropped and are not opened yet.
    dropped: Vec<String>,
}

impl ApplicationHandler<()> for WindowApp {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        if self.window.is_some() {
            return;
        }
        match OpenWindow::open(event_loop) {
            Ok(window) => {
                self.window = Some(window);
                self.resize_view();
            }
            Err(e) => self.close_with(e, event_loop),
        }
    }

    /// A background thread called `wake`.
    fn user_event(&mut self, _event_loop: &ActiveEventLoop, (): ()) {
        if self.state.poll() {
            self.request_redraw();
        }
    }

    /// The events at hand are processed. Files that are dropped together come as an event each.
    fn about_to_wait(&mut self, _event_loop: &ActiveEventLoop) {
        let mut dropped = std::mem::take(&mut self.dropped);
        match dropped.len() {
            0 => {}
            1 => self.execute(&Command::Open(dropped.remove(0))),
            _ => self.execute(&Command::OpenAll(dropped)),
        }
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(window) = &mut self.window else { return };
        let panel_response = window.egui.on_window_event(&window.window, &event);
        if panel_response.repaint {
            window.window.request_redraw();
        }
        match event {
            WindowEvent::CloseRequested => event_loop.exit(),
            WindowEvent::ModifiersChanged(now) => self.input.modifiers = now.state(),
            WindowEvent::Resized(size) => {
                window.surface.resize(size.width, size.height);
                self.resize_view();
            }
            WindowEvent::RedrawRequested => {
                if let Err(e) = self.draw() {
                    self.close_with(e, event_loop);
                }
            }
            WindowEvent::DroppedFile(path) => {
                let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
                match ending.to_str() {
                    Some("safetensors") => self.execute(&Command::Model(path)),
                    Some("geojson" | "json" | "xml") => self.open_outlines(path),
                    _ => self.dropped.push(path.display().to_string()),
                }
            }
            WindowEvent::KeyboardInput { event, .. } => {
                if !panel_response.consumed {
                    if let Some(command) = self.input.key_command(&event, &self.state) {
                        self.execute(&command);
                    }
                    self.request_redraw();
                }
            }
            other => {
                let is_consumed = panel_response.consumed;
                let command = self.input.pointer_command(&other, is_consumed, &self.state);
                if let Some(command) = command {
                    self.execute(&command);
                } else if self.input.tool != Tool::Look {
                    self.request_redraw();
                }
            }
        }
    }
}

impl WindowApp {
    fn close_with(&mut self, error: Error, event_loop: &ActiveEventLoop) {
        self.error = Some(error);
        event_loop.exit();
    }

    fn request_redraw(&self) {
        if let Some(window) = &self.window {
            window.window.request_redraw();
        }
    }

    /// Executes a command; its error is shown in the panel.
    fn execute(&mut self, command: &Command) {
        if let Err(e) = self.state.apply(command) {
            self.state.report(&e);
        }
        self.draft = Draft::of(&self.state);
        self.request_redraw();
    }

    /// Opens the regions of a file; one of nuclei is compared with.
    fn open_outlines(&mut self, path: PathBuf) {
        let regions = Command::OpenRegions(path.clone());
        if self.state.document.is_none() || self.state.apply(&regions).is_err() {
            self.execute(&Command::Reference(Some(path)));
        }
        self.request_redraw();
    }

    /// Gives the view the part of the window that the panel leaves.
    fn resize_view(&mut self) {
        let Some(window) = &self.window else { return };
        let size = window.window.inner_size();
        let panel_px = f64::from(PANEL_WIDTH) * window.window.scale_factor();
        let width = (f64::from(size.width) - panel_px).max(1.0);
        self.execute(&Command::Resize { width, height: f64::from(size.height) });
    }

    fn draw(&mut self) -> Result<()> {
        let Some(window) = &mut self.window else { return Ok(()) };
        self.state.poll();
        let elapsed = window.last_frame.elapsed().as_secs_f64();
        window.last_frame = Instant::now();
        let is_moving = self.state.view.step(elapsed.min(MAX_STEP_SECS));
        let coarsest = self.state.view.coarsest_level();
        let size = self.state.document.as_ref().map_or((1, 1), |document| document.size());
        for update in self.state.take_updates() {
            match &update {
                ScreenUpdate::Reset(_) => window.overview = None,
                ScreenUpdate::ImageTile(key, tile) if key.level == coarsest => {
                    window.take_overview(size, *key, tile);
                }
                _ => {}
            }
            let painter = &mut window.surface.painter;
            match update {
                ScreenUpdate::Reset(size) => painter.start(size),
                ScreenUpdate::ImageTile(key, tile) => painter.put_image(key, &tile),
                ScreenUpdate::ResultTile(key, tile) => painter.put_data(key, 0, &tile),
                ScreenUpdate::ClearResults => painter.clear_data(0),
            }
        }
        let painter = &mut window.surface.painter;
        self.state.request_tiles(|key| painter.has_image(key));
        let panel = window.run_panel(&self.state, &mut self.draft, &mut self.input);
        // Outlines are lines of the screen.
        let layers = Layers { outline: 0.0, ..self.state.layers };
        let is_presented = window.surface.draw(&self.state.view, &layers, panel.frame)?;
        if is_moving || !is_presented || panel.needs_redraw {
            window.window.request_redraw();
        }
        for command in &panel.commands {
            self.execute(command);
        }
        Ok(())
    }
}
