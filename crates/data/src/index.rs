//! What was found when a data set was searched, kept on the disk so that it need not be searched again.

use candle_core::Result;
use msharp_core::write_aside;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fs::Metadata;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first line of an index begins with this; a change of any index's form changes the number.
const FORMAT: &str = "msharp-index 1";

/// The file system may give two changes within this time the same stamp.
const GRAIN: Duration = Duration::from_secs(2);

/// Where an index may be kept: beside the data, or in the user's cache where that cannot be written.
#[derive(Debug)]
pub(crate) struct Places([Option<PathBuf>; 2]);

impl Places {
    /// For the index called `name` of the data in `folder`.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self::with_cache(folder, name, cache().as_deref())
    }

    fn with_cache(folder: &Path, name: &str, cache: Option<&Path>) -> Self {
        let aside = cache.zip(folder.canonicalize().ok()).map(|(cache, folder)| {
            let digest = hex(&Sha256::digest(folder.as_os_str().as_encoded_bytes()));
            cache.join("msharp").join("index").join(&digest[..32]).join(name)
        });
        Self([Some(folder.join(name)), aside])
    }

    /// The index that is kept and for which `fresh` holds, and where it is. What is damaged, of another format or not
    /// fresh is passed over.
    pub(crate) fn find<T: DeserializeOwned>(&self, fresh: impl Fn(&T) -> bool) -> Option<(T, PathBuf)> {
        let found = self.0.iter().flatten().filter_map(|path| Some((read(path)?, path.clone())));
        found.into_iter().find(|(index, _)| fresh(index))
    }

    /// Keeps `index` at the first place that can be written, and says which that is.
    pub(crate) fn keep<T: Serialize>(&self, index: &T) -> Option<PathBuf> {
        self.0.iter().flatten().find(|path| write(path, index).is_ok()).cloned()
    }
}

/// `$XDG_CACHE_HOME`, or `~/.cache`.
fn cache() -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(absolute);
    given.or_else(|| std::env::home_dir().filter(absolute).map(|home| home.join(".cache")))
}

/// The first line holds the format, the length of the rest and its SHA-256; the rest is JSON.
fn write<T: Serialize>(path: &Path, index: &T) -> Result<()> {
    let json = serde_json::to_vec(index).map_err(candle_core::Error::wrap)?;
    write_aside(path, |file| {
        writeln!(file, "{FORMAT} {} {}", json.len(), hex(&Sha256::digest(&json)))?;
        Ok(file.write_all(&json)?)
    })
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = path.is_file().then(|| std::fs::read(path).ok())??;
    let line = bytes.iter().position(|&byte| byte == b'\n')?;
    let json = &bytes[line + 1..];
    let expected = format!("{FORMAT} {} {}", json.len(), hex(&Sha256::digest(json)));
    (bytes[..line] == *expected.as_bytes()).then(|| serde_json::from_slice(json).ok())?
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// When a folder or file was last changed, in nanoseconds since 1970.
pub(crate) fn changed(metadata: &Metadata) -> Option<i64> {
    nanoseconds(metadata.modified().ok()?)
}

fn nanoseconds(time: SystemTime) -> Option<i64> {
    let nanoseconds = |since: Duration| i64::try_from(since.as_nanos()).ok();
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => nanoseconds(since),
        Err(before) => nanoseconds(before.duration()).map(|since| -since),
    }
}

/// Whether a search that began at `start` sees all that was changed at `changed` or before: a later change would have
/// another stamp. Otherwise what it found must not be kept.
pub(crate) fn settled(changed: i64, start: SystemTime) -> bool {
    start.checked_sub(GRAIN).and_then(nanoseconds).is_some_and(|start| changed < start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_comes_back_and_is_never_misread() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::with_cache(folder.path(), ".index", None);
        let index = vec!["a".to_owned(), "b\n".into()];
        let path = places.keep(&index).unwrap();
        assert_eq!(places.find(|_: &Vec<String>| true), Some((index.clone(), path.clone())));
        assert_eq!(places.find(|_: &Vec<String>| false), None);

        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            for damaged in [&damaged[..], &whole[..at]] {
                std::fs::write(&path, damaged).unwrap();
                assert_eq!(places.find(|_: &Vec<String>| true), None, "byte {at}");
            }
        }
        std::fs::write(&path, [&whole[..], b" "].concat()).unwrap();
        assert_eq!(places.find(|_: &Vec<String>| true), None);
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(places.find(|_: &Vec<u32>| true), None, "of another type");
    }

    #[test]
    fn where_the_data_cannot_be_written_the_cache_keeps_the_index() {
        let (data, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = Places::with_cache(data.path(), ".index", Some(cache.path()));
        std::fs::create_dir(data.path().join(".index")).unwrap(); // a folder in the place of the file
        let path = places.keep(&1).unwrap();
        assert!(path.starts_with(cache.path()), "{}", path.display());
        assert_eq!(places.find(|_: &i32| true), Some((1, path)));
        let other = Places::with_cache(cache.path(), ".index", Some(cache.path()));
        assert_eq!(other.find(|_: &i32| true), None, "each folder has its own");
    }

    #[test]
    fn what_changes_during_a_search_or_just_before_it_is_not_settled() {
        let start = UNIX_EPOCH + Duration::from_secs(100);
        assert!(settled(97_999_999_999, start) && !settled(98_000_000_000, start) && !settled(200_000_000_000, start));
        assert_eq!(nanoseconds(UNIX_EPOCH - Duration::from_nanos(5)), Some(-5));
    }
}
