//! The viewer over a slide: tiles for the screen, a script in place of the window, and a real
//! window where there is a display.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use prunella::raster::{Plane, RgbImage, encode_rgb_png, phantom};
use prunella::slide::SlideReader;
use prunella::viewer::{APRON_PX, SlideTiles, TEXTURE_PX, TILE_PX, TileKey};

use crate::slide_maker::{PLAIN, Style, slide};
use crate::support::{prunella, root, run, run_json, skip, text};

/// Mesa's software driver. SwiftShader, which the compute tests use, cannot draw in windows.
const LAVAPIPE: &str = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";

/// Procedural tissue at downsamples 1, 2 and 8; sides are rounded down.
fn levels(width: usize, height: usize, seed: u64) -> Vec<RgbImage> {
    let whole = phantom(width, height, seed).0;
    let mut levels = vec![whole.clone()];
    for step in [2, 8] {
        let mut level = Plane::filled(width / step, height / step, [0; 3]);
        for y in 0..level.height() {
            for x in 0..level.width() {
                level.set(y, x, mean(&whole, x * step, y * step, step));
            }
        }
        levels.push(level);
    }
    levels
}

/// Mean of a square, rounded down.
fn mean(image: &RgbImage, left: usize, top: usize, side: usize) -> [u8; 3] {
    let mut sums = [0usize; 3];
    for y in top..top + side {
        for x in left..left + side {
            let pixel = image.get(y, x);
            for c in 0..3 {
                sums[c] += usize::from(pixel[c]);
            }
        }
    }
    sums.map(|sum| (sum / (side * side)) as u8)
}

fn write_aperio_slide(folder: &Path, levels: &[RgbImage]) -> PathBuf {
    let file = folder.join("tissue.svs");
    let style = Style { tile: Some(128), ..PLAIN };
    std::fs::write(&file, slide(levels, style, "Aperio test|AppMag = 40|MPP = 0.25"))
        .expect("slide");
    file
}

/// Colour of a pixel of a tile with apron.
fn texel(tile: &[u8], x: usize, y: usize) -> [u8; 3] {
    let at = ((y + APRON_PX) * TEXTURE_PX + x + APRON_PX) * 4;
    [tile[at], tile[at + 1], tile[at + 2]]
}

fn read_tile(reader: &SlideReader, tiles: &SlideTiles, key: TileKey) -> Option<Vec<u8>> {
    let source = tiles.source(key).ok()?;
    let rect = source.rect;
    let pixels =
        reader.region(source.level, rect.x, rect.y, rect.width, rect.height).expect("pixels");
    Some(tiles.tile(key, &pixels).expect("tile"))
}

#[test]
fn tiles_of_every_level_show_the_slide_and_their_aprons_its_neighbours() {
    let levels = levels(800, 600, 3);
    let style = Style { tile: Some(128), ..PLAIN };
    let reader = SlideReader::open(Box::new(slide(&levels, style, ""))).expect("slide");
    let tiles = SlideTiles::new(&reader.slide);
    let tile = |level, row, column| {
        read_tile(&reader, &tiles, TileKey { level, row, column }).expect("a tile of the slide")
    };
    let finest = tile(0, 1, 2);
    for (x, y) in [(0, 0), (255, 100), (17, 255)] {
        assert_eq!(texel(&finest, x, y), levels[0].get(TILE_PX + y, 2 * TILE_PX + x), "{x} {y}");
    }
    // The second level is one of the slide.
    assert_eq!(texel(&tile(1, 0, 1), 5, 7), levels[1].get(7, TILE_PX + 5));
    // The third one lies between two of the slide: the mean of four pixels of the finer one.
    let actual = texel(&tile(2, 0, 0), 10, 15);
    let expected = mean(&levels[1], 20, 30, 2);
    for c in 0..3 {
        assert!(actual[c].abs_diff(expected[c]) <= 1, "{actual:?} {expected:?}");
    }
    let left = tile(0, 0, 0);
    let right = tile(0, 0, 1);
    let row_start = (9 + APRON_PX) * TEXTURE_PX * 4;
    let shared = 2 * APRON_PX * 4;
    assert_eq!(
        left[row_start + TILE_PX * 4..][..shared],
        right[row_start..][..shared],
        "aprons are the neighbours' pixels"
    );
    assert!(tiles.source(TileKey { level: 0, row: 3, column: 0 }).is_err());
    assert!(tiles.source(TileKey { level: 9, row: 0, column: 0 }).is_err());
}

