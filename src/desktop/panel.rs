//! The panel beside the image: document, segmentation, model, layers. It only returns commands.

use egui::{
    Button, Checkbox, Color32, DragValue, ProgressBar, Response, RichText, ScrollArea, Slider,
    TextEdit, TextStyle, Ui,
};

use super::app_state::{AppState, JobProgress, file_name};
use super::command::{Command, SegmentExtent};
use super::file_list::FileList;
use super::painting::STROKE_WIDTHS_UM;
use super::reference::ReferenceScores;
use super::teaching::{TaughtResult, TeachProgress};
use super::versions::ModelVersion;
use super::window_input::{Brush, Tool};
use crate::error::counted;
use crate::model::NucleusType;
use crate::review::{NamedRegion, PixelSizeSource, ReviewCounts};
use crate::viewer::{OUTLINE_PALETTES, OutlinePalette};

/// Width, points.
pub(super) const PANEL_WIDTH: f32 = 280.0;
/// Largest share of filters that can be removed.
const MAX_PRUNING_RATIO: f64 = 0.9;
/// Height of the list of files, points.
const LIST_HEIGHT: f32 = 160.0;
/// Field of a region's name, points.
const REGION_NAME_SIZE: [f32; 2] = [90.0, 20.0];
/// Narrowest column of the list of regions, points: all of them fit the panel.
const REGION_COLUMN_WIDTH: f32 = 16.0;
/// Text that explains, points.
pub(super) const SMALL_TEXT: f32 = 11.5;
const ALERT_COLOUR: Color32 = Color32::from_rgb(235, 90, 80);
const OLDER_COLOUR: Color32 = Color32::from_rgb(240, 190, 90);
const KEY_HELP: &str = "Arrows move, + and − zoom, 0 shows all. Enter segments the view, \
    Shift+Enter all, Esc stops. A accepts, X rejects, T takes back, Shift+click selects more, J \
    merges, N goes to the next uncertain nucleus, Shift+N back. Ctrl+Z undoes, Ctrl+Y does again. \
    P paints, again for the other class, [ and ] change the width. L teaches; W shows what the \
    taught model finds, K keeps it, D discards it. Page down and up: next and previous file. \
    Ctrl+E exports, O outlines, F fill, H probability. Drop slides, a folder or a model on the \
    window.";
const TEACH_HELP: &str = "Paint what is background and what is nucleus where the model is wrong, \
    or accept, reject and draw nuclei; a few marks do. What nobody marked is unknown.";
const COMPLETE_HELP: &str = "Every nucleus in the region is marked or found: whatever else is in \
    it is background.";
const STAIN_HELP: &str = "Colours paler or stronger than those that the model learned from are \
    brought into their range for the model. The picture and the measurements keep theirs.";
/// Field of the name of a new class, points.
const CLASS_NAME_SIZE: [f32; 2] = [150.0, 20.0];
/// File of the marks beside the results.
const MARKS_ENDING: &str = "-marks.geojson";
/// File of a taught model beside the results.
const MODEL_ENDING: &str = "-model.safetensors";
/// File of the regions beside the results.
const REGIONS_ENDING: &str = "-regions.geojson";

/// Values that are being edited and not yet applied: a slider's command is sent when it is
/// released.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    pruning_ratio: f64,
    threshold: f32,
    /// µm; 0 for unknown.
    mpp_um: f64,
    /// Region whose name is being edited, and the name.
    region: Option<(u32, String)>,
}

impl Draft {
    /// The values in use.
    #[must_use]
    pub(super) fn of(app: &AppState) -> Self {
        Self {
            pruning_ratio: app.pruning_ratio(),
            threshold: app.threshold(),
            mpp_um: app.mpp_um().unwrap_or(0.0),
            region: None,
        }
    }
}

/// What the panel shows beside the state.
pub(super) struct PanelFacts<'a> {
    /// Name of what draws.
    pub adapter: &'a str,
    pub tool: Tool,
}

/// What the user wants.
pub(super) struct PanelAnswer {
    pub commands: Vec<Command>,
    pub tool: Tool,
}

