//! Files of the nuclei that count.

use std::path::Path;

use super::app_state::AppState;
use super::lock;
use super::result_shelf::ResultSettings;
use crate::error::{Error, Result, counted};
use crate::instances::Provenance;
use crate::platform::write_streamed;
use crate::review::{RegionCounts, write_reviewed};

impl AppState {
    /// Writes GeoJSON and CSV in one pass over the nuclei, and a table of the regions where there
    /// are any.
    pub(super) fn export(&mut self, path: &Path) -> Result<()> {
        let regions = &self.review.state().regions;
        let geojson = path.with_extension("geojson");
        let csv = path.with_extension("csv");
        let mut shelf = lock(self.results());
        // What a result was made with goes with it.
        let settings = shelf.counted().map(|result| result.settings.clone());
        if settings.is_none() && self.review.state().marks.is_empty() {
            return Err(Error::invalid("Nothing is segmented yet"));
        }
        let mpp_um = settings.as_ref().map_or(self.mpp_um(), |settings| settings.mpp_um);
        let (model, types) = match settings {
            Some(ResultSettings { fingerprint, types, .. }) => (fingerprint, types),
            None => (String::new(), Vec::new()),
        };
        let provenance = Provenance { model, mpp_um, image: None, types };
        let nuclei = shelf.shown(self.review_at()).counted();
        let count = write_streamed(&geojson, |features| {
            write_streamed(&csv, |table| {
                write_reviewed(nuclei, regions, &provenance, features, table)
            })
        })?;
        drop(shelf);
        if !regions.is_empty() {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let table = path.with_file_name(format!("{stem}-regions.csv"));
            let text = RegionCounts::csv(&self.region_counts(), mpp_um);
            crate::platform::write_atomic(&table, text.as_bytes())?;
        }
        let nuclei = counted(count.nuclei, "nucleus", "nuclei");
        self.status = format!("{nuclei} → {}", geojson.display());
        if let Some(note) = self.older_note() {
            self.status += &format!(". {note}");
        }
        Ok(())
    }
}
