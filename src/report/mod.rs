//! Results as pictures: SVG curves and self-contained HTML. Only plain numbers come in.

mod curves;
mod demo;
mod study;
mod study_curves;

pub use curves::history_curves;
pub use demo::{DemoPage, DemoPicture, DemoRow, render_demo};
pub use study::{CellPicture, StudyPage, StudyPanel, StudyRow, render_study};
pub use study_curves::{Curve, study_curves, study_grid};
