//! The page as one HTML file with a model inside. It runs from a disk or a mail's attachment,
//! without a server.
//!
//! Into the page's `index.html` go:
//!
//! * the style sheet, in a `<style>` element;
//! * a JSON element with all scripts, and with the wasm and the model as gzipped base64;
//! * a small script, [`LOADER`], which makes a blob of each script when the file is opened;
//! * a content security policy that allows these scripts and blobs alone.
//!
//! Scripts import each other by name (`import { a } from "./a.js";`), but a blob has an address
//! that is known only after it is made. Each script is therefore stored in pieces, cut at the names
//! of its imports, in an order in which every script follows those it imports; the loader puts the
//! addresses between the pieces.
//!
//! Browsers do not start a module as a worker from a file on a disk. `worker.js` is therefore
//! linked here: it and the modules it imports become one plain script, without `import` and
//! `export`.
//!
//! Limits, met by the scripts in `web/` and by the bindings of wasm-bindgen: `import` and `export`
//! begin a line, modules of the page are imported as `"./name.js"` and not in a circle, nothing is
//! re-exported, and the worker's modules have no two top-level names alike.

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

/// Makes a blob of each script and imports `main.js`. In `pieces`, text and names of imported
/// scripts alternate.
const LOADER: &str = r#"
const { modules, files } = JSON.parse(document.getElementById("bundle").textContent);
const urls = {};
for (const { name, pieces } of modules) {
  const text = pieces.map((piece, i) => (i % 2 === 0 ? piece : urls[piece])).join("");
  urls[name] = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
}
globalThis.PRUNELLA_BUNDLE = { modules: urls, files };
import(urls["main.js"]);
"#;

/// The script of the workers.
const WORKER: &str = "worker.js";
/// The bindings of wasm-bindgen, which the worker imports too.
const BINDINGS: &str = "prunella.js";

/// The built page (`cargo xtask web`).
#[derive(Debug, Default)]
pub struct PageFiles {
    /// `index.html`.
    pub index: String,
    /// The style sheet.
    pub style: String,
    /// Scripts by file name.
    pub scripts: BTreeMap<String, String>,
    /// The WebAssembly module.
    pub wasm: Vec<u8>,
}

/// One HTML file with the page and a model.
///
/// # Errors
/// [`Error::Malformed`] when the files are not those of a page of this version.
pub fn to_html(page: &PageFiles, model: &Model) -> Result<String> {
    let order = dependency_order(&page.scripts)?;
    let worker = plain_worker(&page.scripts, &order);
    let mut modules = Vec::new();
    for name in order {
        let pieces =
            if name == WORKER { vec![&*worker] } else { split_at_imports(&page.scripts[name]) };
        modules.push(json!({ "name": name, "pieces": pieces }));
    }
    let bundle = json!({
        "modules": modules,
        "files": {
            "web/prunella_bg.wasm": gzip_base64(&page.wasm)?,
            "models/model.safetensors": gzip_base64(&model.to_bytes(Precision::F32)?)?,
        },
    });
    // A script element ends at the first `</script`, wherever it stands.
    let bundle = bundle.to_string().replace('<', "\\u003c");
    let policy = format!(
        "default-src 'none'; script-src '{}' blob: 'wasm-unsafe-eval'; style-src '{}'; \
         img-src blob: data:; \
         connect-src https: http://127.0.0.1:* http://localhost:*; worker-src blob:; \
         base-uri 'none'; form-action 'none'",
        policy_hash(LOADER),
        policy_hash(&page.style)
    );
    let head = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\" />\n<style>{}</style>\n",
        page.style
    );
    let tail = format!(
        "<script type=\"application/json\" \
         id=\"bundle\">{bundle}</script>\n<script>{LOADER}</script>\n"
    );
    let mut html = page.index.clone();
    for (start, end) in [
        ("<meta\n      http-equiv=\"Content-Security-Policy\"", "/>"),
        ("<link rel=\"icon\"", "/>"),
        ("<link rel=\"manifest\"", "/>"),
        ("<link rel=\"stylesheet\"", "/>"),
        ("<script type=\"module\"", "</script>"),
    ] {
        html = without_element(&html, start, end)?;
    }
    let html = with_text_before(&html, "</head>", &head)?;
    with_text_before(&html, "</body>", &tail)
}

