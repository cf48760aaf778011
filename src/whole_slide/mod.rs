//! Nuclei of whole slides.
//!
//! Tissue is found on a coarse level and pixels are resampled to the model's size. The slide is cut
//! into blocks; each is segmented with a halo of context, and a nucleus belongs to the block that
//! holds its centroid, so there are no seams and no duplicates. [`SlideJob`] holds these rules
//! without reading or computing anything itself; [`SlideRun`] drives it in this process, the page
//! drives it from JavaScript. On the command line finished blocks are files ([`BlockStore`]), so a
//! killed run continues and memory does not grow with the slide; window and page keep them in a
//! [`NucleusIndex`].

mod block_halo;
#[cfg(not(target_arch = "wasm32"))]
mod block_store;
mod job;
mod nucleus;
mod nucleus_index;
mod region;
mod resample;
#[cfg(not(target_arch = "wasm32"))]
mod run;
mod sampling;
mod tissue;

pub use block_halo::{BlockHalo, MARGIN_PX};
#[cfg(not(target_arch = "wasm32"))]
pub use block_store::{BlockStore, write_finished};
pub use job::{
    BackgroundBlocks, BlockNumbers, BlockPixels, PixelRequest, SegmentSettings, SlideJob,
    SlideSetup,
};
pub use nucleus::SlideNucleus;
pub use nucleus_index::NucleusIndex;
pub use region::{RegionPart, SlideRegion};
pub use resample::{Axis, resampled};
#[cfg(not(target_arch = "wasm32"))]
pub use run::{BLOCK_PX, PixelSource, RunSummary, SlideRun, StageSeconds};
pub use sampling::Sampling;
pub use tissue::{Overview, Tissue};
