//! What lies over the picture beside outlines: the stroke under way, names of regions, the length
//! of the ruler, the scale bar, the overview, and the card of the selected nucleus.

use egui::{
    Align2, Color32, FontId, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, TextureId, Ui, pos2,
    vec2,
};

use super::app_state::AppState;
use super::command::Command;
use super::panel::{PANEL_WIDTH, SMALL_TEXT};
use crate::raster::Point;
use crate::review::{MarkStatus, ReviewObject};
use crate::slide::SlideBounds;
use crate::viewer::ScreenPoint;

/// Text over the picture.
const TEXT: Color32 = Color32::WHITE;
/// Blocks that are segmented, in the overview.
const SEGMENTED: Color32 = Color32::from_rgb(76, 201, 255);
const SHADE: Color32 = Color32::from_black_alpha(160);
const FONT: FontId = FontId::proportional(13.0);
/// Space at the edges of the picture, points.
const MARGIN: f32 = 12.0;
/// Longest scale bar, points.
const MAX_BAR: f64 = 160.0;
/// Largest side of the overview, points.
const OVERVIEW_SIDE: f32 = 140.0;
const CARD_HELP: &str = "A accept, X reject, R redraw, S split, N next";
/// Size of the card, points.
const CARD_WIDTH: f32 = 250.0;

/// Draws over the picture; returns the commands of the card. `scale` is the number of pixels to a
/// point, `stroke` is in pixels, `whole_picture` is the whole as an overview shows it.
pub(super) fn overlay(
    ui: &mut Ui,
    app: &AppState,
    stroke: &[ScreenPoint],
    scale: f64,
    whole_picture: Option<TextureId>,
) -> Vec<Command> {
    let mut commands = Vec::new();
    if app.document.is_none() {
        return commands;
    }
    let whole = ui.max_rect();
    let picture = Rect::from_min_max(whole.min, pos2(whole.max.x - PANEL_WIDTH, whole.max.y));
    let painter = ui.painter().with_clip_rect(picture);
    let place = |point: Point| {
        let point = app.view.to_screen(point);
        pos2((point.x / scale) as f32, (point.y / scale) as f32)
    };
    for region in app.review().state().regions.values() {
        let bounds = region.bounds();
        let at = place(Point { x: bounds.left, y: bounds.top });
        if region.is_complete() {
            label(&painter, at, &format!("{} (complete)", region.name));
        } else {
            label(&painter, at, &region.name);
        }
    }
    if let Some([from, to]) = app.ruler {
        let middle = Point { x: f64::midpoint(from.x, to.x), y: f64::midpoint(from.y, to.y) };
        let px = (to.x - from.x).hypot(to.y - from.y);
        let text = match app.mpp_um() {
            Some(mpp) => format!("{:.1} µm", px * mpp),
            None => format!("{px:.1} px"),
        };
        label(&painter, place(middle), &text);
    }
    draw_stroke(&painter, stroke, scale);
    scale_bar(&painter, picture, app, scale);
    overview(&painter, picture, app, whole_picture);
    if let [selected] = &app.selection.objects[..] {
        let bounds =
            SlideBounds::of_points(selected.object.nucleus.polygons.iter().flatten().flatten());
        let at = place(Point { x: bounds.right, y: bounds.top }) + vec2(8.0, 0.0);
        card(ui, app, &selected.object, picture, at, &mut commands);
    }
    commands
}

fn label(painter: &Painter, at: Pos2, text: &str) {
    let galley = painter.layout_no_wrap(text.to_owned(), FONT, TEXT);
    let at = at + vec2(0.0, -galley.size().y - 2.0);
    let area = Rect::from_min_size(at, galley.size()).expand2(vec2(3.0, 1.0));
    painter.rect_filled(area, 2.0, SHADE);
    painter.galley(at, galley, TEXT);
}

fn draw_stroke(painter: &Painter, stroke: &[ScreenPoint], scale: f64) {
    if stroke.len() < 2 {
        return;
    }
    let points: Vec<Pos2> =
        stroke.iter().map(|p| pos2((p.x / scale) as f32, (p.y / scale) as f32)).collect();
    painter.add(Shape::line(points.clone(), Stroke::new(4.0, SHADE)));
    painter.add(Shape::line(points, Stroke::new(2.0, TEXT)));
}

