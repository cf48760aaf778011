//! Files that a command writes: their names, and whether they can be written, before the work. No
//! command changes a file that it reads, or one that it did not write.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::dataset::{is_replaceable_result, is_result_text};
use crate::error::{Error, Result};
use crate::instances::ImageSource;
use crate::picture::is_picture;
use crate::platform::{check_writable, file_identity, name_key};

/// First bytes of a result, by which it is recognised as this program's.
const HEAD_BYTES: u64 = 100_000;

/// Refuses outputs that cannot be written, that are inputs of the same command, or that are one
/// file.
///
/// # Errors
/// A sentence with the file.
pub(super) fn check_outputs(outputs: &[PathBuf], inputs: &[PathBuf]) -> Result<()> {
    let mut read = BTreeMap::new();
    for input in inputs {
        if let Some(identity) = file_identity(input) {
            read.insert(identity, input);
        }
    }
    let mut written = BTreeMap::new();
    for output in outputs {
        if let Some(identity) = file_identity(output)
            && read.contains_key(&identity)
        {
            return Err(Error::invalid(
                "The output is a file that the command reads; choose another name, since no \
                     command changes its input",
            )
            .at(output));
        }
        if let Some(other) = written.insert(path_key(output), output) {
            return Err(Error::invalid(format!(
                "Two outputs are one file, as {} is; choose other names",
                other.display()
            ))
            .at(output));
        }
    }
    // A new file is tried once in a folder, by the longest name: thousands of results lie there.
    let mut longest: BTreeMap<&Path, &PathBuf> = BTreeMap::new();
    for output in outputs {
        if output.symlink_metadata().is_ok() {
            check_writable(output)?;
        } else if let Some(folder) = output.parent() {
            let tried = longest.entry(folder).or_insert(output);
            if output.as_os_str().len() > tried.as_os_str().len() {
                *tried = output;
            }
        }
    }
    for output in longest.into_values() {
        check_writable(output)?;
    }
    Ok(())
}

/// [`check_outputs`] for results that are named after an image: files of the same names that this
/// program did not write, such as someone's labels, are not replaced either.
///
/// # Errors
/// A sentence with the file.
pub(super) fn check_results(results: &[PathBuf], inputs: &[PathBuf]) -> Result<()> {
    check_outputs(results, inputs)?;
    for result in results {
        // A link is made so that its target is written.
        if result.is_file() && !result.is_symlink() && !is_own_result(result) {
            return Err(Error::invalid(
                "A file that is no result of prunella has the name of a result and is not \
                 replaced; choose another folder",
            )
            .at(result));
        }
    }
    Ok(())
}

/// Whether this program wrote a result: by the mark of a picture, the model in outlines, the header
/// of a table. So that nothing is lost, a file without pixels, outlines or rows counts as its own.
fn is_own_result(path: &Path) -> bool {
    let mut head = Vec::new();
    let Ok(file) = std::fs::File::open(path) else { return false };
    if file.take(HEAD_BYTES).read_to_end(&mut head).is_err() {
        return false;
    }
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let extension = extension.unwrap_or_default();
    if !matches!(extension.as_str(), "geojson" | "csv") {
        return !is_picture(&head) || is_replaceable_result(path);
    }
    is_result_text(&String::from_utf8_lossy(&head), &extension)
}

/// What outlines state of the image that they are of; `place` is a file or an address.
pub(super) fn image_source(place: &str) -> ImageSource {
    let path = Path::new(place.split(['?', '#']).next().unwrap_or(place));
    let path = if Path::new(place).exists() { Path::new(place) } else { path };
    ImageSource {
        name: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        bytes: path.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len()),
    }
}

/// Refuses to replace outlines of another image: one of another name or size. Outlines that do not
/// state their image are replaced.
///
/// # Errors
/// A sentence with the file and the other image.
pub(super) fn check_same_image(geojson: &Path, image: &ImageSource) -> Result<()> {
    let Some(other) = stated_image(geojson) else { return Ok(()) };
    let is_other_size = matches!((other.bytes, image.bytes), (Some(a), Some(b)) if a != b);
    if other.name == image.name && !is_other_size {
        return Ok(());
    }
    let size = other.bytes.map_or(String::new(), |bytes| format!(" of {bytes} bytes"));
    Err(Error::invalid(format!(
        "The results of another image, {}{size}, have this name and are not replaced; choose \
         another folder, or remove them",
        other.name
    ))
    .at(geojson))
}

/// The image that outlines state before their features.
fn stated_image(geojson: &Path) -> Option<ImageSource> {
    let mut head = Vec::new();
    std::fs::File::open(geojson).ok()?.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let members = head.split("\"features\"").next()?;
    let value = members.split_once("\"image\":")?.1;
    serde_json::Deserializer::from_str(value).into_iter().next()?.ok()
}

/// Name of the results of an image: its file name without the ending, as for a slide on a disk.
pub(super) fn result_name(image: &Path) -> String {
    without_ending(&image.file_name().map(|n| n.to_string_lossy()).unwrap_or_default())
}

/// Refuses results of one name, which would overwrite each other; `names` are those of the results
/// of `inputs`.
///
/// # Errors
/// [`Error::Invalid`] naming the two inputs.
pub(super) fn check_distinct(inputs: &[PathBuf], names: &[String]) -> Result<()> {
    let mut first_of: BTreeMap<String, &PathBuf> = BTreeMap::new();
    for (input, name) in inputs.iter().zip(names) {
        // Some file systems do not distinguish a and A, or the forms of ü.
        if let Some(first) = first_of.insert(name_key(name), input) {
            return Err(Error::invalid(format!(
                "{} and {} are both named '{name}', so that their results would overwrite each \
                 other; segment them into different folders",
                first.display(),
                input.display()
            )));
        }
    }
    Ok(())
}

