//! A file of the Hugging Face hub into its cache: verified, and continued where an earlier download stopped.

use anyhow::{Context, Result, bail, ensure};
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{CONTENT_LENGTH, ETAG, RANGE};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Bytes that are copied at once.
const BUFFER: usize = 1 << 20;

/// A hub, by the address of its endpoint, and the folder of its cache.
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
}

/// What the hub says of a file before it is downloaded.
struct About {
    /// The name of the content in the cache: of a large file its SHA-256 in hexadecimal digits.
    etag: String,
    commit: String,
    len: u64,
}

impl Hub {
    /// The hub at `$HF_ENDPOINT`, by default the public one, which `$HF_TOKEN` opens.
    pub fn of_environment(cache: PathBuf) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), cache, token: variable("HF_TOKEN") }
    }

    /// Downloads `file` of the models `repo` and puts it into the cache, at `snapshots/COMMIT/FILE`. `None` if the hub
    /// has no such file.
    ///
    /// # Errors
    /// If the hub cannot be reached, the connection ends early (the next call goes on from there), or the content has
    /// another digest than the hub says: then it is removed.
    pub fn fetch(&self, repo: &str, file: &str, mut say: impl FnMut(&str)) -> Result<Option<PathBuf>> {
        let url = |revision: &str| format!("{}/{repo}/resolve/{revision}/{file}", self.endpoint);
        let Some(about) = self.about(&url("main"))? else { return Ok(None) };
        let folder = self.cache.join(format!("models--{}", repo.replace('/', "--")));
        let blob = folder.join("blobs").join(&about.etag);
        if !blob.exists() {
            say(&format!("downloading {file} of {repo}, {} bytes, from {}", about.len, self.endpoint));
            self.download(&url(&about.commit), &about, &blob)?;
        }
        link(&folder, &about, file, &blob).map(Some)
    }

    /// What the hub answers before it redirects to where the content is.
    fn about(&self, url: &str) -> Result<Option<About>> {
        let client = Client::builder().redirect(Policy::custom(|attempt| {
            let to_itself = attempt.previous().last().is_some_and(|url| url.origin() == attempt.url().origin());
            if to_itself && attempt.previous().len() < 10 { attempt.follow() } else { attempt.stop() }
        }));
        let response = self.send(client.build()?.head(self.checked(url)?))?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            status if status.is_success() || status.is_redirection() => {}
            status => bail!("{url}: the hub answers {status}"),
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = header("x-linked-etag").or_else(|| header(ETAG.as_str())).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        let commit = header("x-repo-commit").unwrap_or_default().to_owned();
        let len = header("x-linked-size").or_else(|| header(CONTENT_LENGTH.as_str())).and_then(|len| len.parse().ok());
        // Both become names of files.
        let is_name = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        ensure!(
            is_name(&etag) && is_name(&commit),
            "{url}: expected an etag and a commit, got {etag:?} and {commit:?}"
        );
        Ok(Some(About { etag, commit, len: len.with_context(|| format!("{url}: the hub does not say its length"))? }))
    }

    fn download(&self, url: &str, about: &About, blob: &Path) -> Result<()> {
        let incomplete = blob.with_file_name(format!("{}.incomplete", about.etag));
        let in_file = || format!("cannot write {}", incomplete.display());
        fs::create_dir_all(incomplete.with_file_name("")).with_context(in_file)?;
        let mut file = OpenOptions::new().create(true).append(true).open(&incomplete).with_context(in_file)?;
        let mut have = file.metadata().with_context(in_file)?.len();
        if have > about.len {
            file.set_len(0).with_context(in_file)?;
            have = 0;
        }
        if have < about.len {
            let request = Client::builder().timeout(None).build()?.get(self.checked(url)?);
            let mut response = self.send(request.header(RANGE, format!("bytes={have}-")))?;
            match response.status() {
                StatusCode::PARTIAL_CONTENT => {}
                StatusCode::OK => {
                    file.set_len(0).with_context(in_file)?; // a hub that knows no ranges sends all of it
                    have = 0;
                }
                status => bail!("{url}: the hub answers {status}"),
            }
            have += copy(&mut response, &mut file, about.len - have).with_context(in_file)?;
        }
        ensure!(
            have == about.len,
            "{url}: the connection ended after {have} of {} bytes; the same command goes on from there",
            about.len
        );
        file.sync_all().with_context(in_file)?;
        let is_sha256 = about.etag.len() == 64;
        if is_sha256 {
            let found = sha256(&incomplete)?;
            if found != about.etag {
                fs::remove_file(&incomplete)?;
                bail!("{url}: the content has the SHA-256 {found}, and the hub says {}; it was removed", about.etag);
            }
        }
        fs::rename(&incomplete, blob).with_context(|| format!("cannot write {}", blob.display()))
    }

    fn checked(&self, url: &str) -> Result<Url> {
        Url::parse(url).with_context(|| format!("{url:?} is no address; HF_ENDPOINT is {:?}", self.endpoint))
    }

    fn send(&self, request: RequestBuilder) -> Result<Response> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().with_context(|| format!("cannot reach the hub at {}", self.endpoint))
    }
}

/// At most `len` bytes; how many there were until the end or an error of the connection.
fn copy(from: &mut impl Read, to: &mut File, len: u64) -> std::io::Result<u64> {
    let (mut buffer, mut copied) = (vec![0; BUFFER], 0);
    while copied < len {
        let most = usize::try_from(len - copied).map_or(BUFFER, |rest| rest.min(BUFFER));
        let Ok(read @ 1..) = from.read(&mut buffer[..most]) else { break };
        to.write_all(&buffer[..read])?;
        copied += read as u64;
    }
    Ok(copied)
}

fn sha256(path: &Path) -> Result<String> {
    let (mut file, mut digest, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// `snapshots/COMMIT/FILE`, which refers to the content, and `refs/main`, which refers to the commit.
fn link(folder: &Path, about: &About, file: &str, blob: &Path) -> Result<PathBuf> {
    let path = folder.join("snapshots").join(&about.commit).join(file);
    let in_path = || format!("cannot write {}", path.display());
    fs::create_dir_all(path.with_file_name("")).with_context(in_path)?;
    if !path.exists() {
        #[cfg(unix)]
        {
            let up = "../".repeat(2 + file.split('/').count() - 1);
            let _ = fs::remove_file(&path); // a link to content that is gone
            std::os::unix::fs::symlink(format!("{up}blobs/{}", about.etag), &path).with_context(in_path)?;
        }
        #[cfg(not(unix))]
        fs::copy(blob, &path).with_context(in_path)?;
    }
    ensure!(path.exists(), "{} does not refer to {}", path.display(), blob.display());
    fs::create_dir_all(folder.join("refs"))?;
    let (main, aside) = (folder.join("refs/main"), folder.join("refs/main.incomplete"));
    fs::write(&aside, &about.commit).and_then(|()| fs::rename(&aside, &main)).with_context(in_path)?;
    Ok(path)
}