/// A bar of a round length, and the magnification of the screen.
fn scale_bar(painter: &Painter, picture: Rect, app: &AppState, scale: f64) {
    let Some(mpp) = app.mpp_um() else { return };
    let um_per_point = mpp / app.view.scale() * scale;
    let um = round_length(MAX_BAR * um_per_point);
    let width = (um / um_per_point) as f32;
    let left = picture.left() + MARGIN;
    let bottom = picture.bottom() - MARGIN;
    let area = Rect::from_min_max(pos2(left, bottom - 26.0), pos2(left + width + 12.0, bottom));
    painter.rect_filled(area, 2.0, SHADE);
    let bar = Rect::from_min_size(pos2(left + 6.0, bottom - 7.0), vec2(width, 3.0));
    painter.rect_filled(bar, 0.0, TEXT);
    let text = if um >= 1000.0 { format!("{} mm", um / 1000.0) } else { format!("{um} µm") };
    painter.text(pos2(left + 6.0, bottom - 10.0), Align2::LEFT_BOTTOM, text, FONT, TEXT);
}

/// The largest of 1, 2, 5 × 10ⁿ that is at most a length.
fn round_length(length: f64) -> f64 {
    let power = 10f64.powf(length.log10().floor());
    let steps = [5.0, 2.0, 1.0];
    let step = steps.into_iter().find(|step| step * power <= length).unwrap_or(1.0);
    (step * power * 1e6).round() / 1e6
}

/// Where the view lies in the whole.
fn overview(painter: &Painter, picture: Rect, app: &AppState, whole_picture: Option<TextureId>) {
    let whole = app.whole();
    let view = app.view.bounds().intersection(&whole);
    if view.width() >= whole.width() && view.height() >= whole.height() {
        return;
    }
    let side = whole.width().max(whole.height()).max(1.0);
    let share = f64::from(OVERVIEW_SIDE) / side;
    let size = vec2((whole.width() * share) as f32, (whole.height() * share) as f32);
    let corner = pos2(picture.right() - MARGIN - size.x, picture.bottom() - MARGIN - size.y);
    let area = Rect::from_min_size(corner, size);
    painter.rect_filled(area.expand(2.0), 1.0, SHADE);
    if let Some(texture) = whole_picture {
        let all = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
        painter.image(texture, area, all, Color32::WHITE);
    }
    let at = |x: f64, y: f64| corner + vec2((x * share) as f32, (y * share) as f32);
    app.with_shown(|shown| {
        for block in shown.counted().index.known(whole) {
            let area = Rect::from_min_max(at(block.left, block.top), at(block.right, block.bottom));
            painter.rect_stroke(area, 0.0, Stroke::new(1.0, SEGMENTED), StrokeKind::Inside);
        }
    });
    let shown = Rect::from_min_max(at(view.left, view.top), at(view.right, view.bottom));
    painter.rect_stroke(shown, 0.0, Stroke::new(4.0, SHADE), StrokeKind::Middle);
    painter.rect_stroke(shown, 0.0, Stroke::new(2.0, TEXT), StrokeKind::Middle);
}

/// What is known of a nucleus, and what can be done with it.
fn card(
    ui: &mut Ui,
    app: &AppState,
    object: &ReviewObject,
    picture: Rect,
    at: Pos2,
    commands: &mut Vec<Command>,
) {
    if !picture.contains(at - vec2(8.0, 0.0)) {
        return;
    }
    let at = at.min(picture.max - vec2(CARD_WIDTH, 90.0)).max(picture.min);
    let area = egui::Area::new(egui::Id::unique("card")).fixed_pos(at);
    area.show(ui.ctx(), |ui| {
        egui::Frame::popup(ui.style()).show(ui, |ui| {
            ui.set_max_width(CARD_WIDTH);
            ui.label(app.description(object));
            ui.horizontal(|ui| {
                let mut button = |ui: &mut Ui, text: &str, command: Command| {
                    if ui.button(text).clicked() {
                        commands.push(command);
                    }
                };
                if object.status != Some(MarkStatus::Accepted) {
                    button(ui, "Accept", Command::Accept(None));
                }
                if object.status != Some(MarkStatus::Rejected) {
                    button(ui, "Reject", Command::Reject(None));
                }
                if object.status.is_some() {
                    button(ui, "Take back", Command::Forget(None));
                }
            });
            ui.label(egui::RichText::new(CARD_HELP).size(SMALL_TEXT));
        });
    });
}