/// Shows the panel.
pub(super) fn panel(
    ui: &mut Ui,
    app: &AppState,
    draft: &mut Draft,
    brush: &mut Brush,
    facts: &PanelFacts<'_>,
) -> PanelAnswer {
    let mut commands = Vec::new();
    let mut tool = facts.tool;
    ScrollArea::vertical().show(ui, |ui| {
        ui.add_space(6.0);
        alerts(ui, app, &mut commands);
        document_section(ui, app, draft, &mut commands);
        ui.separator();
        segmentation_section(ui, app, &mut commands);
        if app.document.is_some() {
            ui.separator();
            review_section(ui, app, &mut tool, &mut commands);
            ui.separator();
            regions_section(ui, app, draft, &mut commands);
            ui.separator();
            brush_section(ui, app, &mut tool, brush);
            teach_section(ui, app, brush, &mut commands);
            versions_section(ui, app, &mut commands);
        }
        reference_section(ui, app, &mut commands);
        ui.separator();
        model_section(ui, app, draft, &mut commands);
        ui.separator();
        layers_section(ui, app, &mut commands);
        ui.separator();
        small_label(ui, KEY_HELP);
        let adapter = facts.adapter;
        small_label(ui, &format!("Drawn by {adapter}. A research tool: not for diagnosis."));
    });
    PanelAnswer { commands, tool }
}

/// What went wrong, until it is closed.
fn alerts(ui: &mut Ui, app: &AppState, commands: &mut Vec<Command>) {
    if app.alerts.is_empty() {
        return;
    }
    for alert in &app.alerts {
        ui.colored_label(ALERT_COLOUR, alert);
    }
    if ui.button("Close").clicked() {
        commands.push(Command::CloseMessages);
    }
    ui.separator();
}

/// A button of a command that may not be possible now.
fn step_button(ui: &mut Ui, text: &str, name: Option<&str>, command: Command) -> Option<Command> {
    let button = ui.add_enabled(name.is_some(), Button::new(text));
    let button = match name {
        Some(name) => button.on_hover_text(name),
        None => button,
    };
    button.clicked().then_some(command)
}

fn review_section(ui: &mut Ui, app: &AppState, tool: &mut Tool, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        for (other, name, key) in Tool::ALL {
            if ui.selectable_label(*tool == other, name).on_hover_text(key).clicked() {
                *tool = other;
            }
        }
    });
    let review = app.review();
    ui.horizontal(|ui| {
        commands.extend(step_button(ui, "Undo", review.undo_name(), Command::Undo));
        commands.extend(step_button(ui, "Redo", review.redo_name(), Command::Redo));
        if ui.button("Next uncertain").clicked() {
            commands.push(Command::Next);
        }
    });
    if let Some(name) = review.undo_name() {
        small_label(ui, &format!("Undo: {name}"));
    }
    match app.selected_count() {
        0 | 1 => {}
        count => {
            ui.horizontal(|ui| {
                ui.label(format!("{count} selected"));
                if ui.button("Merge").clicked() {
                    commands.push(Command::Merge(Vec::new()));
                }
                if ui.button("Reject").clicked() {
                    commands.push(Command::Reject(None));
                }
            });
        }
    }
    if app.is_kept() && ui.button("Forget what is kept of this image").clicked() {
        commands.push(Command::ForgetState);
    }
}

