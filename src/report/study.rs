//! A study's report: one HTML file with tables in the paper's layout, figures and pictures.

use super::html::{STYLE, cells, escape, head_cells, inline_png};
use super::svg::sorted_distinct;

/// The five scores of the paper's tables, in their order there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ScoreColumns<T> {
    pub sensitivity: T,
    pub specificity: T,
    pub dice: T,
    pub accuracy: T,
    pub cross_entropy: T,
}

/// Mean and standard deviation over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SeedStatistics {
    pub mean: f64,
    /// Sample standard deviation (divisor n − 1); none with a single seed.
    pub std_dev: Option<f64>,
}

impl SeedStatistics {
    /// The statistics of one score's values, one value per seed; none without values.
    #[must_use]
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        let std_dev = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        Some(Self { mean, std_dev })
    }
}

/// Differences from the paper's scores, in units of the paper's standard errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PaperDifference {
    pub accuracy: f64,
    pub cross_entropy: f64,
}

/// One configuration: all seeds of a network, ratio and sample size.
#[derive(Debug, Clone)]
pub(crate) struct StudyRow {
    pub network: String,
    pub pruning_ratio: f64,
    /// Sample size relative to the network, where the design gives it.
    pub r: Option<f64>,
    pub n_train: usize,
    /// Number of seeds.
    pub seeds: usize,
    pub parameters: usize,
    /// Bytes of the model file.
    pub bytes: usize,
    /// Multiply-adds per patch.
    pub macs: u64,
    pub ours: ScoreColumns<Option<SeedStatistics>>,
    pub paper: Option<ScoreColumns<f64>>,
    pub difference: Option<PaperDifference>,
}

/// A figure.
#[derive(Debug, Clone)]
pub(crate) struct StudyPanel {
    pub title: String,
    pub svg: String,
}

/// Nuclei that one configuration finds on the same piece of tissue.
#[derive(Debug, Clone)]
pub(crate) struct CellPicture {
    pub network: String,
    pub pruning_ratio: f64,
    /// Sample size: patches, or relative to the network where it shrinks with the ratio.
    pub size: f64,
    pub png: Vec<u8>,
}

/// Contents of the report.
#[derive(Debug)]
pub(crate) struct StudyPage<'a> {
    pub name: &'a str,
    /// The design as TOML.
    pub design: &'a str,
    /// Number of cells that are not finished.
    pub missing: usize,
    /// Stride of the grid on which the DCCN was scored, pixels; none without a DCCN.
    pub dccn_stride: Option<usize>,
    pub rows: &'a [StudyRow],
    pub panels: &'a [StudyPanel],
    /// Grouped by network.
    pub pictures: &'a [CellPicture],
}

/// Shown where a value is not known.
const UNKNOWN: &str = "–";

/// The report as one HTML document.
#[must_use]
pub(crate) fn render_study(page: &StudyPage<'_>) -> String {
    let name = escape(page.name);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Study {name}</title><style>{STYLE} td {{ white-space: nowrap; }} \
         .wide {{ overflow-x: auto; width: max-content; max-width: calc(100vw - 4rem); }}</style>\
         </head><body><h1>Study {name}</h1>"
    );
    if page.missing > 0 {
        html += &format!("<p><strong>{} cells are not finished.</strong></p>", page.missing);
    }
    let grid = match page.dccn_stride {
        Some(stride) if stride > 1 => {
            format!(" (the DCCN's: of a grid of every {stride} pixels)")
        }
        _ => String::new(),
    };
    html += &format!(
        "<p>Scores over all pixels of the test tiles{grid}; ± is the standard deviation over \
         seeds. Beside them the paper's, where it has the same network, ratio and size; \
         the last columns \
         are the differences in accuracy and cross-entropy, in the paper's standard errors.</p>"
    );
    html += &score_table(page.rows);
    html += "<h2>What the last patches and filters bring</h2>";
    html += &cost_table(page.rows);
    for panel in page.panels {
        html += &format!("<h2>{}</h2>{}", escape(&panel.title), panel.svg);
    }
    html += &picture_grids(page.pictures);
    html += &format!("<h2>Design</h2><pre>{}</pre></body></html>\n", escape(page.design));
    html
}

