//! From probabilities to nuclei, tables, tiles and files, by the calls of `prunella segment`: the
//! files have the same bytes.

use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::reference::COMPARISON;
use super::reviewed::ReviewInput;
use super::session::{ResultSlot, Session};
use super::{Thrown as _, json, viewport};
use crate::error::{Error, Result};
use crate::instances::{
    Nucleus, Provenance, SmoothedMap, draw_nuclei, label_nuclei, measure_nuclei, type_bytes,
};
use crate::metrics::PixelCounts;
use crate::model::InstanceParameters;
use crate::platform::seconds;
use crate::raster::{
    LabelMap, Mask, OUTLINE_COLOUR, encode_overlay_png, encode_probability_png,
    encode_result_labels, nearest_index, outline_mask, overlay,
};
use crate::review::{ReviewedIndex, write_reviewed};
use crate::viewer::{ResultPlanes, TileKey, compose, data_tile, nuclei_tile};
use crate::whole_slide::{NucleusIndex, SlideNucleus};

/// Nuclei of a result at one threshold.
#[derive(Debug)]
pub(super) struct FoundNuclei {
    /// 0 outside of nuclei.
    pub labels: LabelMap,
    pub smooth: SmoothedMap,
    pub parameters: InstanceParameters,
    /// Outlines and measurements, in pixels of the open image.
    pub nuclei: ReviewedIndex,
}

/// JSON of [`Session::find`].
#[derive(Debug, Serialize)]
struct NucleiSummary {
    count: u32,
    /// Share of the segmented area that is nuclei, 0 to 1.
    share: f64,
    seconds: f64,
    threshold: f32,
}

impl ResultSlot {
    pub(super) fn nuclei(&self) -> Result<&FoundNuclei> {
        self.nuclei.as_ref().ok_or_else(|| Error::invalid("The nuclei are not found yet"))
    }

    /// What tiles show of it.
    fn planes(&self) -> ResultPlanes<'_> {
        ResultPlanes {
            probabilities: self.map.nucleus(),
            known: &self.known,
            labels: self.nuclei.as_ref().map(|found| &found.labels),
        }
    }

    /// Foreground of the nuclei.
    fn mask(&self) -> Result<Mask> {
        Ok(self.nuclei()?.labels.foreground())
    }

    /// Width and height of the open image.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.original.width(), self.original.height())
    }

    /// Whether the network read the open image at another pixel size.
    pub(super) fn is_resampled(&self) -> bool {
        self.scale.total_cmp(&1.0).is_ne()
    }

    /// Nuclei of a label map in pixels of the open image, whose size is `mpp_um`.
    fn measured(
        &self,
        labels: &LabelMap,
        smooth: &SmoothedMap,
        parameters: &InstanceParameters,
        mpp_um: Option<f64>,
    ) -> Result<NucleusIndex> {
        let own_mpp_um = mpp_um.map(|mpp_um| mpp_um * self.scale);
        let types = type_bytes(&self.map);
        let mut nuclei = Vec::new();
        for nucleus in measure_nuclei(&self.image, labels, smooth, &types, parameters, own_mpp_um)?
        {
            let label = nucleus.label;
            nuclei.push(if self.is_resampled() {
                SlideNucleus::new(&nucleus, 0, 0, self.scale).numbered(label)
            } else {
                nucleus
            });
        }
        let (width, height) = self.size();
        Ok(NucleusIndex::of_image(width, height, nuclei))
    }

    /// Finds the nuclei at the threshold of `parameters`.
    pub(super) fn find(&mut self, parameters: InstanceParameters) -> Result<()> {
        let (labels, smooth) = label_nuclei(&self.map, &parameters)?;
        let nuclei = self.measured(&labels, &smooth, &parameters, self.mpp_um)?.into();
        self.nuclei = Some(FoundNuclei { labels, smooth, parameters, nuclei });
        if self.is_complete() {
            self.partial = None;
            self.older = None;
        }
        Ok(())
    }

    /// GeoJSON and CSV of the nuclei at a pixel size.
    fn nuclei_files(&self, mpp: f64, review: &ReviewInput) -> Result<NucleiFiles> {
        if !mpp.is_finite() || mpp < 0.0 {
            return Err(Error::invalid("The pixel size must be a positive number of micrometres"));
        }
        let mpp_um = (mpp > 0.0).then_some(mpp);
        let FoundNuclei { labels, smooth, parameters, nuclei } = self.nuclei()?;
        let (model, types) = (self.fingerprint.clone(), self.types.clone());
        let provenance = Provenance { model, mpp_um, image: None, types };
        if mpp_um == self.mpp_um {
            return nuclei_files(nuclei, review, &provenance);
        }
        let other_lengths = self.measured(labels, smooth, parameters, mpp_um)?;
        nuclei_files(&other_lengths.into(), review, &provenance)
    }

    /// The label map of the nuclei that count, where it has the pixels of the open image; none
    /// where they must be drawn from their outlines.
    pub(super) fn own_labels(&self, review: &ReviewInput) -> Result<Option<&LabelMap>> {
        let is_own = !self.is_resampled() && review.is_empty();
        Ok(Some(&self.nuclei()?.labels).filter(|_| is_own))
    }

    /// The labels of the nuclei that count, in pixels of the open image.
    fn labels(&self, review: &ReviewInput) -> Result<LabelMap> {
        let FoundNuclei { nuclei, .. } = self.nuclei()?;
        if let Some(labels) = self.own_labels(review)? {
            return Ok(labels.clone());
        }
        // At another pixel size, or with marks, they are drawn from the outlines.
        let (width, height) = self.size();
        let counted = review.of(nuclei, &self.types).counted();
        let counted: Vec<Nucleus> = counted.map(|(_, nucleus)| nucleus).collect();
        Ok(draw_nuclei(&counted, width, height))
    }

    fn file(&self, kind: &str, mpp: f64, review: &ReviewInput) -> Result<Vec<u8>> {
        match kind {
            "geojson" => Ok(self.nuclei_files(mpp, review)?.geojson),
            "csv" => Ok(self.nuclei_files(mpp, review)?.csv),
            "labels" => Ok(encode_result_labels(&self.labels(review)?)?.0),
            "probability" => {
                let (width, height) = self.size();
                encode_probability_png(&self.map.nucleus().nearest(width, height))
            }
            "overlay" => {
                let outlines = outline_mask(&self.labels(review)?);
                encode_overlay_png(&overlay(&self.original, &outlines, OUTLINE_COLOUR))
            }
            _ => Err(Error::invalid("There is no such file")),
        }
    }
}

