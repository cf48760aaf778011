//! A study's report: figures, tables and pictures from its finished cells.

use super::design::{NetworkChoice, PatchScale};
use super::store::Study;
use super::summary::{CellGroup, groups};
use super::times::PatchTimes;
use crate::error::Result;
use crate::platform::read_file;
use crate::report::{
    CellPicture, Curve, CurvePoint, GridCell, SeedStatistics, StudyPage, StudyPanel, StudyRow,
    render_study, study_curves, study_grid,
};

/// Largest picture of a cell.
const MAX_PICTURE_BYTES: u64 = 10_000_000;

/// A report and its figures as files of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StudyReport {
    pub html: String,
    pub figures: Vec<StudyFigure>,
}

/// A figure of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StudyFigure {
    /// Such as `dcnn-accuracy.svg`.
    pub file_name: String,
    pub svg: String,
}

/// The report as one HTML file, and its figures; the same results give the same bytes.
///
/// # Errors
/// When a result or picture cannot be read.
pub(crate) fn report(study: &Study) -> Result<StudyReport> {
    let groups = groups(study)?;
    let times = study.times()?;
    let mut panels = Vec::new();
    for &network in &study.design.networks {
        let own: Vec<&CellGroup> = groups.iter().filter(|g| g.network == network).collect();
        if !own.is_empty() {
            panels.extend(panels_of(network, &own, study, &times)?);
        }
    }
    let rows: Vec<StudyRow> = groups.iter().map(table_row).collect();
    let mut pictures = Vec::new();
    for group in &groups {
        let file = study.picture_file(&group.first.cell);
        if file.is_file() {
            pictures.push(CellPicture {
                network: group.network.name().to_owned(),
                pruning_ratio: group.pruning_ratio,
                size: size_label(study, group),
                png: read_file(&file, MAX_PICTURE_BYTES)?,
            });
        }
    }
    let has_dccn = study.design.networks.contains(&NetworkChoice::Dccn);
    let html = render_study(&StudyPage {
        name: &study.design.name,
        design: &study.design.to_toml()?,
        missing: study.unfinished()?.len(),
        dccn_stride: has_dccn.then_some(study.design.data.dccn_stride),
        rows: &rows,
        panels: &panels,
        pictures: &pictures,
    });
    let mut figures = Vec::new();
    for StudyPanel { title, svg } in panels {
        let name = title.replace(": ", "-").replace(' ', "-").to_lowercase();
        figures.push(StudyFigure { file_name: format!("{name}.svg"), svg });
    }
    Ok(StudyReport { html, figures })
}

/// A score that is drawn over the number of patches.
#[derive(Clone, Copy)]
enum DrawnScore {
    Accuracy,
    Dice,
}

impl DrawnScore {
    fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "Accuracy",
            Self::Dice => "Dice",
        }
    }

    fn of(self, group: &CellGroup) -> Option<SeedStatistics> {
        match self {
            Self::Accuracy => group.scores.accuracy,
            Self::Dice => group.scores.dice,
        }
    }
}

/// What a network costs, as the x axis of a figure.
#[derive(Clone, Copy)]
enum NetworkCost {
    Bytes,
    Macs,
    Milliseconds,
}

impl NetworkCost {
    fn axis_label(self) -> &'static str {
        match self {
            Self::Bytes => "Bytes of the model file",
            Self::Macs => "Multiply-adds a patch",
            Self::Milliseconds => "Milliseconds a patch",
        }
    }

    fn of(self, group: &CellGroup, times: &PatchTimes) -> Option<f64> {
        match self {
            Self::Bytes => Some(group.bytes as f64),
            Self::Macs => Some(group.macs as f64),
            Self::Milliseconds => times.ms_per_patch(group.network, group.pruning_ratio),
        }
    }
}

