//! The panel beside the image: document, segmentation, model, layers. It only returns commands.

use egui::{
    Button, Color32, DragValue, ProgressBar, Response, RichText, ScrollArea, Slider, TextStyle, Ui,
};

use super::app_state::{AppState, JobProgress, file_name};
use super::command::{Command, SegmentExtent};
use super::file_list::FileList;
use crate::error::counted;

/// Width, points.
pub(super) const PANEL_WIDTH: f32 = 280.0;
/// Largest share of filters that can be removed.
const MAX_PRUNING_RATIO: f64 = 0.9;
/// Height of the list of files, points.
const LIST_HEIGHT: f32 = 160.0;
const ALERT_COLOUR: Color32 = Color32::from_rgb(235, 90, 80);
const KEY_HELP: &str = "Arrows move, + and − zoom, 0 shows all, S segments the view, A all, Esc \
    stops, E exports, O outlines, M fill, H probability. Drop slides, a folder or a model on the \
    window.";

/// Values that are being edited and not yet applied: a slider's command is sent when it is
/// released.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    pruning_ratio: f64,
    threshold: f32,
    /// µm; 0 for unknown.
    mpp_um: f64,
}

impl Draft {
    /// The values in use.
    #[must_use]
    pub(super) fn of(app: &AppState) -> Self {
        Self {
            pruning_ratio: app.pruning_ratio,
            threshold: app.threshold,
            mpp_um: app.mpp_um.unwrap_or(0.0),
        }
    }
}

/// Shows the panel; returns the commands of the user. `adapter` is the name of what draws.
pub(super) fn panel(ui: &mut Ui, app: &AppState, draft: &mut Draft, adapter: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    ScrollArea::vertical().show(ui, |ui| {
        ui.add_space(6.0);
        document_section(ui, app, draft, &mut commands);
        ui.separator();
        segmentation_section(ui, app, &mut commands);
        ui.separator();
        model_section(ui, app, draft, &mut commands);
        ui.separator();
        layers_section(ui, app, &mut commands);
        ui.separator();
        small_label(ui, KEY_HELP);
        small_label(ui, &format!("Drawn by {adapter}. A research tool: not for diagnosis."));
    });
    commands
}

fn small_label(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).small().weak());
}

fn document_section(ui: &mut Ui, app: &AppState, draft: &mut Draft, commands: &mut Vec<Command>) {
    let Some(document) = &app.document else {
        ui.heading("prunella");
        ui.label("Drop slides, images or a folder on the window.");
        file_list(ui, app, commands);
        return;
    };
    ui.heading(&app.name);
    let (width, height) = document.size();
    ui.label(format!("{width} × {height} pixels"));
    ui.horizontal(|ui| {
        ui.label("Pixel size, µm");
        let value =
            DragValue::new(&mut draft.mpp_um).speed(0.001).range(0.0..=20.0).max_decimals(4);
        let field = ui.add(value);
        let is_done = field.lost_focus() || field.drag_stopped();
        if is_done && draft.mpp_um > 0.0 && app.mpp_um != Some(draft.mpp_um) {
            commands.push(Command::Mpp(draft.mpp_um));
        }
    });
    if app.mpp_um.is_none() {
        ui.colored_label(ALERT_COLOUR, "Not known: state it.");
    }
    for note in app.notes.iter().chain(&app.job_notes) {
        ui.label(RichText::new(format!("• {note}")).small());
    }
    file_list(ui, app, commands);
}

/// The files that were opened together; a click opens one.
fn file_list(ui: &mut Ui, app: &AppState, commands: &mut Vec<Command>) {
    let FileList { files, facts } = &app.list;
    if !facts.is_empty() {
        small_label(ui, facts);
    }
    if files.len() < 2 {
        return;
    }
    let height = ui.text_style_height(&TextStyle::Button) + 2.0 * ui.spacing().button_padding.y;
    let scroll = ScrollArea::vertical().id_salt("files").max_height(LIST_HEIGHT);
    scroll.show_rows(ui, height, files.len(), |ui, rows| {
        for file in &files[rows] {
            let is_open = *file == app.location;
            if ui.selectable_label(is_open, file_name(file)).on_hover_text(file).clicked() {
                commands.push(Command::Open(file.clone()));
            }
        }
    });
}

