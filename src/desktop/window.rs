//! A desk in a window: hands and keys become commands, changes become pixels.

use std::sync::Arc;
use std::time::Instant;

use egui_winit::State;
use winit::application::ApplicationHandler;
use winit::dpi::LogicalSize;
use winit::event::{ElementState, KeyEvent, MouseButton, MouseScrollDelta, WindowEvent};
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::keyboard::{Key, ModifiersState, NamedKey};
use winit::window::{Window, WindowId};

use super::Wake;
use super::app_state::{AppState, Change};
use super::command::{Command, SegmentExtent};
use super::panel::{Draft, WIDTH, export_place, panel};
use super::window_surface::{PanelFrame, WindowSurface};
use crate::error::{Error, Result};

/// Movement below which a press is a click, pixels.
const CLICK_PX: f64 = 5.0;
/// What one line of a wheel zooms by, and one pixel of a touchpad.
const LINE: f64 = 1.15;
const PIXEL: f64 = 1.0015;

/// Opens a window with a desk that `make` gives and shows it until it is closed.
///
/// # Errors
/// A sentence where there is no display or nothing can draw.
pub fn show(make: impl FnOnce(Wake) -> Result<AppState>) -> Result<()> {
    let events = EventLoop::<()>::with_user_event().build().map_err(|e| {
        tracing::debug!("{e}");
        Error::unsupported(
            "There is no display to open a window on; 'prunella slide segment' works without one, and so does \
             'prunella view --script'",
        )
    })?;
    let proxy = events.create_proxy();
    // A window that is gone needs no waking.
    let wake: Wake = Arc::new(move || proxy.send_event(()).unwrap_or_default());
    let app = make(wake)?;
    let mut app = App {
        draft: Draft::of(&app),
        app,
        shown: None,
        failed: None,
        hand: PointerState::default(),
    };
    events.run_app(&mut app).map_err(|e| Error::gpu(format!("The window failed: {e}")))?;
    app.failed.map_or(Ok(()), Err)
}

struct WindowState {
    window: Arc<Window>,
    screen: WindowSurface,
    state: State,
    last: Instant,
}

#[derive(Default)]
struct PointerState {
    at: (f64, f64),
    pressed: Option<(f64, f64)>,
    moved: f64,
    modifiers: ModifiersState,
}

impl PointerState {
    fn is_shortcut(&self) -> bool {
        self.modifiers
            .intersects(ModifiersState::CONTROL | ModifiersState::ALT | ModifiersState::SUPER)
    }
}

struct App {
    app: AppState,
    draft: Draft,
    shown: Option<WindowState>,
    failed: Option<Error>,
    hand: PointerState,
}

impl ApplicationHandler<()> for App {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        if self.shown.is_some() {
            return;
        }
        match open(events) {
            Ok(shown) => {
                self.shown = Some(shown);
                self.resize();
            }
            Err(e) => {
                self.failed = Some(e);
                events.exit();
            }
        }
    }

    fn user_event(&mut self, _events: &ActiveEventLoop, (): ()) {
        if self.app.poll() {
            self.redraw();
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(shown) = &mut self.shown else { return };
        let answer = shown.state.on_window_event(&shown.window, &event);
        if answer.repaint {
            self.redraw();
        }
        match event {
            WindowEvent::CloseRequested => events.exit(),
            WindowEvent::ModifiersChanged(now) => self.hand.modifiers = now.state(),
            WindowEvent::Resized(size) => {
                if let Some(shown) = &mut self.shown {
                    shown.screen.resize(size.width, size.height);
                }
                self.resize();
            }
            WindowEvent::RedrawRequested => {
                if let Err(e) = self.draw() {
                    self.failed = Some(e);
                    events.exit();
                }
            }
            WindowEvent::DroppedFile(path) => {
                let model = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
                let place = path.display().to_string();
                self.act(&if model { Command::Model(path) } else { Command::Open(place) });
            }
            WindowEvent::KeyboardInput { event, .. } if !answer.consumed => self.key(&event),
            other => self.hand(&other, answer.consumed),
        }
    }
}

fn open(events: &ActiveEventLoop) -> Result<WindowState> {
    let wish = Window::default_attributes()
        .with_title("prunella")
        .with_inner_size(LogicalSize::new(1280.0, 800.0));
    let window = events
        .create_window(wish)
        .map_err(|e| Error::gpu(format!("No window can be opened: {e}")))?;
    let window = Arc::new(window);
    let screen = WindowSurface::open(&window)?;
    let context = egui::Context::default();
    let state = State::new(context, egui::ViewportId::ROOT, &window, None, window.theme(), None);
    Ok(WindowState { window, screen, state, last: Instant::now() })
}

impl App {
    fn redraw(&self) {
        if let Some(shown) = &self.shown {
            shown.window.request_redraw();
        }
    }

    /// Does a command; what goes wrong is shown.
    fn act(&mut self, command: &Command) {
        if let Err(e) = self.app.apply(command) {
            self.app.alert = Some(e.to_string());
        }
        self.draft = Draft::of(&self.app);
        self.redraw();
    }

    /// The picture takes what the panel leaves.
    fn resize(&mut self) {
        let Some(shown) = &self.shown else { return };
        let (size, scale) = (shown.window.inner_size(), shown.window.scale_factor());
        let width = (f64::from(size.width) - f64::from(WIDTH) * scale).max(1.0);
        self.act(&Command::Resize { width, height: f64::from(size.height) });
    }

