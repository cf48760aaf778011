//! Results in groups: the seeds of one network, ratio and sample size, beside the paper's row, and
//! the report made of them.

use super::design::{NetworkChoice, PatchScale};
use super::paper::{PaperRow, paper_table, standard_errors};
use super::store::{CellResult, Study};
use crate::error::Result;
use crate::metrics::PixelScores;
use crate::platform::read_file;
use crate::report::{
    CellPicture, Curve, StudyPage, StudyPanel, StudyRow, render_study, study_curves, study_grid,
};

/// Largest picture of a cell.
const MAX_PICTURE_BYTES: u64 = 10_000_000;

/// Mean and standard deviation over seeds; the deviation of one seed is not known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeedStatistics {
    pub mean: f64,
    pub deviation: Option<f64>,
}

impl SeedStatistics {
    fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        Some(Self { mean, deviation: (values.len() > 1).then(|| (square / (n - 1.0)).sqrt()) })
    }
}

/// The seeds of one configuration.
#[derive(Debug, Clone)]
pub struct CellGroup {
    pub network: NetworkChoice,
    pub pruning_ratio: f64,
    pub r: Option<f64>,
    pub n_train: usize,
    pub parameters: usize,
    pub bytes: usize,
    pub macs: u64,
    pub seeds: usize,
    pub sensitivity: Option<SeedStatistics>,
    pub specificity: Option<SeedStatistics>,
    pub dice: Option<SeedStatistics>,
    pub accuracy: Option<SeedStatistics>,
    pub cross_entropy: Option<SeedStatistics>,
    /// The paper's row of the same network, ratio, size and scale.
    pub paper: Option<PaperRow>,
    /// Result of the first seed.
    pub first: CellResult,
}

impl CellGroup {
    /// Accuracy's and cross-entropy's distances from the paper's, in its standard errors.
    #[must_use]
    pub fn apart(&self) -> Option<(f64, f64)> {
        let paper = self.paper?;
        let (accuracy, entropy) = standard_errors(self.network == NetworkChoice::Dccn);
        Some((
            (self.accuracy?.mean - paper.accuracy) / accuracy,
            (self.cross_entropy?.mean - paper.cross_entropy) / entropy,
        ))
    }
}

/// Finished cells by network, ratio and size.
///
/// # Errors
/// When a result cannot be read.
pub fn groups(study: &Study) -> Result<Vec<CellGroup>> {
    let results = study.results()?;
    let mut keys: Vec<(NetworkChoice, u64, usize)> = Vec::new();
    let key = |r: &CellResult| (r.cell.network, r.cell.pruning_ratio.to_bits(), r.cell.n_train);
    for result in &results {
        if !keys.contains(&key(result)) {
            keys.push(key(result));
        }
    }
    keys.sort_by_key(|k| (k.0.name(), k.1, std::cmp::Reverse(k.2)));
    let group = |k: &(NetworkChoice, u64, usize)| {
        let all: Vec<&CellResult> = results.iter().filter(|r| key(r) == *k).collect();
        let first = (*all.first()?).clone();
        let spread = |of: fn(&PixelScores) -> Option<f64>| {
            SeedStatistics::of(&all.iter().filter_map(|r| of(&r.scores)).collect::<Vec<f64>>())
        };
        Some(CellGroup {
            network: k.0,
            pruning_ratio: first.cell.pruning_ratio,
            r: first.cell.r,
            n_train: k.2,
            parameters: first.parameters,
            bytes: first.bytes,
            macs: first.macs,
            seeds: all.len(),
            sensitivity: spread(|s| s.sensitivity),
            specificity: spread(|s| s.specificity),
            dice: spread(|s| s.dice),
            accuracy: spread(|s| s.accuracy),
            cross_entropy: spread(|s| s.cross_entropy),
            paper: paper_row(k.0, study.design.scale, first.cell.pruning_ratio, k.2),
            first,
        })
    };
    Ok(keys.iter().filter_map(group).collect())
}

fn paper_row(
    network: NetworkChoice,
    scale: PatchScale,
    ratio: f64,
    n_train: usize,
) -> Option<PaperRow> {
    let table = match (network, scale) {
        (NetworkChoice::Dcnn, PatchScale::Scaled) => 4,
        (NetworkChoice::Dccn, PatchScale::Scaled) => 5,
        (NetworkChoice::Dcnn, PatchScale::Fixed) => 6,
        (NetworkChoice::Dccn, PatchScale::Fixed) => 7,
        (NetworkChoice::Small, _) => return None,
    };
    // The paper rounds sizes now up, now down.
    paper_table(table)
        .into_iter()
        .find(|row| (row.pruning_ratio - ratio).abs() < 1e-9 && row.n_train.abs_diff(n_train) <= 1)
}

/// A report and its figures on their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyReport {
    pub html: String,
    /// Name of the file and SVG.
    pub figures: Vec<(String, String)>,
}

