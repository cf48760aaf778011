//! A study's report: one HTML file with tables in the paper's layout, figures and pictures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::demo::{STYLE, escape};

/// Mean and standard deviation over seeds.
type ErrorBar = Option<(f64, Option<f64>)>;

/// One configuration: sensitivity, specificity, Dice, accuracy, cross-entropy.
#[derive(Debug, Clone)]
pub struct StudyRow {
    pub network: String,
    pub pruning_ratio: f64,
    pub r: Option<f64>,
    pub n_train: usize,
    pub seeds: usize,
    pub parameters: usize,
    pub bytes: usize,
    pub macs: u64,
    pub ours: [ErrorBar; 5],
    pub paper: Option<[f64; 5]>,
    /// Distance of accuracy and cross-entropy from the paper's, in its standard errors.
    pub apart: Option<(f64, f64)>,
}

/// A figure.
#[derive(Debug, Clone)]
pub struct StudyPanel {
    pub title: String,
    pub svg: String,
}

/// What the report shows.
#[derive(Debug)]
pub struct StudyPage<'a> {
    pub name: &'a str,
    pub design: &'a str,
    /// Cells that are not finished.
    pub missing: usize,
    /// Pixels between those that the DCCN was scored on, where it takes part.
    pub dccn_stride: Option<usize>,
    pub rows: &'a [StudyRow],
    pub panels: &'a [StudyPanel],
    pub pictures: &'a [CellPicture],
}

/// A configuration's answer on the same piece of tissue.
#[derive(Debug, Clone)]
pub struct CellPicture {
    pub network: String,
    pub pruning_ratio: f64,
    /// Sample size: patches, or relative to the network where it shrinks with the ratio.
    pub size: f64,
    pub png: Vec<u8>,
}

/// The report as one HTML document.
#[must_use]
pub fn render_study(page: &StudyPage<'_>) -> String {
    let name = escape(page.name);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Study {name}</title>\
         <style>{STYLE} td {{ white-space: nowrap; }} .wide {{ overflow-x: auto; width: max-content; max-width: calc(100vw - 4rem); }}</style></head><body><h1>Study {name}</h1>"
    );
    let mut add = |part: &str| html.push_str(part);
    if page.missing > 0 {
        add(&format!("<p><strong>{} cells are not finished.</strong></p>", page.missing));
    }
    let grid = match page.dccn_stride {
        Some(step) if step > 1 => format!(" (the DCCN's: of a grid of every {step} pixels)"),
        _ => String::new(),
    };
    add(&format!(
        "<p>Scores over all pixels of the test tiles{grid}; ± is the standard deviation over seeds. Beside them the paper's, where it \
         has the same network, ratio and size; the last columns are the differences in accuracy and cross-entropy, in the \
         paper's standard errors.</p>"
    ));
    add(&table(page.rows));
    add("<h2>What the last patches and filters bring</h2>");
    add(&summary(page.rows));
    for panel in page.panels {
        add(&format!("<h2>{}</h2>{}", escape(&panel.title), panel.svg));
    }
    add(&grids(page.pictures));
    add(&format!("<h2>Design</h2><pre>{}</pre></body></html>\n", escape(page.design)));
    html
}

