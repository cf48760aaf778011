//! Labelled tiles on disk, and the patches drawn from them.

mod augment;
mod check;
mod discover;
mod imagescope;
mod load;
mod permutation;
pub mod phantom;
mod representativeness;
mod sampler;
mod split;

pub use augment::{
    Augmentation, PATCH_VALUES, Variation, Window, augmented_window, plain_window, window_classes,
};
pub use check::{DataReport, TileReport, check};
pub use discover::{LabelSource, TileFiles, discover};
pub use imagescope::{AnnotatedRegion, parse_imagescope, rasterise, write_imagescope};
pub use load::{Tile, load_tile};
pub use permutation::Permutation;
pub use representativeness::{Representativeness, representativeness};
pub use sampler::{Prior, SamplePixel, Sampler};
pub use split::{PAPER_PRETRAIN, PAPER_TEST, PAPER_TRAIN, Split, recognised_split};
