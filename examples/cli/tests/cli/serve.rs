//! The server of the browser app, asked over a plain connection.

use crate::{lichen, spawn, text};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// A running server over a small folder.
struct Server {
    child: Child,
    address: String,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("is killed");
        self.child.wait().expect("ends");
    }
}

/// An answer in parts.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    fn header(&self, name: &str) -> String {
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))[name.len() + 1..].trim().to_string()
    }
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, bytes) in [
            ("index.html", "<!doctype html>"),
            ("app.js", "0123456789"),
            ("page.webmanifest", "{}"),
            ("it.wasm", "\0asm"),
        ] {
            std::fs::write(folder.path().join(name), bytes).expect("writes");
        }
        std::fs::create_dir(folder.path().join("model")).expect("makes a folder");
        std::fs::write(folder.path().join("model/a.safetensors"), [7; 100]).expect("writes");
        let mut child = spawn(&["serve", "--web", "--dir", &text(folder.path()), "--port", "0"], Stdio::null());
        let mut line = String::new();
        let err = child.stderr.take().expect("is piped");
        BufReader::new(err).read_line(&mut line).expect("says where it is");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("names an address");
        Self { address: address.to_string(), child, folder }
    }

    fn ask(&self, path: &str, headers: &str) -> Answer {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}Connection: close\r\n\r\n", self.address))
    }

    fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        stream.write_all(request.as_bytes()).expect("is sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("is answered");
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("has a head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("is text");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("has a status");
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }
}

#[test]
fn files_come_with_their_types_and_a_policy() {
    let server = Server::start();
    assert!(server.address.starts_with("127.0.0.1:"));
    for (path, kind) in [
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/page.webmanifest", "application/manifest+json"),
        ("/it.wasm", "application/wasm"),
        ("/model/a.safetensors", "application/octet-stream"),
    ] {
        let answer = server.ask(path, "");
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").starts_with(kind), "{}", answer.head);
        assert!(answer.header("content-security-policy").contains("connect-src 'self'"));
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(answer.header("cross-origin-embedder-policy"), "require-corp");
    }
    let missing = server.ask("/nothing", "");
    assert_eq!(missing.status, 404);
    assert!(missing.header("content-security-policy").contains("default-src 'none'"));
    for path in ["/../Cargo.toml", "/%2e%2e/Cargo.toml", "/..%2fCargo.toml", "//etc/passwd"] {
        assert_ne!(server.ask(path, "").status, 200, "{path}");
    }
    let posted = server
        .raw(&format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", server.address));
    assert_eq!(posted.status, 405);
}

#[test]
fn new_builds_are_seen_and_models_are_kept() {
    let server = Server::start();
    let first = server.ask("/app.js", "");
    assert_eq!(first.header("cache-control"), "no-cache");
    let tag = first.header("etag");
    let again = server.ask("/app.js", &format!("If-None-Match: \"other\", {tag}\r\n"));
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(again.header("etag"), tag);
    std::fs::write(server.folder.path().join("app.js"), "9876543210!").expect("writes");
    let date = first.header("last-modified");
    let changed = server.ask("/app.js", &format!("If-None-Match: {tag}\r\nIf-Modified-Since: {date}\r\n"));
    assert_eq!((changed.status, changed.body.as_slice()), (200, b"9876543210!".as_slice()));
    assert_ne!(changed.header("etag"), tag);
    assert!(server.ask("/model/a.safetensors", "").header("cache-control").contains("immutable"));
    assert_eq!(server.ask("/model/b.safetensors", "").header("cache-control"), "no-cache");
}

#[test]
fn parts_of_files_are_given() {
    let server = Server::start();
    let part = server.ask("/app.js", "Range: bytes=4-\r\n");
    assert_eq!((part.status, part.body.as_slice()), (206, b"456789".as_slice()));
    assert_eq!(part.header("content-range"), "bytes 4-9/10");
    assert_eq!(server.ask("/app.js", "Range: bytes=10-\r\n").status, 416);
    let tag = part.header("etag");
    assert_eq!(server.ask("/app.js", &format!("Range: bytes=4-\r\nIf-Range: {tag}\r\n")).status, 206);
    assert_eq!(server.ask("/app.js", "Range: bytes=4-\r\nIf-Range: \"another\"\r\n").status, 200);
}

#[test]
fn strangers_names_are_refused() {
    let server = Server::start();
    let port = server.address.rsplit(':').next().expect("has a port");
    let named = |host: &str| server.raw(&format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).status;
    assert_eq!(named(&format!("localhost:{port}")), 200);
    assert_eq!(named(&format!("attacker.example:{port}")), 403);
    assert_eq!(named("127.0.0.1"), 403);
}

#[test]
fn what_cannot_be_served_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    lichen(&["serve", "--web", "--dir", &text(folder.path())]).fails(1, &["holds no page", "web/build.sh"]);
    lichen(&["serve"]).fails(2, &["--web"]);
    let server = Server::start();
    let port = server.address.rsplit(':').next().expect("has a port");
    let dir = text(Path::new(server.folder.path()));
    lichen(&["serve", "--web", "--dir", &dir, "--port", port]).fails(1, &[port, "taken", "--port"]);
}
