//! Comparison of two folders of outputs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::model::{ModelVerdict, compare_models};
use super::record::{RECORD_FILE, Record, Status, read_record};
use crate::run::Result;

/// Bytes that are shown before and after the first differing one.
const SHOWN_BEFORE: usize = 24;
const SHOWN_AFTER: usize = 40;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// Largest absolute difference of a weight of a model; all else is compared byte for byte.
    pub tolerance: f32,
    /// Beginnings of names whose differences are listed but not counted.
    pub except: Vec<String>,
}

/// The result for one file or step.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Equal,
    /// Only weights differ; the largest absolute difference.
    WithinTolerance(f32),
    /// A step that neither run could take.
    SkippedInBoth(String),
    Differs(String),
    /// The folder in which the file is missing.
    Missing(PathBuf),
}

impl Verdict {
    fn is_difference(&self) -> bool {
        matches!(self, Self::Differs(_) | Self::Missing(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => write!(f, "equal"),
            Self::WithinTolerance(largest) => {
                write!(f, "equal within the tolerance, largest difference {largest:e}")
            }
            Self::SkippedInBoth(reason) => write!(f, "skipped in both: {reason}"),
            Self::Differs(detail) => write!(f, "DIFFERS: {detail}"),
            Self::Missing(folder) => write!(f, "MISSING in {}", folder.display()),
        }
    }
}

/// The verdict on each step and file.
#[derive(Debug, Default)]
pub struct Comparison {
    pub verdicts: BTreeMap<String, Verdict>,
    except: Vec<String>,
}

impl Comparison {
    /// Number of counted differences.
    pub fn differences(&self) -> usize {
        self.verdicts
            .iter()
            .filter(|(name, verdict)| verdict.is_difference() && !self.is_excepted(name))
            .count()
    }

    fn is_excepted(&self, name: &str) -> bool {
        self.except.iter().any(|beginning| name.starts_with(beginning))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, verdict) in &self.verdicts {
            let note = if verdict.is_difference() && self.is_excepted(name) {
                " (not counted)"
            } else {
                ""
            };
            writeln!(f, "{name}: {verdict}{note}")?;
        }
        write!(f, "{} steps and files, {} differences", self.verdicts.len(), self.differences())
    }
}

/// Compares two folders that `make` wrote.
///
/// # Errors
/// When a folder cannot be read or its run is not complete.
pub fn compare(left: &Path, right: &Path, options: &Options) -> Result<Comparison> {
    let mut comparison = Comparison { except: options.except.clone(), ..Comparison::default() };
    compare_records(left, right, &mut comparison)?;
    let left_files = files_below(left)?;
    let right_files = files_below(right)?;
    for name in left_files.union(&right_files) {
        let verdict = if !right_files.contains(name) {
            Verdict::Missing(right.to_owned())
        } else if !left_files.contains(name) {
            Verdict::Missing(left.to_owned())
        } else {
            compare_files(
                name,
                &read(&left.join(name))?,
                &read(&right.join(name))?,
                options.tolerance,
            )
        };
        comparison.verdicts.insert(name.clone(), verdict);
    }
    Ok(comparison)
}

fn compare_records(left: &Path, right: &Path, comparison: &mut Comparison) -> Result<()> {
    let left_record = read_record(left)?;
    let right_record = read_record(right)?;
    let names: BTreeSet<&String> = left_record.keys().chain(right_record.keys()).collect();
    for name in names {
        let verdict = compare_steps(name, (left, &left_record), (right, &right_record));
        comparison.verdicts.insert(format!("{name} (step)"), verdict);
    }
    Ok(())
}

fn compare_steps(name: &str, left: (&Path, &Record), right: (&Path, &Record)) -> Verdict {
    match (left.1.get(name), right.1.get(name)) {
        (Some(Status::Skipped(reason)), Some(Status::Skipped(_))) => {
            Verdict::SkippedInBoth(reason.clone())
        }
        (Some(a), Some(b)) if a == b => Verdict::Equal,
        (Some(a), Some(b)) => Verdict::Differs(format!("{a}; {b}")),
        (None, _) => Verdict::Missing(left.0.to_owned()),
        (_, None) => Verdict::Missing(right.0.to_owned()),
    }
}