fn regions_section(ui: &mut Ui, app: &AppState, draft: &mut Draft, commands: &mut Vec<Command>) {
    let state = app.review().state();
    if state.regions.is_empty() {
        small_label(ui, "Regions: draw them with the tools, or drop GeoJSON on the window.");
        return;
    }
    let list = egui::Grid::new("regions").striped(true).num_columns(5);
    list.min_col_width(REGION_COLUMN_WIDTH).show(ui, |ui| {
        for heading in ["Region", "nuclei", "per mm²"] {
            small_label(ui, heading);
        }
        ui.label(RichText::new("all").size(SMALL_TEXT)).on_hover_text(COMPLETE_HELP);
        small_label(ui, "");
        ui.end_row();
        for region in app.region_counts() {
            let mut name = match &draft.region {
                Some((id, name)) if *id == region.id => name.clone(),
                _ => region.name.clone(),
            };
            let field = ui.add_sized(REGION_NAME_SIZE, egui::TextEdit::singleline(&mut name));
            if field.changed() {
                draft.region = Some((region.id, name.clone()));
            }
            if field.lost_focus() && name != region.name {
                commands.push(Command::RenameRegion { id: region.id, name });
            }
            ui.label(region.counts.nuclei.to_string());
            let density = region.density_per_mm2(app.mpp_um());
            ui.label(density.map_or("–".to_owned(), |density| format!("{density:.0}")));
            let of_state = state.regions.get(&region.id);
            let mut is_complete = of_state.is_some_and(NamedRegion::is_complete);
            let switch = ui.add(Checkbox::without_text(&mut is_complete));
            if switch.on_hover_text(COMPLETE_HELP).changed() {
                commands.push(if is_complete {
                    Command::RegionComplete(region.id)
                } else {
                    Command::RegionIncomplete(region.id)
                });
            }
            if ui.button("×").on_hover_text("Remove the region").clicked() {
                commands.push(Command::RemoveRegion(region.id));
            }
            ui.end_row();
        }
    });
    let mut inside_only = state.inside_only;
    if ui.checkbox(&mut inside_only, "Count inside regions only").changed() {
        commands.push(Command::InsideOnly(inside_only));
    }
    if ui.button("Save regions").clicked() {
        commands.push(Command::SaveRegions(path_beside(app, REGIONS_ENDING)));
    }
}

/// What is painted, and how wide.
fn brush_section(ui: &mut Ui, app: &AppState, tool: &mut Tool, brush: &mut Brush) {
    ui.label(RichText::new("Teach").strong());
    let mut chosen = None;
    ui.horizontal_wrapped(|ui| {
        for class in app.painted_classes() {
            let [r, g, b] = class.colour;
            ui.colored_label(Color32::from_rgb(r, g, b), "■");
            let is_chosen = class.name.eq_ignore_ascii_case(&brush.class);
            if ui.selectable_label(is_chosen, &class.name).clicked() {
                chosen = Some(class.name);
            }
        }
    });
    ui.horizontal(|ui| {
        let field = TextEdit::singleline(&mut brush.new_class).hint_text("new type of nuclei");
        let field = ui.add_sized(CLASS_NAME_SIZE, field.char_limit(40));
        let is_named = !brush.new_class.trim().is_empty();
        let is_entered =
            field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
        let is_clicked = ui.add_enabled(is_named, Button::new("Paint it")).clicked();
        if is_named && (is_entered || is_clicked) {
            chosen = Some(std::mem::take(&mut brush.new_class).trim().to_owned());
        }
    });
    if let Some(name) = chosen {
        brush.class = name;
        *tool = Tool::Paint;
    }
    ui.horizontal(|ui| {
        ui.label(format!("Brush: {}, µm", brush.class));
        let width = DragValue::new(&mut brush.width_um).speed(0.1).range(STROKE_WIDTHS_UM);
        ui.add(width.max_decimals(1));
    });
}

fn teach_section(ui: &mut Ui, app: &AppState, brush: &mut Brush, commands: &mut Vec<Command>) {
    let marks = app.mark_count();
    if marks == 0 {
        small_label(ui, TEACH_HELP);
    }
    ui.horizontal(|ui| {
        let can_teach = marks > 0 && app.teach_progress().is_none();
        if ui.add_enabled(can_teach, Button::new("Teach")).clicked() {
            commands.push(brush.teach());
        }
        ui.label(counted(marks, "mark", "marks"));
        if marks > 0 && ui.button("Save marks").clicked() {
            commands.push(Command::SaveMarks(path_beside(app, MARKS_ENDING)));
        }
    });
    ui.checkbox(&mut brush.keeps_aside, "Keep a fifth of the marks aside to check");
    if let Some(progress) = app.teach_progress() {
        teach_progress(ui, progress, commands);
    }
    if let Some(taught) = app.taught() {
        taught_result(ui, app, taught, commands);
    }
}

