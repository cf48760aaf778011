//! The demo's report: one HTML file that needs nothing else.

use serde::Serialize;

use super::html::{STYLE, escape, inline_png};

/// One model of the demo, an object of `summary.json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct DemoRow {
    pub pruning_ratio: f64,
    pub parameters: usize,
    /// Size of the model file.
    pub bytes: usize,
    /// Over all pixels of the held-out fields.
    pub dice: f64,
    pub accuracy: f64,
    /// Median time to segment one held-out field.
    pub segment_ms: f64,
}

/// A picture with its caption.
#[derive(Debug, Clone)]
pub(crate) struct DemoPicture {
    pub caption: String,
    pub png: Vec<u8>,
}

/// A training run's curves.
#[derive(Debug, Clone)]
pub(crate) struct DemoCurves {
    pub title: String,
    pub svg: String,
}

/// Contents of the report.
#[derive(Debug)]
pub(crate) struct DemoPage<'a> {
    /// Name of the device that trained.
    pub device: &'a str,
    pub rows: &'a [DemoRow],
    pub curves: &'a [DemoCurves],
    pub pictures: &'a [DemoPicture],
}

/// The report as one HTML document.
#[must_use]
pub(crate) fn render_demo(page: &DemoPage<'_>) -> String {
    let mut html =
        String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">";
    html += "<title>prunella demo</title>";
    html += &format!("<style>{STYLE}</style></head><body><h1>prunella demo</h1>");
    html += &format!(
        "<p>A network was trained on ten crops of H&amp;E tissue (TNBC and NuInsSeg, CC BY 4.0), \
         its filters were pruned and it was \
         fine-tuned; each model was then scored on fields it never saw. Trained on {}. \
         Segmentation times are for one field on this machine's CPU.</p>",
        escape(page.device)
    );
    html += &table(page.rows);
    html += "<h2>A held-out field</h2><div class=\"grid\">";
    for picture in page.pictures {
        let caption = escape(&picture.caption);
        let image = inline_png(&picture.png, &caption);
        html += &format!("<figure>{image}<figcaption>{caption}</figcaption></figure>");
    }
    html += "</div><h2>Training</h2>";
    for curves in page.curves {
        html += &format!("<h3>{}</h3>{}", escape(&curves.title), curves.svg);
    }
    html += "</body></html>\n";
    html
}

fn table(rows: &[DemoRow]) -> String {
    let mut out = String::from(
        "<table><thead><tr><th>δ</th><th>parameters</th><th>bytes</th><th>Dice</th>\
         <th>accuracy</th><th>ms a field</th></tr></thead><tbody>",
    );
    for r in rows {
        out += &format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.3}</td><td>{:.1}</td></tr>",
            r.pruning_ratio, r.parameters, r.bytes, r.dice, r.accuracy, r.segment_ms
        );
    }
    out + "</tbody></table>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_every_number_and_picture_and_refers_to_nothing_outside() {
        let row = DemoRow {
            pruning_ratio: 0.5,
            parameters: 123,
            bytes: 456,
            dice: 0.875,
            accuracy: 0.9,
            segment_ms: 1.5,
        };
        let picture = DemoPicture { caption: "a <b>".into(), png: vec![1, 2, 3] };
        let curves = DemoCurves { title: "δ = 0".into(), svg: "<svg></svg>".into() };
        let html = render_demo(&DemoPage {
            device: "CPU",
            rows: &[row],
            curves: &[curves],
            pictures: &[picture],
        });
        for part in
            ["<td>123</td>", "<td>0.875</td>", "data:image/png;base64,AQID", "a &lt;b&gt;", "<svg>"]
        {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("http"));
    }
}
