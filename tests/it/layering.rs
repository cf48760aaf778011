//! Layering rules that no compiler checks: floors of modules, homes of foreign crates, unique names
//! of public types, line width. Each rule has a test in which it fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::root;

/// Widest line of code, comments and strings, in characters.
const MAX_WIDTH: usize = 100;

/// Floor of each module; imports go to lower floors only.
const FLOORS: [(&str, u8); 25] = [
    ("error", 1),
    ("platform", 2),
    ("raster", 3),
    ("model", 4),
    ("slide", 5),
    ("outlines", 5),
    ("picture", 6),
    ("engine", 7),
    ("instances", 7),
    ("export", 7),
    ("prune", 7),
    ("metrics", 7),
    ("dataset", 7),
    ("report", 7),
    ("train", 8),
    ("whole_slide", 8),
    ("review", 9),
    ("viewer", 10),
    ("demo", 9),
    ("study", 9),
    ("desktop", 11),
    ("cli", 12),
    ("web", 11),
    ("web_teach", 11),
    ("lib", 13),
];

/// Foreign crates and the modules that may touch them.
const FOREIGN: [(&str, &[&str]); 39] = [
    ("burn_tensor", &["train/burn"]),
    ("wgpu", &["engine/gpu", "viewer/painter", "web/viewport", "desktop/window_surface"]),
    (
        "pollster",
        &[
            "train/device",
            "whole_slide/run",
            "desktop/segment_job",
            "desktop/window_surface",
            "cli",
        ],
    ),
    ("prost", &["export"]),
    (
        "flate2",
        &[
            "export/link",
            "export/html",
            "export/zip",
            "outlines/text",
            "platform/packed_bytes",
            "picture/png",
            "raster/result_mark",
            "slide/codec",
        ],
    ),
    ("axum", &["cli/serve"]),
    ("tokio", &["cli/serve"]),
    ("tower_http", &["cli/serve"]),
    ("open", &["cli/serve"]),
    ("geojson", &["instances/export", "outlines/geometry", "outlines/geojson_writer"]),
    ("uuid", &["outlines/geometry", "outlines/geojson_writer"]),
    ("js_sys", &["platform/web", "web"]),
    ("wasm_bindgen", &["web", "web_teach"]),
    ("wasm_bindgen_futures", &["web"]),
    ("web_sys", &["web"]),
    ("console_error_panic_hook", &["web"]),
    ("clap", &["cli"]),
    (
        "egui",
        &[
            "desktop/outline_mesh",
            "desktop/overlay",
            "desktop/panel",
            "desktop/window_surface",
            "desktop/window",
        ],
    ),
    ("egui_wgpu", &["desktop/window_surface"]),
    ("egui_winit", &["desktop/window"]),
    ("winit", &["desktop/window", "desktop/window_input", "desktop/window_surface"]),
    ("toml", &["dataset/dataset_file", "study/design"]),
    ("indicatif", &["cli"]),
    ("ctrlc", &["cli/output"]),
    ("quick_xml", &["outlines/xml", "outlines/imagescope_writer", "slide/xml"]),
    ("i_overlay", &["outlines/repair"]),
    ("plotters", &["report"]),
    ("pathfinding", &["metrics"]),
    (
        "pulp",
        &[
            "engine/kernel",
            "engine/input_gradient",
            "engine/weight_gradient",
            "engine/winograd",
            "train/layer_kernels",
            "train/batch_norm",
        ],
    ),
    ("tempfile", &["platform/native"]),
    ("unicode_normalization", &["platform/native"]),
    ("safetensors", &["model/file", "train/checkpoint"]),
    ("tiff", &["raster/codec", "raster/result_mark"]),
    ("zune_jpeg", &["slide/jpeg"]),
    ("hayro_jpeg2000", &["slide/jpeg", "picture/decode"]),
    ("weezl", &["slide/codec"]),
    ("ruzstd", &["slide/codec"]),
    ("lz4_flex", &["slide/codec"]),
    ("ureq", &["slide/http_source", "slide/http_objects"]),
];

fn sources() -> Vec<(String, String)> {
    files("src", &["rs"])
}

/// Files below a folder by ending, without it.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).expect("the folder can be read") {
            let path: PathBuf = entry.expect("entry").path();
            if path.is_dir() && !path.ends_with("node_modules") {
                open.push(path);
            } else if path.extension().is_some_and(|e| endings.iter().any(|wanted| e == *wanted)) {
                let name =
                    path.strip_prefix(root().join(folder)).expect("inside").with_extension("");
                found.push((
                    name.display().to_string(),
                    std::fs::read_to_string(&path).expect("source"),
                ));
            }
        }
    }
    found
}

