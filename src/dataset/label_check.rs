//! Whether a label map looks like one of objects: every label one connected part. Class maps (one
//! value a tissue type) and grey masks do not; a mask of one value is separated into objects.

use crate::error::Warnings;
use crate::raster::{LabelMap, Plane, RgbImage, label_components};

/// Mean number of parts of a label from which on the labels are no objects. In label maps of nuclei
/// it is below 1.01.
const MAX_PARTS: f64 = 3.0;
/// Share of labels in several parts, or surrounded by other labels, from which on the labels are no
/// objects.
const MAX_SHARE: f64 = 0.5;
/// Fewest labels of a grey mask.
const MIN_GREYS: usize = 20;
/// Share of a label's pixels that touch other labels from which on it counts as surrounded.
const SURROUNDED: f64 = 0.8;
/// Share of the tile from which on a single label is hardly a nucleus.
const LARGE_LABEL: f64 = 0.6;
/// Share of the tile from which on the labels are hardly nuclei.
const LARGE_FOREGROUND: f64 = 0.9;
/// Largest number of 8 bits.
const LARGEST_OF_8_BITS: u32 = 255;
/// Share of labels in several parts from which on numbers were lost. In label maps of nuclei it is
/// about 0.01.
const LOST_SHARE: f64 = 0.05;
/// Parts of the largest label from which on it is no nucleus, where the other labels have one.
const MANY_PARTS: u64 = 10;
/// Least share of pairs of a labelled and an unlabelled pixel in which the labelled one is darker.
/// Labels that do not belong to the image have 0.5 on average, those of good tiles 0.7 to 1.
const LEAST_DARKER: f64 = 0.6;
/// Fewest labelled and unlabelled pixels that are compared.
const MIN_COMPARED_PX: u64 = 500;

/// Counts of one label.
#[derive(Debug, Clone, Copy, Default)]
struct LabelStatistics {
    pixels: u64,
    /// 8-connected.
    parts: u64,
    /// Pixels with a pixel of another label among their four neighbours.
    touching: u64,
}

/// The objects of a label map: of a mask, which has a single value besides 0, the connected parts,
/// with a note where there are several.
///
/// ```
/// use prunella::dataset::mask_as_objects;
/// use prunella::error::Warnings;
/// use prunella::raster::Plane;
///
/// # fn main() -> prunella::error::Result<()> {
/// let mask = Plane::from_vec(5, 1, vec![255, 255, 0, 0, 255])?;
/// let mut notes = Warnings::default();
/// assert_eq!(mask_as_objects(mask, &mut notes).data(), [1, 1, 0, 0, 2]);
/// assert_eq!(notes.notes.len(), 1);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn mask_as_objects(labels: LabelMap, notes: &mut Warnings) -> LabelMap {
    let value = labels.data().iter().copied().max().unwrap_or(0);
    if labels.data().iter().any(|&label| label != 0 && label != value) {
        return labels;
    }
    let parts = label_components(&labels.foreground());
    let count = parts.data().iter().copied().max().unwrap_or(0);
    if count <= 1 {
        return labels;
    }
    notes.note(format!("The labels are a mask; its {count} connected parts are taken as nuclei"));
    parts
}

/// Why a label map is unsuitable for objects and for training, and the way out, as two sentences;
/// `None` for label maps of objects.
#[must_use]
pub fn label_defect(labels: &LabelMap) -> Option<String> {
    let statistics = statistics(labels);
    let count = statistics.len();
    if count < 2 {
        return None;
    }
    let mut parts = 0;
    let mut divided = 0usize;
    let mut surrounded = 0usize;
    for label in &statistics {
        parts += label.parts;
        divided += usize::from(label.parts > 1);
        surrounded += usize::from(label.touching as f64 > SURROUNDED * label.pixels as f64);
    }
    let share = |labels: usize| labels as f64 / count as f64;
    let is_divided = parts as f64 / count as f64 >= MAX_PARTS && share(divided) > MAX_SHARE;
    let is_grey = count >= MIN_GREYS && share(surrounded) > MAX_SHARE;
    if is_grey {
        return Some(format!(
            "The labels look like a grey or blurred mask: {count} values, most of them only beside \
             other values. Give a mask of two values or a label map with one value a nucleus"
        ));
    }
    is_divided.then(|| {
        format!(
            "The labels look like classes, not nuclei: {count} values in {parts} separate parts. \
             Give a label map with one value a nucleus, or a mask of two values, whose connected \
             parts are counted"
        )
    })
}