/// Levels at downsamples 1, 2 and 4 whose sides are rounded as `scaled` does.
fn rounded_levels(width: usize, height: usize, scaled: fn(usize, usize) -> usize) -> Vec<RgbImage> {
    let whole = phantom(width, height, 3).0;
    let mut levels = vec![whole.clone()];
    for step in [2, 4] {
        let mut level = Plane::filled(scaled(width, step), scaled(height, step), [0; 3]);
        for y in 0..level.height() {
            for x in 0..level.width() {
                level.set(y, x, whole.get((y * step).min(height - 1), (x * step).min(width - 1)));
            }
        }
        levels.push(level);
    }
    levels
}

#[test]
fn levels_of_odd_sizes_rounded_up_or_down_give_every_tile() {
    let rounded_up: fn(usize, usize) -> usize = |side, step| side.div_ceil(step);
    let rounded_down: fn(usize, usize) -> usize = |side, step| (side / step).max(1);
    for (width, height, scaled) in [
        (1001, 701, rounded_up),
        (1001, 701, rounded_down),
        (777, 1, rounded_up),
        (1, 530, rounded_down),
        (1, 1, rounded_up),
    ] {
        let levels = rounded_levels(width, height, scaled);
        let style = Style { tile: Some(64), ..PLAIN };
        let reader = SlideReader::open(Box::new(slide(&levels, style, ""))).expect("slide");
        let tiles = SlideTiles::new(&reader.slide);
        for level in 0..4u32 {
            let rows = height.div_ceil(1 << level).div_ceil(TILE_PX) as u32;
            let columns = width.div_ceil(1 << level).div_ceil(TILE_PX) as u32;
            for row in 0..rows {
                for column in 0..columns {
                    let key = TileKey { level, row, column };
                    // A small image has fewer levels.
                    if let Some(tile) = read_tile(&reader, &tiles, key) {
                        assert_eq!(tile.len(), TEXTURE_PX * TEXTURE_PX * 4, "{key:?}");
                    }
                }
            }
        }
        assert!(tiles.source(TileKey { level: 0, row: 0, column: 0 }).is_ok());
    }
}

/// Rows of a CSV without labels and ids, which depend on the block size; sorted.
fn rows(file: &Path) -> Vec<String> {
    let table = std::fs::read_to_string(file).expect("table");
    let mut rows = Vec::new();
    for line in table.lines().skip(1) {
        rows.push(line.splitn(3, ',').nth(2).unwrap_or_default().to_owned());
    }
    rows.sort();
    rows
}

/// Number of pixels with a property.
fn count(image: &image::RgbImage, has: fn([u8; 3]) -> bool) -> usize {
    image.pixels().filter(|pixel| has(pixel.0)).count()
}

#[test]
fn a_script_does_what_a_window_does_and_finds_what_the_command_finds() {
    let dir = tempfile::tempdir().expect("folder");
    let file = write_aperio_slide(dir.path(), &levels(1200, 900, 8));
    let path = |name: &str| dir.path().join(name);
    let commands = [
        serde_json::json!({ "resize": { "width": 400, "height": 300 } }),
        serde_json::json!({ "picture": path("before.png") }),
        serde_json::json!({ "segment": "view" }),
        serde_json::json!("wait"),
        serde_json::json!({ "picture": path("after.png") }),
        serde_json::json!({ "export": path("view.geojson") }),
        serde_json::json!({ "go-to": { "x": 600, "y": 400, "scale": 2 } }),
        serde_json::json!({ "choose": { "x": 200, "y": 150 } }),
    ];
    let mut script = "# a tour\n".to_owned();
    for command in commands {
        script += &format!("{command}\n");
    }
    std::fs::write(path("tour.jsonl"), script).expect("script");
    let viewed =
        run_json(&["view", text(&file), "--script", text(&path("tour.jsonl")), "--device", "cpu"]);
    let nuclei = viewed["nuclei"].as_u64().expect("nuclei");
    assert!(nuclei > 30, "{viewed}");
    let model = root().join("models/open-small.safetensors");
    let segmented = run_json(&[
        "slide",
        "segment",
        text(&file),
        "--model",
        text(&model),
        "--device",
        "cpu",
        "--out",
        text(&path("whole")),
    ]);
    assert_eq!(segmented["nuclei"].as_u64(), Some(nuclei));
    let of_view = rows(&path("view.csv"));
    let of_command = rows(&path("whole/tissue.csv"));
    let difference = of_view.iter().zip(&of_command).find(|(a, b)| a != b);
    assert_eq!(difference, None, "blocks of another size give the same nuclei");
    let picture = |name: &str| image::open(path(name)).expect("picture").to_rgb8();
    let before = picture("before.png");
    let after = picture("after.png");
    assert_eq!(before.dimensions(), (400, 300));
    let is_outline = |[r, g, b]: [u8; 3]| g > r.saturating_add(40) && b > 190;
    assert_eq!(count(&before, is_outline), 0, "no outlines before");
    assert!(count(&after, is_outline) > 300, "outlines after");
}

