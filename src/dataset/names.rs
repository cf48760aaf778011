//! What the names of files and folders mean: labels, images or results. Whole words decide, never
//! the beginning of one: a folder `GTEX` is not one of ground truth (`gt`).

/// Words for labels, in names of folders and at the end of file names.
const LABEL_WORDS: [&str; 20] = [
    "ann",
    "annot",
    "annotation",
    "annotations",
    "anns",
    "groundtruth",
    "gt",
    "inst",
    "instance",
    "instances",
    "label",
    "labeled",
    "labelled",
    "labelmap",
    "labelmaps",
    "labels",
    "mask",
    "masks",
    "segmentations",
    "truth",
];
/// Words for labels at the end of file names alone.
const LABEL_ENDINGS: [&str; 4] = ["bin", "binary", "seg", "segmentation"];
/// Words for images, in names of folders.
const IMAGE_FOLDER_WORDS: [&str; 22] = [
    "he",
    "image",
    "images",
    "img",
    "imgs",
    "input",
    "inputs",
    "original",
    "originals",
    "patch",
    "patches",
    "photos",
    "picture",
    "pictures",
    "raw",
    "rgb",
    "slide",
    "slides",
    "tile",
    "tiles",
    "tissue",
    "tissues",
];
/// Words for images at the end of file names (`000_img.png` beside `000_masks.png`).
const IMAGE_ENDINGS: [&str; 9] =
    ["he", "image", "img", "input", "orig", "original", "raw", "rgb", "tissue"];
/// Words for images at the beginning of file names (`img_1.png` beside `mask_1.png`).
const IMAGE_BEGINNINGS: [&str; 4] = ["image", "img", "raw", "tissue"];
/// Words that stand beside those for labels and do not name a site: kinds of labels, parts
/// of a data set, formats.
const QUALIFIERS: [&str; 35] = [
    "16bit",
    "8bit",
    "all",
    "and",
    "bin",
    "binary",
    "cell",
    "cells",
    "colour",
    "color",
    "cp",
    "data",
    "file",
    "files",
    "folder",
    "ground",
    "manual",
    "map",
    "maps",
    "nuclear",
    "nuclei",
    "nucleus",
    "object",
    "objects",
    "of",
    "png",
    "seg",
    "segmentation",
    "semantic",
    "the",
    "tif",
    "tiff",
    "type",
    "types",
    "xml",
];
/// Parts of a data set, which labels and images have in common.
const PARTS: [&str; 7] = ["test", "testing", "train", "training", "val", "valid", "validation"];
/// Words for what programs draw or compute from images and labels, in names of folders and at the
/// end of file names.
const RESULT_WORDS: [&str; 15] = [
    "cellprob",
    "contour",
    "contours",
    "distance",
    "flow",
    "flows",
    "heatmap",
    "heatmaps",
    "outline",
    "outlines",
    "overlay",
    "overlays",
    "predictions",
    "probabilities",
    "probability",
];

/// What a folder holds, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FolderKind {
    /// `images`, `Tissue Images`.
    Images,
    /// `labels`, `train_masks`, `Ground Truth`: every word is known.
    Labels,
    /// `Instances-v2`: a word for labels beside others.
    PerhapsLabels,
    /// `overlay`, `distance maps`.
    Results,
    /// Nothing.
    Other,
}

/// The kind of a folder by its name.
pub(super) fn folder_kind(name: &str) -> FolderKind {
    let words = words(name);
    let is = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let is_known = |word: &String| {
        let word = word.as_str();
        word.chars().all(|c| c.is_ascii_digit())
            || [&LABEL_WORDS[..], &IMAGE_FOLDER_WORDS, &QUALIFIERS, &PARTS, &RESULT_WORDS]
                .iter()
                .any(|list| list.contains(&word))
    };
    let all_known = words.iter().all(is_known);
    if all_known && is(&RESULT_WORDS) {
        FolderKind::Results
    } else if is(&LABEL_WORDS) {
        if all_known { FolderKind::Labels } else { FolderKind::PerhapsLabels }
    } else if is(&IMAGE_FOLDER_WORDS) {
        FolderKind::Images
    } else {
        FolderKind::Other
    }
}

/// The words of a folder's name that distinguish it from its neighbours: neither label nor image,
/// as `a` in `a_images` and `a_masks`.
pub(super) fn own_words(name: &str) -> Vec<String> {
    let mut own = words(name);
    own.retain(|word| {
        let word = word.as_str();
        !LABEL_WORDS.contains(&word)
            && !IMAGE_FOLDER_WORDS.contains(&word)
            && !QUALIFIERS.contains(&word)
    });
    own
}

