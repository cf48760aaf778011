//! Labelled tiles, and the patches sampled from them. Reading files is for native builds; sampling
//! and augmentation compile to wasm32 too.

mod augment;
#[cfg(not(target_arch = "wasm32"))]
mod check;
#[cfg(not(target_arch = "wasm32"))]
mod dataset_file;
#[cfg(not(target_arch = "wasm32"))]
mod discover;
#[cfg(not(target_arch = "wasm32"))]
mod label_check;
#[cfg(not(target_arch = "wasm32"))]
mod licence;
#[cfg(not(target_arch = "wasm32"))]
mod load;
#[cfg(not(target_arch = "wasm32"))]
mod names;
#[cfg(not(target_arch = "wasm32"))]
mod other_files;
#[cfg(not(target_arch = "wasm32"))]
mod outline_files;
mod permutation;
pub mod phantom;
mod representativeness;
#[cfg(not(target_arch = "wasm32"))]
mod result_files;
mod sampler;
mod sparse_labels;
mod split;
mod targets;
mod tile;
#[cfg(not(target_arch = "wasm32"))]
pub mod tissue_crops;

pub use augment::{
    Augmentation, AugmentationPreset, MAX_BLUR_PX, PATCH_VALUES, StainChange, Variation, Window,
    augmented_window, plain_window, window_classes,
};
#[cfg(not(target_arch = "wasm32"))]
pub use check::{DataReport, TileReport, check};
#[cfg(not(target_arch = "wasm32"))]
pub use dataset_file::{DATASET_FILE, DatasetFile, PIXEL_SIZES_UM};
#[cfg(not(target_arch = "wasm32"))]
pub use discover::{LabelSource, TileFiles, TileFolder, discover};
#[cfg(not(target_arch = "wasm32"))]
pub use label_check::{label_defect, lost_numbers_note, mask_as_objects};
#[cfg(not(target_arch = "wasm32"))]
pub use licence::combined_licence;
#[cfg(not(target_arch = "wasm32"))]
pub use load::load_tile;
pub use permutation::Permutation;
pub use representativeness::{Representativeness, representativeness};
#[cfg(not(target_arch = "wasm32"))]
pub use result_files::{is_replaceable_result, is_result_file, is_result_text};
pub use sampler::{Prior, SamplePixel, Sampler};
pub use sparse_labels::{
    DEFAULT_STROKE_UM, LEFT_OUT, LabelMark, LabelScale, SparseLabels, SparseTargets, UNKNOWN,
};
pub use split::{PAPER_PRETRAIN, PAPER_TEST, PAPER_TRAIN, Split, recognised_split};
pub use targets::{ClassMap, class_targets};
pub use tile::{PIXEL_SIZE_TOLERANCE, Tile};
