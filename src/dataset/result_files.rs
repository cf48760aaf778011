//! Files that this program wrote as results of a segmentation: they are never images or labels of
//! a data set.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::raster::is_segmentation_result;

/// Endings that `segment` and `evaluate` add to the name of an image.
const RESULT_ENDINGS: [&str; 4] = [".labels", ".mask", ".overlay", ".probability"];

/// Whether a picture is a result of this program: by the mark inside or, for files of versions
/// without one, by its name beside the other files of the same result.
#[must_use]
pub fn is_result_file(path: &Path) -> bool {
    has_mark(path) || is_named_as_result(path)
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
