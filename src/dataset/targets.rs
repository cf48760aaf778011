//! The class of every pixel of a tile, from its objects: what a network learns.

use std::collections::BTreeMap;

use super::tile::Tile;
use crate::error::{Error, Result};
use crate::model::{ClassRole, PixelClass};
use crate::raster::{LabelMap, Plane};

/// For each pixel the index of its class in a card's list.
pub type ClassMap = Plane<u8>;

/// The class of every pixel of `tile`: outside objects the background, inside the type of the
/// object, and where `classes` have a border, the border inside objects.
///
/// A pixel is border where its centre is nearer than `border_px` pixels to a pixel that is not of
/// the same object, be it background or another object. A straight edge gets a border of
/// `border_px` pixels. The edge of the image is no border.
///
/// Objects of tiles without types belong to the only class of nuclei. A class named `nucleus`, if
/// it is the only one, takes objects of every type.
///
/// # Errors
/// [`Error::Mismatch`] naming an object whose type is not among `classes`, or that has none where
/// several types are told apart.
pub fn class_targets(tile: &Tile, classes: &[PixelClass], border_px: f64) -> Result<ClassMap> {
    let object_classes = ObjectClasses::new(tile, classes)?;
    let mut targets = Plane::filled(tile.labels.width(), tile.labels.height(), 0);
    for row in 0..tile.labels.height() {
        let labels = tile.labels.row(row);
        // Neighbouring pixels mostly have the same label.
        let mut known = (0, 0);
        for (target, &label) in targets.row_mut(row).iter_mut().zip(labels) {
            if label != known.0 {
                known = (label, object_classes.of(label));
            }
            *target = known.1;
        }
    }
    if let Some(border) = class_with_role(classes, ClassRole::Border) {
        mark_borders(&tile.labels, border, border_px, &mut targets);
    }
    Ok(targets)
}

/// Gives the pixels of objects that are nearer than `border_px` to what is not of the same object
/// the class `border`.
pub(super) fn mark_borders(labels: &LabelMap, border: u8, border_px: f64, targets: &mut ClassMap) {
    let lengths = RowDistances::new(labels);
    for row in 0..targets.height() {
        for column in 0..targets.width() {
            if lengths.is_border(row, column, border_px) {
                targets.set(row, column, border);
            }
        }
    }
}

/// Index of the first class of a role.
pub(super) fn class_with_role(classes: &[PixelClass], role: ClassRole) -> Option<u8> {
    classes.iter().position(|class| class.role == role).and_then(|index| u8::try_from(index).ok())
}

/// Which class the pixels of each object have.
enum ObjectClasses {
    /// The same for every object.
    One(u8),
    /// By label.
    ByLabel(BTreeMap<u32, u8>),
}

impl ObjectClasses {
    fn new(tile: &Tile, classes: &[PixelClass]) -> Result<Self> {
        let is_nucleus = |class: &&PixelClass| class.role == ClassRole::Nucleus;
        let nuclei: Vec<&PixelClass> = classes.iter().filter(is_nucleus).collect();
        if let [only] = nuclei[..]
            && (tile.object_types.is_empty() || *only == PixelClass::named("nucleus"))
        {
            return Ok(Self::One(class_with_role(classes, ClassRole::Nucleus).unwrap_or(0)));
        }
        let mut by_label = BTreeMap::new();
        for label in tile.labels.labels() {
            let name = tile.object_types.get(&label);
            let class = name.and_then(|name| classes.iter().position(|class| class.name == *name));
            match class {
                Some(class) if classes[class].role == ClassRole::Nucleus => {
                    by_label.insert(label, class as u8);
                }
                _ => return Err(unknown_type(tile, label, &nuclei)),
            }
        }
        Ok(Self::ByLabel(by_label))
    }

    fn of(&self, label: u32) -> u8 {
        match self {
            _ if label == 0 => 0,
            Self::One(class) => *class,
            Self::ByLabel(classes) => classes.get(&label).copied().unwrap_or(0),
        }
    }
}

fn unknown_type(tile: &Tile, label: u32, nuclei: &[&PixelClass]) -> Error {
    let names: Vec<&str> = nuclei.iter().map(|class| class.name.as_str()).collect();
    let has = match tile.object_types.get(&label) {
        Some(name) => format!("is of the type '{name}'"),
        None => "has no type".to_owned(),
    };
    Error::mismatch(format!(
        "Object {label} of '{}' {has}; the model tells apart: {}. 'train --types nucleus' takes \
         all as one type",
        tile.name,
        names.join(", ")
    ))
}

/// Distances along rows, from which distances in the plane follow.
struct RowDistances<'a> {
    labels: &'a LabelMap,
    /// Pixels to the nearest one of the row that has another label; none where the whole row has
    /// the same.
    in_row: Plane<Option<u32>>,
}

impl<'a> RowDistances<'a> {
    fn new(labels: &'a LabelMap) -> Self {
        let mut in_row = Plane::filled(labels.width(), labels.height(), None);
        for row in 0..labels.height() {
            let lengths = in_row.row_mut(row);
            let mut start = 0;
            for run in labels.row(row).chunk_by(|a, b| a == b) {
                let end = start + run.len();
                for column in start..end {
                    let left = (start > 0).then_some(column + 1 - start);
                    let right = (end < lengths.len()).then_some(end - column);
                    let nearest = left.into_iter().chain(right).min();
                    lengths[column] = nearest.map(|pixels| pixels as u32);
                }
                start = end;
            }
        }
        Self { labels, in_row }
    }

