//! What a person makes of a result: verdicts on nuclei and nuclei drawn by hand ([`Mark`]),
//! [`NamedRegion`]s, painted [`Stroke`]s, and the settings that belong to the image. All of it is
//! one value, [`ReviewState`], which [`ReviewCommand`]s change and [`Review`] undoes.
//! [`ReviewedNuclei`] are the nuclei of a model together with the marks: what is shown, counted and
//! exported.
//!
//! Marks and regions lie in pixels of the finest level of the image or slide. They do not refer to
//! nuclei of the model by number, so they outlive another threshold and another model.

mod command;
#[cfg(not(target_arch = "wasm32"))]
mod density_grid;
mod files;
mod fingerprint;
mod history;
mod limits;
mod mark;
mod marked_image;
mod nuclei;
mod region;
#[cfg(not(target_arch = "wasm32"))]
mod region_table;
mod reviewed_index;
mod shapes;
mod state;
mod stroke;
mod taught_labels;

pub use command::ReviewCommand;
#[cfg(not(target_arch = "wasm32"))]
pub use density_grid::DensityGrid;
pub use files::write_reviewed;
pub use fingerprint::{FingerprintOf, fingerprint};
pub use history::{MAX_UNDO_STEPS, Review};
pub use mark::{MARK_BIT, Mark, MarkStatus, Marks, ReviewObject};
pub use marked_image::{MarkedImage, MarkedWindow, with_types_of};
pub use nuclei::{HiddenNuclei, ReviewCounts, ReviewedNuclei};
pub use region::{COMPLETE_CLASS, NamedRegion, RegionCounts, RegionFile};
#[cfg(not(target_arch = "wasm32"))]
pub use region_table::{RegionTable, RegionTableSettings};
pub use reviewed_index::ReviewedIndex;
pub use shapes::{closed_region, closed_stroke, merged, split};
pub use state::{
    DisplaySettings, DocumentFacts, ModelSetting, PixelSizeSetting, PixelSizeSource, ResultFacts,
    ReviewState,
};
pub use stroke::{Stroke, Strokes};
pub use taught_labels::MarkSource;
