//! A hub on the loopback address: what `hf-hub` asks for, answered for one dataset.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Serves the files of one dataset until it is dropped.
pub struct Hub {
    /// `http://127.0.0.1:port`.
    pub endpoint: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    id: String,
    /// Names and contents.
    files: Mutex<Vec<(String, Vec<u8>)>>,
    /// So many downloads of files named `cut_file` still end after half of the bytes.
    cuts: AtomicUsize,
    cut_file: Mutex<String>,
    /// The files whose content was asked for, in order.
    downloads: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Hub {
    pub fn new(id: &str, files: Vec<(String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { id: id.into(), files: Mutex::new(files), ..Shared::default() });
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || {
                for stream in listener.incoming() {
                    if shared.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    // A client that hangs up early is no failure of the hub.
                    let _ = stream.and_then(|stream| shared.answer(stream));
                }
            }
        });
        Self { endpoint, shared, thread: Some(thread) }
    }

    /// Replaces what is served.
    pub fn serve(&self, files: Vec<(String, Vec<u8>)>) {
        *self.shared.files.lock().unwrap() = files;
    }

    /// Lets the next download of `file` end in the middle.
    pub fn cut(&self, file: &str) {
        *self.shared.cut_file.lock().unwrap() = file.into();
        self.shared.cuts.store(1, Ordering::SeqCst);
    }

    /// The files downloaded since the last call.
    pub fn downloads(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.downloads.lock().unwrap())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.endpoint.trim_start_matches("http://")); // wakes the accepting thread
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Shared {
    /// Reads one request and answers it.
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());

        let files = self.files.lock().unwrap();
        let info = format!("/api/datasets/{}/revision/refs%2Fconvert%2Fparquet", self.id);
        let resolve = format!("/datasets/{}/resolve/refs%2Fconvert%2Fparquet/", self.id);
        let file = path.strip_prefix(&resolve).and_then(|name| files.iter().find(|(file, _)| file == name));
        match (method, file) {
            ("GET", _) if path == info => {
                let siblings: Vec<String> =
                    files.iter().map(|(name, _)| format!(r#"{{"rfilename":"{name}"}}"#)).collect();
                let body = format!(r#"{{"id":"{}","sha":"{COMMIT}","siblings":[{}]}}"#, self.id, siblings.join(","));
                respond(&mut stream, "200 OK", &body.len(), "Content-Type: application/json\r\n", body.as_bytes())
            }
            ("HEAD" | "GET", Some((name, content))) => {
                let tag = content.iter().fold(0u64, |h, &byte| h.wrapping_mul(31).wrapping_add(byte.into()));
                let headers = format!("ETag: \"{tag:016x}\"\r\nX-Repo-Commit: {COMMIT}\r\n");
                let mut body = &content[..];
                if method == "HEAD" {
                    body = &[];
                } else {
                    self.downloads.lock().unwrap().push(name.clone());
                    let cut = *self.cut_file.lock().unwrap() == *name && self.cuts.swap(0, Ordering::SeqCst) > 0;
                    body = if cut { &body[..body.len() / 2] } else { body };
                }
                respond(&mut stream, "200 OK", &content.len(), &headers, body)
            }
            _ => respond(&mut stream, "404 Not Found", &0, "", &[]),
        }
    }
}

/// The revision that everything is at.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn respond(stream: &mut TcpStream, status: &str, len: &usize, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n")?;
    stream.write_all(body)
}
