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
pub use data::StudyTiles;
pub use design::{Cell, Design, NetworkChoice};
pub use paper::paper_cost;
pub use report::report;
pub use run::{CellRunner, NetworkCostRow, measure_cost};
pub use store::Study;
pub use summary::{CellGroup, groups};
pub use workflow::snakefile;
