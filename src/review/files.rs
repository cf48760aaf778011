//! Files of reviewed nuclei, as [`write_nuclei`](crate::instances::write_nuclei) writes those of a
//! model.

use std::collections::BTreeMap;
use std::io::Write;

use super::mark::MarkStatus;
use super::nuclei::ReviewedNuclei;
use super::region::NamedRegion;
use crate::error::Result;
use crate::instances::{
    NucleusStatus, Provenance, WrittenCounts, WrittenNucleus, write_nuclei_and_regions,
};
use crate::outlines::Outline;

/// Writes the nuclei that count, numbered 1, 2, …, each with its status, and the regions. Lengths
/// of marks follow from their outlines and the pixel size of `provenance`. Returns the numbers
/// of nuclei.
///
/// # Errors
/// [`Error::Io`](crate::error::Error::Io) when a target cannot be written.
pub fn write_reviewed(
    nuclei: ReviewedNuclei<'_>,
    regions: &BTreeMap<u32, NamedRegion>,
    provenance: &Provenance,
    geojson: &mut dyn Write,
    csv: &mut dyn Write,
) -> Result<WrittenCounts> {
    let regions: Vec<Outline> = regions.values().map(Outline::from).collect();
    let written = nuclei.counted().map(|(status, nucleus)| match status {
        None => WrittenNucleus::from(nucleus),
        Some(status) => {
            let is_accepted = status == MarkStatus::Accepted;
            WrittenNucleus {
                nucleus: nucleus.with_pixel_size(provenance.mpp_um),
                status: if is_accepted { NucleusStatus::Accepted } else { NucleusStatus::Added },
            }
        }
    });
    write_nuclei_and_regions(written, &regions, provenance, geojson, csv)
}
