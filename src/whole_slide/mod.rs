//! Nuclei of whole slides: tissue is found on a coarse level, the model sees its own pixel size, blocks with context are
//! segmented one after the other while the next is read, and each nucleus belongs to the one block that holds its centroid, so
//! there are no seams and no doubles. Finished blocks are files, so a killed run goes on; memory does not grow with the slide.

mod cut;
mod findings;
mod kept;
#[cfg(not(target_arch = "wasm32"))]
mod parts;
#[cfg(not(target_arch = "wasm32"))]
mod pixels;
mod region;
mod resample;
#[cfg(not(target_arch = "wasm32"))]
mod run;
mod sampling;
mod tissue;

pub use cut::{Cut, MARGIN_PX, Wanted};
pub use findings::Findings;
pub use kept::Kept;
#[cfg(not(target_arch = "wasm32"))]
pub use parts::Parts;
#[cfg(not(target_arch = "wasm32"))]
pub use pixels::{Pixels, SlideView, stain_of};
pub use region::Region;
pub use resample::{Axis, resampled};
#[cfg(not(target_arch = "wasm32"))]
pub use run::{BLOCK_PX, Outcome, Progress, SlideRun};
pub use sampling::Sampling;
pub use tissue::{Glance, Tissue};
