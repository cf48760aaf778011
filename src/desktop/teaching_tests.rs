//! Teaching without a window, by the commands of scripts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::app_state::AppState;
use super::command::{Command, script};
use super::state_store::StateStore;
use crate::dataset::{SparseLabels, tissue_crops};
use crate::engine::DeviceChoice;
use crate::error::Result;
use crate::model::{Model, Precision, dccn, dcnn};
use crate::raster::{Plane, RgbImage, StainMode, encode_rgb_png, phantom};
use crate::review::MarkedImage;
use crate::train::{TeachRecipe, TeachTask, teach};
use crate::whole_slide::Sampling;

/// Side of the image, pixels.
const SIDE: usize = 220;

/// An untrained network.
fn model() -> Model {
    Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model")
}

struct Workplace {
    folder: tempfile::TempDir,
    image: PathBuf,
}

impl Workplace {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let image = folder.path().join("tissue.png");
        std::fs::write(&image, encode_rgb_png(&phantom(SIDE, SIDE, 8).0).expect("png"))
            .expect("image");
        Self { folder, image }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn app_with(&self, model: Model) -> AppState {
        let store = StateStore::in_folder(self.path("state"));
        AppState::new(model, DeviceChoice::Cpu, store, Arc::new(|| {}))
    }

    /// The image is open at 0.25 µm, its pixels are those of the screen.
    fn opened(&self) -> AppState {
        let mut app = self.app_with(model());
        open(&mut app, &self.image);
        app
    }
}

fn open(app: &mut AppState, image: &Path) {
    app.apply(&Command::Open(image.display().to_string())).expect("opened");
    run(app, &format!("{{\"resize\":{{\"width\":{SIDE},\"height\":{SIDE}}}}}\n\"fit\""));
    app.view.settle();
}

fn try_run(app: &mut AppState, text: &str) -> Result<()> {
    script(text).expect("a script").iter().try_for_each(|command| app.apply(command))
}

/// Executes lines of a script; nothing may go wrong.
fn run(app: &mut AppState, text: &str) {
    try_run(app, text).expect("executed");
    assert!(app.alerts.is_empty(), "{:?}", app.alerts);
}

/// What a script that cannot be executed says.
fn refusal(app: &mut AppState, text: &str) -> String {
    try_run(app, text).expect_err("refused").to_string()
}

const NUCLEUS: &str =
    r#"{"stroke":{"class":"nucleus","width_um":4,"points":[[40,40],[90,44],[120,90]]}}"#;
const BACKGROUND: &str =
    r#"{"stroke":{"class":"background","width_um":5,"points":[[150,40],[200,60],[180,180]]}}"#;
const TEACH: &str = "{\"teach\":{\"steps\":4}}\n\"wait\"";

fn painted(work: &Workplace) -> AppState {
    let mut app = work.opened();
    run(&mut app, &format!("{{\"mpp\":0.25}}\n{NUCLEUS}\n{BACKGROUND}"));
    app
}

fn stroke_count(app: &AppState) -> usize {
    app.review().state().strokes.len()
}

