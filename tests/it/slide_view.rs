//! A slide under the eye: tiles for the screen, a window's work done by a script, and a real window
//! where there is a display.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use prunella::raster::{Plane, RgbImage, phantom};
use prunella::slide::SlideReader;
use prunella::viewer::{APRON_PX, SlideTiles, TEXTURE_PX, TILE_PX, TileKey};

use crate::slide_maker::{PLAIN, Style, slide};
use crate::support::{prunella, root, run, run_json, skip, text};

/// SwiftShader computes right and Mesa's driver does not, but Mesa's knows windows.
const LAVAPIPE: &str = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";

/// Levels that shrink by two, then by four in all, from procedural tissue.
fn levels(width: usize, height: usize, seed: u64) -> Vec<RgbImage> {
    let whole = phantom(width, height, seed).0;
    let smaller = |step: usize| {
        let (w, h) = (width / step, height / step);
        let mean = |i: usize| {
            let (x, y) = (i % w * step, i / w * step);
            let all = || (0..step * step).map(|k| whole.get(y + k / step, x + k % step));
            std::array::from_fn(|c| {
                (all().map(|p| usize::from(p[c])).sum::<usize>() / (step * step)) as u8
            })
        };
        Plane::from_vec(w, h, (0..w * h).map(mean).collect()).expect("level")
    };
    vec![whole.clone(), smaller(2), smaller(8)]
}

fn aperio(folder: &Path, levels: &[RgbImage]) -> std::path::PathBuf {
    let file = folder.join("tissue.svs");
    let style = Style { tile: Some(128), ..PLAIN };
    std::fs::write(&file, slide(levels, style, "Aperio test|AppMag = 40|MPP = 0.25"))
        .expect("slide");
    file
}

fn texel(tile: &[u8], x: usize, y: usize) -> [u8; 3] {
    let at = ((y + APRON_PX) * TEXTURE_PX + x + APRON_PX) * 4;
    [tile[at], tile[at + 1], tile[at + 2]]
}

#[test]
fn tiles_of_every_level_show_the_slide_and_its_neighbours() {
    let levels = levels(800, 600, 3);
    let style = Style { tile: Some(128), ..PLAIN };
    let reader = SlideReader::open(Box::new(slide(&levels, style, ""))).expect("slide");
    let tiles = SlideTiles::new(&reader.slide);
    let tile = |level, row, column| {
        let key = TileKey { level, row, column };
        let source = tiles.source(key).expect("source");
        let r = source.rect;
        tiles
            .tile(key, &reader.region(source.level, r.x, r.y, r.width, r.height).expect("pixels"))
            .expect("tile")
    };
    let finest = tile(0, 1, 2);
    for (x, y) in [(0, 0), (255, 100), (17, 255)] {
        assert_eq!(texel(&finest, x, y), levels[0].get(TILE_PX + y, 2 * TILE_PX + x), "{x} {y}");
    }
    let half = tile(1, 0, 1);
    assert_eq!(
        texel(&half, 5, 7),
        levels[1].get(7, TILE_PX + 5),
        "a level of the slide is taken as it is"
    );
    // Between two levels of the slide, the mean of four pixels of the finer one.
    let quarter = tile(2, 0, 0);
    let four = [(20, 30), (21, 30), (20, 31), (21, 31)].map(|(x, y)| levels[1].get(y, x));
    let mean: [i32; 3] =
        std::array::from_fn(|c| four.iter().map(|p| i32::from(p[c])).sum::<i32>() / 4);
    let got = texel(&quarter, 10, 15);
    assert!((0..3).all(|c| (i32::from(got[c]) - mean[c]).abs() <= 1), "{got:?} {mean:?}");
    // Aprons are the neighbours' pixels.
    let (left, right) = (tile(0, 0, 0), tile(0, 0, 1));
    for i in 0..2 * APRON_PX {
        let at = |tile: &[u8], x: usize| {
            [0, 1, 2].map(|c| tile[((9 + APRON_PX) * TEXTURE_PX + x) * 4 + c])
        };
        assert_eq!(at(&left, TILE_PX + i), at(&right, i), "column {i}");
    }
    assert!(tiles.source(TileKey { level: 0, row: 3, column: 0 }).is_err());
    assert!(tiles.source(TileKey { level: 9, row: 0, column: 0 }).is_err());
}

