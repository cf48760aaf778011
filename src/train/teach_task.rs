//! What is taught, as one value: a job that owns its parts, and as bytes for workers.

use serde::{Deserialize, Serialize};

use super::teach::{TaughtImage, TeachJob};
use super::teach_recipe::TeachRecipe;
use super::teach_squares::AnswerBefore;
use crate::dataset::{ClassMap, SparseTargets};
use crate::engine::Block;
use crate::error::{Error, Result};
use crate::model::{Architecture, Array, Card, Graph, Head, Model, PixelClass, Weights};
use crate::platform::packed_bytes::{ByteReader, ByteWriter};
use crate::raster::{LabelMap, Plane, RgbImage};

/// First bytes; the last digit is the version.
const MAGIC: &[u8; 8] = b"PRTEACH1";

/// A job that owns its parts.
#[derive(Debug, Clone)]
pub struct TeachTask {
    /// The model before. As bytes it keeps of its card what learning needs: classes and head.
    pub start: Model,
    /// Images with marks.
    pub images: Vec<TaughtImage>,
    /// Images without marks, of tissue that the model must not forget.
    pub rehearsal: Vec<RgbImage>,
    /// Every number that decides the result.
    pub recipe: TeachRecipe,
    /// What the model says of the images, those with marks first; none where it is to be asked.
    pub before: Option<Vec<AnswerBefore>>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    recipe: TeachRecipe,
    architecture: Architecture,
    classes: Vec<PixelClass>,
    head: Head,
    images: usize,
    rehearsal: usize,
    has_answers: bool,
}

#[derive(Serialize, Deserialize)]
struct ImageHeader {
    name: String,
    sha256: String,
    width: usize,
    height: usize,
    /// Row, column, width, height.
    inside: [usize; 4],
    parts: u32,
}