/// Words in small letters: runs of letters and digits; a capital after a small letter begins one.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut after_small = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && after_small) {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        after_small = c.is_lowercase();
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Splits a file name without its extension at the last separator: `a_cp` and `masks`. Without one
/// the whole name is the word.
fn last_word(stem: &str) -> (&str, &str) {
    match stem.rfind(['_', '-', '.', ' ']) {
        // The separators have one byte.
        Some(at) => (&stem[..at], &stem[at + 1..]),
        None => ("", stem),
    }
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Names of the image that a label file may belong to, the longest first; none where the file's
/// name (without extension) does not end as one of labels. `a_cp_masks` is of `a_cp` or `a`, `mask`
/// is of the image without a name of its own.
pub(super) fn labelled_names(stem: &str) -> Vec<&str> {
    let (mut rest, word) = last_word(stem);
    if is_one_of(word, &["map", "maps"]) {
        // "a_inst_map", "a_label_map"
        let (before, kind) = last_word(rest);
        if !is_one_of(kind, &LABEL_WORDS) {
            return Vec::new();
        }
        rest = before;
    } else if !is_one_of(word, &LABEL_WORDS) && !is_one_of(word, &LABEL_ENDINGS) {
        return Vec::new();
    }
    let mut names = vec![rest];
    loop {
        let (before, word) = last_word(rest);
        let is_part = is_one_of(word, &LABEL_WORDS)
            || is_one_of(word, &LABEL_ENDINGS)
            || is_one_of(word, &QUALIFIERS);
        if rest.is_empty() || !is_part {
            return names;
        }
        rest = before;
        names.push(rest);
    }
}

/// The name that an image shares with its labels where its own name (without extension) ends or
/// begins as one of images: `a` of `a_img` and `img_a`.
pub(super) fn imaged_name(stem: &str) -> Option<&str> {
    let (rest, word) = last_word(stem);
    if is_one_of(word, &IMAGE_ENDINGS) {
        return Some(rest);
    }
    rest_after(stem, &IMAGE_BEGINNINGS)
}

/// The name of the image that a label file may belong to where its own name (without extension) has
/// a word for labels at the beginning or inside: `a` of `mask_a`, `a_1` of `a_mask_1`.
pub(super) fn name_around_label(stem: &str) -> Option<String> {
    if let Some(rest) = rest_after(stem, &LABEL_WORDS) {
        return Some(rest.to_owned());
    }
    let mut start = 0;
    for (end, _) in stem.match_indices(['_', '-', '.', ' ']) {
        if start > 0 && is_one_of(&stem[start..end], &LABEL_WORDS) {
            // The separators have one byte.
            return Some([&stem[..start - 1], &stem[end..]].concat());
        }
        start = end + 1;
    }
    None
}

/// What follows the first word of a name, if that is one of `words`.
fn rest_after<'a>(stem: &'a str, words: &[&str]) -> Option<&'a str> {
    let (word, rest) = stem.split_once(['_', '-', '.', ' '])?;
    (is_one_of(word, words) && !rest.is_empty()).then_some(rest)
}

/// Whether a file name (without extension) ends as one that a program draws or computes.
pub(super) fn is_result_name(stem: &str) -> bool {
    let (rest, word) = last_word(stem);
    !rest.is_empty() && is_one_of(word, &RESULT_WORDS)
}

/// How well a label file suits the segmentation of objects by its name, 0 best: files of instances,
/// then of masks, then of two values.
pub(super) fn label_preference(stem: &str, folder: Option<&str>) -> u8 {
    let mut all = words(folder.unwrap_or_default());
    all.extend(words(stem));
    let is = |list: &[&str]| all.iter().any(|word| list.contains(&word.as_str()));
    if is(&["bin", "binary", "semantic", "type", "types"]) {
        2
    } else {
        let is_mask = is(&["mask", "masks", "seg", "segmentation"]);
        u8::from(is_mask && !is(&["cp", "label", "instance"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_known_by_whole_words() {
        let kinds = |kind, names: &[&str]| {
            for name in names {
                assert_eq!(folder_kind(name), kind, "{name}");
            }
        };
        kinds(
            FolderKind::Labels,
            &[
                "labels",
                "Masks",
                "mask",
                "GT",
                "GT_01",
                "Ground Truth",
                "GroundTruth",
                "groundtruth",
                "Annotations",
                "instances",
                "Label Images",
                "bin_masks",
                "label masks",
                "mask binary",
                "train_masks",
                "nuclei-labels",
                "label_maps",
                "Segmentations",
            ],
        );
        kinds(
            FolderKind::PerhapsLabels,
            &["Instances-v2", "kumar_masks", "label study", "gt final"],
        );
        kinds(FolderKind::Images, &["images", "Tissue Images", "HE", "train_img", "raw"]);
        kinds(FolderKind::Results, &["overlay", "Overlays", "distance maps", "label overlay"]);
        kinds(
            FolderKind::Other,
            &[
                "GTEX",
                "GTEx",
                "gt450-scans",
                "Masked-out",
                "MoNuSegTestData",
                "siteA",
                "labelling",
                "",
            ],
        );
    }

    #[test]
    fn endings_of_other_programs_lead_to_the_image() {
        for (stem, names) in [
            ("a_mask", &["a"][..]),
            ("a_cp_masks", &["a_cp", "a"]),
            ("a-labelled", &["a"]),
            ("a b mask", &["a b"]),
            ("a.mask", &["a"]),
            ("a_inst_map", &["a"]),
            ("A_LABEL", &["A"]),
            ("cells_mask", &["cells", ""]),
            ("mask", &[""]),
            ("ü_gt", &["ü"]),
            ("a_map", &[]),
            ("unmask", &[]),
            ("a_masked", &[]),
            ("", &[]),
        ] {
            assert_eq!(labelled_names(stem), names, "{stem}");
        }
        assert_eq!(imaged_name("000_img"), Some("000"));
        assert_eq!(imaged_name("image"), Some(""));
        assert_eq!(imaged_name("000"), None);
        assert_eq!(imaged_name("img_1"), Some("1"));
        for (stem, name) in [
            ("mask_1", Some("1")),
            ("a_mask_1", Some("a_1")),
            ("a_mask (1)", Some("a (1)")),
            ("masked_1", None),
            ("a_mask", None),
        ] {
            assert_eq!(name_around_label(stem).as_deref(), name, "{stem}");
        }
        assert!(
            is_result_name("a_flows") && is_result_name("a.overlay") && !is_result_name("flow")
        );
    }
}