#[test]
fn levels_of_odd_sizes_rounded_up_or_down_give_every_tile() {
    for ((w, h), up) in [
        ((1001, 701), true),
        ((1001, 701), false),
        ((777, 1), true),
        ((1, 530), false),
        ((1, 1), true),
    ] {
        let whole = phantom(w, h, 3).0;
        let smaller = |step: usize| {
            let len = |n: usize| if up { n.div_ceil(step) } else { (n / step).max(1) };
            let (sw, sh) = (len(w), len(h));
            let pixel =
                |i: usize| whole.get((i / sw * step).min(h - 1), (i % sw * step).min(w - 1));
            Plane::from_vec(sw, sh, (0..sw * sh).map(pixel).collect()).expect("level")
        };
        let levels = [whole.clone(), smaller(2), smaller(4)];
        let style = Style { tile: Some(64), ..PLAIN };
        let reader = SlideReader::open(Box::new(slide(&levels, style, ""))).expect("slide");
        let tiles = SlideTiles::new(&reader.slide);
        for level in 0..4u32 {
            let count = |n: usize| n.div_ceil(1 << level).div_ceil(TILE_PX) as u32;
            for (row, column) in (0..count(h)).flat_map(|r| (0..count(w)).map(move |c| (r, c))) {
                let key = TileKey { level, row, column };
                // Levels beyond the last one are refused, all others are there.
                let Ok(source) = tiles.source(key) else { continue };
                let r = source.rect;
                let pixels =
                    reader.region(source.level, r.x, r.y, r.width, r.height).expect("pixels");
                assert_eq!(
                    tiles.tile(key, &pixels).expect("tile").len(),
                    TEXTURE_PX * TEXTURE_PX * 4,
                    "{w}×{h} {key:?}"
                );
            }
        }
        assert!(tiles.source(TileKey { level: 0, row: 0, column: 0 }).is_ok());
    }
}

/// Rows of a CSV without their numbers and ids, which follow the blocks.
fn rows(file: &Path) -> Vec<String> {
    let table = std::fs::read_to_string(file).expect("table");
    let mut rows: Vec<String> =
        table.lines().skip(1).map(|l| l.splitn(3, ',').skip(2).collect()).collect();
    rows.sort();
    rows
}

#[test]
fn a_script_does_what_a_window_does_and_finds_what_the_command_finds() {
    let dir = tempfile::tempdir().expect("folder");
    let file = aperio(dir.path(), &levels(1200, 900, 8));
    let place = |name: &str| dir.path().join(name);
    let script = format!(
        "# a tour\n{{\"resize\":{{\"width\":400,\"height\":300}}}}\n{{\"picture\":{}}}\n{{\"segment\":\"view\"}}\n\"wait\"\n\
         {{\"picture\":{}}}\n{{\"export\":{}}}\n{{\"go-to\":{{\"x\":600,\"y\":400,\"scale\":2}}}}\n{{\"choose\":{{\"x\":200,\"y\":150}}}}\n",
        serde_json::json!(place("before.png")),
        serde_json::json!(place("after.png")),
        serde_json::json!(place("seen.geojson")),
    );
    std::fs::write(place("tour.jsonl"), script).expect("script");
    let found =
        run_json(&["view", text(&file), "--script", text(&place("tour.jsonl")), "--device", "cpu"]);
    let count = found["nuclei"].as_u64().expect("nuclei");
    assert!(count > 30, "{found}");
    let model = root().join("models/dcnn-90.safetensors");
    let all = run_json(&[
        "slide",
        "segment",
        text(&file),
        "--model",
        text(&model),
        "--device",
        "cpu",
        "--out",
        text(&place("whole")),
    ]);
    assert_eq!(all["nuclei"].as_u64(), Some(count));
    let (seen, whole) = (rows(&place("seen.csv")), rows(&place("whole/tissue.csv")));
    let differ = seen.iter().zip(&whole).find(|(a, b)| a != b);
    assert_eq!(differ, None, "blocks of another size give the same nuclei");
    let picture = |name: &str| image::open(place(name)).expect("picture").to_rgb8();
    let (before, after) = (picture("before.png"), picture("after.png"));
    assert_eq!(before.dimensions(), (400, 300));
    let green =
        |p: &image::RgbImage| p.pixels().filter(|p| p[1] > 200 && p[0] < 60 && p[2] < 120).count();
    assert_eq!(green(&before), 0, "no outlines before");
    assert!(green(&after) > 300, "outlines after: {}", green(&after));
}

#[test]
fn a_script_that_cannot_be_done_says_which_line_or_what_is_missing() {
    let dir = tempfile::tempdir().expect("folder");
    let levels = levels(300, 200, 8);
    let file = dir.path().join("unknown.tif");
    std::fs::write(&file, slide(&levels[..1], PLAIN, "")).expect("slide");
    let script = dir.path().join("s.jsonl");
    for (lines, word) in [
        ("\"fit\"\n{\"jump\":1}", "Line 2"),
        ("{\"segment\":\"view\"}", "pixel size"),
        ("{\"open\":\"nowhere.svs\"}", "nowhere.svs"),
        ("{\"mpp\":0.25}\n{\"prune\":7}", "ratio"),
        ("{\"export\":\"x.geojson\"}", "Nothing is segmented"),
    ] {
        std::fs::write(&script, lines).expect("script");
        let (code, _, said) =
            run(&["view", text(&file), "--script", text(&script), "--device", "cpu"]);
        assert!(code == Some(2) && said.contains(word), "{lines}: {said}");
    }
}