/// A sentence when numbers seem to have been lost on the way, as when a label map of more than 255
/// nuclei is saved with 8 bits, or when the largest label is no nucleus.
#[must_use]
pub fn lost_numbers_note(labels: &LabelMap) -> Option<String> {
    let largest = labels.data().iter().copied().max().unwrap_or(0);
    if largest < LARGEST_OF_8_BITS {
        return None;
    }
    let statistics = statistics(labels);
    let divided = statistics.iter().filter(|label| label.parts > 1).count();
    let share = divided as f64 / statistics.len() as f64;
    if largest == LARGEST_OF_8_BITS && statistics.len() == 255 && share >= LOST_SHARE {
        return Some(format!(
            "The labels end at 255, and {divided} of them lie in several parts: numbers above 255 \
             seem to have been lost, so that nuclei share a number. Save the labels with 16 bits"
        ));
    }
    let (last, others) = statistics.split_last()?;
    let divided = others.iter().filter(|label| label.parts > 1).count();
    let is_alone = others.len() > 1 && (divided as f64) < LOST_SHARE * others.len() as f64;
    let last_parts = last.parts;
    (is_alone && last_parts >= MANY_PARTS).then(|| {
        format!(
            "The label {largest} lies in {last_parts} parts, and the others in one: it looks like \
             a border, a value for 'ignore' or cut-off numbers, and counts as one nucleus. Set it \
             to 0 if it is none"
        )
    })
}

/// A sentence when the labels do not lie on darker places, as nuclei do: red light is absorbed by
/// haematoxylin most.
pub(super) fn place_note(labels: &LabelMap, image: &RgbImage) -> Option<String> {
    let mut inside = [0u64; 256];
    let mut outside = [0u64; 256];
    for (&label, pixel) in labels.data().iter().zip(image.data()) {
        let counts = if label > 0 { &mut inside } else { &mut outside };
        counts[usize::from(pixel[0])] += 1;
    }
    let (labelled, others) = (inside.iter().sum::<u64>(), outside.iter().sum::<u64>());
    let is_uniform = (0..256).filter(|&value| inside[value] + outside[value] > 0).count() < 2;
    if labelled.min(others) < MIN_COMPARED_PX || is_uniform {
        return None;
    }
    // Of pairs of equal values half count (the statistic of Mann and Whitney).
    let mut darker = 0.0;
    let mut brighter_others = others as f64;
    for value in 0..256 {
        brighter_others -= outside[value] as f64;
        darker += inside[value] as f64 * (brighter_others + outside[value] as f64 / 2.0);
    }
    let share = darker / (labelled as f64 * others as f64);
    (share < LEAST_DARKER).then(|| {
        format!(
            "The labels do not lie on darker places, as nuclei do: a labelled pixel is darker than \
             another one in {:.0} % of pairs, and by chance in 50 %. Are they transposed, \
             mirrored, shifted or those of another image?",
            share * 100.0
        )
    })
}

/// Sentences about labels that cover so much of the tile that they are hardly nuclei.
pub(super) fn coverage_notes(labels: &LabelMap) -> Vec<String> {
    let all = labels.data().len() as f64;
    let mut covered = 0;
    let mut largest = 0;
    for label in statistics(labels) {
        covered += label.pixels;
        largest = largest.max(label.pixels);
    }
    let percent = |pixels: u64| 100.0 * pixels as f64 / all;
    if largest as f64 > LARGE_LABEL * all {
        return vec![format!(
            "One label covers {:.0} % of the tile; is it a region, the background, or an inverted \
             mask?",
            percent(largest)
        )];
    }
    if covered as f64 > LARGE_FOREGROUND * all {
        return vec![format!(
            "The labels cover {:.0} % of the tile; are they nuclei?",
            percent(covered)
        )];
    }
    Vec::new()
}