#[test]
fn errors_of_a_script_name_the_line_or_what_is_missing() {
    let dir = tempfile::tempdir().expect("folder");
    let levels = levels(300, 200, 8);
    let file = dir.path().join("unknown.tif");
    std::fs::write(&file, slide(&levels, PLAIN, "")).expect("slide");
    let script = dir.path().join("s.jsonl");
    for (lines, word) in [
        ("\"fit\"\n{\"jump\":1}", "Line 2"),
        ("{\"segment\":\"view\"}", "pixel size"),
        ("{\"open\":\"nowhere.svs\"}", "nowhere.svs"),
        ("{\"mpp\":0.25}\n{\"prune\":7}", "ratio"),
        ("{\"export\":\"x.geojson\"}", "Nothing is segmented"),
    ] {
        std::fs::write(&script, lines).expect("script");
        let (code, _, message) =
            run(&["view", text(&file), "--script", text(&script), "--device", "cpu"]);
        assert!(code == Some(2) && message.contains(word), "{lines}: {message}");
    }
}

#[test]
fn of_a_folder_the_first_image_is_shown_with_the_notes_of_segment() {
    let dir = tempfile::tempdir().expect("folder");
    let path = |name: &str| dir.path().join(name);
    let scans = path("scans");
    std::fs::create_dir(&scans).expect("folder");
    let black = encode_rgb_png(&Plane::filled(90, 70, [0; 3])).expect("png");
    std::fs::write(scans.join("a.png"), black).expect("image");
    let tissue = encode_rgb_png(&phantom(90, 70, 2).0).expect("png");
    std::fs::write(scans.join("b.png"), tissue).expect("image");
    std::fs::write(scans.join("notes.txt"), "text").expect("text");
    let mut dicom = vec![0; 400];
    dicom[128..132].copy_from_slice(b"DICM");
    std::fs::write(path("scan.dcm"), dicom).expect("file");
    let script = path("fit.jsonl");
    std::fs::write(&script, "\"fit\"\n").expect("script");
    let view = ["--script", text(&script), "--device", "cpu"];
    let viewed = run_json(&[&["view", text(&scans)], &view[..]].concat());
    assert_eq!(viewed["slide"], "a.png");
    let notes = viewed["notes"].as_array().expect("notes");
    let (_, _, segmented) = run(&[
        "segment",
        text(&scans.join("a.png")),
        "--model",
        text(&root().join("models/paper-90-all.safetensors")),
        "--device",
        "cpu",
        "--out",
        text(&path("out")),
    ]);
    assert!(!notes.is_empty(), "{viewed}");
    for note in notes {
        assert!(segmented.contains(note.as_str().expect("text")), "{note}: {segmented}");
    }
    // The same refusal, and of several files the first.
    let scan = path("scan.dcm");
    let (code, _, refusal) = run(&[&["view", text(&scan)], &view[..]].concat());
    assert!(code == Some(2) && refusal.contains("DICOM"), "{refusal}");
    let tissue = scans.join("b.png");
    let several = ["view", text(&tissue), text(&scan)];
    let viewed = run_json(&[&several[..], &view[..]].concat());
    assert_eq!(viewed["slide"], "b.png");
}

#[test]
fn without_a_display_the_error_says_so() {
    if cfg!(any(target_os = "macos", windows)) {
        return skip("without_a_display_the_error_says_so", "here there always is a display");
    }
    let output = prunella()
        .arg("view")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .output()
        .expect("starts");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && message.contains("no display"), "{message}");
    assert!(!message.contains("panicked"), "{message}");
}

