//! `prunella serve`: range requests, nothing outside the folder, no other host name.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::support::{prunella, run, text};

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut child = prunella()
            .args(["serve", text(folder), "--no-open"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("output"))
            .read_line(&mut line)
            .expect("an address");
        let address =
            line.trim().trim_start_matches("http://").split('/').next().expect("a host").to_owned();
        Self { child, address }
    }

    /// Status line and headers in lower case, and the body.
    fn get(&self, path: &str, headers: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        write!(stream, "GET {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n")
            .expect("sent");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("answered");
        let end = all.windows(4).position(|w| w == b"\r\n\r\n").expect("headers end");
        (String::from_utf8_lossy(&all[..end]).to_lowercase(), all[end + 4..].to_vec())
    }

    fn status(&self, path: &str, headers: &str) -> String {
        self.get(path, headers).0.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn files_and_ranges_are_served_and_nothing_else() {
    let dir = tempfile::tempdir().expect("folder");
    let folder = dir.path().join("shown");
    std::fs::create_dir(&folder).expect("folder");
    std::fs::write(folder.join("a b.txt"), b"0123456789").expect("file");
    std::fs::write(dir.path().join("secret.txt"), b"secret").expect("file");
    #[cfg(unix)]
    std::os::unix::fs::symlink(dir.path().join("secret.txt"), folder.join("link.txt"))
        .expect("link");
    let server = Server::start(&folder);
    let (head, body) = server.get("/files/a%20b.txt", "");
    assert!(
        head.starts_with("http/1.1 200")
            && head.contains("nosniff")
            && head.contains("accept-ranges"),
        "{head}"
    );
    assert_eq!(body, b"0123456789");
    let (head, body) = server.get("/files/a%20b.txt", "Range: bytes=2-4\r\n");
    assert!(
        head.starts_with("http/1.1 206") && head.contains("content-range: bytes 2-4/10"),
        "{head}"
    );
    assert_eq!(body, b"234");
    let (head, body) = server.get("/files/", "");
    assert!(
        head.starts_with("http/1.1 200") && String::from_utf8_lossy(&body).contains("a b.txt"),
        "{head}"
    );
    // Paths that leave the folder, also by a link, and paths that do not exist.
    for path in [
        "/files/../secret.txt",
        "/files/%2e%2e/secret.txt",
        "/files/link.txt",
        "/files/nothing",
        "/files/%00",
        "/a%20b.txt",
    ] {
        assert_eq!(server.status(path, ""), "404", "{path}");
    }
    // Another host name: a page of another origin must not read the folder (DNS rebinding).
    assert_eq!(server.status("/files/a%20b.txt", "Host: evil.example\r\n"), "403");
}

#[test]
fn only_folders_are_served() {
    let (code, _, message) = run(&["serve", "/nowhere/at/all", "--no-open"]);
    assert_eq!(code, Some(2));
    assert!(message.contains("/nowhere/at/all"), "{message}");
}
