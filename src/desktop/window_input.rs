//! Keyboard, mouse and touchpad to [`Command`]s.

use winit::event::{ElementState, KeyEvent, MouseButton, MouseScrollDelta, WindowEvent};
use winit::keyboard::{Key, ModifiersState, NamedKey};

use super::app_state::AppState;
use super::command::{Command, SegmentExtent, TeachSettings};
use super::painting::{BACKGROUND, NUCLEUS, STROKE_WIDTHS_UM};
use super::panel::export_path;
use crate::dataset::DEFAULT_STROKE_UM;
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
const REPEATING_KEYS: &str = "+=-0[]";
/// Factor of the keys [ and ] on the width of the brush.
const WIDTH_PER_KEY: f64 = 1.25;
/// Share of the marks that are kept aside on request.
const SHARE_ASIDE: f64 = 0.2;

/// Smallest distance between two points of a stroke, pixels.
const STROKE_STEP_PX: f64 = 2.0;

/// What the left button does in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tool {
    /// Moves the picture and selects.
    #[default]
    Look,
    /// Draws a nucleus that was missed.
    Nucleus,
    /// Draws another outline for the selected nucleus.
    Redraw,
    /// Cuts a nucleus.
    Split,
    /// Paints lines that say what is under them.
    Paint,
    /// Removes painted lines, and takes back decisions.
    Erase,
    /// Draws a region.
    Region,
    /// Draws a rectangular region.
    Rectangle,
    /// Measures a distance.
    Ruler,
}

impl Tool {
    /// All of them with their names and keys; those that the page has too have its keys.
    pub(super) const ALL: [(Self, &str, &str); 9] = [
        (Self::Look, "Look", "V"),
        (Self::Nucleus, "Nucleus", "B"),
        (Self::Redraw, "Redraw", "R"),
        (Self::Split, "Split", "S"),
        (Self::Paint, "Paint", "P"),
        (Self::Erase, "Erase", "E"),
        (Self::Region, "Region", "G"),
        (Self::Rectangle, "Rectangle", "C"),
        (Self::Ruler, "Ruler", "M"),
    ];
}

/// What is painted and how wide, and how the model learns from it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Brush {
    pub class: String,
    /// Micrometres.
    pub width_um: f64,
    /// Name of a type of nuclei that is being typed.
    pub new_class: String,
    /// Whether a fifth of the marks is not learned, to see whether it helps elsewhere.
    pub keeps_aside: bool,
}

impl Default for Brush {
    fn default() -> Self {
        let class = NUCLEUS.to_owned();
        Self { class, width_um: DEFAULT_STROKE_UM, new_class: String::new(), keeps_aside: false }
    }
}

impl Brush {
    /// Teaches with the usual settings, or with marks kept aside.
    pub(super) fn teach(&self) -> Command {
        let hold_back = Some(SHARE_ASIDE);
        let aside = TeachSettings { hold_back, ..TeachSettings::default() };
        Command::Teach(self.keeps_aside.then_some(aside))
    }

    /// Changes between nucleus and background.
    fn exchange(&mut self) {
        let is_background = self.class == BACKGROUND;
        let other = if is_background { NUCLEUS } else { BACKGROUND };
        other.clone_into(&mut self.class);
    }

    fn widen(&mut self, factor: f64) {
        let (least, most) = (*STROKE_WIDTHS_UM.start(), *STROKE_WIDTHS_UM.end());
        // Tenths of a micrometre are finer than a hand.
        let width = (self.width_um * factor * 10.0).round() / 10.0;
        let step = if factor > 1.0 { 0.1 } else { -0.1 };
        let is_same = (width - self.width_um).abs() < 0.05;
        let changed = if is_same { self.width_um + step } else { width };
        self.width_um = changed.clamp(least, most);
    }
}

/// State of pointer and modifier keys between events.
#[derive(Default)]
pub(super) struct WindowInput {
    /// What the left button does.
    pub tool: Tool,
    pub brush: Brush,
    /// Points of the line that is being drawn, pixels of the screen.
    pub stroke: Vec<ScreenPoint>,
    pub pointer: ScreenPoint,
    /// Where the left button was pressed, while it is.
    pressed_at: Option<ScreenPoint>,
    /// Length of the pointer's path since then, pixels.
    dragged_px: f64,
    /// Whether the middle button moves the picture.
    is_middle_held: bool,
    /// Modifier keys that are held.
    pub modifiers: ModifiersState,
}

