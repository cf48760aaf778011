//! The panel beside the picture: what is open, which model answers, layers, counts, export. It only
//! gives commands.

use egui::{Button, Color32, DragValue, ProgressBar, RichText, ScrollArea, Slider, Ui};

use super::app_state::{AppState, JobProgress};
use super::command::{Command, SegmentExtent};

/// Width, points.
pub const WIDTH: f32 = 280.0;
/// Largest share of filters that can be removed.
const MOST_PRUNED: f64 = 0.9;
const ALERT: Color32 = Color32::from_rgb(235, 90, 80);

/// What is being changed by hand and not yet done.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    ratio: f64,
    threshold: f32,
    mpp: f64,
}

impl Draft {
    /// As the desk has it.
    #[must_use]
    pub fn of(app: &AppState) -> Self {
        Self { ratio: app.ratio, threshold: app.threshold, mpp: app.mpp_um.unwrap_or(0.0) }
    }
}

/// Shows the panel; gives what the person wants.
pub fn panel(ui: &mut Ui, app: &AppState, draft: &mut Draft, adapter: &str) -> Vec<Command> {
    let mut queue = Vec::new();
    ScrollArea::vertical().show(ui, |ui| {
        ui.add_space(6.0);
        picture(ui, app, draft, &mut queue);
        ui.separator();
        work(ui, app, &mut queue);
        ui.separator();
        model(ui, app, draft, &mut queue);
        ui.separator();
        layers(ui, app, &mut queue);
        ui.separator();
        ui.label(RichText::new(keys()).small().weak());
        ui.label(
            RichText::new(format!("Drawn by {adapter}. A research tool: not for diagnosis."))
                .small()
                .weak(),
        );
    });
    queue
}

fn keys() -> &'static str {
    "Arrows move, + and − zoom, 0 shows all, S segments the view, A all, Esc stops, E exports, O outlines, M fill, H \
     probability. Drop a slide or a model on the window."
}

fn picture(ui: &mut Ui, app: &AppState, draft: &mut Draft, queue: &mut Vec<Command>) {
    let Some(document) = &app.document else {
        ui.heading("prunella");
        ui.label("Drop a slide or an image on the window.");
        return;
    };
    ui.heading(&app.name);
    let (w, h) = document.size();
    ui.label(format!("{w} × {h} pixels"));
    ui.horizontal(|ui| {
        ui.label("Pixel size, µm");
        let value = DragValue::new(&mut draft.mpp).speed(0.001).range(0.0..=20.0).max_decimals(4);
        let field = ui.add(value);
        if (field.lost_focus() || field.drag_stopped())
            && draft.mpp > 0.0
            && app.mpp_um != Some(draft.mpp)
        {
            queue.push(Command::Mpp(draft.mpp));
        }
    });
    if app.mpp_um.is_none() {
        ui.colored_label(ALERT, "Not known: state it.");
    }
}

fn work(ui: &mut Ui, app: &AppState, queue: &mut Vec<Command>) {
    let open = app.document.is_some();
    ui.horizontal(|ui| {
        for (words, extent) in
            [("Segment the view", SegmentExtent::View), ("Segment all", SegmentExtent::Slide)]
        {
            if ui.add_enabled(open && !app.is_busy(), Button::new(words)).clicked() {
                queue.push(Command::Segment(extent));
            }
        }
    });
    if let Some(JobProgress { done, of }) = app.progress {
        ui.horizontal(|ui| {
            let share = done as f32 / of.max(1) as f32;
            ui.add(ProgressBar::new(share).desired_width(150.0).text(format!("{done} of {of}")));
            if ui.button("Stop").clicked() {
                queue.push(Command::Cancel);
            }
        });
    }
    if let Some((count, share)) = app.counts() {
        ui.label(RichText::new(format!("{count} nuclei")).strong());
        ui.label(format!("{:.1} % of the area", share * 100.0));
        if ui.add_enabled(count > 0, Button::new("Export GeoJSON and CSV")).clicked() {
            queue.push(Command::Export(export_place(app)));
        }
    }
    ui.label(&app.said);
    if let Some(alert) = &app.alert {
        ui.colored_label(ALERT, alert);
    }
}

/// Results lie in the folder that the program was started in, under the picture's name.
pub fn export_place(app: &AppState) -> std::path::PathBuf {
    let stem = app.name.rsplit_once('.').map_or(app.name.as_str(), |(stem, _)| stem);
    // An ending is replaced, so a name with points in it needs one.
    std::path::PathBuf::from(format!("{stem}.geojson"))
}

fn model(ui: &mut Ui, app: &AppState, draft: &mut Draft, queue: &mut Vec<Command>) {
    let card = app.model.card();
    ui.label(RichText::new(format!("{} parameters", app.model.graph().parameters())).strong());
    ui.label(format!("{}, {} µm a pixel", card.architecture.family(), card.mpp_um));
    ui.label("Filters removed here");
    let slider = Slider::new(&mut draft.ratio, 0.0..=MOST_PRUNED).step_by(0.05).max_decimals(2);
    let pruned = ui.add(slider);
    let is_done = |r: &egui::Response| r.drag_stopped() || (r.changed() && !r.dragged());
    if is_done(&pruned) && (draft.ratio - app.ratio).abs() > 1e-9 {
        queue.push(Command::Prune(draft.ratio));
    }
    if app.ratio > 0.0 {
        ui.label(RichText::new("Not trained again: expect worse answers.").small());
    }
    ui.label("Threshold");
    let moved = ui.add(Slider::new(&mut draft.threshold, 0.02..=0.98).max_decimals(2));
    if is_done(&moved) && (draft.threshold - app.threshold).abs() > 1e-6 {
        queue.push(Command::Threshold(draft.threshold));
    }
    ui.label(RichText::new(card.licence.as_deref().unwrap_or("licence not stated")).small().weak());
}

fn layers(ui: &mut Ui, app: &AppState, queue: &mut Vec<Command>) {
    let mut now = [app.layers.outline, app.layers.mask, app.layers.heat];
    let mut moved = false;
    for (value, words) in now.iter_mut().zip(["Outlines", "Fill", "Probability"]) {
        moved |= ui.add(Slider::new(value, 0.0..=1.0).text(words).show_value(false)).changed();
    }
    let [outline, mask, heat] = now;
    if moved {
        queue.push(Command::Layers { outline, mask, heat });
    }
}
