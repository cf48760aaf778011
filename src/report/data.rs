//! The page of `data check`: every tile with its outlines and notes in one HTML file, so that a
//! person sees whether image and labels belong together.

use super::html::{STYLE, escape, inline_jpeg};

/// Style of what only this page has.
const TILE_STYLE: &str = "
figcaption p { margin: .1rem 0; font-size: .85rem; overflow-wrap: anywhere; }
.note { border-left: 4px solid #d90; padding-left: .5rem; }
.error { border-left: 4px solid #c22; padding-left: .5rem; }
.missing { aspect-ratio: 1; display: grid; place-items: center; background: #8883; }
";

/// A tile of the page.
#[derive(Debug)]
pub(crate) struct DataTile {
    pub name: String,
    /// A small picture; none where the image cannot be read.
    pub jpeg: Option<Vec<u8>>,
    /// Files, rule of the pairing, sizes and counts, a line each.
    pub facts: Vec<String>,
    pub notes: Vec<String>,
    /// Why the tile cannot be used.
    pub error: Option<String>,
}

/// Contents of the page.
#[derive(Debug)]
pub(crate) struct DataPage {
    pub folder: String,
    /// A sentence of totals.
    pub summary: String,
    /// What belongs to no tile.
    pub notes: Vec<String>,
    /// Tiles with errors, then with notes, then others are shown.
    pub tiles: Vec<DataTile>,
}

/// The page as one HTML document.
#[must_use]
pub(crate) fn render_data(page: &DataPage) -> String {
    let title = format!("Labelled tiles in {}", escape(&page.folder));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}{TILE_STYLE}</style></head><body><h1>{title}</h1>\
         <p>{}. The outlines are those of the labels: where they do not follow the nuclei, image \
         and labels do not belong together.</p>",
        escape(&page.summary)
    );
    for note in &page.notes {
        html += &format!("<p class=\"note\">{}</p>", escape(note));
    }
    html += "<div class=\"grid\">";
    let mut tiles: Vec<&DataTile> = page.tiles.iter().collect();
    tiles.sort_by_key(|tile| (tile.error.is_none(), tile.notes.is_empty()));
    for tile in tiles {
        html += &figure(tile);
    }
    html += "</div></body></html>\n";
    html
}

fn figure(tile: &DataTile) -> String {
    let name = escape(&tile.name);
    let picture = match &tile.jpeg {
        Some(jpeg) => inline_jpeg(jpeg, &name),
        None => "<div class=\"missing\">no picture</div>".to_owned(),
    };
    let mut html = format!("<figure>{picture}<figcaption><strong>{name}</strong>");
    for fact in &tile.facts {
        html += &format!("<p>{}</p>", escape(fact));
    }
    if let Some(error) = &tile.error {
        html += &format!("<p class=\"error\">cannot be used: {}</p>", escape(error));
    }
    for note in &tile.notes {
        html += &format!("<p class=\"note\">{}</p>", escape(note));
    }
    html + "</figcaption></figure>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_tile_those_with_errors_first_and_refers_to_nothing_outside() {
        let tile = |name: &str, jpeg: Option<Vec<u8>>, error: Option<&str>| DataTile {
            name: name.into(),
            jpeg,
            facts: vec!["labels a_mask.png (ending '_mask')".into()],
            notes: vec!["One label covers <90 %".into()],
            error: error.map(str::to_owned),
        };
        let html = render_data(&DataPage {
            folder: "a&b".into(),
            summary: "1 of 2 tiles can be used".into(),
            notes: vec!["x".into()],
            tiles: vec![tile("good", Some(vec![1, 2, 3]), None), tile("<bad>", None, Some("size"))],
        });
        for part in ["a&amp;b", "data:image/jpeg;base64,AQID", "&lt;bad&gt;", "&lt;90 %", "_mask"] {
            assert!(html.contains(part), "{part}");
        }
        assert!(html.find("&lt;bad&gt;") < html.find("good"), "errors first");
        assert!(!html.contains("http"));
    }
}
