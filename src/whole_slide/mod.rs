//! Nuclei of whole slides: tissue is found on a coarse level, the model sees its own pixel size,
//! blocks with context are segmented one after the other while the next is read, and each nucleus
//! belongs to the one block that holds its centroid, so there are no seams and no doubles. Finished
//! blocks are files, so a killed run goes on; memory does not grow with the slide.

mod block_halo;
#[cfg(not(target_arch = "wasm32"))]
mod block_store;
mod nucleus;
mod nucleus_index;
mod region;
#[cfg(not(target_arch = "wasm32"))]
mod region_reader;
mod resample;
#[cfg(not(target_arch = "wasm32"))]
mod run;
mod sampling;
mod tissue;

pub use block_halo::{BlockHalo, MARGIN_PX, SegmentSettings};
#[cfg(not(target_arch = "wasm32"))]
pub use block_store::BlockStore;
pub use nucleus::SlideNucleus;
pub use nucleus_index::{Bounds, NucleusIndex};
pub use region::SlideRegion;
#[cfg(not(target_arch = "wasm32"))]
pub use region_reader::{RegionReader, ScaledSlide, stain_of};
pub use resample::{Axis, resampled};
#[cfg(not(target_arch = "wasm32"))]
pub use run::{BLOCK_PX, Progress, RunSummary, SlideRun};
pub use sampling::Sampling;
pub use tissue::{Overview, Tissue};
