//! `msharp-fetch weights` against a small hub on the loopback address: whole, cut off and continued, corrupt, absent.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub does with the next download of weights.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Whole,
    /// It ends in the middle.
    Cut,
    /// One byte is another.
    Corrupt,
}

/// Answers on `http://127.0.0.1:PORT` until the process ends; the requests for content, each with its first byte.
struct Hub {
    endpoint: String,
    next: Arc<Mutex<Next>>,
    asked: Arc<Mutex<Vec<(String, usize)>>>,
}

fn content() -> Vec<u8> {
    (0..3_000_001u32).map(|i| (i % 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Hub {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (next, asked) = (Arc::new(Mutex::new(Next::Whole)), Arc::new(Mutex::new(Vec::new())));
        let hub = Self { endpoint, next: next.clone(), asked: asked.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let request = lines.next().unwrap_or_default();
                let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let range = headers.iter().find_map(|line| {
                    line.to_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok()
                });
                let mut words = request.split(' ');
                let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let (mut body, etag) = match path.rsplit('/').next() {
                    Some("model.safetensors") => (content(), format!("X-Linked-Etag: \"{}\"", sha256(&content()))),
                    Some("config.json") => {
                        (b"{}".to_vec(), "ETag: \"9e26dfeeb6e641a33dae4961196235bdb965b21b\"".to_owned())
                    }
                    _ => {
                        stream
                            .write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                            .unwrap();
                        continue;
                    }
                };
                let from: usize = range.unwrap_or(0);
                let all = body.len() - from;
                let status = if method == "GET" { "206 Partial Content" } else { "200 OK" };
                write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {all}\r\nX-Repo-Commit: {COMMIT}\r\n{etag}\r\n\r\n").unwrap();
                if method == "GET" {
                    asked.lock().unwrap().push((path.rsplit('/').next().unwrap().to_owned(), from));
                    if body.len() > 2 {
                        match std::mem::replace(&mut *next.lock().unwrap(), Next::Whole) {
                            Next::Whole => {}
                            Next::Cut => body.truncate(1_234_567),
                            Next::Corrupt => body[5] ^= 1,
                        }
                    }
                    let _ = stream.write_all(&body[from..]);
                }
            }
        });
        hub
    }

    /// What the program prints, or says on its error stream.
    fn fetch(&self, cache: &Path, repo: &str, file: &str) -> Result<PathBuf, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_msharp-fetch"));
        command.args(["weights", repo, file, "--cache-dir"]).arg(cache).env("HF_ENDPOINT", &self.endpoint);
        let output = command.env_remove("HF_TOKEN").env("NO_PROXY", "127.0.0.1").output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout).into()) } else { Err(text(&output.stderr)) }
    }

    fn asked(&self) -> Vec<(String, usize)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

const FILE: &str = "model.safetensors";

#[test]
fn a_file_and_its_configuration_land_in_the_layout_of_the_hubs_own_tools() {
    let (hub, cache) = (Hub::new(), tempfile::tempdir().unwrap());
    let path = hub.fetch(cache.path(), "lab/tiny", FILE).unwrap();
    let folder = cache.path().join("models--lab--tiny");
    assert_eq!(path, folder.join("snapshots").join(COMMIT).join(FILE));
    assert_eq!(std::fs::read(&path).unwrap(), content());
    assert_eq!(std::fs::read(path.with_file_name("config.json")).unwrap(), b"{}");
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(hub.asked(), [("config.json".to_owned(), 0), (FILE.to_owned(), 0)]);
    assert_eq!(hub.fetch(cache.path(), "lab/tiny", FILE).unwrap(), path);
    assert_eq!(hub.asked(), [], "what is there is not downloaded again");
}

#[test]
fn a_download_that_was_cut_off_goes_on_where_it_stopped() {
    let (hub, cache) = (Hub::new(), tempfile::tempdir().unwrap());
    *hub.next.lock().unwrap() = Next::Cut;
    let error = hub.fetch(cache.path(), "lab/tiny", FILE).unwrap_err();
    assert!(error.contains("1234567 of 3000001 bytes"), "{error}");
    assert!(!cache.path().join("models--lab--tiny/snapshots").join(COMMIT).join(FILE).exists());
    let path = hub.fetch(cache.path(), "lab/tiny", FILE).unwrap();
    assert_eq!(hub.asked().last(), Some(&(FILE.to_owned(), 1_234_567)));
    assert_eq!(std::fs::read(path).unwrap(), content());
}

#[test]
fn content_with_another_digest_is_removed_and_both_are_named() {
    let (hub, cache) = (Hub::new(), tempfile::tempdir().unwrap());
    *hub.next.lock().unwrap() = Next::Corrupt;
    let error = hub.fetch(cache.path(), "lab/tiny", FILE).unwrap_err();
    assert!(error.contains("SHA-256") && error.contains(&sha256(&content())), "{error}");
    let blobs = std::fs::read_dir(cache.path().join("models--lab--tiny/blobs")).unwrap().count();
    assert_eq!(blobs, 1, "the configuration's alone");
    assert_eq!(std::fs::read(hub.fetch(cache.path(), "lab/tiny", FILE).unwrap()).unwrap(), content());
}

#[test]
fn what_the_hub_does_not_have_or_cannot_be_reached_is_named() {
    let (hub, cache) = (Hub::new(), tempfile::tempdir().unwrap());
    let error = hub.fetch(cache.path(), "lab/tiny", "other.bin").unwrap_err();
    assert!(error.contains("no other.bin of lab/tiny"), "{error}");
    let nowhere = Hub { endpoint: "http://127.0.0.1:1".to_owned(), ..hub };
    let error = nowhere.fetch(cache.path(), "lab/tiny", FILE).unwrap_err();
    assert!(error.contains("cannot reach the hub at http://127.0.0.1:1"), "{error}");
}
