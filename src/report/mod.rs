//! Results as figures and pages: SVG curves and self-contained HTML. Only plain numbers come in, so
//! this module depends on neither training nor the engine.

mod curves;
mod data;
mod demo;
mod heat_map;
mod html;
mod study;
mod study_curves;
mod svg;

pub(crate) use curves::{EpochPoint, history_curves};
pub(crate) use data::{DataPage, DataTile, render_data};
pub(crate) use demo::{DemoCurves, DemoPage, DemoPicture, DemoRow, render_demo};
pub(crate) use heat_map::heat_map;
pub(crate) use study::{
    CellPicture, PaperDifference, ScoreColumns, SeedStatistics, StudyPage, StudyPanel, StudyRow,
    render_study,
};
pub use study_curves::{Curve, CurvePoint, study_curves};
pub(crate) use study_curves::{GridCell, study_grid};