#[test]
fn strokes_are_painted_erased_and_undone_by_the_history() {
    let work = Workplace::new();
    let mut app = work.opened();
    run(&mut app, &format!("{{\"mpp\":0.25}}\n{NUCLEUS}\n{BACKGROUND}"));
    let strokes = &app.review().state().strokes;
    assert_eq!((strokes[&1].class.as_str(), strokes[&1].width_px), ("nucleus", 16.0));
    assert_eq!(app.mark_count(), 2);
    // Both lie under the point; the upper one goes first.
    run(&mut app, r#"{"stroke":{"class":"background","width_um":2,"points":[[40,40]]}}"#);
    run(&mut app, r#"{"erase":[41,41]}"#);
    assert_eq!(app.review().state().strokes.keys().copied().collect::<Vec<_>>(), [1, 2]);
    run(&mut app, r#"{"erase":[41,41]}"#);
    assert_eq!(stroke_count(&app), 1);
    let message = refusal(&mut app, r#"{"erase":[41,41]}"#);
    assert!(message.contains("neither a stroke nor a decision"), "{message}");
    run(&mut app, "\"undo\"\n\"undo\"");
    assert_eq!(stroke_count(&app), 3);
    run(&mut app, "\"redo\"");
    assert_eq!(stroke_count(&app), 2);
    // Decisions are erased too.
    run(&mut app, r#"{"add":[[60,150],[75,150],[75,165],[60,165]]}"#);
    assert_eq!(app.mark_count(), 3);
    run(&mut app, r#"{"erase":[67,157]}"#);
    assert_eq!((app.review().state().marks.len(), stroke_count(&app)), (0, 2));
}

#[test]
fn strokes_that_cannot_be_are_refused_by_a_sentence() {
    let work = Workplace::new();
    let mut app = work.app_with(model());
    assert!(refusal(&mut app, NUCLEUS).contains("Nothing is open"));
    open(&mut app, &work.image);
    for (stroke, words) in [
        (r#"{"class":"nucleus","width_um":2,"points":[[900,40],[950,44]]}"#, "outside the image"),
        (r#"{"class":"nucleus","width_um":2,"points":[]}"#, "at least one point"),
        (r#"{"class":"nucleus","width_um":0,"points":[[9,9]]}"#, "width of a stroke"),
        (r#"{"class":"nucleus","width_um":1e300,"points":[[9,9]]}"#, "width of a stroke"),
        (r#"{"class":" ","width_um":2,"points":[[9,9]]}"#, "needs a class"),
        (r#"{"class":"nucleus","width_um":2,"points":[[9,9],[1e300,9]]}"#, "lies in no image"),
    ] {
        let message = refusal(&mut app, &format!("{{\"stroke\":{stroke}}}"));
        assert!(message.contains(words), "{message}");
    }
    let nan = Command::Stroke {
        class: "nucleus".to_owned(),
        width_um: f64::NAN,
        points: vec![[9.0, f64::NAN]],
    };
    assert!(app.apply(&nan).is_err());
    assert_eq!((stroke_count(&app), app.mark_count()), (0, 0));
}

#[test]
fn what_is_painted_is_seen_in_its_colour() {
    let work = Workplace::new();
    let mut app = work.opened();
    let plain = super::screenshot(&app).expect("picture");
    run(&mut app, &format!("{{\"mpp\":0.25}}\n{NUCLEUS}\n{BACKGROUND}"));
    let painted = super::screenshot(&app).expect("picture");
    for (x, y, is_painted) in [(65, 42, true), (175, 50, true), (65, 80, false)] {
        assert_eq!(plain.get(y, x) != painted.get(y, x), is_painted, "{x} {y}");
    }
    // Green over the nucleus, and the tissue below shines through.
    let [before, after] = [&plain, &painted].map(|picture| picture.get(42, 65));
    assert!(after[1] > before[1] && after[0] < before[0].max(16), "{before:?} {after:?}");
}

#[test]
fn a_taught_model_is_in_use_only_when_it_is_kept() {
    let work = Workplace::new();
    let mut app = painted(&work);
    let before = app.model.fingerprint();
    run(&mut app, "{\"segment\":\"slide\"}\n\"wait\"");
    run(&mut app, TEACH);
    assert_eq!(app.model.fingerprint(), before, "nothing happens silently");
    let taught = app.taught().expect("a taught model");
    assert_ne!(taught.fingerprint, before);
    assert!(taught.outcome.learned.marks > 0);
    assert!(taught.model.weights().values().flat_map(|a| &a.data).all(|v| v.is_finite()));
    assert!(app.status.starts_with("Taught in"), "{}", app.status);
    run(&mut app, "{\"show-taught\":true}");
    assert!(app.shows_taught());
    run(&mut app, "\"discard-taught\"");
    assert!(app.taught().is_none() && !app.shows_taught());
    assert_eq!((app.model.fingerprint(), app.version()), (before.clone(), None));
    assert!(refusal(&mut app, "\"keep-taught\"").contains("teach first"));
    assert!(refusal(&mut app, "\"discard-taught\"").contains("teach first"));

    run(&mut app, TEACH);
    let taught = app.taught().expect("a taught model").fingerprint.clone();
    run(&mut app, "\"keep-taught\"\n\"wait\"");
    assert_eq!((app.model.fingerprint(), app.version()), (taught.clone(), Some(1)));
    assert!(app.counts().is_some_and(|count| count.segmented_px > 0.0), "the view is segmented");
    assert_eq!(app.older_note(), None);
    // The history knows it as any other change of the model.
    run(&mut app, "\"undo\"");
    assert_eq!((app.model.fingerprint(), app.version()), (before, Some(0)));
    run(&mut app, "\"redo\"");
    assert_eq!(app.model.fingerprint(), taught);
}

#[test]
fn versions_survive_until_they_are_removed_or_forgotten() {
    let work = Workplace::new();
    let mut app = painted(&work);
    let first = app.model.fingerprint();
    run(
        &mut app,
        &format!("{TEACH}\n\"keep-taught\"\n\"wait\"\n{TEACH}\n\"keep-taught\"\n\"wait\""),
    );
    let second = app.model.fingerprint();
    assert_eq!((app.versions().len(), app.version()), (2, Some(2)));
    run(&mut app, "{\"version\":1}");
    let middle = app.model.fingerprint();
    run(&mut app, "{\"version\":2}\n{\"threshold\":0.4}");
    assert!(refusal(&mut app, "{\"version\":7}").contains("no version 7"));
    app.finish_saving();
    drop(app);

    // Strokes, list and model are there again.
    let mut app = work.opened();
    assert!(app.status.contains("version 2 of the model"), "{}", app.status);
    assert_eq!((app.model.fingerprint(), app.version()), (second, Some(2)));
    assert_eq!(stroke_count(&app), 2);
    run(&mut app, "\"wait\"");
    assert!(app.counts().is_some_and(|count| count.segmented_px > 0.0), "its nuclei too");
    assert_eq!(app.older_note(), None);
    run(&mut app, "{\"version\":0}");
    assert_eq!(app.model.fingerprint(), first);
    // The same marks teach the same model, which is a version already.
    run(&mut app, &format!("{TEACH}\n\"keep-taught\"\n\"wait\""));
    assert_eq!((app.versions().len(), app.version()), (2, Some(1)));
    run(&mut app, "{\"version\":1}");
    assert_eq!(app.model.fingerprint(), middle);
    let saved = work.path("mine.safetensors");
    run(&mut app, &format!("{{\"save-model\":{saved:?}}}"));
    assert_eq!(Model::load(&saved).expect("model").fingerprint(), middle);
    // The one in use is removed: the first takes its place.
    run(&mut app, "{\"remove-version\":1}");
    assert_eq!((app.model.fingerprint(), app.versions().len()), (first.clone(), 1));
    app.finish_saving();
    drop(app);

    // A version whose file is broken is said and left out.
    let folder = std::fs::read_dir(work.path("state")).expect("folder");
    let files: Vec<PathBuf> = folder.map(|file| file.expect("file").path()).collect();
    let is_second = |path: &&PathBuf| path.display().to_string().ends_with("version-2.safetensors");
    let file = files.iter().find(is_second).expect("a model").clone();
    assert!(!files.iter().any(|path| path.display().to_string().contains("version-1")));
    let whole = std::fs::read(&file).expect("bytes");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("cut");
    let mut app = work.app_with(model());
    app.apply(&Command::Open(work.image.display().to_string())).expect("opened");
    assert!(app.versions().is_empty() && app.alerts.len() == 1, "{:?}", app.alerts);
    std::fs::write(&file, &whole).expect("whole");

    let mut app = work.opened();
    run(&mut app, "{\"version\":2}\n\"forget-state\"");
    assert_eq!((app.model.fingerprint(), app.versions().len()), (first, 0));
    assert_eq!((stroke_count(&app), app.version()), (0, None));
    app.finish_saving();
    drop(app);
    assert_eq!(std::fs::read_dir(work.path("state")).expect("folder").count(), 0);
}

#[test]
fn the_marks_as_a_file_teach_what_the_window_teaches() {
    let work = Workplace::new();
    let mut app = painted(&work);
    let (file, steps) = (work.path("marks.geojson"), 4);
    run(
        &mut app,
        &format!(
            "{{\"add\":[[60.25,150],[75,150.5],[75,165],[60,165]]}}\n{{\"save-marks\":{file:?}}}\n\
             {TEACH}"
        ),
    );
    let taught = app.taught().expect("a taught model");

    // As `prunella finetune --labels` does it.
    let start = model();
    let (labels, notes) = SparseLabels::read(&std::fs::read(&file).expect("file")).expect("marks");
    assert_eq!((labels.marks.len(), notes.notes.len()), (3, 0));
    let sampling = Sampling::of_image((SIDE, SIDE), 0.25, start.card().mpp_um).expect("sampling");
    let mut marked = MarkedImage::plan(labels, &sampling, 0.25).expect("planned");
    let stain = start.card().stain_matching(StainMode::Auto);
    marked.add_pixels_of(phantom(SIDE, SIDE, 8).0, &sampling, &stain).expect("pixels");
    let rehearsal = tissue_crops::rehearsal(start.card().mpp_um).expect("crops");
    let images = marked.taught(&start).expect("images");
    let recipe = TeachRecipe { steps, ..TeachRecipe::DEFAULT };
    let task = TeachTask { start, images, rehearsal, recipe, before: None };
    let by_file = teach(task.job(), &mut |_| true).expect("taught");
    assert_eq!(by_file.model.weights(), taught.model.weights());
    assert_ne!(by_file.model.weights(), task.start.weights());
}

#[test]
fn a_cancelled_teaching_changes_nothing() {
    let work = Workplace::new();
    let mut app = painted(&work);
    let before = app.model.fingerprint();
    run(&mut app, "{\"teach\":{\"steps\":100000}}");
    assert!(app.is_busy() && app.teach_progress().is_some());
    while app.teach_progress().is_some_and(|progress| progress.done < 2) {
        app.poll();
        std::thread::yield_now();
    }
    let progress = app.teach_progress().expect("under way");
    assert!(progress.loss.is_some_and(f64::is_finite) && progress.total == 100_000);
    run(&mut app, "\"cancel\"\n\"wait\"");
    assert!(!app.is_busy() && app.taught().is_none() && app.teach_progress().is_none());
    assert_eq!(app.model.fingerprint(), before);
    assert_eq!(app.status, "Stopped; the model is as it was.");
    assert!(app.versions().is_empty());
}

#[test]
fn marks_of_one_class_and_of_new_types_are_taught() {
    let work = Workplace::new();
    let mut app = work.opened();
    // Without a pixel size the image has that of the model.
    run(&mut app, &format!("{BACKGROUND}\n{TEACH}"));
    assert!(app.taught().expect("taught").new_types.is_empty());
    run(&mut app, &NUCLEUS.replace("nucleus", "lymphocyte"));
    run(&mut app, TEACH);
    let taught = app.taught().expect("taught");
    assert_eq!(taught.new_types, ["lymphocyte"]);
    assert_eq!(taught.model.card().classes.len(), 3);
    run(&mut app, "\"keep-taught\"\n\"wait\"");
    let names: Vec<String> = app.painted_classes().into_iter().map(|class| class.name).collect();
    assert_eq!(names, ["background", "nucleus", "lymphocyte"]);
}

#[test]
fn what_cannot_be_taught_is_said() {
    let work = Workplace::new();
    let mut app = work.app_with(model());
    assert!(refusal(&mut app, "\"teach\"").contains("Nothing is open"));
    open(&mut app, &work.image);
    assert!(refusal(&mut app, "\"teach\"").contains("Nothing is marked yet"));
    let file = work.path("marks.geojson");
    let message = refusal(&mut app, &format!("{{\"save-marks\":{file:?}}}"));
    assert!(message.contains("Nothing is marked yet") && !file.exists(), "{message}");
    run(&mut app, NUCLEUS);
    assert!(refusal(&mut app, "{\"teach\":{\"steps\":0}}").contains("steps"));
    assert!(refusal(&mut app, "{\"teach\":{\"hold-back\":0.9}}").contains("half"));
    assert!(script("{\"teach\":{\"step\":1}}").is_err(), "no such setting");
    let other = work.path("dccn.safetensors");
    let dccn = Model::random(dccn(5, 7, 3, [6, 5, 9], 2), 1).expect("model");
    dccn.save(&other, Precision::F32).expect("saved");
    run(&mut app, &format!("{{\"model\":{other:?}}}"));
    let message = refusal(&mut app, "\"teach\"");
    assert!(message.contains("Only DCNNs are taught"), "{message}");
    assert!(!app.is_busy() && app.taught().is_none());
}

#[test]
fn a_complete_region_needs_nuclei_that_somebody_found() {
    let work = Workplace::new();
    let mut app = work.opened();
    let region =
        r#"{"add-region":{"name":"frame","polygon":[[20,20],[120,20],[120,120],[20,120]]}}"#;
    run(&mut app, &format!("{{\"mpp\":0.25}}\n{region}"));
    let message = refusal(&mut app, "{\"region-complete\":1}");
    assert!(message.contains("0 % of 'frame' is segmented"), "{message}");
    run(&mut app, "{\"segment\":\"slide\"}\n\"wait\"\n{\"region-complete\":1}");
    // The region, and the nuclei that were found in it.
    let marks = app.mark_count();
    assert!(marks > 1, "{marks}");
    run(&mut app, "{\"threshold\":0.9}\n{\"segment\":\"slide\"}\n\"wait\"");
    assert_eq!(app.mark_count(), marks, "what was confirmed stays");
    run(&mut app, TEACH);
    assert!(app.taught().is_some());
    run(&mut app, "{\"region-incomplete\":1}");
    assert_eq!(app.mark_count(), marks - 1);
    run(&mut app, "\"undo\"");
    assert_eq!(app.mark_count(), marks);
}

/// A slide of two levels, whose pixel size is not stated.
fn write_slide(file: &Path) {
    let whole = phantom(2 * SIDE, 2 * SIDE, 8).0;
    let half = Plane::from_vec(
        SIDE,
        SIDE,
        (0..SIDE * SIDE).map(|i| whole.get(i / SIDE * 2, i % SIDE * 2)).collect(),
    );
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut bytes).expect("encoder");
    let levels: [RgbImage; 2] = [whole, half.expect("level")];
    for level in levels {
        let (width, height) = (level.width() as u32, level.height() as u32);
        let pixels = level.data().as_flattened();
        encoder
            .write_image::<tiff::encoder::colortype::RGB8>(width, height, pixels)
            .expect("written");
    }
    std::fs::write(file, bytes.into_inner()).expect("slide");
}

#[test]
fn a_slide_is_taught_from_what_lies_around_the_marks() {
    let work = Workplace::new();
    let slide = work.path("slide.tif");
    write_slide(&slide);
    let mut app = work.app_with(model());
    open(&mut app, &slide);
    assert!(app.review().state().document.as_ref().is_some_and(|document| document.is_slide));
    assert!(refusal(&mut app, NUCLEUS).contains("pixel size is not known"));
    run(&mut app, &format!("{{\"mpp\":0.25}}\n{NUCLEUS}\n{BACKGROUND}\n{TEACH}"));
    assert_eq!(app.taught().expect("taught").marks, 2);
    run(&mut app, "\"keep-taught\"\n\"wait\"");
    assert_eq!(app.version(), Some(1));
}