fn compare_files(name: &str, left: &[u8], right: &[u8], tolerance: f32) -> Verdict {
    if left == right {
        return Verdict::Equal;
    }
    let place = first_difference(left, right);
    if Path::new(name).extension().is_none_or(|e| e != "safetensors") {
        return Verdict::Differs(place);
    }
    match compare_models(left, right, tolerance) {
        Ok(ModelVerdict::Close(largest)) => Verdict::WithinTolerance(largest),
        Ok(ModelVerdict::Different(parts)) => Verdict::Differs(format!("{parts}; {place}")),
        Err(error) => Verdict::Differs(format!("{error}; {place}")),
    }
}

/// Offset of the first differing byte, with the surroundings where they are text.
fn first_difference(left: &[u8], right: &[u8]) -> String {
    let common = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let mut text = format!("first at byte {common}");
    if left.len() != right.len() {
        text += &format!(" of {} and {}", left.len(), right.len());
    }
    if let (Some(a), Some(b)) = (excerpt(left, common), excerpt(right, common)) {
        text += &format!("\n    {a}\n    {b}");
    }
    text
}

fn excerpt(bytes: &[u8], at: usize) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut start = at.saturating_sub(SHOWN_BEFORE);
    let mut end = (at + SHOWN_AFTER).min(bytes.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    Some(text.get(start..end)?.escape_debug().to_string())
}