/// Of every label, in the order of their numbers.
fn statistics(labels: &LabelMap) -> Vec<LabelStatistics> {
    let (labels, count) = labels.renumbered();
    let mut statistics = vec![LabelStatistics::default(); count as usize + 1];
    let (width, height) = (labels.width(), labels.height());
    let mut visited = Plane::filled(width, height, false);
    let mut stack = Vec::new();
    for start in 0..width * height {
        let label = labels.data()[start];
        if label == 0 || visited.data()[start] {
            continue;
        }
        statistics[label as usize].parts += 1;
        visited.data_mut()[start] = true;
        stack.push(start);
        while let Some(pixel) = stack.pop() {
            let (row, column) = (pixel / width, pixel % width);
            let mut is_touching = false;
            for r in row.saturating_sub(1)..(row + 2).min(height) {
                for c in column.saturating_sub(1)..(column + 2).min(width) {
                    let neighbour = labels.get(r, c);
                    if neighbour == label {
                        if !visited.get(r, c) {
                            visited.set(r, c, true);
                            stack.push(r * width + c);
                        }
                    } else if neighbour != 0 && (r == row || c == column) {
                        is_touching = true;
                    }
                }
            }
            let of_label = &mut statistics[label as usize];
            of_label.pixels += 1;
            of_label.touching += u64::from(is_touching);
        }
    }
    statistics.remove(0);
    statistics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::phantom;

    fn map(width: usize, height: usize, value: impl Fn(usize, usize) -> u32) -> LabelMap {
        let values = (0..width * height).map(|i| value(i / width, i % width)).collect();
        Plane::from_vec(width, height, values).expect("plane")
    }

    #[test]
    fn objects_are_suitable_even_where_some_are_in_parts() {
        let (_, labels) = phantom(120, 120, 4);
        assert_eq!(label_defect(&labels), None);
        assert!(coverage_notes(&labels).is_empty());
        let dots =
            map(60, 60, |r, c| if r % 3 == 0 && c % 3 == 0 { (r * 60 + c) as u32 } else { 0 });
        assert_eq!(label_defect(&dots), None, "labels of one pixel");
        let two_parts =
            map(60, 60, |r, c| if r % 6 < 3 && c % 6 < 3 { (c / 12 + 1) as u32 } else { 0 });
        assert!(label_defect(&two_parts).is_some(), "every label in 20 parts");
        let packed = map(80, 80, |r, c| ((r / 8) * 10 + c / 8 + 1) as u32);
        assert_eq!(label_defect(&packed), None, "nuclei that touch everywhere");
        assert!(coverage_notes(&packed)[0].contains("100 %"));
    }

    #[test]
    fn class_maps_and_grey_masks_are_not() {
        let (_, nuclei) = phantom(320, 320, 4);
        let classes = nuclei.map(|label| if label == 0 { 0 } else { label % 4 + 1 });
        assert!(label_defect(&classes).expect("classes").contains("classes"));
        // A blurred mask: values fall with the distance from the centre of a cell.
        let grey = map(160, 160, |r, c| {
            let distance = ((r % 40) as f64 - 20.0).hypot((c % 40) as f64 - 20.0);
            (255.0 * (1.0 - (distance - 8.0) / 8.0).clamp(0.0, 1.0)) as u32
        });
        assert!(label_defect(&grey).expect("grey").contains("grey"));
        // One soft disc: rings inside each other, each in one part.
        let soft = map(120, 120, |r, c| {
            let distance = (r as f64 - 60.0).hypot(c as f64 - 60.0);
            (200.0 * (1.0 - distance / 55.0).clamp(0.0, 1.0)) as u32
        });
        assert!(label_defect(&soft).expect("soft").contains("grey"));
    }

    #[test]
    fn numbers_that_do_not_fit_are_told() {
        // 400 nuclei of 3 pixels a side.
        let all =
            map(
                100,
                100,
                |r, c| {
                    if r % 5 < 3 && c % 5 < 3 { (r / 5 * 20 + c / 5 + 1) as u32 } else { 0 }
                },
            );
        assert_eq!(lost_numbers_note(&all), None);
        let wrapped = lost_numbers_note(&all.map(|label| label % 256));
        assert!(wrapped.expect("wrapped").contains("16 bits"));
        let cut = all.map(|label| label.min(255));
        assert!(lost_numbers_note(&cut).expect("cut off").contains("146 parts"));
        let few =
            all.map(|label| if label > 300 { 255 } else { label.min(20) * u32::from(label < 20) });
        assert!(lost_numbers_note(&few).expect("ignored").contains("100 parts"));
    }

    #[test]
    fn labels_of_another_place_are_told() {
        let (image, labels) = phantom(200, 200, 4);
        assert_eq!(place_note(&labels, &image), None);
        let mut transposed = labels.clone();
        for row in 0..200 {
            for column in 0..200 {
                transposed.set(row, column, labels.get(column, row));
            }
        }
        assert!(place_note(&transposed, &image).expect("transposed").contains("transposed"));
    }

    #[test]
    fn one_label_over_most_of_the_tile_is_noted() {
        let region = map(50, 50, |r, _| u32::from(r > 5) * 7);
        assert!(coverage_notes(&region)[0].contains("One label covers"));
        assert!(coverage_notes(&map(50, 50, |_, _| 0)).is_empty());
    }
}
