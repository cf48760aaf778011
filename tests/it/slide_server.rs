//! A server of one file with manners of choice; counts what it was asked.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    Good,
    WholeFiles,
    Lies,
    /// Every other answer breaks off.
    Drops,
    NotThere,
}

pub struct Server {
    pub url: String,
    pub requests: Arc<AtomicUsize>,
}

pub fn serve(file: Vec<u8>, manners: Manners) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let url = format!("http://{}/slide.svs", listener.local_addr().expect("address"));
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let number = count.fetch_add(1, Ordering::Relaxed);
            drop(answer(stream, &file, manners, number));
        }
    });
    Server { url, requests }
}

fn answer(
    mut stream: TcpStream,
    file: &[u8],
    manners: Manners,
    number: usize,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let range =
        head.split("range: bytes=").nth(1).and_then(|r| r.lines().next()?.trim().split_once('-'));
    let (from, to) = range.map_or((0, file.len()), |(a, b)| {
        let end = b.parse::<usize>().unwrap_or(0) + 1;
        (a.parse().unwrap_or(0), end.min(file.len()))
    });
    let (status, from, to, said) = match manners {
        Manners::NotThere => ("404 Not Found", 0, 0, String::new()),
        Manners::WholeFiles => ("200 OK", 0, file.len(), String::new()),
        Manners::Lies => (
            "206 Partial Content",
            from,
            to,
            format!("bytes {}-{}/{}", from + 7, to + 6, file.len()),
        ),
        _ => ("206 Partial Content", from, to, format!("bytes {from}-{}/{}", to - 1, file.len())),
    };
    let body = &file[from..to];
    let content_range =
        if said.is_empty() { String::new() } else { format!("Content-Range: {said}\r\n") };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{content_range}Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let cut = manners == Manners::Drops && number % 2 == 1;
    stream.write_all(if cut { &body[..body.len() / 2] } else { body })
}
