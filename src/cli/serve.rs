//! `prunella serve`: the page and the files of a folder in the browser, on this machine only.
//! Requests with byte ranges work, so the page reads large images in parts. Files outside the
//! folder are refused, also through symbolic links.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse as _, Response};
use clap::Args;
use serde_json::json;
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;

use super::CommandOutcome;
use super::output::{Output, stop_flag};
use super::page::{no_page, page_folder};
use crate::error::{Error, ErrorContext as _, Result};
use crate::picture::has_picture_ending;

/// Path of the folder's files in addresses, without slashes; the page is at the root.
const FILES: &str = "files";
/// Endings of images that a browser decodes and this program does not, in small letters.
const BROWSER_ENDINGS: [&str; 3] = ["avif", "heic", "heif"];
/// Time between looks at the flag that Ctrl-C sets.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// Show the page and a folder's slides and images in the browser.
///
/// Serves on this machine only, until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella serve prunella-demo
  prunella serve result --port 8080 --no-open")]
pub(super) struct ServeArguments {
    /// The folder; files outside it cannot be read.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Folder of the built page [default: 'page' beside the program].
    #[arg(long)]
    page: Option<PathBuf>,
    /// Print the address without opening a browser.
    #[arg(long)]
    no_open: bool,
}

/// `prunella serve`.
pub(super) fn serve(arguments: &ServeArguments, output: Output) -> Result<CommandOutcome> {
    let folder = arguments
        .folder
        .canonicalize()
        .map_err(|e| Error::io("The folder cannot be served", e))
        .at(&arguments.folder)?;
    if !folder.is_dir() {
        return Err(Error::invalid("Only a folder can be served").at(&arguments.folder));
    }
    let page = page_folder(arguments.page.as_deref());
    if arguments.page.is_some() && page.is_none() {
        return Err(no_page());
    }
    let page = page.map(|p| p.canonicalize().unwrap_or(p));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(start_error)?;
    runtime.block_on(listen(arguments, &folder, page.as_deref(), output))?;
    Ok(CommandOutcome::Done)
}

fn start_error(source: std::io::Error) -> Error {
    Error::io("The server cannot start", source)
}

/// Prints the address and serves until Ctrl-C.
async fn listen(
    arguments: &ServeArguments,
    folder: &Path,
    page: Option<&Path>,
    output: Output,
) -> Result<()> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port))
        .await
        .map_err(start_error)?;
    let port = listener.local_addr().map_err(start_error)?.port();
    let address = match page {
        Some(_) => format!("http://127.0.0.1:{port}/?folder={FILES}/"),
        None => format!("http://127.0.0.1:{port}/{FILES}/"),
    };
    if page.is_none() {
        output.remark(
            "The page is not built ('cargo xtask web' does that), so only the folder is shown",
        );
    }
    output.result(&json!({ "address": address, "folder": folder }), &address)?;
    if !arguments.no_open && open::that_detached(&address).is_err() {
        output.remark("No browser could be opened; go to the address above");
    }
    axum::serve(listener, router(folder, page))
        .with_graceful_shutdown(stopped())
        .await
        .map_err(start_error)
}

/// Returns after Ctrl-C.
async fn stopped() {
    let stop = stop_flag();
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        tokio::time::sleep(STOP_INTERVAL).await;
    }
}

/// Files of `folder` below [`FILES`], the page at the root.
fn router(folder: &Path, page: Option<&Path>) -> Router {
    // An HTML file in the folder may come from anyone: its scripts get an origin of their own, and
    // other sites cannot embed the folder's files.
    let files = files_below(folder)
        .layer(fixed_header(header::CONTENT_SECURITY_POLICY, "sandbox allow-scripts"))
        .layer(fixed_header(
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ));
    let mut router = Router::new().nest_service(&format!("/{FILES}"), files);
    if let Some(page) = page {
        router = router.fallback_service(files_below(page));
    }
    router
        .layer(from_fn(loopback_names_only))
        .layer(fixed_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed_header(header::CACHE_CONTROL, "no-cache"))
}

fn fixed_header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}

fn files_below(folder: &Path) -> Router {
    let folder = Arc::new(folder.to_path_buf());
    Router::new()
        .fallback_service(ServeDir::new(folder.as_path()))
        .layer(from_fn_with_state(folder, inside_only))
}