/// Name of the results of a slide: the file's without folders and ending, or that of an address
/// without query too. On a disk `#` and `?` are letters like any other.
pub(super) fn slide_result_name(place: &str) -> String {
    if place.starts_with("http://") || place.starts_with("https://") {
        let path = place.split(['?', '#']).next().unwrap_or(place);
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
        return without_ending(&percent_decoded(last).replace(['/', '\\', '\0'], "_"));
    }
    result_name(Path::new(place))
}

/// A file name without its ending, and without the `.ome` before it; never empty.
fn without_ending(name: &str) -> String {
    let stem = Path::new(name).file_stem().map(|s| s.to_string_lossy().into_owned());
    let stem = stem.unwrap_or_default();
    let stem = stem.strip_suffix(".ome").unwrap_or(&stem);
    if stem.is_empty() { "slide".to_owned() } else { stem.to_owned() }
}

/// Text with its %-escapes replaced; broken ones stay.
fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = escaped.filter(|_| *first == b'%') {
            decoded.push(byte);
            rest = &after[2..];
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

/// Equal for paths that some file systems do not distinguish.
fn path_key(path: &Path) -> String {
    name_key(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_names_are_not_addresses() {
        for (place, name) in [
            ("dir #1/case #12.svs", "case #12"),
            ("S?1.svs", "S?1"),
            ("a%20b.svs", "a%20b"),
            ("a.b.svs", "a.b"),
            ("scan.ome.tif", "scan"),
            ("plain ü b.svs", "plain ü b"),
            ("https.svs", "https"),
            ("http://x.org/a%20b.svs?token=a/b.c#d", "a b"),
            ("https://x.org/dir/a%2Fb.svs", "a_b"),
            ("https://x.org/50%.svs", "50%"),
            ("https://x.org/", "x"),
            ("", "slide"),
        ] {
            assert_eq!(slide_result_name(place), name, "{place}");
        }
    }

    #[test]
    fn results_of_two_images_have_different_names() {
        let names = |images: &[&str]| {
            let images: Vec<PathBuf> = images.iter().map(PathBuf::from).collect();
            let names: Vec<String> = images.iter().map(|image| result_name(image)).collect();
            check_distinct(&images, &names).map(|()| names)
        };
        assert_eq!(names(&["x/a.png", "a #1.png"]).expect("names"), ["a", "a #1"]);
        for same in [["a.png", "a.jpg"], ["x/a.png", "y/A.png"], ["\u{fc}.png", "u\u{308}.png"]] {
            let message = names(&same).expect_err("one name").to_string();
            assert!(message.contains("overwrite each other"), "{message}");
        }
    }

    #[test]
    fn outlines_of_another_image_are_not_replaced() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("case.geojson");
        let image = |name: &str, bytes| ImageSource { name: name.to_owned(), bytes };
        let stated = r#""image": {"name":"case.svs","bytes":7}"#;
        let text = format!(r#"{{ "type": "FeatureCollection", {stated}, "features": []}}"#);
        std::fs::write(&file, text).expect("file");
        for same in [image("case.svs", Some(7)), image("case.svs", None)] {
            check_same_image(&file, &same).expect("the same image");
        }
        for other in [image("case.tif", Some(7)), image("case.svs", Some(8))] {
            let message = check_same_image(&file, &other).expect_err("another").to_string();
            assert!(message.contains("case.svs of 7 bytes"), "{message}");
        }
        std::fs::write(&file, r#"{"type":"FeatureCollection","features":[]}"#).expect("file");
        check_same_image(&file, &image("case.tif", None)).expect("no image is stated");
        assert_eq!(image_source("http://x.org/a/b.svs?t=1").name, "b.svs");
    }

    #[test]
    fn inputs_and_files_of_others_are_not_replaced() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(at(name), text).expect("file");
        write("in.png", "x");
        let message =
            check_outputs(&[at("./in.png")], &[at("in.png")]).expect_err("input").to_string();
        assert!(message.contains("that the command reads"), "{message}");
        assert!(check_outputs(&[at("new/a"), at("new/A")], &[]).is_err(), "one file");
        check_outputs(&[at("new/a"), at("new/b")], &[at("in.png")]).expect("free");
        write("t.csv", "label,id,centroid_x_px,\n");
        write("t.geojson", "{\"type\":\"FeatureCollection\",\"features\":[]}");
        check_results(&[at("t.csv"), at("t.geojson"), at("t.mask.png")], &[]).expect("results");
        write("t.csv", "case,age\n1,60\n");
        assert!(check_results(&[at("t.csv")], &[]).is_err());
        write("t.geojson", "{\"type\":\"Feature\",\"properties\":{}}");
        assert!(check_results(&[at("t.geojson")], &[]).is_err());
        write("t.geojson", "{\"type\":\"Feature\",\"metadata\":{\"model\":\"sha256:\"}}");
        assert!(check_results(&[at("t.geojson")], &[]).is_err(), "converted");
        write("t.geojson", "{\"type\":\"Feature\",\"metadata\":{\"model\":\"sha256:af\"}}");
        check_results(&[at("t.geojson")], &[]).expect("of a model");
        std::fs::write(at("s.mask.png"), b"\x89PNG someone's").expect("file");
        assert!(check_results(&[at("s.mask.png")], &[]).is_err());
        std::fs::write(at("s.overlay.png"), b"\xFF\xD8\xFF\xE0 a JPEG").expect("file");
        assert!(check_results(&[at("s.overlay.png")], &[]).is_err());
        write("empty.mask.png", "");
        check_results(&[at("empty.mask.png")], &[]).expect("nothing is lost");
    }
}
