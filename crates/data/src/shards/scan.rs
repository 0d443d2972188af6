//! The samples of one shard, found by reading the headers of its entries.

use crate::decode::ENDINGS;
use crate::error::wrong;
use crate::names::Names;
use crate::picture::MOST_FILE_BYTES;
use candle_core::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use tar::{Archive, Entry};

/// Where pictures are in their shards, `[n]` each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Samples {
    pub keys: Names,
    pub labels: Vec<u32>,
    /// Where the picture's file begins, in bytes from the beginning of the shard.
    pub offsets: Vec<u64>,
    /// How many bytes it has.
    pub lengths: Vec<u32>,
}

impl Samples {
    pub(super) fn append(&mut self, mut other: Self) {
        other.keys.iter().for_each(|key| self.keys.push(key));
        self.labels.append(&mut other.labels);
        self.offsets.append(&mut other.offsets);
        self.lengths.append(&mut other.lengths);
    }

    pub(super) fn shrink(mut self) -> Self {
        self.labels.shrink_to_fit();
        self.offsets.shrink_to_fit();
        self.lengths.shrink_to_fit();
        Self { keys: self.keys.shrink(), ..self }
    }

    /// # Errors
    /// What the sample lacks.
    fn push(&mut self, sample: Sample) -> std::result::Result<(), String> {
        let Sample { key, picture, label } = sample;
        let (offset, length) = picture.ok_or_else(|| format!("the sample {key:?} has no picture"))?;
        let label = label.ok_or_else(|| format!("the sample {key:?} has no class, expected {key}.cls"))?;
        self.keys.push(&key);
        self.labels.push(label);
        self.offsets.push(offset);
        self.lengths.push(length);
        Ok(())
    }
}

/// The entries of one key that lie beside each other.
struct Sample {
    key: String,
    /// Offset and length.
    picture: Option<(u64, u32)>,
    label: Option<u32>,
}

/// The samples of the shard at `path`, in its order.
///
/// # Errors
/// [`Error::WrongFolder`](crate::Error); see [`TarShards`](crate::TarShards).
pub(super) fn samples(path: &Path) -> Result<Samples> {
    let failed = |error: std::io::Error| wrong(path, format!("it is truncated or damaged: {error}"));
    let file = File::open(path).map_err(|error| wrong(path, format!("cannot read it: {error}")))?;
    let len = file.metadata().map_err(failed)?.len();
    let mut archive = Archive::new(BufReader::with_capacity(4096, file));
    let (mut samples, mut seen, mut end) = (Samples::default(), BTreeSet::new(), 0);
    let mut present: Option<Sample> = None;
    let mut finish = |sample: Option<Sample>| sample.map_or(Ok(()), |sample| samples.push(sample));
    for entry in archive.entries_with_seek().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        end = entry.raw_file_position().saturating_add(entry.size());
        if end > len {
            return Err(wrong(path, "it is truncated: its last entry is incomplete".into()));
        }
        let Some((key, ending)) = name(&entry).map_err(|reason| wrong(path, reason))? else { continue };
        if present.as_ref().is_none_or(|sample| sample.key != key) {
            if !seen.insert(key.clone()) {
                return Err(wrong(path, format!("the sample {key:?} occurs twice, or its entries are apart")));
            }
            let next = Sample { key, picture: None, label: None };
            finish(present.replace(next)).map_err(|reason| wrong(path, reason))?;
        }
        if let Some(sample) = &mut present {
            sample.take(&mut entry, &ending).map_err(|reason| wrong(path, reason))?;
        }
    }
    finish(present).map_err(|reason| wrong(path, reason))?;
    let mut block = [1; 512];
    let mut reader = archive.into_inner();
    let at_end = reader.seek(SeekFrom::Start(end.next_multiple_of(512))).and_then(|_| reader.read_exact(&mut block));
    if at_end.is_err() || block != [0; 512] {
        return Err(wrong(path, "it is truncated: the block of zeros at the end is missing".into()));
    }
    Ok(samples)
}

/// Key and ending of a file, webdataset's rule: the key ends at the first dot of the name without its folders. None for
/// what is no file of a sample: a folder, a link, a name without an ending or that begins with a dot.
fn name<R: Read>(entry: &Entry<'_, R>) -> std::result::Result<Option<(String, String)>, String> {
    let kind = entry.header().entry_type();
    let path = entry.path_bytes();
    let shown = String::from_utf8_lossy(&path);
    if kind.is_gnu_sparse() {
        return Err(format!("the entry {shown:?} is a sparse file, expected plain files"));
    }
    if !kind.is_file() && !kind.is_contiguous() {
        return Ok(None);
    }
    let path = std::str::from_utf8(&path).map_err(|_| format!("the name {shown:?} is not UTF-8, expected UTF-8"))?;
    let base = path.rfind('/').map_or(0, |slash| slash + 1);
    let Some(dot) = path[base..].find('.').filter(|&dot| dot > 0) else { return Ok(None) };
    let (key, ending) = path.split_at(base + dot);
    Ok(Some((key.to_owned(), ending[1..].to_ascii_lowercase())))
}

impl Sample {
    /// Takes what `entry` says of the sample.
    fn take<R: Read>(&mut self, entry: &mut Entry<'_, R>, ending: &str) -> std::result::Result<(), String> {
        let key = &self.key;
        let twice = |what: &str| format!("the sample {key:?} has two {what}, expected one");
        if ending == "cls" {
            let mut text = String::new();
            let read = entry.take(32).read_to_string(&mut text);
            let label = read.ok().and_then(|_| text.trim().parse().ok()).filter(|&label| label < u32::MAX);
            let label = label.ok_or_else(|| format!("{key}.cls is {text:?}, expected the number of a class"))?;
            if self.label.replace(label).is_some() {
                return Err(twice("classes"));
            }
        } else if ENDINGS.contains(&ending) {
            let sparse = entry.pax_extensions().ok().flatten().is_some_and(|mut extensions| {
                extensions.any(|extension| extension.is_ok_and(|e| e.key_bytes().starts_with(b"GNU.sparse")))
            });
            if sparse {
                return Err(format!("the entry {key}.{ending} is a sparse file, expected plain files"));
            }
            let length = u32::try_from(entry.size()).ok().filter(|&length| u64::from(length) <= MOST_FILE_BYTES);
            let length = length.ok_or_else(|| format!("{key}.{ending} has more than {MOST_FILE_BYTES} bytes"))?;
            if self.picture.replace((entry.raw_file_position(), length)).is_some() {
                return Err(twice("pictures"));
            }
        }
        Ok(())
    }
}