/// Files about the nuclei of a result.
#[derive(Debug, Default)]
pub(super) struct NucleiFiles {
    pub geojson: Vec<u8>,
    pub csv: Vec<u8>,
}

/// GeoJSON and CSV of the nuclei that count.
pub(super) fn nuclei_files(
    nuclei: &ReviewedIndex,
    review: &ReviewInput,
    provenance: &Provenance,
) -> Result<NucleiFiles> {
    let mut files = NucleiFiles::default();
    let (geojson, csv) = (&mut files.geojson, &mut files.csv);
    write_reviewed(
        review.of(nuclei, &provenance.types),
        &review.regions,
        provenance,
        geojson,
        csv,
    )?;
    Ok(files)
}

#[wasm_bindgen]
impl Session {
    /// Finds the nuclei of a result at a threshold, or at its model's own for one below 0. Gives a
    /// summary as JSON.
    ///
    /// # Errors
    /// A sentence if the slot has no result.
    pub fn find(&self, slot: u32, threshold: f32) -> std::result::Result<String, JsValue> {
        let mut state = self.state.borrow_mut();
        let slot = state.slot_mut(slot).thrown()?;
        let started_at = seconds();
        let mut parameters = slot.parameters;
        if threshold >= 0.0 {
            parameters.threshold = threshold;
        }
        slot.find(parameters).thrown()?;
        let labels = &slot.nuclei().thrown()?.labels;
        let count = labels.data().iter().copied().max().unwrap_or(0);
        let nuclei_px = labels.data().iter().filter(|&&label| label > 0).count();
        // While only a part is segmented, the share is that of the part.
        let segmented_px = slot.known.data().iter().filter(|&&known| known).count();
        json(&NucleiSummary {
            count,
            share: nuclei_px as f64 / segmented_px.max(1) as f64,
            seconds: seconds() - started_at,
            threshold: parameters.threshold,
        })
    }

