//! From an answer to nuclei, tables, tiles and files: the same calls as `prunella segment` makes,
//! so the same bytes, for images at the model's pixel size (the command line resamples others; the
//! page says that it does not).

use serde_json::json;
use wasm_bindgen::prelude::*;

use super::session::{ResultSlot, Session};
use super::{Thrown as _, eye};
use crate::error::{Error, Result};
use crate::instances::{Provenance, SmoothedMap, label_nuclei, measure_nuclei, write_nuclei};
use crate::metrics::PixelCounts;
use crate::model::InstanceParameters;
use crate::platform::seconds;
use crate::raster::{
    LabelMap, OUTLINE, encode_label_file, encode_probability_png, encode_rgb_png, outline_mask,
    overlay,
};
use crate::viewer::{ResultPlanes, TileKey, compose, data_tile, nuclei_tile};

/// Nuclei of an answer at one threshold.
#[derive(Debug)]
pub struct FoundNuclei {
    pub labels: LabelMap,
    smooth: SmoothedMap,
    parameters: InstanceParameters,
}

impl ResultSlot {
    fn found(&self) -> Result<&FoundNuclei> {
        self.found.as_ref().ok_or_else(|| Error::mismatch("The nuclei are not found yet"))
    }

    fn answer(&self) -> ResultPlanes<'_> {
        ResultPlanes {
            probabilities: &self.map,
            known: &self.known,
            labels: self.found.as_ref().map(|f| &f.labels),
        }
    }

    fn provenance(&self, mpp: f64) -> Result<Provenance> {
        let mpp_um = (mpp > 0.0).then_some(mpp);
        if !mpp.is_finite() || mpp < 0.0 {
            return Err(Error::mismatch("The pixel size must be a positive number of micrometres"));
        }
        Ok(Provenance { model: self.fingerprint.clone(), mpp_um })
    }

    /// GeoJSON and CSV.
    fn objects(&self, mpp: f64) -> Result<[Vec<u8>; 2]> {
        let (found, provenance) = (self.found()?, self.provenance(mpp)?);
        let all = measure_nuclei(
            &self.image,
            &found.labels,
            &found.smooth,
            &found.parameters,
            provenance.mpp_um,
        )?;
        let (mut features, mut table) = (Vec::new(), Vec::new());
        write_nuclei(all, &provenance, &mut features, &mut table)?;
        Ok([features, table])
    }

    fn file(&self, kind: &str, mpp: f64) -> Result<Vec<u8>> {
        match kind {
            "geojson" => self.objects(mpp).map(|[features, _]| features),
            "csv" => self.objects(mpp).map(|[_, table]| table),
            "labels" => Ok(encode_label_file(&self.found()?.labels)?.0),
            "probability" => encode_probability_png(&self.map),
            "overlay" => {
                encode_rgb_png(&overlay(&self.image, &outline_mask(&self.found()?.labels), OUTLINE))
            }
            _ => Err(Error::mismatch("There is no such file")),
        }
    }
}

#[wasm_bindgen]
impl Session {
    /// Finds the nuclei of an answer at a threshold, or at its model's own for one below 0; gives
    /// count, share of the area and seconds as JSON.
    ///
    /// # Errors
    /// A sentence.
    pub fn find(&self, slot: u32, threshold: f32) -> std::result::Result<String, JsValue> {
        let mut state = self.state.borrow_mut();
        let slot = state.slot_mut(slot).thrown()?;
        let begun = seconds();
        let own = slot.parameters;
        let parameters = InstanceParameters {
            threshold: if threshold < 0.0 { own.threshold } else { threshold },
            ..own
        };
        let (labels, smooth) = label_nuclei(&slot.map, &parameters).thrown()?;
        let count = labels.data().iter().copied().max().unwrap_or(0);
        let cells = labels.data().iter().filter(|&&l| l > 0).count();
        // Of a part, the share is that of the part.
        let known = slot.known.data().iter().filter(|k| **k).count();
        let share = cells as f64 / known.max(1) as f64;
        slot.found = Some(FoundNuclei { labels, smooth, parameters });
        Ok(json!({
            "count": count, "share": share, "seconds": seconds() - begun,
            "threshold": parameters.threshold,
        })
        .to_string())
    }

    /// The nuclei as a list: label, centroid x and y, area in pixels, mean probability,
    /// circularity.
    ///
    /// # Errors
    /// A sentence.
    pub fn table(&self, slot: u32) -> std::result::Result<Vec<f64>, JsValue> {
        let state = self.state.borrow();
        if let Some(answer) = state.slide_answer(slot) {
            return Ok(answer.table());
        }
        let slot = state.slot(slot).thrown()?;
        let found = slot.found().thrown()?;
        let all =
            measure_nuclei(&slot.image, &found.labels, &found.smooth, &found.parameters, None)
                .thrown()?;
        let mut rows = Vec::new();
        for nucleus in all {
            let measured = nucleus.measurements.unwrap_or_default();
            rows.extend([
                f64::from(nucleus.label),
                nucleus.centroid.0,
                nucleus.centroid.1,
                nucleus.area_px as f64,
                measured.mean_probability,
                measured.circularity,
            ]);
        }
        Ok(rows)
    }