/// The figures of one network. Times are drawn where they were measured.
fn panels_of(
    network: NetworkChoice,
    groups: &[&CellGroup],
    study: &Study,
    times: &PatchTimes,
) -> Result<Vec<StudyPanel>> {
    let name = network.name();
    let mut panels = vec![
        StudyPanel {
            title: format!("{name}: accuracy"),
            svg: score_over_patches(groups, DrawnScore::Accuracy)?,
        },
        StudyPanel {
            title: format!("{name}: Dice"),
            svg: score_over_patches(groups, DrawnScore::Dice)?,
        },
        StudyPanel {
            title: format!("{name}: accuracy as a grid"),
            svg: study_grid(&grid_cells(study, groups))?,
        },
        StudyPanel {
            title: format!("{name}: accuracy against bytes"),
            svg: accuracy_over_cost(groups, NetworkCost::Bytes, times)?,
        },
        StudyPanel {
            title: format!("{name}: accuracy against MACs"),
            svg: accuracy_over_cost(groups, NetworkCost::Macs, times)?,
        },
    ];
    if !times.is_empty() {
        panels.push(StudyPanel {
            title: format!("{name}: accuracy against milliseconds"),
            svg: accuracy_over_cost(groups, NetworkCost::Milliseconds, times)?,
        });
    }
    Ok(panels)
}

/// A score over the number of training patches, one curve for each pruning ratio.
fn score_over_patches(groups: &[&CellGroup], score: DrawnScore) -> Result<String> {
    let mut curves: Vec<Curve> = Vec::new();
    for group in groups {
        if let Some(value) = score.of(group) {
            let name = format!("δ = {}", group.pruning_ratio);
            add_point(&mut curves, name, group.n_train as f64, value);
        }
    }
    study_curves("Training patches", score.name(), &curves)
}

/// Accuracy over what a network costs, one curve for each sample size; the upper left is best.
fn accuracy_over_cost(
    groups: &[&CellGroup],
    cost: NetworkCost,
    times: &PatchTimes,
) -> Result<String> {
    let mut curves: Vec<Curve> = Vec::new();
    for group in groups {
        if let (Some(accuracy), Some(x)) = (group.scores.accuracy, cost.of(group, times)) {
            add_point(&mut curves, format!("{} patches", group.n_train), x, accuracy);
        }
    }
    study_curves(cost.axis_label(), "Accuracy", &curves)
}

/// Adds a point to the curve of that name, which is created if need be.
fn add_point(curves: &mut Vec<Curve>, name: String, x: f64, y: SeedStatistics) {
    let point = CurvePoint { x, y: y.mean, std_dev: y.std_dev.unwrap_or(0.0) };
    match curves.iter_mut().find(|curve| curve.name == name) {
        Some(curve) => curve.points.push(point),
        None => curves.push(Curve { name, points: vec![point] }),
    }
}

/// Accuracy of each configuration.
fn grid_cells(study: &Study, groups: &[&CellGroup]) -> Vec<GridCell> {
    let mut cells = Vec::new();
    for group in groups {
        if let Some(accuracy) = group.scores.accuracy {
            cells.push(GridCell {
                pruning_ratio: group.pruning_ratio,
                size: size_label(study, group),
                value: accuracy.mean,
            });
        }
    }
    cells
}

/// The sample size as grids name it: r where patches shrink with the ratio, so that a column has
/// one size, else patches.
fn size_label(study: &Study, group: &CellGroup) -> f64 {
    match (study.design.scale, group.r) {
        (PatchScale::Scaled, Some(r)) => r,
        _ => group.n_train as f64,
    }
}

fn table_row(group: &CellGroup) -> StudyRow {
    StudyRow {
        network: group.network.name().to_owned(),
        pruning_ratio: group.pruning_ratio,
        r: group.r,
        n_train: group.n_train,
        seeds: group.seeds,
        parameters: group.parameters,
        bytes: group.bytes,
        macs: group.macs,
        ours: group.scores,
        paper: group.paper.map(|row| row.scores),
        difference: group.difference_from_paper(),
    }
}