/// A program that is killed when it is dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Calls a function until it returns something, for at most a minute.
fn wait_for<T>(mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_mins(1) {
        if let Some(value) = poll() {
            return Some(value);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    None
}

fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("-help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// An X server without a screen.
struct Display {
    name: String,
    _server: Running,
}

impl Display {
    fn start() -> Self {
        let name = format!(":{}", 20_000 + std::process::id() % 10_000);
        // Without -noreset the server starts over when its last client leaves, and refuses the next
        // one meanwhile.
        let mut command = Command::new("Xvfb");
        command.args([&name, "-screen", "0", "1280x800x24", "-noreset"]);
        let server = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let display = Self { name, _server: server };
        assert!(wait_for(|| display.xdotool(&["getdisplaygeometry"])).is_some(), "a display");
        display
    }

    /// Output of xdotool, which sends input; none when it failed.
    fn xdotool(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("xdotool");
        let output = command.args(arguments).env("DISPLAY", &self.name).output().expect("xdotool");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// What the display shows; the file is kept for people.
    fn screenshot(&self, name: &str) -> image::RgbImage {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut command = Command::new("import");
        command.args(["-window", "root"]).arg(&file).env("DISPLAY", &self.name);
        assert!(command.status().expect("import").success());
        image::open(file).expect("picture").to_rgb8()
    }
}

#[test]
fn a_window_shows_the_slide_its_nuclei_and_the_panel() {
    const TEST: &str = "a_window_shows_the_slide_its_nuclei_and_the_panel";
    if !Path::new(LAVAPIPE).is_file() {
        return skip(
            TEST,
            "Mesa's lavapipe, which can draw in a window, is not installed; 'cargo xtask setup' \
             installs it",
        );
    }
    if !["Xvfb", "xdotool", "import"].into_iter().all(is_installed) {
        return skip(
            TEST,
            "Xvfb, xdotool and ImageMagick are not installed; 'cargo xtask setup' installs them",
        );
    }
    let dir = tempfile::tempdir().expect("folder");
    let file = write_aperio_slide(dir.path(), &levels(900, 700, 8));
    let script = dir.path().join("tour.jsonl");
    let log_file = dir.path().join("log");
    let display = Display::start();
    let log = || std::fs::read_to_string(&log_file).unwrap_or_default();
    let mut viewer = Running::start(
        prunella()
            .args(["view", text(&file), "--device", "cpu", "--record", text(&script)])
            .arg("--no-state")
            .env("DISPLAY", &display.name)
            .env("VK_DRIVER_FILES", LAVAPIPE)
            .env_remove("WAYLAND_DISPLAY")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log_file).expect("log")),
    );
    let find_window = || {
        let window = display.xdotool(&["search", "--name", "prunella"])?;
        (!window.is_empty()).then_some(window)
    };
    let window = wait_for(find_window).unwrap_or_else(|| panic!("no window: {}", log()));

    let is_tissue = |[r, g, b]: [u8; 3]| r > 150 && g < r && b > 120;
    let is_outline = |[r, g, b]: [u8; 3]| g > r.saturating_add(40) && b > 190;
    let shows_slide = || {
        let shown = display.screenshot("window-before.png");
        (count(&shown, is_tissue) > 100_000).then_some(shown)
    };
    let before = wait_for(shows_slide);
    assert!(viewer.0.try_wait().expect("state").is_none(), "the window is open: {}", log());
    let before = before.unwrap_or_else(|| panic!("the slide is not shown: {}", log()));
    assert!(count(&before, is_outline) < 200, "no outlines before");

    display.xdotool(&["windowfocus", &window]);
    display.xdotool(&["mousemove", "400", "400"]);
    let is_key_sent = display.xdotool(&["key", "--window", &window, "Return"]).is_some();
    assert!(is_key_sent || display.xdotool(&["key", "Return"]).is_some());
    let shows_outlines =
        || (count(&display.screenshot("window.png"), is_outline) > 1000).then_some(());
    assert!(wait_for(shows_outlines).is_some(), "outlines after: {}", log());

    let recorded = || std::fs::read_to_string(&script).expect("recorded");
    assert!(wait_for(|| recorded().contains("\"wait\"").then_some(())).is_some(), "{}", recorded());
    assert!(recorded().contains("{\"segment\":\"view\"}"), "{}", recorded());
    drop(viewer);
    let replayed = run_json(&["view", "--script", text(&script), "--device", "cpu"]);
    assert!(replayed["nuclei"].as_u64().is_some_and(|n| n > 20), "{replayed}");
}
