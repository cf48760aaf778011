//! Runs the program step by step and keeps what it writes and prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::json::Json;
use super::record::{RECORD_FILE, Record, Status, write_record};
use super::steps::{INPUTS, InputFolders, Stdout, Step, steps};
use crate::run::Result;

/// Members of printed JSON that are left out: how long something took.
const DURATIONS: [&str; 8] = [
    "milliseconds",
    "instances_milliseconds",
    "segment_ms",
    "seconds",
    "read_seconds",
    "decode_seconds",
    "network_seconds",
    "object_seconds",
];
/// Members of printed JSON that hold sentences for people, whose words may change.
const SENTENCES: [&str; 2] = ["notes", "error"];

/// Writes the outputs of a program into a folder.
///
/// # Errors
/// When the folder is in use, or when steps fail; the others are taken all the same.
pub fn make(program: &Path, folder: &Path) -> Result<()> {
    let program = program
        .canonicalize()
        .map_err(|e| format!("{} cannot be found: {e}", program.display()))?;
    let inputs = InputFolders::find();
    let steps = steps(&inputs)?;
    clear(folder)?;
    for (name, bytes) in INPUTS {
        write(&folder.join(name), bytes)?;
    }
    let begun = Instant::now();
    let mut record = Record::new();
    let mut failed = Vec::new();
    for step in steps {
        let step_begun = Instant::now();
        let status = match reason_to_skip(&step, &record) {
            Some(reason) => Status::Skipped(reason),
            None => run_step(&program, folder, &inputs, &step)?,
        };
        println!("{}: {status} ({:.1} s)", step.name, step_begun.elapsed().as_secs_f64());
        if !matches!(status, Status::Skipped(_)) && status != Status::Exit(Some(step.exit_code)) {
            failed.push(step.name.clone());
        }
        record.insert(step.name, status);
    }
    write_record(folder, &record)?;
    println!(
        "{} steps in {:.0} s: {}",
        record.len(),
        begun.elapsed().as_secs_f64(),
        folder.display()
    );
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// Makes the folder, or empties it where it holds the outputs of a complete run.
fn clear(folder: &Path) -> Result<()> {
    let in_use = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if in_use && !folder.join(RECORD_FILE).is_file() {
        return Err(format!(
            "{} holds other files; remove it or name another folder",
            folder.display()
        ));
    }
    if in_use {
        std::fs::remove_dir_all(folder)
            .map_err(|e| format!("{} cannot be emptied: {e}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).map_err(|e| format!("{} cannot be made: {e}", folder.display()))
}

fn reason_to_skip(step: &Step, record: &Record) -> Option<String> {
    if let Some(file) = step.needs.iter().find(|file| !file.exists()) {
        return Some(format!("{} is not there; PRUNELLA_DATA names the data", file.display()));
    }
    let before = step.after.as_ref()?;
    match record.get(before) {
        Some(Status::Exit(Some(0))) => None,
        _ => Some(format!("it uses the result of {before}")),
    }
}

/// Runs the program in the folder, so that results hold no path of this machine.
fn run_step(program: &Path, folder: &Path, inputs: &InputFolders, step: &Step) -> Result<Status> {
    let place = folder.join(&step.name);
    std::fs::create_dir_all(place.parent().unwrap_or(folder)).map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.args(&step.arguments).current_dir(folder).stdin(Stdio::null());
    if step.stdout == Stdout::Json {
        command.arg("--json");
    }
    let output =
        command.output().map_err(|e| format!("{} does not start: {e}", program.display()))?;
    let code = output.status.code();
    if code != Some(step.exit_code) {
        println!("$ prunella {}", step.arguments.join(" "));
        println!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let printed =
        String::from_utf8(output.stdout).map_err(|_| format!("{} prints no UTF-8", step.name))?;
    match step.stdout {
        Stdout::Text => write(&with_ending(&place, "txt"), printed.as_bytes())?,
        // A program that failed printed its error elsewhere.
        Stdout::Json if printed.is_empty() => {}
        Stdout::Json => {
            // What is no JSON is kept as it is.
            let value = Json::parse(&printed);
            let lines = value.map_or(printed, |value| comparable(&value, inputs).to_lines());
            write(&with_ending(&place, "json"), lines.as_bytes())?;
        }
    }
    for name in &step.remove {
        let file = folder.join(name);
        // A program that failed did not write it.
        if file.is_file() {
            std::fs::remove_file(&file)
                .map_err(|e| format!("{} cannot be removed: {e}", file.display()))?;
        }
    }
    Ok(Status::Exit(code))
}

fn with_ending(place: &Path, ending: &str) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(format!(".{ending}"));
    PathBuf::from(name)
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let written = std::fs::create_dir_all(file.parent().unwrap_or(file))
        .and_then(|()| std::fs::write(file, bytes));
    written.map_err(|e| format!("{} cannot be written: {e}", file.display()))
}

/// JSON without durations, sentences and absolute paths.
fn comparable(value: &Json, inputs: &InputFolders) -> Json {
    match value {
        Json::Object(members) => {
            let mut kept = Vec::new();
            for (key, member) in members {
                if DURATIONS.contains(&key.as_str()) {
                    continue;
                }
                let member = if SENTENCES.contains(&key.as_str()) {
                    without_words(member)
                } else {
                    comparable(member, inputs)
                };
                kept.push((key.clone(), member));
            }
            Json::Object(kept)
        }
        Json::Array(elements) => {
            Json::Array(elements.iter().map(|e| comparable(e, inputs)).collect())
        }
        Json::String(string) => {
            for (folder, name) in [(&inputs.data, "DATA"), (&inputs.models, "MODELS")] {
                if let Some(rest) = string.strip_prefix(&*folder.to_string_lossy()) {
                    return Json::String(format!("{name}{rest}"));
                }
            }
            value.clone()
        }
        Json::Scalar(_) => value.clone(),
    }
}

/// As many sentences, without their words.
fn without_words(value: &Json) -> Json {
    match value {
        Json::String(_) => Json::String("sentence".to_owned()),
        Json::Array(elements) => Json::Array(elements.iter().map(without_words).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> InputFolders {
        InputFolders { data: "/a/data".into(), models: "/b/models".into() }
    }

    #[test]
    fn durations_paths_and_words_are_left_out_and_nothing_else() {
        let of = |text: &str| comparable(&Json::parse(text).expect("JSON"), &inputs());
        let one = of(r#"{"images":[{"image":"/a/data/x.tif","seconds":1.5,"nuclei":3}],
            "notes":["One."],"error":null}"#);
        let plain =
            r#"{"images":[{"image":"DATA/x.tif","nuclei":3}],"notes":["sentence"],"error":null}"#;
        assert_eq!(one, Json::parse(plain).expect("JSON"));
        assert_ne!(one, of(&plain.replace('3', "4")), "a count");
        assert_ne!(one, of(&plain.replace("[\"sentence\"]", "[]")), "the number of notes");
        assert_ne!(one, of(&plain.replace("x.tif", "y.tif")), "a file");
        assert_eq!(of(r#""/b/models/m""#), Json::String("MODELS/m".to_owned()));
    }

    #[test]
    fn steps_without_data_or_after_a_failed_step_are_skipped_with_the_reason() {
        let mut record = Record::new();
        record.insert("made".to_owned(), Status::Exit(Some(0)));
        record.insert("failed".to_owned(), Status::Exit(Some(2)));
        let mut step = steps(&inputs()).expect("a list").remove(0);
        let reason = reason_to_skip(&step, &record).expect("a reason");
        assert!(reason.starts_with("/b/models/paper-00.safetensors is not there"), "{reason}");
        step.needs.clear();
        assert_eq!(reason_to_skip(&step, &record), None);
        let mut after = |name: &str| {
            step.after = Some(name.to_owned());
            reason_to_skip(&step, &record)
        };
        assert_eq!(after("made"), None);
        assert!(after("failed").is_some());
        assert!(after("absent").is_some());
    }

    #[test]
    fn a_folder_of_other_files_is_not_emptied() {
        let folder =
            std::env::temp_dir().join(format!("prunella-outputs-clear-{}", std::process::id()));
        write(&folder.join("thesis.tex"), b"x").expect("written");
        assert!(clear(&folder).is_err());
        write_record(&folder, &Record::new()).expect("record");
        assert!(clear(&folder).is_ok());
        assert!(!folder.join("thesis.tex").exists());
        std::fs::remove_dir(&folder).expect("empty");
    }
}
