//! The page as one HTML file with a model inside: it runs from a disk or a mail's attachment,
//! without a server. Scripts are held as text and become modules when the file is opened; its
//! policy allows these scripts alone.

use std::collections::BTreeMap;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::model::{Model, Precision};

/// Turns the scripts into modules, each after those it imports, and starts the page.
const LOADER: &str = r#"
const { order, sources, files } = JSON.parse(document.getElementById("bundle").textContent);
const modules = {};
// A worker of a file on a disk can be no module, so it carries the bindings with it, as a plain
// script.
const bindings = (sources["prunella.js"] ?? "").replace(/^export \{.*$/gm, "").replace(/^export /gm, "").replaceAll("import.meta.url", "undefined");
const plain = (name) => (sources[name] ?? "").replace(/^import .*$/gm, "").replace(/^export /gm, "");
sources["worker.js"] = [bindings, "const init = __wbg_init;", ...["source.js", "slides.js", "worker.js"].map(plain)].join("\n");
for (const name of order) {
  const text = sources[name].replace(/^(import .* from )"\.\/([\w.-]+)";$/gm, (_, before, other) => `${before}"${modules[other]}";`);
  modules[name] = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
}
globalThis.PRUNELLA_BUNDLE = { modules, files };
import(modules["main.js"]);
"#;

/// The built page (`cargo xtask web`).
#[derive(Debug, Default)]
pub struct PageFiles {
    pub index: String,
    pub style: String,
    /// Scripts by name.
    pub scripts: BTreeMap<String, String>,
    pub wasm: Vec<u8>,
}

/// One HTML file with everything in it.
///
/// # Errors
/// [`Error::Malformed`] when the files are not those of a page of this version.
pub fn to_html(page: &PageFiles, model: &Model) -> Result<String> {
    let order = in_order(&page.scripts)?;
    let files = json!({
        "web/prunella_bg.wasm": zipped(&page.wasm)?,
        "models/model.safetensors": zipped(&model.to_bytes(Precision::F32)?)?,
    });
    let bundle = json!({ "order": order, "sources": page.scripts, "files": files });
    // Inside a script element nothing may look like its end.
    let bundle = bundle.to_string().replace('<', "\\u003c");
    let policy = format!(
        "default-src 'none'; script-src '{}' blob: 'wasm-unsafe-eval'; style-src '{}'; img-src blob: data:; \
         connect-src https: http://127.0.0.1:* http://localhost:*; worker-src blob:; base-uri 'none'; form-action 'none'",
        digest(LOADER),
        digest(&page.style)
    );
    let head = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\" />\n<style>{}</style>\n",
        page.style
    );
    let tail = format!(
        "<script type=\"application/json\" id=\"bundle\">{bundle}</script>\n<script>{LOADER}</script>\n"
    );
    let mut text = page.index.clone();
    for (from, to) in [
        ("<meta\n      http-equiv=\"Content-Security-Policy\"", "/>"),
        ("<link rel=\"icon\"", "/>"),
        ("<link rel=\"manifest\"", "/>"),
        ("<link rel=\"stylesheet\"", "/>"),
        ("<script type=\"module\"", "</script>"),
    ] {
        text = without(&text, from, to)?;
    }
    let text = before(&text, "</head>", &head)?;
    before(&text, "</body>", &tail)
}

fn foreign() -> Error {
    Error::malformed(
        "The page's files are not of this version; build them anew with 'cargo xtask web'",
    )
}

fn without(text: &str, from: &str, to: &str) -> Result<String> {
    let (left, rest) = text.split_once(from).ok_or_else(foreign)?;
    let (_, right) = rest.split_once(to).ok_or_else(foreign)?;
    Ok(format!("{left}{right}"))
}

fn before(text: &str, place: &str, what: &str) -> Result<String> {
    let (left, right) = text.rsplit_once(place).ok_or_else(foreign)?;
    Ok(format!("{left}{what}{place}{right}"))
}

/// As a policy names a script: base64 of its SHA-256.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

fn zipped(bytes: &[u8]) -> Result<String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    Ok(STANDARD.encode(packed.map_err(|e| Error::io("The page cannot be packed", e))?))
}

/// Names of the modules that a script imports.
fn imports(text: &str) -> impl Iterator<Item = &str> {
    let statements = text.lines().filter(|l| l.starts_with("import "));
    statements.filter_map(|l| l.split_once(" from \"./")?.1.strip_suffix("\";"))
}

/// Scripts so that each comes after those it imports.
fn in_order(scripts: &BTreeMap<String, String>) -> Result<Vec<&str>> {
    let mut order: Vec<&str> = Vec::new();
    while order.len() < scripts.len() {
        let ready = |(name, text): &(&String, &String)| {
            !order.contains(&name.as_str()) && imports(text).all(|other| order.contains(&other))
        };
        // Scripts that import each other, or one that is missing, would never be ready.
        let (name, _) = scripts.iter().find(ready).ok_or_else(foreign)?;
        order.push(name);
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dcnn;

    fn page() -> PageFiles {
        let scripts = [
            ("main.js", "import { a } from \"./a.js\";\na(\"</script>\");"),
            ("a.js", "import init from \"./b.js\";\nexport const a = init;"),
            ("b.js", "/** @type {import(\"./main.js\").A} */\nexport default 1;"),
        ];
        PageFiles {
            index: include_str!("../../index.html").to_owned(),
            style: "body { color: red }".to_owned(),
            scripts: scripts.map(|(n, t)| (n.to_owned(), t.to_owned())).into(),
            wasm: vec![0, 97, 115, 109],
        }
    }

    #[test]
    fn the_file_needs_no_other_file_and_allows_no_other_script() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model");
        let text = to_html(&page(), &model).expect("html");
        for outside in ["src=\"", "href=\"", "script-src 'self'"] {
            assert!(!text.contains(outside), "{outside}");
        }
        let scripts: Vec<&str> =
            text.split("<script>").skip(1).filter_map(|t| t.split("</script>").next()).collect();
        assert_eq!(scripts.len(), 1);
        assert!(text.contains(&digest(scripts[0])), "the policy names the loader");
        assert_eq!(text.matches("</script>").count(), 2, "nothing inside ends a script");
        let bundle = text
            .split("id=\"bundle\">")
            .nth(1)
            .and_then(|t| t.split("</script>").next())
            .expect("bundle");
        let bundle: serde_json::Value = serde_json::from_str(bundle).expect("JSON");
        assert_eq!(bundle["order"], json!(["b.js", "a.js", "main.js"]));
    }

    #[test]
    fn pages_of_another_kind_are_refused() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model");
        assert!(to_html(&PageFiles { index: "<html></html>".into(), ..page() }, &model).is_err());
        let mut circular = page();
        circular.scripts.insert("b.js".into(), "import { x } from \"./main.js\";".into());
        assert!(to_html(&circular, &model).is_err());
    }
}
