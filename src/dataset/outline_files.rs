//! Which files hold outlines that can be labels, by ending and, for JSON of any kind, by content.

use std::path::Path;

use super::result_files::first_text;

/// Whether a file may hold the outlines of one image: XML, GeoJSON, LabelMe JSON. Other JSON (COCO,
/// settings) does not.
pub(super) fn is_outline_file(path: &Path) -> bool {
    match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
        Some("xml" | "geojson") => true,
        Some("json") => first_text(path).is_some_and(|text| is_outline_json(&text)),
        _ => false,
    }
}

/// Whether a JSON holds annotations of a kind that is not read, by its first members: COCO,
/// HoVer-Net, VIA.
pub(super) fn is_foreign_json(path: &Path) -> bool {
    let words = ["annotations", "categories", "segmentation", "file_name", "nuc", "regions"];
    let is_foreign = |text: String| words.iter().any(|word| text.contains(&format!("\"{word}\"")));
    first_text(path).is_some_and(is_foreign)
}

fn is_outline_json(text: &str) -> bool {
    let has = |word: &str| text.contains(&format!("\"{word}\""));
    let is_geojson = has("Feature") || has("FeatureCollection");
    is_geojson || (has("shapes") && has("points"))
}