impl WindowInput {
    /// The command of a key press, if any. Keys of tools change [`Self::tool`].
    #[must_use]
    pub(super) fn key_command(&mut self, event: &KeyEvent, app: &AppState) -> Option<Command> {
        if event.state != ElementState::Pressed {
            return None;
        }
        let is_shifted = self.modifiers.shift_key();
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
            Key::Named(NamedKey::Enter) if !event.repeat => Some(Command::Segment(if is_shifted {
                SegmentExtent::Slide
            } else {
                SegmentExtent::View
            })),
            Key::Named(NamedKey::Delete) if !event.repeat => Some(Command::Reject(None)),
            Key::Named(NamedKey::PageDown) => Some(Command::NextFile),
            Key::Named(NamedKey::PageUp) => Some(Command::PreviousFile),
            Key::Named(NamedKey::Escape) => self.escape(app),
            Key::Character(key) => {
                let key = key.to_lowercase();
                if self.modifiers.control_key() || self.modifiers.super_key() {
                    return match (key.as_str(), is_shifted) {
                        ("z", false) => Some(Command::Undo),
                        ("z", true) | ("y", _) => Some(Command::Redo),
                        ("e", _) => Some(Command::Export(export_path(app))),
                        _ => None,
                    };
                }
                let is_ignored = event.repeat || self.holds_shortcut_modifier();
                if is_ignored && !REPEATING_KEYS.contains(&key) {
                    return None;
                }
                for (tool, _, tool_key) in Tool::ALL {
                    if tool_key.eq_ignore_ascii_case(&key) {
                        if tool == Tool::Paint && self.tool == tool {
                            self.brush.exchange();
                        }
                        self.take_tool(tool);
                        return None;
                    }
                }
                match key.as_str() {
                    "[" => self.brush.widen(1.0 / WIDTH_PER_KEY),
                    "]" => self.brush.widen(WIDTH_PER_KEY),
                    "l" => return Some(self.brush.teach()),
                    _ => {}
                }
                if key == "n" && is_shifted {
                    return Some(Command::Previous);
                }
                character_command(&key, app)
            }
            _ => None,
        }
    }

    /// Ends a stroke, a tool, or the segmentation, whichever there is.
    fn escape(&mut self, app: &AppState) -> Option<Command> {
        if !self.stroke.is_empty() || self.tool != Tool::Look {
            self.take_tool(Tool::Look);
            return None;
        }
        match app.ruler {
            Some(_) => Some(Command::Ruler(None)),
            None => Some(Command::Cancel),
        }
    }

    /// Changes the tool; a stroke that was begun is forgotten.
    pub(super) fn take_tool(&mut self, tool: Tool) {
        self.tool = tool;
        self.stroke.clear();
        self.pressed_at = None;
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
        app: &AppState,
    ) -> Option<Command> {
        match event {
            WindowEvent::CursorMoved { position, .. } => {
                let now = ScreenPoint { x: position.x, y: position.y };
                let before = std::mem::replace(&mut self.pointer, now);
                let dx = now.x - before.x;
                let dy = now.y - before.y;
                if self.is_middle_held {
                    return Some(Command::Pan { dx, dy });
                }
                self.pressed_at?;
                self.dragged_px += dx.hypot(dy);
                if self.tool != Tool::Look {
                    self.extend_stroke(now);
                    return None;
                }
                (self.dragged_px > CLICK_PX).then_some(Command::Pan { dx, dy })
            }
            WindowEvent::MouseInput { state, button: MouseButton::Middle, .. } => {
                self.is_middle_held = *state == ElementState::Pressed && !is_consumed;
                None
            }
            WindowEvent::MouseInput {
                state: ElementState::Pressed,
                button: MouseButton::Left,
                ..
            } if !is_consumed => {
                self.pressed_at = Some(self.pointer);
                self.dragged_px = 0.0;
                self.stroke.clear();
                if self.tool != Tool::Look {
                    self.stroke.push(self.pointer);
                }
                None
            }
            // Also over the panel: a drag may end there.
            WindowEvent::MouseInput {
                state: ElementState::Released,
                button: MouseButton::Left,
                ..
            } => {
                let ScreenPoint { x, y } = self.pressed_at.take()?;
                let is_click = self.dragged_px <= CLICK_PX;
                let stroke = std::mem::take(&mut self.stroke);
                if is_click && matches!(self.tool, Tool::Paint | Tool::Erase) {
                    return self.stroke_command(&[ScreenPoint { x, y }], app);
                }
                if is_click {
                    let adds = self.modifiers.shift_key();
                    let choose =
                        if adds { Command::ChooseMore { x, y } } else { Command::Choose { x, y } };
                    return Some(choose);
                }
                self.stroke_command(&stroke, app)
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

    fn extend_stroke(&mut self, now: ScreenPoint) {
        let Some(first) = self.stroke.first().copied() else { return };
        match self.tool {
            Tool::Rectangle => {
                let corner = |x, y| ScreenPoint { x, y };
                self.stroke = vec![first, corner(now.x, first.y), now, corner(first.x, now.y)];
            }
            Tool::Ruler => self.stroke = vec![first, now],
            _ => {
                let last = self.stroke.last().copied().unwrap_or(first);
                if (now.x - last.x).hypot(now.y - last.y) >= STROKE_STEP_PX {
                    self.stroke.push(now);
                }
            }
        }
    }

    /// What a finished stroke does.
    fn stroke_command(&mut self, stroke: &[ScreenPoint], app: &AppState) -> Option<Command> {
        let mut points = Vec::with_capacity(stroke.len());
        for point in stroke {
            let place = app.view.to_image(*point);
            // Hundredths of a pixel are finer than a hand.
            points.push([place.x, place.y].map(|v| (v * 100.0).round() / 100.0));
        }
        match self.tool {
            Tool::Look => None,
            Tool::Nucleus => Some(Command::Add(points)),
            Tool::Redraw => {
                self.tool = Tool::Look;
                Some(Command::Redraw { object: None, stroke: points })
            }
            Tool::Split => Some(Command::Split { object: None, stroke: points }),
            Tool::Paint => Some(Command::Stroke {
                class: self.brush.class.clone(),
                width_um: self.brush.width_um,
                points,
            }),
            Tool::Erase => points.first().map(|point| Command::Erase(*point)),
            Tool::Region | Tool::Rectangle => {
                self.tool = Tool::Look;
                Some(Command::AddRegion { name: String::new(), polygon: points })
            }
            Tool::Ruler => match points[..] {
                [from, to] => Some(Command::Ruler(Some([from, to]))),
                _ => None,
            },
        }
    }
}

fn character_command(key: &str, app: &AppState) -> Option<Command> {
    let mut layers = app.layers;
    match key {
        "+" | "=" => return Some(zoom_about_centre(app, ZOOM_PER_KEY)),
        "-" => return Some(zoom_about_centre(app, 1.0 / ZOOM_PER_KEY)),
        "0" => return Some(Command::Fit),
        "a" => return Some(Command::Accept(None)),
        "x" => return Some(Command::Reject(None)),
        "t" => return Some(Command::Forget(None)),
        "j" => return Some(Command::Merge(Vec::new())),
        "n" => return Some(Command::Next),
        "w" => return Some(Command::ShowTaught(!app.shows_taught())),
        "k" => return Some(Command::KeepTaught),
        "d" => return Some(Command::DiscardTaught),
        "o" => layers.outline = toggled(layers.outline),
        "f" => layers.mask = toggled(layers.mask),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use winit::dpi::PhysicalPosition;
    use winit::event::DeviceId;

    use super::super::state_store::StateStore;
    use super::*;
    use crate::engine::DeviceChoice;
    use crate::model::{Model, dcnn};

    /// The command of a press at the first place, moves to the others, and a release.
    fn drawn(input: &mut WindowInput, app: &AppState, places: &[(f64, f64)]) -> Option<Command> {
        let device_id = DeviceId::dummy();
        let button = MouseButton::Left;
        for (index, &(x, y)) in places.iter().enumerate() {
            let position = PhysicalPosition { x, y };
            let moved = WindowEvent::CursorMoved { device_id, position };
            assert_eq!(input.pointer_command(&moved, false, app), None);
            if index == 0 {
                let state = ElementState::Pressed;
                let pressed = WindowEvent::MouseInput { device_id, state, button };
                assert_eq!(input.pointer_command(&pressed, false, app), None);
            }
        }
        let state = ElementState::Released;
        input.pointer_command(&WindowEvent::MouseInput { device_id, state, button }, false, app)
    }

    #[test]
    fn the_brush_paints_lines_and_dots_and_the_eraser_takes_one_place() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let store = StateStore::in_memory();
        let app = AppState::new(model, DeviceChoice::Cpu, store, Arc::new(|| {}));
        let mut input = WindowInput::default();
        input.take_tool(Tool::Paint);
        input.brush.exchange();
        assert_eq!(input.brush.class, "background");
        input.brush.exchange();
        let line = [(10.0, 10.0), (30.0, 12.0), (31.0, 12.0), (60.0, 20.0)];
        let Some(Command::Stroke { class, width_um, points }) = drawn(&mut input, &app, &line)
        else {
            unreachable!("a stroke");
        };
        assert_eq!((class.as_str(), width_um, points.len()), ("nucleus", 2.0, 3));
        let dot = drawn(&mut input, &app, &line[..1]);
        assert!(matches!(dot, Some(Command::Stroke { points, .. }) if points.len() == 1));
        assert_eq!(input.tool, Tool::Paint, "further ones are painted");
        input.take_tool(Tool::Erase);
        assert!(matches!(drawn(&mut input, &app, &line[..1]), Some(Command::Erase(_))));
        assert!(matches!(drawn(&mut input, &app, &line), Some(Command::Erase(_))));
    }

    #[test]
    fn the_brush_gets_wider_and_narrower_within_limits() {
        let mut brush = Brush::default();
        brush.widen(WIDTH_PER_KEY);
        assert!((brush.width_um - 2.5).abs() < 1e-9);
        for (factor, limit) in [(WIDTH_PER_KEY, 50.0), (1.0 / WIDTH_PER_KEY, 0.5)] {
            let widths = std::iter::repeat_with(|| {
                brush.widen(factor);
                brush.width_um
            });
            let widths: Vec<f64> = widths.take(40).collect();
            assert!(widths.is_sorted() || widths.is_sorted_by(|a, b| a >= b));
            assert!((widths[39] - limit).abs() < 1e-9, "{widths:?}");
        }
    }
}