fn another_version() -> Error {
    Error::malformed(
        "The page's files are not of this version; build them anew with 'cargo xtask web'",
    )
}

/// The text without the first part from `start` to `end`, both included.
fn without_element(text: &str, start: &str, end: &str) -> Result<String> {
    let (left, rest) = text.split_once(start).ok_or_else(another_version)?;
    let (_, right) = rest.split_once(end).ok_or_else(another_version)?;
    Ok(format!("{left}{right}"))
}

/// The text with `addition` before the last `tag`.
fn with_text_before(text: &str, tag: &str, addition: &str) -> Result<String> {
    let (left, right) = text.rsplit_once(tag).ok_or_else(another_version)?;
    Ok(format!("{left}{addition}{tag}{right}"))
}

/// Source expression of a content security policy for an inline script or style.
fn policy_hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

fn gzip_base64(bytes: &[u8]) -> Result<String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zipped = encoder.write_all(bytes).and_then(|()| encoder.finish());
    Ok(STANDARD.encode(zipped.map_err(|e| Error::io("The page cannot be packed", e))?))
}

/// Cuts a script before and after `./name.js` in each of its import statements and drops the `./`:
/// text and names alternate, beginning and ending with text.
fn split_at_imports(script: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut piece_start = 0;
    let mut line_start = 0;
    let mut in_import = false;
    for line in script.split_inclusive('\n') {
        in_import |= line.starts_with("import ");
        if in_import && let Some(name) = imported_name(line) {
            let at = line_start + line.find(name).unwrap_or(0);
            pieces.push(&script[piece_start..at - "./".len()]);
            pieces.push(name);
            piece_start = at + name.len();
        }
        in_import &= !line.trim_end().ends_with(';');
        line_start += line.len();
    }
    pieces.push(&script[piece_start..]);
    pieces
}

/// `name.js` of a line that ends an import statement: `… from "./name.js";`.
fn imported_name(line: &str) -> Option<&str> {
    let (_, specifier) = line.trim_end().split_once("\"./")?;
    specifier.strip_suffix("\";")
}

/// Names of the scripts that a script imports.
fn imports(script: &str) -> impl Iterator<Item = &str> {
    split_at_imports(script).into_iter().skip(1).step_by(2)
}

/// The names of all scripts, each after those it imports.
fn dependency_order(scripts: &BTreeMap<String, String>) -> Result<Vec<&str>> {
    let mut order: Vec<&str> = Vec::new();
    while order.len() < scripts.len() {
        let next = scripts.iter().find(|(name, script)| {
            !order.contains(&name.as_str()) && imports(script).all(|name| order.contains(&name))
        });
        // None is left where scripts import each other, or one that is missing.
        let (name, _) = next.ok_or_else(another_version)?;
        order.push(name);
    }
    Ok(order)
}

/// `worker.js` and the modules it imports as one plain script. `order` is [`dependency_order`].
fn plain_worker(scripts: &BTreeMap<String, String>, order: &[&str]) -> String {
    // Backwards, every script comes before those it imports.
    let mut needed = vec![WORKER];
    for name in order.iter().rev().filter(|name| **name != BINDINGS) {
        if needed.contains(name) {
            needed.extend(imports(&scripts[*name]));
        }
    }
    let mut text = String::new();
    for name in order.iter().filter(|name| needed.contains(name)) {
        text += &plain_script(&scripts[*name]);
        if *name == BINDINGS {
            text += "\nconst init = __wbg_init;\n";
        }
    }
    // Only modules have it. The bindings use it for a default address, which the page does not
    // need.
    text.replace("import.meta.url", "undefined")
}