    /// Label of the nucleus at a pixel, 0 for none.
    #[must_use]
    #[wasm_bindgen(js_name = labelAt)]
    pub fn label_at(&self, slot: u32, x: u32, y: u32) -> u32 {
        let state = self.state.borrow();
        if let Some(answer) = state.slide_answer(slot) {
            return answer.index.label_at(f64::from(x) + 0.5, f64::from(y) + 0.5);
        }
        let Ok(found) = state.slot(slot).and_then(ResultSlot::found) else { return 0 };
        let (x, y) = (x as usize, y as usize);
        if x < found.labels.width() && y < found.labels.height() {
            found.labels.get(y, x)
        } else {
            0
        }
    }

    /// Dice of the nuclei of two answers, 0 to 1; 1 when neither has any.
    ///
    /// # Errors
    /// When they are of different images or not found yet.
    pub fn dice(&self, a: u32, b: u32) -> std::result::Result<f64, JsValue> {
        let state = self.state.borrow();
        let mask =
            |slot| state.slot(slot).and_then(ResultSlot::found).map(|f| f.labels.foreground());
        let counts = mask(a).and_then(|a| PixelCounts::of_masks(&a, &mask(b)?));
        Ok(counts.thrown()?.scores().dice.unwrap_or(1.0))
    }

    /// RGBA of a tile of the image, with its apron.
    ///
    /// # Errors
    /// When there is no such tile.
    #[wasm_bindgen(js_name = imageTile)]
    pub fn image_tile(
        &self,
        level: u32,
        row: u32,
        column: u32,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        let state = self.state.borrow();
        let pyramid = state
            .pyramid
            .as_ref()
            .ok_or_else(|| Error::mismatch("There is no image yet"))
            .thrown()?;
        pyramid.tile(TileKey { level, row, column }).thrown()
    }

    /// A tile of an answer, with its apron.
    ///
    /// # Errors
    /// When there is no such tile or answer.
    #[wasm_bindgen(js_name = dataTile)]
    pub fn data_tile(
        &self,
        slot: u32,
        level: u32,
        row: u32,
        column: u32,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        let state = self.state.borrow();
        if let (Some(answer), Some(slide)) = (state.slide_answer(slot), &state.slide) {
            return nuclei_tile(slide.tiles.size(), &answer.index, TileKey { level, row, column })
                .thrown();
        }
        data_tile(&state.slot(slot).thrown()?.answer(), TileKey { level, row, column }).thrown()
    }

    /// A tile with its layers drawn, RGBA without apron, for screens without WebGPU. Layers as in
    /// `Eye.setLayers`; without an answer the image alone.
    ///
    /// # Errors
    /// When there is no such tile.
    #[wasm_bindgen(js_name = drawnTile)]
    #[allow(clippy::too_many_arguments, reason = "numbers across the border to the script")]
    pub fn drawn_tile(
        &self,
        slot: u32,
        level: u32,
        row: u32,
        column: u32,
        outline: f32,
        mask: f32,
        heat: f32,
        preview: f32,
        chosen: u32,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        let image = self.image_tile(level, row, column)?;
        let state = self.state.borrow();
        let key = TileKey { level, row, column };
        let data =
            state.slot(slot).ok().map(|s| data_tile(&s.answer(), key)).transpose().thrown()?;
        let layers = eye::layers([outline, mask, heat, preview], chosen, -1.0);
        compose(&image, data.as_deref(), slot as usize, &layers).thrown()
    }

    /// A result's file: geojson, csv, labels, probability or overlay. `mpp` is 0 when the pixel
    /// size is not known.
    ///
    /// # Errors
    /// A sentence.
    pub fn file(&self, slot: u32, kind: &str, mpp: f64) -> std::result::Result<Vec<u8>, JsValue> {
        let state = self.state.borrow();
        let Some(answer) = state.slide_answer(slot) else {
            return state.slot(slot).and_then(|s| s.file(kind, mpp)).thrown();
        };
        let [features, table] = answer.files().thrown()?;
        match kind {
            "geojson" => Ok(features),
            "csv" => Ok(table),
            _ => Err(super::thrown(&Error::unsupported(
                "A slide is too large for this file; take GeoJSON or CSV",
            ))),
        }
    }
}