#[test]
fn without_a_display_there_is_a_clear_word() {
    if cfg!(any(target_os = "macos", windows)) {
        return skip("without_a_display_there_is_a_clear_word", "here there always is one");
    }
    let output = prunella()
        .arg("view")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("no display"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// A program that ends with its owner.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_mins(1) {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    None
}

/// What was recorded can be done again without the window.
fn replays(script: &Path) {
    let again = run_json(&["view", "--script", text(script), "--device", "cpu"]);
    assert!(again["nuclei"].as_u64().is_some_and(|n| n > 20), "{again}");
}

#[test]
fn a_window_shows_the_slide_its_nuclei_and_the_panel() {
    const TEST: &str = "a_window_shows_the_slide_its_nuclei_and_the_panel";
    let there = |program: &str| {
        Command::new(program)
            .arg("-help")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    };
    if !Path::new(LAVAPIPE).is_file() {
        return skip(
            TEST,
            "Mesa's lavapipe, which can draw in a window, is not installed; 'cargo xtask setup' installs it",
        );
    }
    if !["Xvfb", "xdotool", "import"].iter().all(|p| there(p)) {
        return skip(
            TEST,
            "Xvfb, xdotool and ImageMagick are not installed; 'cargo xtask setup' installs them",
        );
    }
    let dir = tempfile::tempdir().expect("folder");
    let file = aperio(dir.path(), &levels(900, 700, 8));
    let display = format!(":{}", 20_000 + std::process::id() % 10_000);
    let quiet = |c: &mut Command| {
        Running(c.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts"))
    };
    // Without -noreset the server begins anew when its last client leaves, and refuses the next one
    // meanwhile.
    let _server =
        quiet(Command::new("Xvfb").args([&display, "-screen", "0", "1280x800x24", "-noreset"]));
    let tool = |arguments: &[&str]| {
        let output = Command::new("xdotool")
            .args(arguments)
            .env("DISPLAY", &display)
            .output()
            .expect("xdotool");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    assert!(until(|| tool(&["getdisplaygeometry"])).is_some(), "the display is up");
    let log = std::fs::File::create(dir.path().join("log")).expect("log");
    let said = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    let mut viewer = Running(
        prunella()
            .args([
                "view",
                text(&file),
                "--device",
                "cpu",
                "--record",
                text(&dir.path().join("tour.jsonl")),
            ])
            .env("DISPLAY", &display)
            .env("VK_DRIVER_FILES", LAVAPIPE)
            .env_remove("WAYLAND_DISPLAY")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starts"),
    );
    let window = until(|| tool(&["search", "--name", "prunella"]).filter(|w| !w.is_empty()));
    let window = window.unwrap_or_else(|| panic!("a window opens: {}", said()));
    let shot = |name: &str| {
        let out = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let done = Command::new("import")
            .args(["-window", "root"])
            .arg(&out)
            .env("DISPLAY", &display)
            .status();
        assert!(done.expect("import").success());
        image::open(out).expect("picture").to_rgb8()
    };
    let count =
        |p: &image::RgbImage, of: fn(&image::Rgb<u8>) -> bool| p.pixels().filter(|p| of(p)).count();
    let tissue: fn(&image::Rgb<u8>) -> bool = |p| p[0] > 150 && p[1] < p[0] && p[2] > 120;
    let green: fn(&image::Rgb<u8>) -> bool = |p| p[1] > 180 && p[0] < 90 && p[2] < 140;
    let seen = until(|| Some(shot("window-before.png")).filter(|p| count(p, tissue) > 100_000));
    assert!(viewer.0.try_wait().expect("state").is_none(), "it is still open: {}", said());
    assert!(seen.is_some_and(|p| count(&p, green) < 200), "the slide is seen: {}", said());
    tool(&["windowfocus", &window]);
    tool(&["mousemove", "400", "400"]);
    assert!(tool(&["key", "--window", &window, "s"]).is_some() || tool(&["key", "s"]).is_some());
    let outlined = until(|| Some(shot("window.png")).filter(|p| count(p, green) > 1000));
    assert!(outlined.is_some(), "outlines are seen: {}", said());
    let recorded = || std::fs::read_to_string(dir.path().join("tour.jsonl")).expect("recorded");
    assert!(until(|| recorded().contains("\"wait\"").then_some(())).is_some(), "{}", recorded());
    assert!(recorded().contains("{\"segment\":\"view\"}"), "{}", recorded());
    drop(viewer);
    replays(&dir.path().join("tour.jsonl"));
}
