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
mod block_nuclei;
#[cfg(not(target_arch = "wasm32"))]
mod block_store;
mod job;
mod kept_probabilities;
mod nucleus;
mod nucleus_index;
mod partial_nuclei;
mod region;
#[cfg(not(target_arch = "wasm32"))]
mod run;
mod sampling;
mod saved_result;
mod tissue;

pub use block_halo::{BlockHalo, MARGIN_PX};
pub use block_nuclei::BlockNuclei;
#[cfg(not(target_arch = "wasm32"))]
pub use block_store::{BlockStore, write_finished};
pub use job::{
    BackgroundBlocks, BlockNumbers, BlockPixels, BlockWindow, PixelRequest, SegmentSettings,
    SlideJob, SlideSetup,
};
pub use kept_probabilities::{
    KeptBlock, KeptBlockTask, KeptProbabilities, LEAST_THRESHOLD, MAX_KEPT_BYTES,
};
pub use nucleus::SlideNucleus;
pub use nucleus_index::NucleusIndex;
pub use partial_nuclei::PartialMap;
pub use region::{RegionPart, SlideRegion};

#[cfg(not(target_arch = "wasm32"))]
pub use run::{BLOCK_PX, PixelSource, RunSummary, SlideRun, StageSeconds};
pub use sampling::Sampling;
pub use saved_result::{
    SavedBlock, SavedImage, SavedSettings, SavedSlide, nuclei_from_bytes, nuclei_to_bytes,
};
pub use tissue::{Overview, Tissue};