/// Names of all files below a folder, with `/` between folders, but for the record.
fn files_below(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut pending = vec![String::new()];
    while let Some(prefix) = pending.pop() {
        let at = folder.join(&prefix);
        let entries =
            std::fs::read_dir(&at).map_err(|e| format!("{} cannot be read: {e}", at.display()))?;
        for entry in entries {
            let entry = entry.map_err(|e| format!("{} cannot be read: {e}", at.display()))?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                pending.push(format!("{name}/"));
            } else if name != RECORD_FILE {
                names.insert(name);
            }
        }
    }
    Ok(names)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|e| format!("{} cannot be read: {e}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outputs::model::tests::model_file;
    use crate::outputs::record::write_record;

    /// Two folders of outputs that a test fills.
    struct TwoFolders {
        root: PathBuf,
        left: PathBuf,
        right: PathBuf,
    }

    impl TwoFolders {
        /// `test` keeps folders of tests apart.
        fn new(test: &str) -> Self {
            let root = std::env::temp_dir()
                .join(format!("prunella-outputs-{}-{test}", std::process::id()));
            let folders = Self { left: root.join("left"), right: root.join("right"), root };
            for folder in [&folders.left, &folders.right] {
                std::fs::create_dir_all(folder.join("sub")).expect("folder");
                write_record(folder, &Record::new()).expect("record");
            }
            folders
        }

        fn write(&self, name: &str, left: &[u8], right: &[u8]) {
            std::fs::write(self.left.join(name), left).expect("written");
            std::fs::write(self.right.join(name), right).expect("written");
        }

        fn record(&self, left: &[(&str, Status)], right: &[(&str, Status)]) {
            let record = |steps: &[(&str, Status)]| {
                steps.iter().map(|(n, s)| ((*n).to_owned(), s.clone())).collect()
            };
            write_record(&self.left, &record(left)).expect("record");
            write_record(&self.right, &record(right)).expect("record");
        }

        fn compare(&self, options: &Options) -> Comparison {
            compare(&self.left, &self.right, options).expect("complete runs")
        }
    }

    impl Drop for TwoFolders {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.root));
        }
    }

    /// Empty where the verdict is another one.
    fn detail(verdict: &Verdict) -> &str {
        if let Verdict::Differs(detail) = verdict { detail } else { "" }
    }

    #[test]
    fn equal_folders_have_no_difference() {
        let folders = TwoFolders::new("equal");
        folders.write("a.png", &[0, 1], &[0, 1]);
        folders.write("sub/b.csv", b"x", b"x");
        let comparison = folders.compare(&Options::default());
        assert_eq!(comparison.differences(), 0);
        assert_eq!(comparison.verdicts.keys().collect::<Vec<_>>(), ["a.png", "sub/b.csv"]);
    }

    #[test]
    fn a_byte_that_differs_is_found_with_its_offset() {
        let folders = TwoFolders::new("byte");
        folders.write("a.png", &[255, 1, 2], &[255, 1, 3]);
        folders.write("sub/b.csv", "name,é\n1,2".as_bytes(), "name,é\n1,2,3".as_bytes());
        let comparison = folders.compare(&Options::default());
        assert_eq!(comparison.differences(), 2);
        assert_eq!(detail(&comparison.verdicts["a.png"]), "first at byte 2");
        assert!(
            detail(&comparison.verdicts["sub/b.csv"])
                .starts_with("first at byte 11 of 11 and 13\n")
        );
    }

    #[test]
    fn a_file_that_is_missing_on_either_side_is_a_difference() {
        let folders = TwoFolders::new("missing");
        std::fs::write(folders.left.join("a"), b"").expect("written");
        std::fs::write(folders.right.join("b"), b"").expect("written");
        let comparison = folders.compare(&Options::default());
        assert_eq!(comparison.verdicts["a"], Verdict::Missing(folders.right.clone()));
        assert_eq!(comparison.verdicts["b"], Verdict::Missing(folders.left.clone()));
        assert_eq!(comparison.differences(), 2);
    }

    #[test]
    fn models_are_compared_by_parts_and_only_their_weights_have_a_tolerance() {
        let folders = TwoFolders::new("models");
        let base = model_file("a", "F32", &[1.0]);
        let near = model_file("a", "F32", &[1.000_000_1]);
        folders.write("near.safetensors", &base, &near);
        folders.write("near.bin", &base, &near);
        folders.write("card.safetensors", &base, &model_file("b", "F32", &[1.0]));
        folders.write("broken.safetensors", &base, b"no model");
        let strict = folders.compare(&Options::default());
        assert_eq!(strict.differences(), 4);
        assert!(
            detail(&strict.verdicts["near.safetensors"])
                .starts_with("card equal; arrays differ by at most 1.")
        );
        assert!(
            detail(&strict.verdicts["card.safetensors"])
                .starts_with("card differs; arrays equal; first at")
        );
        assert!(
            detail(&strict.verdicts["broken.safetensors"])
                .starts_with("no safetensors file; first at byte 0")
        );
        let tolerant = folders.compare(&Options { tolerance: 1e-6, ..Options::default() });
        assert_eq!(tolerant.differences(), 3);
        assert!(matches!(tolerant.verdicts["near.safetensors"], Verdict::WithinTolerance(_)));
    }

    #[test]
    fn exit_codes_and_skipped_steps_are_compared() {
        let folders = TwoFolders::new("steps");
        let done = Status::Exit(Some(0));
        let skipped = |reason: &str| Status::Skipped(reason.to_owned());
        folders.record(
            &[
                ("both", skipped("no data")),
                ("code", done.clone()),
                ("left", done.clone()),
                ("same", done.clone()),
                ("signal", done.clone()),
                ("skip", done.clone()),
            ],
            &[
                ("both", skipped("another reason")),
                ("code", Status::Exit(Some(2))),
                ("right", done.clone()),
                ("same", done),
                ("signal", Status::Exit(None)),
                ("skip", skipped("no data")),
            ],
        );
        let comparison = folders.compare(&Options::default());
        let verdict = |name: &str| &comparison.verdicts[&format!("{name} (step)")];
        assert_eq!(verdict("both"), &Verdict::SkippedInBoth("no data".to_owned()));
        assert_eq!(verdict("same"), &Verdict::Equal);
        assert_eq!(detail(verdict("code")), "exit 0; exit 2");
        assert_eq!(detail(verdict("signal")), "exit 0; killed");
        assert_eq!(detail(verdict("skip")), "exit 0; skipped: no data");
        assert_eq!(verdict("left"), &Verdict::Missing(folders.right.clone()));
        assert_eq!(verdict("right"), &Verdict::Missing(folders.left.clone()));
        assert_eq!(comparison.differences(), 5);
    }

    #[test]
    fn excepted_differences_are_listed_and_not_counted() {
        let folders = TwoFolders::new("except");
        folders.write("a.html", b"1", b"2");
        folders.write("b.html", b"1", b"2");
        let comparison =
            folders.compare(&Options { except: vec!["a.".to_owned()], ..Options::default() });
        assert_eq!(comparison.differences(), 1);
        assert!(comparison.to_string().contains("a.html: DIFFERS"));
    }

    #[test]
    fn an_interrupted_run_is_refused() {
        let folders = TwoFolders::new("interrupted");
        std::fs::remove_file(folders.right.join(RECORD_FILE)).expect("removed");
        let error =
            compare(&folders.left, &folders.right, &Options::default()).expect_err("refused");
        assert!(error.contains("is the run complete?"), "{error}");
        std::fs::write(folders.right.join(RECORD_FILE), "step\tmaybe\n").expect("written");
        assert!(compare(&folders.left, &folders.right, &Options::default()).is_err());
    }
}
