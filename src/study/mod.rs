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

pub(crate) use advise::{Advice, Question, advise};
pub(crate) use data::StudyTiles;
pub(crate) use design::{Cell, Design, NetworkChoice};
pub(crate) use paper::paper_cost;
pub(crate) use report::report;
pub(crate) use run::{CellRunner, NetworkCostRow, measure_cost};
pub(crate) use store::Study;
pub(crate) use summary::{CellGroup, groups};
pub(crate) use workflow::snakefile;