/// The report as one HTML file, and its figures; the same results give the same bytes.
///
/// # Errors
/// When a result or picture cannot be read.
pub fn report(study: &Study) -> Result<StudyReport> {
    let (groups, times) = (groups(study)?, study.times()?);
    let mut panels = Vec::new();
    for network in &study.design.networks {
        let own: Vec<&CellGroup> = groups.iter().filter(|g| g.network == *network).collect();
        if own.is_empty() {
            continue;
        }
        let name = network.name();
        panels.push(StudyPanel {
            title: format!("{name}: accuracy"),
            svg: curves(&own, "Accuracy", |g| g.accuracy)?,
        });
        panels.push(StudyPanel {
            title: format!("{name}: Dice"),
            svg: curves(&own, "Dice", |g| g.dice)?,
        });
        panels.push(StudyPanel {
            title: format!("{name}: accuracy as a grid"),
            svg: study_grid(&cells(study, &own))?,
        });
        let bytes = costs(&own, "Bytes of the model file", &|g| Some(g.bytes as f64))?;
        panels.push(StudyPanel { title: format!("{name}: accuracy against bytes"), svg: bytes });
        let macs = costs(&own, "Multiply-adds a patch", &|g| Some(g.macs as f64))?;
        panels.push(StudyPanel { title: format!("{name}: accuracy against MACs"), svg: macs });
        if !times.is_empty() {
            let svg =
                costs(&own, "Milliseconds a patch", &|g| times.of(g.network, g.pruning_ratio))?;
            panels
                .push(StudyPanel { title: format!("{name}: accuracy against milliseconds"), svg });
        }
    }
    let rows: Vec<StudyRow> = groups.iter().map(row).collect();
    let mut pictures = Vec::new();
    for group in &groups {
        let file = study.picture_file(&group.first.cell);
        if file.is_file() {
            pictures.push(CellPicture {
                network: group.network.name().to_owned(),
                pruning_ratio: group.pruning_ratio,
                size: size(study, group),
                png: read_file(&file, MAX_PICTURE_BYTES)?,
            });
        }
    }
    let missing = study.missing()?.len();
    let design = study.design.to_toml()?;
    let html = render_study(&StudyPage {
        name: &study.design.name,
        design: &design,
        missing,
        dccn_stride: study
            .design
            .networks
            .contains(&NetworkChoice::Dccn)
            .then_some(study.design.data.dccn_stride),
        rows: &rows,
        panels: &panels,
        pictures: &pictures,
    });
    let file = |title: &str| title.replace(": ", "-").replace(' ', "-").to_lowercase() + ".svg";
    Ok(StudyReport { html, figures: panels.into_iter().map(|p| (file(&p.title), p.svg)).collect() })
}

/// What a configuration's sample size is called in grids.
fn size(study: &Study, group: &CellGroup) -> f64 {
    group.r.filter(|_| study.design.scale == PatchScale::Scaled).unwrap_or(group.n_train as f64)
}

/// Accuracy against what a network costs, a line for each sample size: the upper left is best.
fn costs(
    groups: &[&CellGroup],
    what: &str,
    of: &dyn Fn(&CellGroup) -> Option<f64>,
) -> Result<String> {
    let mut lines: Vec<Curve> = Vec::new();
    for group in groups {
        let (Some(spread), Some(cost)) = (group.accuracy, of(group)) else { continue };
        put(&mut lines, format!("{} patches", group.n_train), cost, spread);
    }
    study_curves(what, "Accuracy", &lines)
}

fn curves(
    groups: &[&CellGroup],
    what: &str,
    of: fn(&CellGroup) -> Option<SeedStatistics>,
) -> Result<String> {
    let mut lines: Vec<Curve> = Vec::new();
    for group in groups {
        let Some(spread) = of(group) else { continue };
        put(&mut lines, format!("δ = {}", group.pruning_ratio), group.n_train as f64, spread);
    }
    study_curves("Training patches", what, &lines)
}

/// Adds a point to the line of that name.
fn put(lines: &mut Vec<Curve>, name: String, x: f64, y: SeedStatistics) {
    let point = (x, y.mean, y.deviation.unwrap_or(0.0));
    match lines.iter_mut().find(|l| l.name == name) {
        Some(line) => line.points.push(point),
        None => lines.push(Curve { name, points: vec![point] }),
    }
}

/// Ratio, size and accuracy of each configuration.
fn cells(study: &Study, groups: &[&CellGroup]) -> Vec<(f64, f64, f64)> {
    groups
        .iter()
        .filter_map(|g| Some((g.pruning_ratio, size(study, g), g.accuracy?.mean)))
        .collect()
}

fn row(group: &CellGroup) -> StudyRow {
    let spread = |s: Option<SeedStatistics>| s.map(|s| (s.mean, s.deviation));
    let paper = group.paper;
    StudyRow {
        network: group.network.name().to_owned(),
        pruning_ratio: group.pruning_ratio,
        r: group.r,
        n_train: group.n_train,
        seeds: group.seeds,
        parameters: group.parameters,
        bytes: group.bytes,
        macs: group.macs,
        ours: [
            group.sensitivity,
            group.specificity,
            group.dice,
            group.accuracy,
            group.cross_entropy,
        ]
        .map(spread),
        paper: paper.map(|p| [p.sensitivity, p.specificity, p.dice, p.accuracy, p.cross_entropy]),
        apart: group.apart(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_means_and_sample_deviations() {
        assert_eq!(SeedStatistics::of(&[]), None);
        assert_eq!(SeedStatistics::of(&[2.0]), Some(SeedStatistics { mean: 2.0, deviation: None }));
        let two = SeedStatistics::of(&[1.0, 3.0]).expect("two");
        assert!(
            (two.mean - 2.0).abs() < 1e-12
                && (two.deviation.expect("known") - 2f64.sqrt()).abs() < 1e-12
        );
    }

    #[test]
    fn the_papers_rows_are_found_by_network_scale_ratio_and_size() {
        let row = paper_row(NetworkChoice::Dcnn, PatchScale::Fixed, 0.9, 9159).expect("Table 6");
        assert_eq!((row.dice, row.accuracy), (0.639, 0.888));
        assert!(paper_row(NetworkChoice::Dcnn, PatchScale::Fixed, 0.9, 9100).is_none());
        assert!(paper_row(NetworkChoice::Small, PatchScale::Fixed, 0.9, 9159).is_none());
    }
}