/// Program text without tests and comments.
fn code(text: &str) -> String {
    let program = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    program.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn module(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(m, _)| *m == module).map(|(_, f)| *f)
}

/// Imports that go up or sideways.
fn broken_floors(file: &str, text: &str) -> Vec<String> {
    let own = module(file);
    let Some(here) = floor(own) else {
        return vec![format!("{file}: module '{own}' has no floor")];
    };
    let text = code(text);
    let uses = text.split("crate::").skip(1).map(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
    });
    uses.filter(|m| m != own && floor(m).is_none_or(|f| f >= here))
        .map(|m| format!("{file} (floor {here}) uses {m}"))
        .collect()
}

fn broken_foreign(file: &str, text: &str) -> Vec<String> {
    let text = code(text);
    let names = |name: &str| {
        let call = format!("{name}::");
        let free = |at: usize| {
            !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        };
        text.match_indices(&call).any(|(at, _)| free(at))
    };
    FOREIGN
        .iter()
        .filter(|(name, homes)| {
            names(name) && !homes.iter().any(|h| Path::new(file).starts_with(h))
        })
        .map(|(name, _)| format!("{file} touches {name}"))
        .collect()
}

/// Lines wider than [`MAX_WIDTH`] that have a space to break them at.
fn too_wide(file: &str, text: &str) -> Vec<String> {
    let mut wide = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let columns = line.chars().count();
        if columns > MAX_WIDTH && line.trim().contains(' ') {
            wide.push(format!("{file}:{number} has {columns} columns"));
        }
    }
    wide
}

/// Names of the public types that a file defines.
fn public_types(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in code(text).lines() {
        let Some(definition) = line.trim_start().strip_prefix("pub ") else { continue };
        for keyword in ["struct ", "enum ", "trait ", "type "] {
            if let Some(rest) = definition.strip_prefix(keyword) {
                let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
                names.push(rest[..end].to_owned());
            }
        }
    }
    names
}

/// Public types of one name in several files: a reader must not have to ask which one is meant.
fn shared_names(files: &[(String, String)]) -> Vec<String> {
    let mut homes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (file, text) in files {
        // Compiled in place of another module, whose names it must have.
        if file == "train/without_burn" {
            continue;
        }
        for name in public_types(text) {
            homes.entry(name).or_default().push(file);
        }
    }
    homes.retain(|_, files| files.len() > 1);
    homes.into_iter().map(|(name, files)| format!("{name}: {}", files.join(", "))).collect()
}

#[test]
fn imports_go_down_and_foreign_crates_stay_home() {
    let all = sources();
    assert!(all.len() > 40, "the sources were found");
    for rule in [broken_floors, broken_foreign] {
        let mut broken = Vec::new();
        // Tests in files of their own may use what those at the end of a file may.
        let is_checked = |file: &str| file != "main" && !file.ends_with("tests");
        for (file, text) in all.iter().filter(|(file, _)| is_checked(file)) {
            broken.extend(rule(file, text));
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

#[test]
fn public_types_have_names_of_their_own() {
    let shared = shared_names(&sources());
    assert!(shared.is_empty(), "{shared:#?}");
}

#[test]
fn lines_are_at_most_a_hundred_columns_wide() {
    let mut wide = Vec::new();
    for folder in ["src", "tests", "benches", "xtask/src", "fuzz/src", "web", "shaders"] {
        let all = files(folder, &["rs", "js", "mjs", "css", "wgsl", "py"]);
        assert!(!all.is_empty(), "{folder} was found");
        for (file, text) in &all {
            wide.extend(too_wide(&format!("{folder}/{file}"), text));
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn the_rules_catch_what_they_are_for() {
    assert_eq!(broken_floors("model/graph", "use crate::engine::x;").len(), 1, "up");
    assert_eq!(broken_floors("engine/mod", "use crate::prune::x;").len(), 1, "sideways");
    assert_eq!(broken_floors("news/mod", "").len(), 1, "a module without a floor");
    assert!(broken_floors("engine/mod", "use crate::model::x; // crate::cli\n").is_empty());
    assert_eq!(broken_foreign("engine/dense", "use burn_tensor::Tensor;").len(), 1);
    assert!(broken_foreign("train/burn/network", "use burn_tensor::Tensor;").is_empty());
    assert_eq!(too_wide("x", &format!("a {}", "b".repeat(MAX_WIDTH - 1))), ["x:1 has 101 columns"]);
    assert!(too_wide("x", &"é".repeat(MAX_WIDTH)).is_empty(), "characters, not bytes");
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let twice = [file("a", "pub struct Level {"), file("b", "    pub enum Level {\n// pub type A")];
    assert_eq!(shared_names(&twice), ["Level: a, b"]);
    assert!(shared_names(&[file("a", "pub struct A;\n"), file("b", "struct A;")]).is_empty());
}
