//! What the reports share: style sheet, escaping, pictures inside the document.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Style sheet of the reports.
pub(super) const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } p { max-width: 45rem; }
table { border-collapse: collapse; } \
th, td { padding: .3rem 1rem; text-align: right; border-bottom: 1px solid #8886; }
figure { margin: 0; } figcaption { padding: .2rem 0 1rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }
img { width: 100%; image-rendering: pixelated; border-radius: 4px; } \
svg { max-width: 100%; height: auto; border-radius: 4px; }
";

/// Text for element content and for quoted attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// An `img` element that contains its PNG file; `alt` must be escaped.
pub(super) fn inline_png(png: &[u8], alt: &str) -> String {
    format!("<img alt=\"{alt}\" src=\"data:image/png;base64,{}\">", STANDARD.encode(png))
}

/// An `img` element that contains its JPEG file and is decoded when it comes into view; `alt` must
/// be escaped.
pub(super) fn inline_jpeg(jpeg: &[u8], alt: &str) -> String {
    let data = STANDARD.encode(jpeg);
    format!("<img alt=\"{alt}\" loading=\"lazy\" src=\"data:image/jpeg;base64,{data}\">")
}

/// Cells of a table's head.
pub(super) fn head_cells(names: &[&str]) -> String {
    let mut cells = String::new();
    for name in names {
        cells += &format!("<th>{name}</th>");
    }
    cells
}

/// Cells of a table row.
pub(super) fn cells(values: &[String]) -> String {
    let mut cells = String::new();
    for value in values {
        cells += &format!("<td>{value}</td>");
    }
    cells
}
