//! An image with marks as a model reads it: only what lies around the marks.

use crate::dataset::{LabelScale, SparseLabels, SparseTargets};
use crate::engine::Block;
use crate::error::{Error, Result, counted, listed};
use crate::model::Model;
use crate::raster::{Padding, PixelGrid, RgbImage, StainLut, StainMatching, StainStatistics};
use crate::train::{TaughtImage, TeachWindow, teach_windows, with_nucleus_types};
use crate::whole_slide::Sampling;

/// Width of the border of nuclei where a model has the class and states no width, micrometres.
const BORDER_UM: f64 = 0.75;
/// Most types that a message names.
const MAX_NAMED: usize = 5;

/// An image with marks, of which the parts around the marks are read.
#[derive(Debug, Clone)]
pub struct MarkedImage {
    /// For the model's card.
    pub name: String,
    /// SHA-256 of the image's file, hexadecimal; empty where it is not known.
    pub sha256: String,
    /// Those that lie inside the image.
    pub labels: SparseLabels,
    /// Pixel size of the finest level, micrometres.
    pub mpp_um: f64,
    /// Marks that lie outside the image and were left out.
    pub outside: usize,
    /// Pixels of the finest level that one of the model's spans.
    scale: f64,
    windows: Vec<TeachWindow>,
    pixels: Vec<RgbImage>,
}

/// A part of a marked image.
#[derive(Debug, Clone, Copy)]
pub struct MarkedWindow<'a> {
    of: &'a MarkedImage,
    window: TeachWindow,
    /// As the network reads it.
    pub pixels: &'a RgbImage,
}

impl MarkedImage {
    /// Plans which parts are read. Pixels are added by [`Self::add_pixels`].
    ///
    /// # Errors
    /// [`Error::Mismatch`] where all marks lie outside; those of [`teach_windows`].
    pub fn plan(mut labels: SparseLabels, sampling: &Sampling, mpp_um: f64) -> Result<Self> {
        let (width, height) = (sampling.width(), sampling.height());
        let scale = sampling.scale;
        let grid = PixelGrid { left: 0.0, top: 0.0, step: scale, width, height };
        let all = labels.marks.len();
        let outside = labels.keep_inside(&grid, mpp_um);
        if outside == all {
            return Err(Error::mismatch(
                "All marks lie outside the image; do they belong together? Coordinates are pixels \
                 of the finest level",
            ));
        }
        let windows = teach_windows(&labels, scale, width, height)?;
        let (name, sha256) = (String::new(), String::new());
        Ok(Self { name, sha256, labels, mpp_um, outside, scale, windows, pixels: Vec::new() })
    }

    /// The parts to be read, in pixels of the model.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + use<> {
        let blocks: Vec<Block> = self.windows.iter().map(|window| window.block).collect();
        blocks.into_iter()
    }

    /// Adds the pixels of the next part, in the colours that the network reads.
    pub fn add_pixels(&mut self, pixels: RgbImage) {
        self.pixels.push(pixels);
    }

    /// Adds the pixels of all parts of an image in memory: its padding is filled, and its stain,
    /// measured on the whole, is matched.
    ///
    /// # Errors
    /// None in practice.
    pub fn add_pixels_of(
        &mut self,
        image: RgbImage,
        sampling: &Sampling,
        stain: &StainMatching,
    ) -> Result<()> {
        let (width, height) = (sampling.width(), sampling.height());
        let everything = Block { row: 0, column: 0, width, height };
        let mut whole = sampling.apply(image, everything)?;
        let stain_lut = stain.lut(StainStatistics::of([&whole]));
        if let Some(padding) = Padding::of(&whole) {
            whole = padding.filled(&whole);
        }
        for Block { row, column, width, height } in self.blocks() {
            let part = whole.crop(row, column, width, height);
            self.add_pixels(with_colours(part, stain_lut.as_ref()));
        }
        Ok(())
    }

    /// Reads the pixels of all parts of a slide that was prepared for segmentation.
    ///
    /// # Errors
    /// Those of the source.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_pixels(
        &mut self,
        source: &dyn crate::whole_slide::PixelSource,
        job: &crate::whole_slide::SlideJob,
    ) -> Result<()> {
        for block in self.blocks() {
            let sampling = job.sampling();
            let pixels = sampling.apply(source.read(sampling.request(block))?, block)?;
            self.add_pixels(with_colours(pixels, job.stain_lut()));
        }
        Ok(())
    }

    /// The parts that were read.
    pub fn windows(&self) -> impl Iterator<Item = MarkedWindow<'_>> {
        let windows = self.windows.iter().zip(&self.pixels);
        windows.map(|(window, pixels)| MarkedWindow { of: self, window: *window, pixels })
    }

    /// As a model learns from it.
    ///
    /// # Errors
    /// Those of [`SparseLabels::draw`].
    pub fn taught(&self, model: &Model) -> Result<Vec<TaughtImage>> {
        let mut images = Vec::with_capacity(self.windows.len());
        for window in self.windows() {
            images.push(TaughtImage {
                name: self.name.clone(),
                sha256: self.sha256.clone(),
                targets: window.targets(&self.labels, model)?,
                image: window.pixels.clone(),
                inside: window.window.inside,
            });
        }
        Ok(images)
    }
}

impl MarkedWindow<'_> {
    /// Marks, such as those of the image, as classes of a model.
    ///
    /// # Errors
    /// Those of [`SparseLabels::draw`].
    pub fn targets(&self, labels: &SparseLabels, model: &Model) -> Result<SparseTargets> {
        let MarkedImage { scale, mpp_um, .. } = *self.of;
        let Block { row, column, width, height } = self.window.block;
        let grid = PixelGrid {
            left: column as f64 * scale,
            top: row as f64 * scale,
            step: scale,
            width,
            height,
        };
        let card = model.card();
        let scale = LabelScale {
            classes: &card.classes,
            mpp_um,
            border_um: card.border_um.unwrap_or(BORDER_UM),
        };
        labels.draw(&grid, &scale)
    }
}

/// In the colours that the network reads.
fn with_colours(image: RgbImage, stain: Option<&StainLut>) -> RgbImage {
    match stain {
        Some(lut) => lut.apply(&image),
        None => image,
    }
}

/// The model with the types of nuclei that marks name and it does not know, and their names.
///
/// # Errors
/// [`Error::Invalid`] for more types than a network tells apart.
pub fn with_types_of<'a>(
    model: Model,
    labels: impl IntoIterator<Item = &'a SparseLabels>,
) -> Result<(Model, Vec<String>)> {
    let classes = &model.card().classes;
    let mut added: Vec<String> = Vec::new();
    for name in labels.into_iter().flat_map(SparseLabels::types) {
        let mut known = classes.iter().map(|class| &class.name).chain(&added);
        if !known.any(|known| known.eq_ignore_ascii_case(&name)) {
            added.push(name);
        }
    }
    if added.is_empty() {
        return Ok((model, added));
    }
    let extended = with_nucleus_types(&model, &added).map_err(|error| {
        Error::invalid(format!(
            "The model cannot learn {}: {}",
            counted(added.len(), "new type of nuclei", "new types of nuclei"),
            listed(&added, MAX_NAMED)
        ))
        .caused_by(error)
    })?;
    Ok((extended, added))
}