/// Answers by ratio (down) and sample size (across), a grid a network: the paper's Figure 9.
fn grids(pictures: &[CellPicture]) -> String {
    let mut networks: Vec<&str> = pictures.iter().map(|p| p.network.as_str()).collect();
    networks.dedup();
    let mut out = String::new();
    for network in networks {
        let own: Vec<&CellPicture> = pictures.iter().filter(|p| p.network == network).collect();
        let mut ratios: Vec<f64> = own.iter().map(|p| p.pruning_ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.dedup();
        let mut sizes: Vec<f64> = own.iter().map(|p| p.size).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        out += &format!("<h2>{}: answers on a piece of the first test tile</h2>", escape(network));
        out += "<div class=\"wide\"><table><thead><tr><th>δ \\ patches or r</th>";
        sizes.iter().for_each(|n| out += &format!("<th scope=\"col\">{n}</th>"));
        out += "</tr></thead><tbody>";
        for ratio in ratios {
            out += &format!("<tr><th scope=\"row\">{ratio}</th>");
            for &n in &sizes {
                let here = own.iter().find(|p| {
                    p.size.to_bits() == n.to_bits() && p.pruning_ratio.to_bits() == ratio.to_bits()
                });
                let image = here.map(|p| {
                    let (data, alt) = (
                        STANDARD.encode(&p.png),
                        format!("Nuclei found at δ = {ratio}, sample size {n}"),
                    );
                    format!("<img alt=\"{alt}\" src=\"data:image/png;base64,{data}\">")
                });
                out += &format!("<td>{}</td>", image.unwrap_or_default());
            }
            out += "</tr>\n";
        }
        out += "</tbody></table></div>";
    }
    out
}

fn spread(value: ErrorBar) -> String {
    match value {
        None => "–".to_owned(),
        Some((mean, None)) => format!("{mean:.3}"),
        Some((mean, Some(deviation))) => format!("{mean:.3} ± {deviation:.3}"),
    }
}

fn table(rows: &[StudyRow]) -> String {
    let head = |names: &[&str]| names.iter().map(|n| format!("<th>{n}</th>")).collect::<String>();
    // A study of another network has no paper beside it.
    let paper_known = rows.iter().any(|r| r.paper.is_some());
    let mut out = String::from("<div class=\"wide\"><table><thead><tr>");
    out.push_str(&head(&[
        "network",
        "δ",
        "r",
        "N",
        "seeds",
        "sensitivity",
        "specificity",
        "Dice",
        "accuracy",
    ]));
    out.push_str(&head(&["cross-entropy"]));
    if paper_known {
        out.push_str(&head(&[
            "paper: Dice",
            "accuracy",
            "cross-entropy",
            "Δ accuracy, SE",
            "Δ cross-entropy, SE",
        ]));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        let r = row.r.map_or("–".to_owned(), |r| r.to_string());
        let ours: String = row.ours.iter().map(|s| format!("<td>{}</td>", spread(*s))).collect();
        out.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{r}</td><td>{}</td><td>{}</td>{ours}",
            row.network, row.pruning_ratio, row.n_train, row.seeds
        ));
        if paper_known {
            let paper = |i: usize| row.paper.map_or("–".to_owned(), |p| format!("{:.3}", p[i]));
            let apart = row.apart.map(|(a, c)| [format!("{a:+.1}"), format!("{c:+.1}")]);
            let [accuracy, entropy] = apart.unwrap_or_else(|| ["–".to_owned(), "–".to_owned()]);
            let cells = [paper(2), paper(3), paper(4), accuracy, entropy];
            out.push_str(&cells.map(|c| format!("<td>{c}</td>")).concat());
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody></table></div>"
}

/// The paper's Tables 9 and 10: each configuration against the unpruned network with the most
/// patches.
fn summary(rows: &[StudyRow]) -> String {
    let mut out = String::from(
        "<table><thead><tr><th>network</th><th>δ</th><th>N</th><th>parameters</th><th>bytes</th><th>MACs a patch</th>\
         <th>accuracy kept</th><th>Dice kept</th></tr></thead><tbody>",
    );
    for row in rows {
        let whole = rows
            .iter()
            .filter(|w| w.network == row.network && w.pruning_ratio == 0.0)
            .max_by_key(|w| w.n_train);
        let kept = |i: usize| {
            let share =
                row.ours[i].zip(whole.and_then(|w| w.ours[i])).map(|(a, b)| a.0 / b.0 * 100.0);
            share.filter(|s| s.is_finite()).map_or("–".to_owned(), |s| format!("{s:.1} %"))
        };
        out.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            row.network,
            row.pruning_ratio,
            row.n_train,
            row.parameters,
            row.bytes,
            row.macs,
            kept(3),
            kept(2)
        ));
    }
    out + "</tbody></table>"
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ours: [
                None,
                Some((0.9, None)),
                Some((0.75, Some(0.01))),
                Some((accuracy, Some(0.002))),
                Some((0.2, None)),
            ],
            paper: (ratio == 0.0).then_some([0.789, 0.946, 0.768, 0.921, 0.22]),
            apart: (ratio == 0.0).then_some((-3.0, 1.5)),
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