    fn draw(&mut self) -> Result<()> {
        let Some(shown) = &mut self.shown else { return Ok(()) };
        self.app.poll();
        let secs = shown.last.elapsed().as_secs_f64().min(0.05);
        shown.last = Instant::now();
        let moving = self.app.view.step(secs);
        for change in self.app.changes() {
            match change {
                Change::Start(size) => shown.screen.painter.start(size),
                Change::Image(key, tile) => shown.screen.painter.put_image(key, &tile),
                Change::Data(key, tile) => shown.screen.painter.put_data(key, 0, &tile),
                Change::NoData => shown.screen.painter.clear_data(0),
            }
        }
        let painter = &shown.screen.painter;
        self.app.want_tiles(|key| painter.has_image(key));
        let input = shown.state.take_egui_input(&shown.window);
        let context = shown.state.egui_ctx().clone();
        let mut queue = Vec::new();
        let (app, draft, adapter) = (&self.app, &mut self.draft, shown.screen.adapter.as_str());
        let output = context.run_ui(input, |ui| {
            let side = egui::Panel::right("panel").exact_size(WIDTH).resizable(false);
            queue = side.show(ui, |ui| panel(ui, app, draft, adapter)).inner;
        });
        shown.state.handle_platform_output(&shown.window, output.platform_output);
        let pixels_per_point = output.pixels_per_point;
        let jobs = context.tessellate(output.shapes, pixels_per_point);
        let over = PanelFrame { jobs, textures: output.textures_delta, pixels_per_point };
        let drawn = shown.screen.draw(&self.app.view, &self.app.layers, over)?;
        let again = output.viewport_output.values().any(|v| v.repaint_delay.is_zero());
        if moving || !drawn || again {
            shown.window.request_redraw();
        }
        queue.iter().for_each(|wish| self.act(wish));
        Ok(())
    }

    fn key(&mut self, event: &KeyEvent) {
        if event.state != ElementState::Pressed {
            return;
        }
        let (w, h) = self.app.view.screen();
        let middle = |factor| Command::Zoom { x: w / 2.0, y: h / 2.0, factor };
        let glide = |across, down| Command::Glide { across, down };
        let toggled = |on: f32| if on > 0.0 { 0.0 } else { 1.0 };
        let l = self.app.layers;
        let layers = |outline, mask, heat| Command::Layers { outline, mask, heat };
        let command = match event.logical_key.as_ref() {
            Key::Named(NamedKey::ArrowLeft) => glide(-0.15, 0.0),
            Key::Named(NamedKey::ArrowRight) => glide(0.15, 0.0),
            Key::Named(NamedKey::ArrowUp) => glide(0.0, -0.15),
            Key::Named(NamedKey::ArrowDown) => glide(0.0, 0.15),
            Key::Named(NamedKey::Escape) => Command::Cancel,
            // A held letter is one wish, and shortcuts of the system are not ours.
            Key::Character(c)
                if !"+=-0".contains(c) && (event.repeat || self.hand.is_shortcut()) =>
            {
                return;
            }
            Key::Character("+" | "=") => middle(1.5),
            Key::Character("-") => middle(1.0 / 1.5),
            Key::Character("0") => Command::Fit,
            Key::Character("s") => Command::Segment(SegmentExtent::View),
            Key::Character("a") => Command::Segment(SegmentExtent::Slide),
            Key::Character("e") => Command::Export(export_place(&self.app)),
            Key::Character("o") => layers(toggled(l.outline), l.mask, l.heat),
            Key::Character("m") => layers(l.outline, toggled(l.mask), l.heat),
            Key::Character("h") => layers(l.outline, l.mask, toggled(l.heat)),
            _ => return,
        };
        self.act(&command);
    }

    /// Mouse and touchpad; what the panel took is its own.
    fn hand(&mut self, event: &WindowEvent, consumed: bool) {
        match event {
            WindowEvent::CursorMoved { position, .. } => {
                let before = std::mem::replace(&mut self.hand.at, (position.x, position.y));
                if self.hand.pressed.is_some() {
                    let (dx, dy) = (position.x - before.0, position.y - before.1);
                    self.hand.moved += dx.hypot(dy);
                    if self.hand.moved > CLICK_PX {
                        self.act(&Command::Pan { dx, dy });
                    }
                }
            }
            WindowEvent::MouseInput {
                state: ElementState::Pressed,
                button: MouseButton::Left,
                ..
            } if !consumed => {
                (self.hand.pressed, self.hand.moved) = (Some(self.hand.at), 0.0);
            }
            WindowEvent::MouseInput {
                state: ElementState::Released,
                button: MouseButton::Left,
                ..
            } => {
                let Some((x, y)) = self.hand.pressed.take() else { return };
                if self.hand.moved <= CLICK_PX {
                    self.act(&Command::Choose { x, y });
                }
            }
            WindowEvent::MouseWheel { delta, .. } if !consumed => {
                let factor = match delta {
                    MouseScrollDelta::LineDelta(_, lines) => LINE.powf(f64::from(*lines)),
                    MouseScrollDelta::PixelDelta(by) => PIXEL.powf(by.y),
                };
                let (x, y) = self.hand.at;
                self.act(&Command::Zoom { x, y, factor });
            }
            _ => {}
        }
    }
}
