//! The paper's question for any data set: how far may a network be pruned, and how many patches
//! does it need? A [`Design`] lists [`Cell`]s; each is trained and scored once and its result
//! written to a file of its own, so that a killed study goes on with nothing repeated, and any
//! machine may do any cell. Tables, figures and advice are made from these results alone.

mod advise;
mod data;
mod design;
mod paper;
mod run;
mod store;
mod summary;
mod times;
mod training;
mod workflow;

pub use advise::{Advice, Question, advise};
pub use data::{Data, DataChoice, TileSplit};
pub use design::{BUILT_IN, Cell, Design, NetworkChoice, PatchScale};
pub use paper::{PaperRow, paper_cost, paper_table, standard_errors};
pub use run::{CellRun, Watch, cost};
pub use store::{CellResult, Study};
pub use summary::{CellGroup, StudyReport, groups, report};
pub use times::Times;
pub use workflow::snakefile;