/// Refuses requests for another host name: a foreign site may let its name resolve to this machine
/// (DNS rebinding).
async fn loopback_names_only(request: Request, next: Next) -> Response {
    let host =
        request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if matches!(name, "127.0.0.1" | "localhost") {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "This server answers to 127.0.0.1 only.").into_response()
}

/// Refuses files whose real path is outside the folder. Folders without an `index.html` get a
/// listing, and with the query `?list` the names of their slides and images as JSON.
async fn inside_only(State(folder): State<Arc<PathBuf>>, request: Request, next: Next) -> Response {
    let Some(path) = real_path(&folder, request.uri().path()) else {
        return (StatusCode::NOT_FOUND, "There is no such file here.").into_response();
    };
    if !path.is_dir() {
        return next.run(request).await;
    }
    if request.uri().query() == Some("list") {
        let json = json!(pictures(&path)).to_string();
        return ([(header::CONTENT_TYPE, "application/json")], json).into_response();
    }
    let is_page = path.join("index.html").is_file();
    if !is_page
        && request.uri().path().ends_with('/')
        && let Some(html) = listing(&path)
    {
        return html.into_response();
    }
    next.run(request).await
}

/// The path that a request means, with symbolic links resolved; none outside the folder.
fn real_path(folder: &Path, request_path: &str) -> Option<PathBuf> {
    let relative = percent_decoded(request_path)?;
    let path = folder.join(relative.trim_start_matches('/')).canonicalize().ok()?;
    path.starts_with(folder).then_some(path)
}

/// Sorted names of a folder's entries without hidden ones; names of folders end with a slash.
fn entry_names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let slash = if entry.path().is_dir() { "/" } else { "" };
        names.push(format!("{name}{slash}"));
    }
    names.sort();
    names
}

/// Names of a folder's slides and images that the page opens.
fn pictures(folder: &Path) -> Vec<String> {
    let mut names = entry_names(folder);
    names.retain(|name| !name.ends_with('/') && page_opens(Path::new(name)));
    names
}

/// Whether the page may open a file, by the ending of its name.
fn page_opens(name: &Path) -> bool {
    let ending = name.extension().map(|e| e.to_string_lossy().to_lowercase());
    has_picture_ending(name) || ending.is_some_and(|e| BROWSER_ENDINGS.contains(&e.as_str()))
}

/// A path with its %-escapes replaced; none if an escape is broken or the result is not text.
fn percent_decoded(path: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let mut byte = *first;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            byte = u8::from_str_radix(digits, 16).ok()?;
            rest = &rest[2..];
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded).ok().filter(|path| !path.contains('\0'))
}

/// A page of links to a folder's entries; none if the folder cannot be read.
fn listing(folder: &Path) -> Option<Html<String>> {
    std::fs::read_dir(folder).ok()?;
    let mut items = String::new();
    for name in entry_names(folder) {
        let link = name.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        let (link, text) = (escape(&link), escape(&name));
        items += &format!("<li><a href=\"./{link}\">{text}</a></li>\n");
    }
    let title = escape(&folder.file_name().unwrap_or_default().to_string_lossy());
    Some(Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><h1>{title}</h1><ul>\n{items}</ul></html>"
    )))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_broken_ones_refused() {
        assert_eq!(percent_decoded("/a%20b/%C3%BC.png").as_deref(), Some("/a b/ü.png"));
        for bad in ["/%", "/%2", "/%zz", "/%ff", "/%00"] {
            assert_eq!(percent_decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn all_that_the_page_opens_is_listed() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let readable = [
            "a #1.PNG",
            "b.svs",
            "c.ome.tif",
            "d.scn",
            "e.bif",
            "f.btf",
            "g.tiff",
            "h.jpg",
            "i.jpeg",
            "j.jp2",
            "k.bmp",
            "l.gif",
            "m.webp",
            "n.avif",
            "o.heic",
            "p.j2k",
            "q.jfif",
            "r.ndpi",
        ];
        for name in readable.into_iter().chain(["notes.txt", ".hidden.png", "s.mrxs"]) {
            std::fs::write(dir.path().join(name), b"x").expect("file");
        }
        std::fs::create_dir(dir.path().join("folder.png")).expect("folder");
        assert_eq!(pictures(dir.path()), readable);
    }
}