fn teach_progress(ui: &mut Ui, progress: TeachProgress, commands: &mut Vec<Command>) {
    let TeachProgress { done, total, loss, seconds_left } = progress;
    ui.horizontal(|ui| {
        let text = match total {
            0 => "Reading the marks".to_owned(),
            total if done == total => "Segmenting".to_owned(),
            total => format!("{done} of {total}"),
        };
        let share = done as f32 / total.max(1) as f32;
        ui.add(ProgressBar::new(share).desired_width(150.0).text(text));
        if ui.button("Stop").clicked() {
            commands.push(Command::Cancel);
        }
    });
    if let (Some(loss), Some(left)) = (loss, seconds_left) {
        small_label(ui, &format!("Loss {loss:.3}, {left:.0} s left"));
    }
}

/// What came out, and what becomes of it.
fn taught_result(ui: &mut Ui, app: &AppState, taught: &TaughtResult, commands: &mut Vec<Command>) {
    for sentence in taught.sentences() {
        ui.label(sentence);
    }
    let mut is_shown = app.shows_taught();
    if ui.checkbox(&mut is_shown, "Show what it finds (W)").changed() {
        commands.push(Command::ShowTaught(is_shown));
    }
    ui.horizontal(|ui| {
        // What to do about it stands first.
        let mut buttons = [("Keep", Command::KeepTaught), ("Discard", Command::DiscardTaught)];
        if taught.is_worse() {
            buttons.reverse();
        }
        for (text, command) in buttons {
            if ui.button(text).clicked() {
                commands.push(command);
            }
        }
        small_label(ui, "or go on marking");
    });
}

fn versions_section(ui: &mut Ui, app: &AppState, commands: &mut Vec<Command>) {
    if app.versions().is_empty() {
        return;
    }
    small_label(ui, "Versions of the model");
    let used = app.version();
    if ui.selectable_label(used == Some(0), "0: before teaching").clicked() {
        commands.push(Command::Version(0));
    }
    for ModelVersion { number, marks, outcome, .. } in app.versions() {
        ui.horizontal(|ui| {
            let marks = counted(*marks, "mark", "marks");
            let (after, of) = (outcome.learned.after, outcome.learned.marks);
            let text = format!("{number}: {marks}, agrees with {after} of {of}");
            if ui.selectable_label(used == Some(*number), text).clicked() {
                commands.push(Command::Version(*number));
            }
            if ui.button("×").on_hover_text("Remove the version").clicked() {
                commands.push(Command::RemoveVersion(*number));
            }
        });
    }
    if ui.button("Save the model in use").clicked() {
        commands.push(Command::SaveModel(path_beside(app, MODEL_ENDING)));
    }
}

fn reference_section(ui: &mut Ui, app: &AppState, commands: &mut Vec<Command>) {
    let Some((name, scores)) = app.reference_scores() else { return };
    ui.separator();
    ui.label(RichText::new(format!("Compared with {name}")).strong());
    match scores {
        Some(ReferenceScores { scores, is_of_view }) => {
            let score =
                |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
            let [dice, aji, pq, f1] = [scores.dice, scores.aji, scores.pq, scores.f1].map(score);
            ui.label(format!("Dice {dice}   AJI {aji}   PQ {pq}   F1 {f1}"));
            small_label(
                ui,
                &format!("{} here, {} there", scores.predicted_objects, scores.true_objects),
            );
            if is_of_view {
                small_label(ui, "Of what the screen showed.");
            }
        }
        None => small_label(ui, "Segment to compare."),
    }
    if ui.button("Close comparison").clicked() {
        commands.push(Command::Reference(None));
    }
}