impl TeachTask {
    /// As [`TeachRun`](super::TeachRun) takes it.
    #[must_use]
    pub fn job(&self) -> TeachJob<'_> {
        let Self { start, images, rehearsal, recipe, before } = self;
        TeachJob { start, images, rehearsal, recipe, before: before.as_deref() }
    }

    /// As bytes; [`Self::from_bytes`] gives it back.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = ByteWriter(MAGIC.to_vec());
        let card = self.start.card();
        let header = Header {
            recipe: self.recipe.clone(),
            architecture: card.architecture.clone(),
            classes: card.classes.clone(),
            head: card.head,
            images: self.images.len(),
            rehearsal: self.rehearsal.len(),
            has_answers: self.before.is_some(),
        };
        put_json(&mut writer, &header)?;
        for array in self.start.weights().values() {
            writer.put_bytes(bytemuck::cast_slice(&array.data));
        }
        for TaughtImage { name, sha256, image, targets, inside } in &self.images {
            let header = ImageHeader {
                name: name.clone(),
                sha256: sha256.clone(),
                width: image.width(),
                height: image.height(),
                inside: [inside.row, inside.column, inside.width, inside.height],
                parts: targets.count,
            };
            put_json(&mut writer, &header)?;
            writer.put_bytes(image.data().as_flattened());
            writer.put_bytes(targets.classes.data());
            put_parts(&mut writer, &targets.parts);
        }
        for image in &self.rehearsal {
            writer.put_u32(image.width());
            writer.put_u32(image.height());
            writer.put_bytes(image.data().as_flattened());
        }
        for plane in self.before.iter().flatten().flatten() {
            writer.put_bytes(plane.data());
        }
        Ok(writer.0)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Malformed`] for other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let rest = bytes.strip_prefix(MAGIC);
        let mut reader =
            ByteReader(rest.ok_or_else(|| Error::malformed("This is no task of teaching"))?);
        let header: Header = json(&mut reader)?;
        let start = model(&header, &mut reader)?;
        let Header { recipe, images: image_count, rehearsal: rehearsal_count, .. } = header;
        let mut images = Vec::new();
        for _ in 0..image_count {
            images.push(image(&mut reader)?);
        }
        let mut rehearsal = Vec::new();
        for _ in 0..rehearsal_count {
            let (width, height) = (reader.u32()?, reader.u32()?);
            rehearsal.push(rgb(&mut reader, width, height)?);
        }
        let mut before = None;
        if header.has_answers {
            let classes = start.card().classes.len().saturating_sub(1);
            let mut all = Vec::new();
            for image in images.iter().map(|image| &image.image).chain(&rehearsal) {
                let mut planes = Vec::with_capacity(classes);
                for _ in 0..classes {
                    let values = reader.bytes()?.to_vec();
                    planes.push(Plane::from_vec(image.width(), image.height(), values)?);
                }
                all.push(planes);
            }
            before = Some(all);
        }
        reader.finish()?;
        Ok(Self { start, images, rehearsal, recipe, before })
    }
}

/// The network with its weights, and what learning needs of its card.
fn model(header: &Header, reader: &mut ByteReader<'_>) -> Result<Model> {
    header.architecture.validate()?;
    let mut card = Card::new(header.architecture.clone());
    card.classes.clone_from(&header.classes);
    card.head = header.head;
    let mut specs = Graph::new(&header.architecture).arrays();
    specs.sort_by(|a, b| a.name.cmp(&b.name));
    let mut weights = Weights::new();
    for spec in specs {
        let (values, _) = reader.bytes()?.as_chunks::<4>();
        let values = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
        weights.insert(spec.name, Array::new(spec.shape, values)?);
    }
    Model::new(card, weights)
}

fn image(reader: &mut ByteReader<'_>) -> Result<TaughtImage> {
    let ImageHeader { name, sha256, width, height, inside, parts: count } = json(reader)?;
    let image = rgb(reader, width, height)?;
    let classes: ClassMap = Plane::from_vec(width, height, reader.bytes()?.to_vec())?;
    let parts = parts(reader, width, height, count)?;
    let [row, column, inside_width, inside_height] = inside;
    let nuclei = Plane::filled(width, height, 0);
    Ok(TaughtImage {
        name,
        sha256,
        image,
        targets: SparseTargets { classes, parts, count, nuclei },
        inside: Block { row, column, width: inside_width, height: inside_height },
    })
}

/// The pixels that belong to a part, each with its number; most belong to none.
fn put_parts(writer: &mut ByteWriter, parts: &LabelMap) {
    let marked = parts.data().iter().filter(|part| **part > 0).count();
    writer.put_u32(marked);
    for (pixel, &part) in parts.data().iter().enumerate() {
        if part > 0 {
            writer.put_u32(pixel);
            writer.put_u32(part as usize);
        }
    }
}

fn parts(reader: &mut ByteReader<'_>, width: usize, height: usize, count: u32) -> Result<LabelMap> {
    let wrong = || Error::malformed("A task of teaching has parts of marks that are none");
    let mut parts: LabelMap = Plane::filled(width, height, 0);
    let marked = reader.count(8)?;
    if count as usize > marked {
        return Err(wrong());
    }
    for _ in 0..marked {
        let (pixel, part) = (reader.u32()?, reader.u32()?);
        let place = parts.data_mut().get_mut(pixel).ok_or_else(wrong)?;
        *place = u32::try_from(part).ok().filter(|part| *part <= count).ok_or_else(wrong)?;
    }
    Ok(parts)
}

fn rgb(reader: &mut ByteReader<'_>, width: usize, height: usize) -> Result<RgbImage> {
    let (pixels, _) = reader.bytes()?.as_chunks::<3>();
    Plane::from_vec(width, height, pixels.to_vec())
}

fn put_json(writer: &mut ByteWriter, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value)
        .map_err(|e| Error::malformed("A task of teaching cannot be written").caused_by(e))?;
    writer.put_bytes(&text);
    Ok(())
}

fn json<T: for<'a> Deserialize<'a>>(reader: &mut ByteReader<'_>) -> Result<T> {
    serde_json::from_slice(reader.bytes()?)
        .map_err(|e| Error::malformed("A task of teaching cannot be read").caused_by(e))
}

#[cfg(test)]
mod tests {
    use super::super::teach::TeachRun;
    use super::super::teach_squares::class_bytes;
    use super::*;
    use crate::dataset::{LabelMark, LabelScale, SparseLabels, phantom};
    use crate::engine::{Control, SegmentOptions, segment};
    use crate::model::dcnn;
    use crate::raster::{PixelGrid, Point};

    fn task() -> TeachTask {
        let start = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let corners = [(8.0, 8.0), (40.0, 8.0), (40.0, 40.0), (8.0, 40.0)];
        let ring = corners.map(|(x, y)| Point { x, y }).to_vec();
        let points = vec![Point { x: 60.0, y: 10.0 }, Point { x: 60.0, y: 80.0 }];
        let labels = SparseLabels {
            marks: vec![
                LabelMark::Nucleus { class: None, polygons: vec![vec![ring]] },
                LabelMark::Stroke { class: "background".to_owned(), width_um: 2.0, points },
            ],
        };
        let grid = PixelGrid { left: 0.0, top: 0.0, step: 1.0, width: 96, height: 96 };
        let scale = LabelScale { classes: &start.card().classes, mpp_um: 0.25, border_um: 0.75 };
        let images = vec![TaughtImage {
            name: "phantom".to_owned(),
            sha256: "00".to_owned(),
            image: phantom::tile(96, 96, 1).image,
            targets: labels.draw(&grid, &scale).expect("targets"),
            inside: Block { row: 0, column: 0, width: 96, height: 96 },
        }];
        let recipe = TeachRecipe { steps: 3, squares: 70, square_px: 8, ..TeachRecipe::DEFAULT };
        let rehearsal = vec![phantom::tile(64, 64, 3).image];
        TeachTask { start, images, rehearsal, recipe, before: None }
    }

    fn with_answers(task: &TeachTask) -> TeachTask {
        let mut before = Vec::new();
        for image in task.images.iter().map(|image| &image.image).chain(&task.rehearsal) {
            let (options, control) = (SegmentOptions::default(), Control::default());
            let maps = segment(&task.start, image, options, &control).expect("maps");
            before.push(class_bytes(&task.start, &maps));
        }
        TeachTask { before: Some(before), ..task.clone() }
    }

    #[test]
    fn a_task_comes_back_from_its_bytes_and_cut_ones_are_refused() {
        let task = with_answers(&task());
        let bytes = task.to_bytes().expect("bytes");
        let read = TeachTask::from_bytes(&bytes).expect("task");
        assert_eq!(read.to_bytes().expect("bytes"), bytes);
        assert_eq!(read.images[0].targets.parts, task.images[0].targets.parts);
        assert_eq!(read.recipe, task.recipe);
        assert_eq!(read.start.weights(), task.start.weights());
        assert_eq!(read.before, task.before);
        for len in (0..bytes.len()).step_by(997) {
            assert!(TeachTask::from_bytes(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn groups_computed_apart_teach_what_one_run_teaches() {
        let task = task();
        let mut whole = TeachRun::begin(task.job()).expect("run");
        // As workers have it: from bytes, with what the model said before.
        let bytes = with_answers(&task).to_bytes().expect("bytes");
        let read = TeachTask::from_bytes(&bytes).expect("task");
        let mut apart = [(); 2].map(|()| TeachRun::begin(read.job()).expect("run"));
        assert_eq!(whole.groups(), 3);
        while !whole.is_done() {
            let step = whole.step().expect("step");
            let groups: Vec<Vec<f32>> =
                (0..3).map(|group| apart[group % 2].group_gradients(group)).collect();
            let groups: Vec<&[f32]> = groups.iter().map(Vec::as_slice).collect();
            for run in &mut apart {
                let own = run.step_by_groups(&groups).expect("step");
                assert!((own.loss - step.loss).abs() < 1e-6);
            }
        }
        assert!(apart[0].step_by_groups(&[&[0.0]]).is_err());
        let taught = whole.finish().expect("model").model;
        for run in apart {
            let weights = run.finish_weights().expect("weights");
            let names = [("phantom", "00")];
            let own = weights.into_model(&task.start, names, &task.recipe).expect("model").model;
            assert_eq!(own, taught);
        }
        assert_ne!(taught.weights(), task.start.weights());
    }
}
