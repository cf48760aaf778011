//! Keyboard, mouse and touchpad to [`Command`]s.

use winit::event::{ElementState, KeyEvent, MouseButton, MouseScrollDelta, WindowEvent};
use winit::keyboard::{Key, ModifiersState, NamedKey};

use super::app_state::AppState;
use super::command::{Command, SegmentExtent};
use super::panel::export_path;
use crate::viewer::ScreenPoint;

/// A press that moves less than this is a click, pixels.
const CLICK_PX: f64 = 5.0;
/// Zoom factor of one line of a mouse wheel.
const ZOOM_PER_LINE: f64 = 1.15;
/// Zoom factor of one pixel of a touchpad.
const ZOOM_PER_PIXEL: f64 = 1.0015;
/// Zoom factor of the keys + and −.
const ZOOM_PER_KEY: f64 = 1.5;
/// What an arrow key moves by, share of the screen.
const ARROW_STEP: f64 = 0.15;
/// Keys that repeat while they are held, and that work with modifiers: + needs Shift on many
/// keyboards.
const REPEATING_KEYS: &str = "+=-0";

/// State of pointer and modifier keys between events.
#[derive(Default)]
pub(super) struct WindowInput {
    pointer: ScreenPoint,
    /// Where the left button was pressed, while it is.
    pressed_at: Option<ScreenPoint>,
    /// Length of the pointer's path since then, pixels.
    dragged_px: f64,
    /// Modifier keys that are held.
    pub modifiers: ModifiersState,
}

impl WindowInput {
    /// The command of a key press, if any.
    #[must_use]
    pub(super) fn key_command(&self, event: &KeyEvent, app: &AppState) -> Option<Command> {
        if event.state != ElementState::Pressed {
            return None;
        }
        match event.logical_key.as_ref() {
            Key::Named(NamedKey::ArrowLeft) => {
                Some(Command::Glide { across: -ARROW_STEP, down: 0.0 })
            }
            Key::Named(NamedKey::ArrowRight) => {
                Some(Command::Glide { across: ARROW_STEP, down: 0.0 })
            }
            Key::Named(NamedKey::ArrowUp) => {
                Some(Command::Glide { across: 0.0, down: -ARROW_STEP })
            }
            Key::Named(NamedKey::ArrowDown) => {
                Some(Command::Glide { across: 0.0, down: ARROW_STEP })
            }
            Key::Named(NamedKey::Escape) => Some(Command::Cancel),
            Key::Character(key) => {
                let is_ignored = event.repeat || self.holds_shortcut_modifier();
                if is_ignored && !REPEATING_KEYS.contains(key) {
                    return None;
                }
                character_command(key, app)
            }
            _ => None,
        }
    }

    /// Whether a key belongs to a shortcut of the system.
    fn holds_shortcut_modifier(&self) -> bool {
        let shortcut = ModifiersState::CONTROL | ModifiersState::ALT | ModifiersState::SUPER;
        self.modifiers.intersects(shortcut)
    }

    /// The command of a mouse or touchpad event, if any. `is_consumed` says that the panel used it.
    pub(super) fn pointer_command(
        &mut self,
        event: &WindowEvent,
        is_consumed: bool,
    ) -> Option<Command> {
        match event {
            WindowEvent::CursorMoved { position, .. } => {
                let now = ScreenPoint { x: position.x, y: position.y };
                let before = std::mem::replace(&mut self.pointer, now);
                self.pressed_at?;
                let dx = now.x - before.x;
                let dy = now.y - before.y;
                self.dragged_px += dx.hypot(dy);
                (self.dragged_px > CLICK_PX).then_some(Command::Pan { dx, dy })
            }
            WindowEvent::MouseInput {
                state: ElementState::Pressed,
                button: MouseButton::Left,
                ..
            } if !is_consumed => {
                self.pressed_at = Some(self.pointer);
                self.dragged_px = 0.0;
                None
            }
            // Also over the panel: a drag may end there.
            WindowEvent::MouseInput {
                state: ElementState::Released,
                button: MouseButton::Left,
                ..
            } => {
                let ScreenPoint { x, y } = self.pressed_at.take()?;
                (self.dragged_px <= CLICK_PX).then_some(Command::Choose { x, y })
            }
            WindowEvent::MouseWheel { delta, .. } if !is_consumed => {
                let factor = match delta {
                    MouseScrollDelta::LineDelta(_, lines) => ZOOM_PER_LINE.powf(f64::from(*lines)),
                    MouseScrollDelta::PixelDelta(pixels) => ZOOM_PER_PIXEL.powf(pixels.y),
                };
                let ScreenPoint { x, y } = self.pointer;
                Some(Command::Zoom { x, y, factor })
            }
            _ => None,
        }
    }
}

fn character_command(key: &str, app: &AppState) -> Option<Command> {
    let mut layers = app.layers;
    match key {
        "+" | "=" => return Some(zoom_about_centre(app, ZOOM_PER_KEY)),
        "-" => return Some(zoom_about_centre(app, 1.0 / ZOOM_PER_KEY)),
        "0" => return Some(Command::Fit),
        "s" => return Some(Command::Segment(SegmentExtent::View)),
        "a" => return Some(Command::Segment(SegmentExtent::Slide)),
        "e" => return Some(Command::Export(export_path(app))),
        "o" => layers.outline = toggled(layers.outline),
        "m" => layers.mask = toggled(layers.mask),
        "h" => layers.heat = toggled(layers.heat),
        _ => return None,
    }
    Some(Command::Layers { outline: layers.outline, mask: layers.mask, heat: layers.heat })
}

fn zoom_about_centre(app: &AppState, factor: f64) -> Command {
    let (width, height) = app.view.screen();
    Command::Zoom { x: width / 2.0, y: height / 2.0, factor }
}

/// Strength of a layer after its key: hidden layers get full strength.
fn toggled(strength: f32) -> f32 {
    if strength > 0.0 { 0.0 } else { 1.0 }
}
