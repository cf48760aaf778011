//! Regions of the open document: added, opened, saved, counted.

use std::path::Path;

use super::app_state::AppState;
use super::command::Command;
use super::reference::Reference;
use crate::error::{Error, ErrorContext as _, Result, counted};
use crate::platform::{read_file, write_atomic};
use crate::raster::Point;
use crate::review::{
    NamedRegion, RegionCounts, RegionFile, ReviewCommand, ReviewedNuclei, closed_region,
};
use crate::slide::SlideBounds;

/// Largest file of regions, bytes.
const MAX_FILE_BYTES: u64 = 500_000_000;

impl AppState {
    /// Executes a command about regions or the reference.
    pub(super) fn execute_region(&mut self, command: &Command) -> Result<()> {
        match *command {
            Command::AddRegion { ref name, ref polygon } => {
                if self.document.is_none() {
                    return Err(Error::invalid("Nothing is open yet"));
                }
                let stroke: Vec<Point> = polygon.iter().copied().map(Point::from).collect();
                let polygons = closed_region(&stroke)?;
                let region = NamedRegion {
                    name: self.region_name(name),
                    polygons,
                    ..NamedRegion::default()
                };
                self.status = format!("Region '{}'.", region.name);
                self.change(ReviewCommand::AddRegion(region))
            }
            Command::RenameRegion { id, ref name } => {
                let region = self.review.state().regions.get(&id);
                let region =
                    region.ok_or_else(|| Error::invalid("This region is not there any more"))?;
                let region = NamedRegion { name: name.clone(), ..region.clone() };
                self.change(ReviewCommand::ChangeRegion { id, region })
            }
            Command::RemoveRegion(id) => self.change(ReviewCommand::RemoveRegion(id)),
            Command::OpenRegions(ref path) => self.open_regions(path),
            Command::SaveRegions(ref path) => {
                let regions = &self.review.state().regions;
                if regions.is_empty() {
                    return Err(Error::invalid("There are no regions"));
                }
                let bytes = RegionFile::write(regions.values(), self.mpp_um())?;
                write_atomic(path, &bytes)?;
                let count = counted(regions.len(), "region", "regions");
                self.status = format!("{count} → {}", path.display());
                Ok(())
            }
            Command::InsideOnly(inside_only) => {
                if inside_only && self.review.state().regions.is_empty() {
                    return Err(Error::invalid("There are no regions; add one first"));
                }
                self.change(ReviewCommand::InsideOnly(inside_only))
            }
            Command::Reference(None) => {
                self.reference = None;
                Ok(())
            }
            Command::Reference(Some(ref path)) => {
                let document = self.document.as_ref();
                let document = document.ok_or_else(|| Error::invalid("Nothing is open yet"))?;
                self.reference = Some(Reference::open(path, document.size())?);
                self.refresh_scores();
                Ok(())
            }
            ref other => Err(Error::invalid(format!("Not possible here: {other:?}"))),
        }
    }

    /// A name, or the first free one.
    fn region_name(&self, name: &str) -> String {
        if !name.trim().is_empty() {
            return name.trim().to_owned();
        }
        let regions = &self.review.state().regions;
        let is_free = |name: &String| regions.values().all(|region| region.name != *name);
        let names = (1..).map(|number| format!("Region {number}"));
        names.take(regions.len() + 1).find(is_free).unwrap_or_default()
    }

    fn open_regions(&mut self, path: &Path) -> Result<()> {
        if self.document.is_none() {
            return Err(Error::invalid("Nothing is open yet"));
        }
        let file = RegionFile::read(&read_file(path, MAX_FILE_BYTES)?).at(path)?;
        if file.regions.is_empty() {
            return Err(Error::invalid(format!(
                "The file holds no regions, but {}; open it as a reference to compare with",
                counted(file.detections, "object", "objects")
            ))
            .at(path));
        }
        let outside =
            file.regions.iter().filter(|region| !region.bounds().intersects(&self.whole()));
        let outside = outside.count();
        let count = counted(file.regions.len(), "region", "regions");
        self.change(ReviewCommand::AddRegions(file.regions))?;
        self.status = format!("{count} opened.");
        for note in file.notes {
            self.status += &format!(" {note}.");
        }
        if outside > 0 {
            let regions = counted(outside, "region lies", "regions lie");
            self.status += &format!(" {regions} outside the image.");
        }
        Ok(())
    }

    /// What was counted in each region.
    #[must_use]
    pub fn region_counts(&self) -> Vec<RegionCounts> {
        let key = (self.revision, self.shown_version());
        let mut cached = self.region_counts.borrow_mut();
        if let Some((of, counts)) = &*cached
            && *of == key
        {
            return counts.clone();
        }
        let whole = self.whole();
        let regions = &self.review.state().regions;
        let counts = self.with_shown(|shown| {
            let nuclei = ReviewedNuclei { inside: None, ..shown.counted() };
            let segmented: Vec<SlideBounds> = nuclei.index.known(whole).collect();
            RegionCounts::of(nuclei, regions, &whole, &segmented)
        });
        *cached = Some((key, counts.clone()));
        counts
    }
}
