//! The list of steps, `steps.txt`, and the small files that steps read.

use std::path::{Path, PathBuf};

use crate::run::{Result, root};

const STEPS: &str = include_str!("steps.txt");

/// Files that steps read, by their place in the folder of outputs.
pub const INPUTS: [(&str, &[u8]); 8] = [
    ("inputs/study.toml", include_bytes!("inputs/study.toml")),
    ("inputs/inside.geojson", include_bytes!("inputs/inside.geojson")),
    ("inputs/view.jsonl", include_bytes!("inputs/view.jsonl")),
    ("inputs/page/index.html", include_bytes!("inputs/page/index.html")),
    ("inputs/page/web/style.css", include_bytes!("inputs/page/web/style.css")),
    ("inputs/page/web/main.js", include_bytes!("inputs/page/web/main.js")),
    ("inputs/page/web/prunella.js", include_bytes!("inputs/page/web/prunella.js")),
    // The header of a module without content.
    ("inputs/page/web/prunella_bg.wasm", b"\0asm\x01\0\0\0"),
];

/// Folders outside the outputs that arguments name.
#[derive(Debug, Clone)]
pub struct InputFolders {
    /// `PRUNELLA_DATA`, absolute where it exists.
    pub data: PathBuf,
    /// The models of the repository, absolute.
    pub models: PathBuf,
}

impl InputFolders {
    /// The folders of this machine.
    pub fn find() -> Self {
        let data = std::env::var_os("PRUNELLA_DATA")
            .map_or_else(|| root().join("../shared/data"), PathBuf::from);
        // An absent folder keeps its name, for the reasons of skipped steps.
        Self { data: data.canonicalize().unwrap_or(data), models: root().join("models") }
    }
}

/// What is kept of the standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// The result as JSON, without durations, sentences and absolute paths.
    Json,
    /// The printed text.
    Text,
}

/// One run of the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Stable; results lie at this place of the folder.
    pub name: String,
    pub arguments: Vec<String>,
    /// Files and folders outside the outputs that must exist.
    pub needs: Vec<PathBuf>,
    /// The step whose result this one uses.
    pub after: Option<String>,
    pub stdout: Stdout,
    /// The expected one; any exit code is recorded and compared.
    pub exit_code: i32,
    /// Files of the folder that hold durations.
    pub remove: Vec<String>,
}

/// All steps, each after those whose results it uses.
///
/// # Errors
/// A line of the list that cannot be understood.
pub fn steps(inputs: &InputFolders) -> Result<Vec<Step>> {
    parse(STEPS, inputs)
}

/// Reads a list of steps; `steps.txt` describes the format.
fn parse(text: &str, inputs: &InputFolders) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let read = match (line.strip_prefix("    "), steps.last_mut()) {
            (None, _) => heading(line).map(|step| steps.push(step)),
            (Some(words), Some(step)) => step.add_arguments(words, inputs),
            (Some(_), None) => None,
        };
        read.ok_or_else(|| format!("no step: {line}"))?;
    }
    Ok(steps)
}

/// Reads a line such as `name [after OTHER] [exit CODE]:`.
fn heading(line: &str) -> Option<Step> {
    let mut parts = line.strip_suffix(':')?.split(" [");
    let mut step = Step {
        name: parts.next()?.to_owned(),
        arguments: Vec::new(),
        needs: Vec::new(),
        after: None,
        stdout: Stdout::Json,
        exit_code: 0,
        remove: Vec::new(),
    };
    for part in parts {
        let setting = part.strip_suffix(']')?;
        match setting.split_once(' ') {
            None if setting == "text" => step.stdout = Stdout::Text,
            Some(("after", name)) => step.after = Some(name.to_owned()),
            Some(("remove", file)) => step.remove.push(file.to_owned()),
            Some(("exit", code)) => step.exit_code = code.parse().ok()?,
            _ => return None,
        }
    }
    Some(step)
}

impl Step {
    fn add_arguments(&mut self, words: &str, inputs: &InputFolders) -> Option<()> {
        for word in words.split_whitespace() {
            if let Some(file) = word.strip_prefix("{data}/") {
                self.add_file(inputs.data.join(file));
            } else if let Some(file) = word.strip_prefix("{models}/") {
                self.add_file(inputs.models.join(file));
            } else if let Some(count) = word.strip_prefix("{tiles:") {
                let count = count.strip_suffix('}')?.parse().ok()?;
                for tile in first_tiles(&inputs.data.join("kumar/images"), count) {
                    self.add_file(tile);
                }
            } else {
                self.arguments.push(word.replace("{out}", &self.name));
            }
        }
        Some(())
    }

    fn add_file(&mut self, file: PathBuf) {
        self.arguments.push(file.to_string_lossy().into_owned());
        self.needs.push(file);
    }
}

/// The first images of a folder by name. Where there are fewer, a file that is absent, so that
/// the step is skipped.
fn first_tiles(folder: &Path, count: usize) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|e| e == "tif") {
            files.push(entry.path());
        }
    }
    if files.len() < count {
        return vec![folder.join(format!("(one of {count} tiles)"))];
    }
    files.sort();
    files.truncate(count);
    files
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn inputs() -> InputFolders {
        InputFolders { data: "/a/data".into(), models: "/b/models".into() }
    }

    #[test]
    fn the_list_is_read_and_each_step_comes_after_those_it_uses() {
        let mut names = BTreeSet::new();
        for step in steps(&inputs()).expect("a list") {
            assert!(step.after.as_ref().is_none_or(|name| names.contains(name)), "{}", step.name);
            assert!(names.insert(step.name.clone()), "{} twice", step.name);
            assert!(!step.arguments.is_empty(), "{}", step.name);
            assert!(!step.arguments.iter().any(|a| a.contains('{')), "{:?}", step.arguments);
        }
        assert!(names.len() > 50, "{}", names.len());
    }

    #[test]
    fn settings_and_folders_are_read() {
        let text =
            "a/b [after c] [exit 2] [text] [remove d]:\n    info {models}/m\n    --out {out}.x\n";
        let step = Step {
            name: "a/b".to_owned(),
            arguments: ["info", "/b/models/m", "--out", "a/b.x"].map(str::to_owned).to_vec(),
            needs: vec!["/b/models/m".into()],
            after: Some("c".to_owned()),
            stdout: Stdout::Text,
            exit_code: 2,
            remove: vec!["d".to_owned()],
        };
        assert_eq!(parse(text, &inputs()), Ok(vec![step]));
        for wrong in
            ["a", "    info", "a [sometimes]:", "a [exit x]:", "a [text:", "a:\n    {tiles:x}"]
        {
            assert!(parse(wrong, &inputs()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn too_few_tiles_are_an_absent_file() {
        let files = first_tiles(Path::new("/absent"), 2);
        assert!(!files.is_empty() && files.iter().all(|f| !f.exists()));
    }
}
