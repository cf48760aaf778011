//! `prunella serve`: the page and a folder in the browser, on this machine only. Byte ranges are
//! answered, so large images are read in parts; nothing outside the folder is, not through links
//! either.

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

/// Where the folder's files are; the page is above them.
const FILES: &str = "/files";
/// Endings of images that the page opens.
const IMAGES: [&str; 5] = ["png", "jpg", "jpeg", "tif", "tiff"];
/// How often a request to stop is looked for.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// Show the page and a folder's images in the browser: served on this machine only, until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella serve prunella-demo
  prunella serve result --port 8080 --no-open")]
pub struct ServeArguments {
    /// The folder; nothing outside it can be read.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Port to listen on; any free one by default.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Folder of the built page [default: 'page' beside the program].
    #[arg(long)]
    page: Option<PathBuf>,
    /// Only print the address.
    #[arg(long)]
    no_open: bool,
}

/// `prunella serve`.
pub fn serve(arguments: &ServeArguments, output: Output) -> Result<CommandOutcome> {
    let folder = arguments
        .folder
        .canonicalize()
        .map_err(|e| Error::io("The folder cannot be served", e))
        .at(&arguments.folder)?;
    if !folder.is_dir() {
        return Err(Error::mismatch("Only a folder can be served").at(&arguments.folder));
    }
    let page = match (&arguments.page, page_folder(arguments.page.as_deref())) {
        (Some(_), None) => return Err(no_page()),
        (_, page) => page.map(|p| p.canonicalize().unwrap_or(p)),
    };
    let failed = |e| Error::io("The server cannot start", e);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port))
            .await
            .map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let start = if page.is_some() {
            format!("?folder={}/", &FILES[1..])
        } else {
            format!("{}/", &FILES[1..])
        };
        let address = format!("http://127.0.0.1:{port}/{start}");
        if page.is_none() {
            output.remark(
                "The page is not built ('cargo xtask web' does that), so only the folder is shown",
            );
        }
        output.result(&json!({ "address": address, "folder": folder }), &address)?;
        if !arguments.no_open && open::that_detached(&address).is_err() {
            output.remark("No browser could be opened; go to the address above");
        }
        axum::serve(listener, router(&folder, page.as_deref()))
            .with_graceful_shutdown(stopped())
            .await
            .map_err(failed)
    })?;
    Ok(CommandOutcome::Done)
}

/// Done when the user asked to stop.
async fn stopped() {
    let stop = stop_flag();
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        tokio::time::sleep(STOP_EVERY).await;
    }
}

fn router(folder: &Path, page: Option<&Path>) -> Router {
    let fixed = |name: HeaderName, value| {
        SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
    };
    let shown = |folder: &Path| {
        let folder = Arc::new(folder.to_path_buf());
        Router::new()
            .fallback_service(ServeDir::new(folder.as_path()))
            .layer(from_fn_with_state(folder, inside_only))
    };
    // A page that lies in the folder may be a stranger's: it gets no part in this origin.
    let alone = HeaderName::from_static("cross-origin-resource-policy");
    let folder = shown(folder)
        .layer(fixed(header::CONTENT_SECURITY_POLICY, "sandbox allow-scripts"))
        .layer(fixed(alone, "same-origin"));
    let files = Router::new().nest_service(FILES, folder);
    let all = match page {
        Some(page) => files.fallback_service(shown(page)),
        None => files,
    };
    all.layer(from_fn(own_name_only))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::CACHE_CONTROL, "no-cache"))
}

/// Lets through what asks for this machine by name: a page elsewhere may have had its name pointed
/// here.
async fn own_name_only(request: Request, next: Next) -> Response {
    let host =
        request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if matches!(name, "127.0.0.1" | "localhost") {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "This server answers to 127.0.0.1 only.").into_response()
}

/// Lets through what asks for a file whose true place is inside the folder; shows folders without a
/// page of their own.
async fn inside_only(State(folder): State<Arc<PathBuf>>, request: Request, next: Next) -> Response {
    let path = decoded(request.uri().path());
    let inside = path
        .as_deref()
        .and_then(|p| folder.join(p.trim_start_matches('/')).canonicalize().ok())
        .filter(|p| p.starts_with(folder.as_path()));
    match inside {
        None => (StatusCode::NOT_FOUND, "There is no such file here.").into_response(),
        Some(place) if place.is_dir() && request.uri().query() == Some("list") => list(&place),
        Some(place) if place.is_dir() && !place.join("index.html").is_file() => {
            match listing(&place) {
                Some(page) if request.uri().path().ends_with('/') => page.into_response(),
                _ => next.run(request).await,
            }
        }
        Some(_) => next.run(request).await,
    }
}

/// Names of what lies in a folder, folders with a slash; hidden ones are left out.
fn names(folder: &Path) -> Vec<String> {
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let slash = if entry.path().is_dir() { "/" } else { "" };
        Some(format!("{}{slash}", entry.file_name().to_str()?)).filter(|n| !n.starts_with('.'))
    };
    let mut names: Vec<String> =
        std::fs::read_dir(folder).into_iter().flatten().filter_map(entry).collect();
    names.sort();
    names
}

/// The images of a folder, as the page reads them.
fn list(folder: &Path) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json!(images(folder)).to_string())
        .into_response()
}

/// Images of a folder that the page opens.
fn images(folder: &Path) -> Vec<String> {
    let opens = |name: &String| {
        let ending = Path::new(name).extension().map(|e| e.to_string_lossy().to_lowercase());
        ending.is_some_and(|e| IMAGES.contains(&e.as_str()))
    };
    names(folder).into_iter().filter(opens).collect()
}

/// A path without %-escapes; none if it is not text.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let mut byte = *first;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            byte = u8::from_str_radix(digits, 16).ok()?;
            rest = &rest[2..];
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok().filter(|p| !p.contains('\0'))
}

/// Links to what lies in a folder.
fn listing(folder: &Path) -> Option<Html<String>> {
    std::fs::read_dir(folder).ok()?;
    let names = names(folder);
    let safe = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let link = |text: &str| safe(&text.replace('%', "%25").replace('?', "%3F").replace('#', "%23"));
    let items: String = names
        .iter()
        .map(|n| format!("<li><a href=\"./{}\">{}</a></li>\n", link(n), safe(n)))
        .collect();
    let title = safe(&folder.file_name().unwrap_or_default().to_string_lossy());
    Some(Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><h1>{title}</h1><ul>\n{items}</ul></html>"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_broken_ones_refused() {
        assert_eq!(decoded("/a%20b/%C3%BC.png").as_deref(), Some("/a b/ü.png"));
        for bad in ["/%", "/%2", "/%zz", "/%ff", "/%00"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }
}