fn segmentation_section(ui: &mut Ui, app: &AppState, commands: &mut Vec<Command>) {
    let can_start = app.document.is_some() && !app.is_busy();
    ui.horizontal(|ui| {
        if ui.add_enabled(can_start, Button::new("Segment the view")).clicked() {
            commands.push(Command::Segment(SegmentExtent::View));
        }
        if ui.add_enabled(can_start, Button::new("Segment all")).clicked() {
            commands.push(Command::Segment(SegmentExtent::Slide));
        }
    });
    if let Some(JobProgress { done, total }) = app.progress {
        ui.horizontal(|ui| {
            let share = done as f32 / total.max(1) as f32;
            let text = format!("{done} of {total}");
            ui.add(ProgressBar::new(share).desired_width(150.0).text(text));
            if ui.button("Stop").clicked() {
                commands.push(Command::Cancel);
            }
        });
    }
    if let Some(count) = app.counts() {
        ui.label(RichText::new(counted(count.nuclei, "nucleus", "nuclei")).strong());
        ui.label(format!("{:.1} % of the area", count.area_share * 100.0));
        let export = Button::new("Export GeoJSON and CSV");
        if ui.add_enabled(count.nuclei > 0, export).clicked() {
            commands.push(Command::Export(export_path(app)));
        }
    }
    ui.label(&app.status);
    if let Some(alert) = &app.alert {
        ui.colored_label(ALERT_COLOUR, alert);
    }
}

/// File of the results: the document's name, in the folder that the program was started in.
pub(super) fn export_path(app: &AppState) -> std::path::PathBuf {
    let stem = app.name.rsplit_once('.').map_or(app.name.as_str(), |(stem, _)| stem);
    // The export replaces the extension, so a stem with points in it needs one.
    std::path::PathBuf::from(format!("{stem}.geojson"))
}

fn model_section(ui: &mut Ui, app: &AppState, draft: &mut Draft, commands: &mut Vec<Command>) {
    let card = app.model.card();
    ui.label(RichText::new(format!("{} parameters", app.model.graph().parameters())).strong());
    ui.label(format!("{}, {} µm a pixel", card.architecture.family(), card.mpp_um));
    ui.label("Filters removed here");
    let slider = Slider::new(&mut draft.pruning_ratio, 0.0..=MAX_PRUNING_RATIO);
    let pruning = ui.add(slider.step_by(0.05).max_decimals(2));
    if is_edited(&pruning) && (draft.pruning_ratio - app.pruning_ratio).abs() > 1e-9 {
        commands.push(Command::Prune(draft.pruning_ratio));
    }
    if app.pruning_ratio > 0.0 {
        ui.label(RichText::new("Not fine-tuned: expect worse results.").small());
    }
    ui.label("Threshold");
    let threshold = ui.add(Slider::new(&mut draft.threshold, 0.02..=0.98).max_decimals(2));
    if is_edited(&threshold) && (draft.threshold - app.threshold).abs() > 1e-6 {
        commands.push(Command::Threshold(draft.threshold));
    }
    small_label(ui, card.licence.as_deref().unwrap_or("licence not stated"));
}

/// Whether the user has set a slider: released it, or changed it by a click or the keyboard.
fn is_edited(slider: &Response) -> bool {
    slider.drag_stopped() || (slider.changed() && !slider.dragged())
}

fn layers_section(ui: &mut Ui, app: &AppState, commands: &mut Vec<Command>) {
    let mut layers = app.layers;
    let mut is_changed = strength_slider(ui, &mut layers.outline, "Outlines");
    is_changed |= strength_slider(ui, &mut layers.mask, "Fill");
    is_changed |= strength_slider(ui, &mut layers.heat, "Probability");
    if is_changed {
        let crate::viewer::Layers { outline, mask, heat, .. } = layers;
        commands.push(Command::Layers { outline, mask, heat });
    }
}

/// A slider for a layer; true when it was moved.
fn strength_slider(ui: &mut Ui, strength: &mut f32, label: &str) -> bool {
    ui.add(Slider::new(strength, 0.0..=1.0).text(label).show_value(false)).changed()
}