    /// Label of the nucleus at a pixel, 0 for none.
    #[must_use]
    #[wasm_bindgen(js_name = labelAt)]
    pub fn label_at(&self, slot: u32, x: u32, y: u32) -> u32 {
        let state = self.state.borrow();
        if let Some(slide_result) = state.slide_result(slot) {
            // The middle of the pixel.
            return slide_result.nuclei.index().label_at(f64::from(x) + 0.5, f64::from(y) + 0.5);
        }
        let Ok(slot) = state.slot(slot) else { return 0 };
        let Ok(FoundNuclei { labels, .. }) = slot.nuclei() else { return 0 };
        let (width, height) = slot.size();
        let (row, column) = (y as usize, x as usize);
        if row >= height || column >= width {
            return 0;
        }
        let row = nearest_index(row, height, labels.height());
        labels.get(row, nearest_index(column, width, labels.width()))
    }

    /// Dice of the nuclei of two results, 0 to 1; 1 if neither has any.
    ///
    /// # Errors
    /// A sentence if they are of different images or not found yet.
    pub fn dice(&self, a: u32, b: u32) -> std::result::Result<f64, JsValue> {
        let state = self.state.borrow();
        let mask_a = state.slot(a).and_then(ResultSlot::mask).thrown()?;
        let mask_b = state.slot(b).and_then(ResultSlot::mask).thrown()?;
        let counts = PixelCounts::of_masks(&mask_a, &mask_b).thrown()?;
        Ok(counts.scores().dice.unwrap_or(1.0))
    }

    /// RGBA of a tile of the image with its apron.
    ///
    /// # Errors
    /// A sentence if there is no such tile.
    #[wasm_bindgen(js_name = imageTile)]
    pub fn image_tile(
        &self,
        level: u32,
        row: u32,
        column: u32,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        let state = self.state.borrow();
        let Some(pyramid) = &state.pyramid else {
            return Err(super::thrown(&Error::invalid("There is no image yet")));
        };
        let mut rgba = pyramid.tile(TileKey { level, row, column }).thrown()?;
        if let Some(filter) = &state.stain_filter {
            filter.apply(&mut rgba);
        }
        Ok(rgba)
    }

    /// A tile of a result with its apron: probability, label (2 bytes) and whether it is known,
    /// four bytes per pixel.
    ///
    /// # Errors
    /// A sentence if there is no such tile or result.
    #[wasm_bindgen(js_name = dataTile)]
    pub fn data_tile(
        &self,
        slot: u32,
        level: u32,
        row: u32,
        column: u32,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        let state = self.state.borrow();
        let key = TileKey { level, row, column };
        if let (COMPARISON, Some(reference)) = (slot, &state.reference) {
            return nuclei_tile(state.picture_size().thrown()?, reference.nuclei.index(), key)
                .thrown();
        }
        if let (Some(slide_result), Some(slide)) = (state.slide_result(slot), &state.slide) {
            return nuclei_tile(slide.tiles.size(), slide_result.nuclei.index(), key).thrown();
        }
        let slot = state.slot(slot).thrown()?;
        data_tile(slot.size(), &slot.planes(), key).thrown()
    }

    /// RGBA of a tile with the layers drawn, without apron, for screens without WebGPU. Layers as
    /// in `CanvasViewport.setLayers`. Without a result it is the image alone.
    ///
    /// # Errors
    /// A sentence if there is no such tile.
    #[wasm_bindgen(js_name = drawnTile)]
    #[allow(clippy::too_many_arguments, reason = "numbers across the interface to the script")]
    pub fn drawn_tile(
        &self,
        slot: u32,
        level: u32,
        row: u32,
        column: u32,
        mask: f32,
        heat: f32,
        preview: f32,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        let image = self.image_tile(level, row, column)?;
        let data = self.data_tile(slot, level, row, column).ok();
        let layers = viewport::layers(mask, heat, preview);
        compose(&image, data.as_deref(), slot as usize, &layers).thrown()
    }

    /// A file about a result: `geojson`, `csv`, `labels`, `probability` or `overlay`. `mpp` is the
    /// pixel size in µm, 0 if it is unknown.
    ///
    /// # Errors
    /// A sentence if there is no such result or file.
    pub fn file(&self, slot: u32, kind: &str, mpp: f64) -> std::result::Result<Vec<u8>, JsValue> {
        let state = self.state.borrow();
        let Some(slide_result) = state.slide_result(slot) else {
            return state.slot(slot).and_then(|slot| slot.file(kind, mpp, &state.review)).thrown();
        };
        let NucleiFiles { geojson, csv } = slide_result.files(&state.review).thrown()?;
        match kind {
            "geojson" => Ok(geojson),
            "csv" => Ok(csv),
            _ => Err(super::thrown(&Error::unsupported(
                "This file would be too large for a slide; use GeoJSON or CSV",
            ))),
        }
    }
}
