//! Nuclei of whole slides: tissue is found on a coarse level, the model sees its own pixel size, blocks with context are
//! segmented one after the other while the next is read, and each nucleus belongs to the one block that holds its centroid, so
//! there are no seams and no doubles. Finished blocks are files, so a killed run goes on; memory does not grow with the slide.

mod parts;
mod pixels;
mod region;
mod resample;
mod run;
mod tissue;

pub use parts::Parts;
pub use pixels::{Pixels, SlideView};
pub use region::Region;
pub use run::{BLOCK_PX, Outcome, Progress, SlideRun};
pub use tissue::Tissue;
