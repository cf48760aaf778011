//! The paper's question for any data set: how far may a network be pruned, and how many patches
//! does it need?
//!
//! A [`Design`] lists [`Cell`]s; each is trained and scored once, and its result is a file of its
//! own. A killed study therefore continues without repeating finished cells, and any machine may
//! compute any cell. Tables, figures and advice are made from these files alone.

mod advise;
mod data;
mod design;
mod paper;
mod report;
mod run;
mod store;
mod summary;
mod times;
mod training;
mod workflow;

pub use advise::{Advice, Question, advise};
pub use data::{DataOptions, StudyTiles, TileSplit};
pub use design::{BUILT_IN, BuiltInDesign, Cell, Design, NetworkChoice, PatchScale};
pub use paper::{PaperCost, PaperRow, StandardErrors, paper_cost, paper_table, standard_errors};
pub use report::{StudyFigure, StudyReport, report};
pub use run::{CellRunner, NetworkCostRow, StudyProgress, measure_cost};
pub use store::{CellResult, Study};
pub use summary::{CellGroup, groups};
pub use times::PatchTimes;
pub use training::{PretrainOptions, TrainOptions};
pub use workflow::snakefile;
