//! The demo's report: one HTML file that needs nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// One line of `summary.json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DemoRow {
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
pub struct DemoPicture {
    pub caption: String,
    pub png: Vec<u8>,
}

/// What the page shows.
#[derive(Debug)]
pub struct DemoPage<'a> {
    pub device: &'a str,
    pub rows: &'a [DemoRow],
    /// Title and SVG.
    pub curves: &'a [(String, String)],
    pub pictures: &'a [DemoPicture],
}

pub(super) const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } p { max-width: 45rem; }
table { border-collapse: collapse; } th, td { padding: .3rem 1rem; text-align: right; border-bottom: 1px solid #8886; }
figure { margin: 0; } figcaption { padding: .2rem 0 1rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }
img { width: 100%; image-rendering: pixelated; border-radius: 4px; } svg { max-width: 100%; height: auto; border-radius: 4px; }
";

/// The page as one HTML document.
#[must_use]
pub fn render_demo(page: &DemoPage<'_>) -> String {
    let mut html =
        String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let mut add = |part: &str| html.push_str(part);
    add(
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>prunella demo</title>",
    );
    add(&format!("<style>{STYLE}</style></head><body><h1>prunella demo</h1>"));
    add(&format!(
        "<p>A network was trained on procedural H&amp;E tissue, its filters were pruned and it was fine-tuned; each model \
         was then scored on fields it never saw. Trained on {}. Segmentation times are for one field on this machine's \
         CPU.</p>",
        escape(page.device)
    ));
    add(&table(page.rows));
    add("<h2>A held-out field</h2><div class=\"grid\">");
    for picture in page.pictures {
        let (data, caption) = (STANDARD.encode(&picture.png), escape(&picture.caption));
        add(&format!(
            "<figure><img alt=\"{caption}\" src=\"data:image/png;base64,{data}\"><figcaption>{caption}</figcaption></figure>"
        ));
    }
    add("</div><h2>Training</h2>");
    for (title, svg) in page.curves {
        add(&format!("<h3>{}</h3>{svg}", escape(title)));
    }
    add("</body></html>\n");
    html
}

fn table(rows: &[DemoRow]) -> String {
    let mut out = String::from(
        "<table><thead><tr><th>δ</th><th>parameters</th><th>bytes</th><th>Dice</th><th>accuracy</th><th>ms a field</th>\
         </tr></thead><tbody>",
    );
    for r in rows {
        out += &format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.3}</td><td>{:.1}</td></tr>",
            r.pruning_ratio, r.parameters, r.bytes, r.dice, r.accuracy, r.segment_ms
        );
    }
    out + "</tbody></table>"
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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
        let curves = [("δ = 0".to_owned(), "<svg></svg>".to_owned())];
        let html = render_demo(&DemoPage {
            device: "CPU",
            rows: &[row],
            curves: &curves,
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