fn small_label(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).size(SMALL_TEXT));
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
        if is_done && draft.mpp_um > 0.0 && app.mpp_um() != Some(draft.mpp_um) {
            commands.push(Command::Mpp(draft.mpp_um));
        }
    });
    match (app.mpp_um(), app.review().state().pixel_size.source) {
        (None, _) => {
            ui.colored_label(ALERT_COLOUR, "Not known: state it.");
        }
        (Some(_), PixelSizeSource::Person) => small_label(ui, "Stated by you."),
        (Some(_), _) => small_label(ui, "From the file."),
    }
    for note in app.notes.iter().chain(&app.job_notes) {
        small_label(ui, &format!("• {note}"));
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
    ui.horizontal(|ui| {
        if ui.button("Previous file").clicked() {
            commands.push(Command::PreviousFile);
        }
        if ui.button("Next file").clicked() {
            commands.push(Command::NextFile);
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
        let ReviewCounts { nuclei, accepted, added, rejected, .. } = count.counts;
        ui.label(RichText::new(counted(nuclei, "nucleus", "nuclei")).strong());
        if accepted + added + rejected > 0 {
            ui.label(format!("{accepted} accepted, {added} added, {rejected} rejected"));
        }
        for (NucleusType { name, colour }, count) in app.counts_of_types() {
            ui.horizontal(|ui| {
                ui.colored_label(Color32::from_rgb(colour[0], colour[1], colour[2]), "■");
                ui.label(format!("{count} {name}"));
            });
        }
        if count.segmented_px > 0.0 && !app.review().state().inside_only {
            ui.label(format!("{:.1} % of the segmented area", count.area_share() * 100.0));
        }
        ui.label(format!("{} in the view", app.nuclei_in_view()));
        if let Some(note) = app.older_note() {
            ui.colored_label(OLDER_COLOUR, note);
        }
        let export = Button::new("Export GeoJSON and CSV");
        if ui.add_enabled(nuclei > 0, export).clicked() {
            commands.push(Command::Export(export_path(app)));
        }
    }
    ui.label(&app.status);
}

/// File of the results: the document's name, in the folder that the program was started in.
pub(super) fn export_path(app: &AppState) -> std::path::PathBuf {
    let stem = app.name.rsplit_once('.').map_or(app.name.as_str(), |(stem, _)| stem);
    // The export replaces the extension, so a stem with points in it needs one.
    std::path::PathBuf::from(format!("{stem}.geojson"))
}

/// A file named after the document.
fn path_beside(app: &AppState, ending: &str) -> std::path::PathBuf {
    format!("{}{ending}", export_path(app).with_extension("").display()).into()
}

fn model_section(ui: &mut Ui, app: &AppState, draft: &mut Draft, commands: &mut Vec<Command>) {
    let card = app.model.card();
    ui.label(RichText::new(format!("{} parameters", app.model.graph().parameters())).strong());
    ui.label(format!("{}, {} µm a pixel", card.architecture.family(), card.mpp_um));
    ui.label("Filters removed here");
    let slider = Slider::new(&mut draft.pruning_ratio, 0.0..=MAX_PRUNING_RATIO);
    let pruning = ui.add(slider.step_by(0.05).max_decimals(2));
    if is_edited(&pruning) && (draft.pruning_ratio - app.pruning_ratio()).abs() > 1e-9 {
        commands.push(Command::Prune(draft.pruning_ratio));
    }
    if app.pruning_ratio() > 0.0 {
        small_label(ui, "Not fine-tuned: expect worse results.");
    }
    ui.label("Threshold");
    let threshold = ui.add(Slider::new(&mut draft.threshold, 0.02..=0.98).max_decimals(2));
    if is_edited(&threshold) && (draft.threshold - app.threshold()).abs() > 1e-6 {
        commands.push(Command::Threshold(Some(draft.threshold)));
    }
    let mut matches = !app.review().state().keep_stain;
    let switch = ui.checkbox(&mut matches, "Match stain colours").on_hover_text(STAIN_HELP);
    if switch.changed() {
        commands.push(Command::KeepStain(!matches));
    }
    if let Some(fact) = app.stain_fact() {
        small_label(ui, fact);
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
    let used = OutlinePalette::named(&app.review().state().display.palette).name;
    ui.horizontal(|ui| {
        for palette in &OUTLINE_PALETTES {
            if ui.selectable_label(palette.name == used, palette.title).clicked() {
                commands.push(Command::Palette(palette.name.to_owned()));
            }
        }
    });
}

/// A slider for a layer; true when it was moved.
fn strength_slider(ui: &mut Ui, strength: &mut f32, label: &str) -> bool {
    ui.add(Slider::new(strength, 0.0..=1.0).text(label).show_value(false)).changed()
}