    /// Whether an object's pixel is nearer than `width_px` to a pixel that is not of the object.
    /// Looks at as many rows as are nearer.
    fn is_border(&self, row: usize, column: usize, width_px: f64) -> bool {
        let label = self.labels.get(row, column);
        if label == 0 {
            return false;
        }
        let height = self.labels.height();
        self.is_border_towards((0..=row).rev(), column, label, width_px)
            || self.is_border_towards(row..height, column, label, width_px)
    }

    /// The same, for the pixels of `rows`, nearest row first.
    fn is_border_towards(
        &self,
        rows: impl Iterator<Item = usize>,
        column: usize,
        label: u32,
        width_px: f64,
    ) -> bool {
        for (steps, row) in rows.enumerate() {
            let down = to_edge(steps);
            if down >= width_px {
                return false;
            }
            // Behind a pixel of something else every other one is farther away.
            if self.labels.get(row, column) != label {
                return true;
            }
            if let Some(steps) = self.in_row.get(row, column) {
                let across = to_edge(steps as usize);
                if down * down + across * across < width_px * width_px {
                    return true;
                }
            }
        }
        false
    }
}

/// Distance along an axis from the centre of a pixel to the edge of the pixel so many steps away.
fn to_edge(steps: usize) -> f64 {
    (steps as f64 - 0.5).max(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataset::phantom;

    fn tile(width: usize, labels: Vec<u32>) -> Tile {
        let height = labels.len() / width;
        let labels = Plane::from_vec(width, height, labels).expect("labels");
        Tile { labels, ..phantom::tile(8, 8, 1) }
    }

    fn with_border() -> Vec<PixelClass> {
        PixelClass::of_nuclei(&[], true)
    }

    /// The definition: all pairs of pixels.
    fn by_definition(labels: &LabelMap, width_px: f64) -> Vec<u8> {
        let mut classes = Vec::new();
        let pixels = labels.width() * labels.height();
        for here in 0..pixels {
            let label = labels.data()[here];
            let mut nearest = f64::INFINITY;
            for there in (0..pixels).filter(|&there| labels.data()[there] != label) {
                let down = (here / labels.width()).abs_diff(there / labels.width());
                let across = (here % labels.width()).abs_diff(there % labels.width());
                nearest = nearest.min(to_edge(down).hypot(to_edge(across)));
            }
            classes.push(match label {
                0 => 0,
                _ if nearest < width_px => 2,
                _ => 1,
            });
        }
        classes
    }

    proptest! {
        #[test]
        fn borders_follow_their_definition(
            width in 1usize..14,
            blocks in proptest::collection::vec(0u32..4, 1..40),
            side in 1usize..5,
            tenths in 1u32..60,
        ) {
            // Blocks of side × side pixels, so that objects have an inside.
            let columns = width.div_ceil(side);
            let height = (blocks.len() / columns).max(1) * side;
            let mut labels = Vec::new();
            for row in 0..height {
                for column in 0..width {
                    labels.push(blocks[(row / side * columns + column / side) % blocks.len()]);
                }
            }
            let tile = tile(width, labels);
            // No distance is a multiple of 0.1 and 0.03 more.
            let width_px = f64::from(tenths) / 10.0 + 0.03;
            let found = class_targets(&tile, &with_border(), width_px).expect("classes");
            prop_assert_eq!(found.data(), by_definition(&tile.labels, width_px));
        }
    }

    #[test]
    fn a_straight_edge_has_a_border_of_its_width_and_the_images_edge_has_none() {
        let tile = tile(9, vec![0, 7, 7, 7, 7, 7, 9, 9, 9]);
        let classes = class_targets(&tile, &with_border(), 2.0).expect("classes");
        assert_eq!(classes.data(), [0, 2, 2, 1, 2, 2, 2, 2, 1]);
        let classes = class_targets(&tile, &PixelClass::background_and_nucleus(), 2.0);
        assert_eq!(classes.expect("classes").data(), [0, 1, 1, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn objects_have_the_class_of_their_type() {
        let mut tile = tile(5, vec![0, 3, 3, 8, 8]);
        let types = ["round".to_owned(), "long".to_owned()];
        let classes = PixelClass::of_nuclei(&types, true);
        tile.object_types = BTreeMap::from([(3, "long".into()), (8, "round".into())]);
        let targets = class_targets(&tile, &classes, 0.1).expect("classes");
        assert_eq!(targets.data(), [0, 2, 2, 1, 1]);
        // The model without types takes them all.
        let targets = class_targets(&tile, &with_border(), 0.1).expect("classes");
        assert_eq!(targets.data(), [0, 1, 1, 1, 1]);

        tile.object_types.insert(8, "square".into());
        let message = class_targets(&tile, &classes, 0.1).expect_err("unknown").to_string();
        assert!(message.contains("Object 8") && message.contains("'square'"), "{message}");
        assert!(message.contains("round, long"), "{message}");
        tile.object_types.remove(&8);
        assert!(class_targets(&tile, &classes, 0.1).is_err(), "no type");
        tile.object_types.insert(8, "border".into());
        assert!(class_targets(&tile, &classes, 0.1).is_err(), "no class of nuclei");
    }
}