/// Pictures by ratio (down) and sample size (across), a grid for each network (the paper's
/// Figure 9).
fn picture_grids(pictures: &[CellPicture]) -> String {
    let mut html = String::new();
    for own in pictures.chunk_by(|a, b| a.network == b.network) {
        let ratios = sorted_distinct(own.iter().map(|p| p.pruning_ratio).collect());
        let sizes = sorted_distinct(own.iter().map(|p| p.size).collect());
        let network = escape(&own[0].network);
        html += &format!("<h2>{network}: answers on a piece of the first test tile</h2>");
        html += "<div class=\"wide\"><table><thead><tr><th>δ \\ patches or r</th>";
        for size in &sizes {
            html += &format!("<th scope=\"col\">{size}</th>");
        }
        html += "</tr></thead><tbody>";
        for &ratio in &ratios {
            html += &format!("<tr><th scope=\"row\">{ratio}</th>");
            for &size in &sizes {
                html += "<td>";
                if let Some(picture) = picture_at(own, ratio, size) {
                    let alt = format!("Nuclei found at δ = {ratio}, sample size {size}");
                    html += &inline_png(&picture.png, &alt);
                }
                html += "</td>";
            }
            html += "</tr>\n";
        }
        html += "</tbody></table></div>";
    }
    html
}

/// The picture of a ratio and size; both are values of some picture, so bits are compared.
fn picture_at(pictures: &[CellPicture], ratio: f64, size: f64) -> Option<&CellPicture> {
    pictures.iter().find(|p| {
        p.pruning_ratio.to_bits() == ratio.to_bits() && p.size.to_bits() == size.to_bits()
    })
}

