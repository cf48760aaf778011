//! An HTTP server of one file whose behaviour a test chooses; it counts requests.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How the server responds to range requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// As RFC 9110 says.
    Correct,
    /// Status 200 and the whole file, whatever was requested.
    WholeFiles,
    /// A `Content-Range` that begins 7 bytes later than requested.
    WrongRange,
    /// Every second body ends early.
    Drops,
    /// Status 404.
    NotFound,
    /// Another `ETag` from the second response on.
    Changes,
    /// Status 503 at first, and that the next request may come at once.
    Busy,
}

pub struct Server {
    pub url: String,
    pub requests: Arc<AtomicUsize>,
}

pub fn serve(file: Vec<u8>, behaviour: Behaviour) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let url = format!("http://{}/slide.svs", listener.local_addr().expect("address"));
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let number = count.fetch_add(1, Ordering::Relaxed);
            drop(respond(stream, &file, behaviour, number));
        }
    });
    Server { url, requests }
}

/// Reads one request and responds to it; `number` counts requests from 0.
fn respond(
    mut stream: TcpStream,
    file: &[u8],
    behaviour: Behaviour,
    number: usize,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let mut start = 0;
    let mut end = file.len();
    if let Some(range) = head.split("range: bytes=").nth(1)
        && let Some((first, last)) = range.lines().next().unwrap_or_default().split_once('-')
    {
        start = first.trim().parse().unwrap_or(0);
        end = file.len().min(last.trim().parse::<usize>().unwrap_or(0) + 1);
    }
    let mut status = "206 Partial Content";
    let mut content_range = format!("bytes {start}-{}/{}", end - 1, file.len());
    let mut body = &file[start..end];
    match behaviour {
        Behaviour::Correct | Behaviour::Drops | Behaviour::Changes => {}
        Behaviour::Busy if number > 0 => {}
        Behaviour::Busy => {
            status = "503 Service Unavailable";
            content_range.clear();
            body = &[];
        }
        Behaviour::WrongRange => {
            content_range = format!("bytes {}-{}/{}", start + 7, end + 6, file.len());
        }
        Behaviour::WholeFiles => {
            status = "200 OK";
            content_range.clear();
            body = file;
        }
        Behaviour::NotFound => {
            status = "404 Not Found";
            content_range.clear();
            body = &[];
        }
    }
    let mut response = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    if !content_range.is_empty() {
        response += &format!("Content-Range: {content_range}\r\n");
    }
    if behaviour == Behaviour::Changes {
        response += &format!("ETag: \"{}\"\r\n", number.min(1));
    }
    if behaviour == Behaviour::Busy {
        response += "Retry-After: 0\r\n";
    }
    response += "Connection: close\r\n\r\n";
    stream.write_all(response.as_bytes())?;
    let is_cut = behaviour == Behaviour::Drops && number % 2 == 1;
    stream.write_all(if is_cut { &body[..body.len() / 2] } else { body })
}
