//! Files that this program wrote as results of a segmentation: they are never images or labels of
//! a data set.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use crate::raster::is_segmentation_result;

/// Endings that `segment` and `evaluate` add to the name of an image.
const RESULT_ENDINGS: [&str; 4] = [".labels", ".mask", ".overlay", ".probability"];

/// Bytes of a file that tell whether this program wrote it.
const HEAD_BYTES: u64 = 100_000;
/// First columns of the tables that `segment` writes.
const TABLE_HEADER: &str = "label,id,centroid_x_px,";
/// First columns of its tables of regions.
const REGIONS_HEADER: &str = "slide,kind,region,";

/// Whether a picture or GeoJSON is a result of this program: by the mark or the model inside or,
/// for pictures of versions without a mark and outlines without a nucleus, by its name beside the
/// other files of the same result.
#[must_use]
pub fn is_result_file(path: &Path) -> bool {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("geojson")) {
        let is_own_table = |text: String| text.starts_with(TABLE_HEADER);
        return first_text(path).is_some_and(|text| has_model(&text))
            || first_text(&path.with_extension("csv")).is_some_and(is_own_table);
    }
    has_mark(path) || is_named_as_result(path)
}

/// Whether a GeoJSON or CSV may be replaced by a result of the same name: it is one, or holds
/// neither outlines nor rows. `text` is its beginning.
#[must_use]
pub fn is_result_text(text: &str, extension: &str) -> bool {
    if extension == "csv" {
        let is_own = [TABLE_HEADER, REGIONS_HEADER].iter().any(|header| text.starts_with(header));
        return is_own || text.lines().count() < 2;
    }
    has_model(text) || !text.contains("\"Feature\"")
}

/// Whether outlines state the model that found them. Those that 'convert' wrote state none.
fn has_model(text: &str) -> bool {
    let by_model = text.split("\"model\":\"sha256:").nth(1);
    by_model.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()))
}

/// The beginning of a text file.
pub(super) fn first_text(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// Whether a picture may be replaced by a result of the same name: it is a result, and not one that
/// lost its mark in another program, as a mask that someone corrected.
#[must_use]
pub fn is_replaceable_result(path: &Path) -> bool {
    if has_mark(path) {
        return true;
    }
    let Some(name) = name_of_image(path) else { return false };
    let is_marked = |ending: &str| has_mark(&path.with_file_name(format!("{name}{ending}.png")));
    is_named_as_result(path) && !RESULT_ENDINGS.iter().any(|ending| is_marked(ending))
}

/// The name of the image in the name of a result: `a` of `a.mask.png`.
fn name_of_image(path: &Path) -> Option<&str> {
    let stem = path.file_stem()?.to_str()?;
    RESULT_ENDINGS.iter().find_map(|ending| stem.strip_suffix(ending))
}

fn has_mark(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| is_segmentation_result(BufReader::new(file)))
}

/// `a.mask.png` beside `a.geojson` and `a.csv`, or beside `a.probability.png` and `a.overlay.png`.
fn is_named_as_result(path: &Path) -> bool {
    let Some(name) = name_of_image(path) else { return false };
    let has = |ending: &str| path.with_file_name(format!("{name}{ending}")).is_file();
    (has(".geojson") && has(".csv")) || (has(".probability.png") && has(".overlay.png"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::{Plane, encode_mask_png};

    #[test]
    fn unmarked_results_are_known_by_the_files_beside_them() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| dir.path().join(name);
        for name in ["a.mask.png", "a.geojson", "b.mask.png", "c.mask.png", "c.overlay.png"] {
            std::fs::write(at(name), b"x").expect("file");
        }
        assert!(!is_result_file(&at("a.mask.png")), "without a table");
        std::fs::write(at("a.csv"), b"x").expect("file");
        std::fs::write(at("c.probability.png"), b"x").expect("file");
        assert!(is_result_file(&at("a.mask.png")) && is_result_file(&at("c.mask.png")));
        assert!(is_replaceable_result(&at("c.mask.png")));
        let marked = encode_mask_png(&Plane::filled(2, 2, true)).expect("png");
        std::fs::write(at("c.overlay.png"), marked).expect("file");
        assert!(is_replaceable_result(&at("c.overlay.png")));
        assert!(!is_replaceable_result(&at("c.mask.png")), "corrected in another program");
        assert!(!is_result_file(&at("b.mask.png")) && !is_result_file(&at("none.mask.png")));
    }
}