/// Our scores of each configuration, and the paper's beside them where any row has them.
fn score_table(rows: &[StudyRow]) -> String {
    let with_paper = rows.iter().any(|r| r.paper.is_some());
    let mut html = String::from("<div class=\"wide\"><table><thead><tr>");
    html += &head_cells(&["network", "δ", "r", "N", "seeds"]);
    html += &head_cells(&["sensitivity", "specificity", "Dice", "accuracy", "cross-entropy"]);
    if with_paper {
        html += &head_cells(&["paper: Dice", "accuracy", "cross-entropy"]);
        html += &head_cells(&["Δ accuracy, SE", "Δ cross-entropy, SE"]);
    }
    html += "</tr></thead><tbody>";
    for row in rows {
        html += "<tr>";
        html += &cells(&[
            row.network.clone(),
            row.pruning_ratio.to_string(),
            row.r.map_or(UNKNOWN.to_owned(), |r| r.to_string()),
            row.n_train.to_string(),
            row.seeds.to_string(),
            with_std_dev(row.ours.sensitivity),
            with_std_dev(row.ours.specificity),
            with_std_dev(row.ours.dice),
            with_std_dev(row.ours.accuracy),
            with_std_dev(row.ours.cross_entropy),
        ]);
        if with_paper {
            html += &cells(&[
                number(row.paper.map(|p| p.dice)),
                number(row.paper.map(|p| p.accuracy)),
                number(row.paper.map(|p| p.cross_entropy)),
                standard_errors(row.difference.map(|d| d.accuracy)),
                standard_errors(row.difference.map(|d| d.cross_entropy)),
            ]);
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>"
}

/// The paper's Tables 9 and 10: each configuration against the unpruned network with the most
/// patches.
fn cost_table(rows: &[StudyRow]) -> String {
    let mut html = String::from("<table><thead><tr>");
    html += &head_cells(&["network", "δ", "N", "parameters", "bytes", "MACs a patch"]);
    html += &head_cells(&["accuracy kept", "Dice kept"]);
    html += "</tr></thead><tbody>";
    for row in rows {
        let unpruned = rows.iter().filter(|u| u.network == row.network && u.pruning_ratio == 0.0);
        let reference = unpruned.max_by_key(|u| u.n_train);
        html += "<tr>";
        html += &cells(&[
            row.network.clone(),
            row.pruning_ratio.to_string(),
            row.n_train.to_string(),
            row.parameters.to_string(),
            row.bytes.to_string(),
            row.macs.to_string(),
            percent_kept(row.ours.accuracy, reference.and_then(|u| u.ours.accuracy)),
            percent_kept(row.ours.dice, reference.and_then(|u| u.ours.dice)),
        ]);
        html += "</tr>\n";
    }
    html + "</tbody></table>"
}

/// A mean relative to the reference's.
fn percent_kept(ours: Option<SeedStatistics>, reference: Option<SeedStatistics>) -> String {
    if let (Some(ours), Some(reference)) = (ours, reference) {
        let percent = ours.mean / reference.mean * 100.0;
        if percent.is_finite() {
            return format!("{percent:.1} %");
        }
    }
    UNKNOWN.to_owned()
}

fn with_std_dev(value: Option<SeedStatistics>) -> String {
    match value {
        None => UNKNOWN.to_owned(),
        Some(SeedStatistics { mean, std_dev: None }) => format!("{mean:.3}"),
        Some(SeedStatistics { mean, std_dev: Some(std_dev) }) => {
            format!("{mean:.3} ± {std_dev:.3}")
        }
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or(UNKNOWN.to_owned(), |v| format!("{v:.3}"))
}

/// A signed difference in standard errors.
fn standard_errors(difference: Option<f64>) -> String {
    difference.map_or(UNKNOWN.to_owned(), |d| format!("{d:+.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_seed(mean: f64) -> SeedStatistics {
        SeedStatistics { mean, std_dev: None }
    }

    #[test]
    fn statistics_are_means_and_sample_deviations() {
        assert_eq!(SeedStatistics::of(&[]), None);
        assert_eq!(SeedStatistics::of(&[2.0]), Some(one_seed(2.0)));
        let two = SeedStatistics::of(&[1.0, 3.0]).expect("two");
        let std_dev = two.std_dev.expect("known");
        assert!((two.mean - 2.0).abs() < 1e-12 && (std_dev - 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn the_report_has_our_numbers_the_papers_and_what_is_missing() {
        let row = |ratio: f64, accuracy: f64| StudyRow {
            network: "dcnn".into(),
            pruning_ratio: ratio,
            r: Some(0.01),
            n_train: 9159,
            seeds: 2,
            parameters: 916_959,
            bytes: 3_700_000,
            macs: 24_000_000,
            ours: ScoreColumns {
                sensitivity: None,
                specificity: Some(one_seed(0.9)),
                dice: Some(SeedStatistics { mean: 0.75, std_dev: Some(0.01) }),
                accuracy: Some(SeedStatistics { mean: accuracy, std_dev: Some(0.002) }),
                cross_entropy: Some(one_seed(0.2)),
            },
            paper: (ratio == 0.0).then_some(ScoreColumns {
                sensitivity: 0.789,
                specificity: 0.946,
                dice: 0.768,
                accuracy: 0.921,
                cross_entropy: 0.22,
            }),
            difference: (ratio == 0.0)
                .then_some(PaperDifference { accuracy: -3.0, cross_entropy: 1.5 }),
        };
        let rows = [row(0.0, 0.92), row(0.9, 0.874)];
        let picture = |pruning_ratio, size| CellPicture {
            network: "dcnn".into(),
            pruning_ratio,
            size,
            png: vec![1],
        };
        let pictures = [picture(0.9, 100.0), picture(0.0, 9159.0), picture(0.0, 100.0)];
        let page = StudyPage {
            name: "a <b>",
            design: "x = 1",
            missing: 3,
            dccn_stride: Some(16),
            rows: &rows,
            panels: &[],
            pictures: &pictures,
        };
        let html = render_study(&page);
        assert_eq!(
            (html.matches("<img").count(), html.matches("<td></td>").count()),
            (3, 1),
            "a grid of two by two"
        );
        for part in [
            "a &lt;b&gt;",
            "a grid of every 16 pixels",
            "3 cells are not finished",
            "0.750 ± 0.010",
            "0.768",
            "-3.0",
            "+1.5",
            "95.0 %",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert_eq!(html, render_study(&page));
    }
}