/// A script without import statements, without `export {…}` lines and without the word `export`
/// before definitions.
fn plain_script(script: &str) -> String {
    let mut text = String::new();
    let mut in_import = false;
    for line in script.split_inclusive('\n') {
        in_import |= line.starts_with("import ");
        if !in_import && !line.starts_with("export {") {
            text += line.strip_prefix("export ").unwrap_or(line);
        }
        in_import &= !line.trim_end().ends_with(';');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dcnn;

    fn page() -> PageFiles {
        let scripts = [
            ("main.js", "import { a } from \"./a.js\";\na(\"</script>\");"),
            ("a.js", "// A.\nimport {\n  b,\n} from \"./b.js\";\nexport const a = b;\n"),
            ("b.js", "/** @type {import(\"./main.js\").A} */\nexport const b = 1;\n"),
            (
                "worker.js",
                "import init from \"./prunella.js\";\nimport { b } from \"./b.js\";\nb;\n",
            ),
            (
                "prunella.js",
                "export class C {}\nimport.meta.url;\nexport { __wbg_init as default };\n",
            ),
        ];
        PageFiles {
            index: include_str!("../../index.html").to_owned(),
            style: "body { color: red }".to_owned(),
            scripts: scripts.map(|(n, t)| (n.to_owned(), t.to_owned())).into(),
            wasm: vec![0, 97, 115, 109],
        }
    }

    #[test]
    fn the_file_needs_no_other_file_and_its_policy_allows_no_other_script() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model");
        let text = to_html(&page(), &model).expect("html");
        for outside in ["src=\"", "href=\"", "script-src 'self'"] {
            assert!(!text.contains(outside), "{outside}");
        }
        let scripts: Vec<&str> =
            text.split("<script>").skip(1).filter_map(|t| t.split("</script>").next()).collect();
        assert_eq!(scripts.len(), 1);
        assert!(text.contains(&policy_hash(scripts[0])), "the policy names the loader");
        assert_eq!(text.matches("</script>").count(), 2, "nothing inside ends a script");
        let bundle = text
            .split("id=\"bundle\">")
            .nth(1)
            .and_then(|t| t.split("</script>").next())
            .expect("bundle");
        let bundle: serde_json::Value = serde_json::from_str(bundle).expect("JSON");
        let modules = bundle["modules"].as_array().expect("modules");
        let names: Vec<_> = modules.iter().filter_map(|m| m["name"].as_str()).collect();
        assert_eq!(names, ["b.js", "a.js", "main.js", "prunella.js", "worker.js"]);
    }

    #[test]
    fn scripts_are_cut_at_the_names_of_their_imports() {
        let PageFiles { scripts, .. } = page();
        let pieces = split_at_imports(&scripts["a.js"]);
        assert_eq!(
            pieces,
            ["// A.\nimport {\n  b,\n} from \"", "b.js", "\";\nexport const a = b;\n"]
        );
        assert_eq!(split_at_imports(&scripts["b.js"]), [&*scripts["b.js"]], "types are no imports");
    }

    #[test]
    fn the_worker_is_one_plain_script_with_all_that_it_imports() {
        let PageFiles { scripts, .. } = page();
        let worker = plain_worker(&scripts, &dependency_order(&scripts).expect("order"));
        let types = "/** @type {import(\"./main.js\").A} */\n";
        let bindings = "class C {}\nundefined;\n\nconst init = __wbg_init;\n";
        assert_eq!(worker, format!("{types}const b = 1;\n{bindings}b;\n"));
    }

    #[test]
    fn pages_of_another_version_are_refused() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model");
        assert!(to_html(&PageFiles { index: "<html></html>".into(), ..page() }, &model).is_err());
        let mut circular = page();
        circular.scripts.insert("b.js".into(), "import { x } from \"./main.js\";".into());
        assert!(to_html(&circular, &model).is_err());
    }
}
