//! Tar shards of pictures and labels, in the convention of webdataset: `KEY.jpg` beside `KEY.cls`.

pub(crate) mod order;
pub(crate) mod pattern;
mod scan;

use order::{Group, in_windows};
use scan::Samples;

use crate::error::wrong;
use crate::index::{Places, changed, hex, settled};
use crate::names::Names;
use crate::{Error, Images, Picture};
use candle_core::Result;
use msharp_core::Key;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The pictures in tar files, which stay on the disk.
///
/// A sample is a picture and its class, in entries beside each other: `KEY.jpg` (or any ending that
/// [`ImageFolder`](crate::ImageFolder) takes) and `KEY.cls`, the number of the class in ASCII. A key ends at the first
/// dot of the name without its folders. Other entries of a sample, `KEY.json` for instance, and folders are passed
/// over. The classes are those of `classes.txt` beside the first shard, one name a line; without it their number is the
/// largest label plus 1, and they have no names.
///
/// Memory holds 24 bytes and the key for each picture.
///
/// # The index
/// The first [`open`](TarShards::open) reads the headers of all entries, and keeps where the pictures are in a file
/// `.msharp-index-…` beside the first shard, or in the user's cache. A later one takes it from there if length and time
/// of the last change of each shard are the same. A picture is then one positioned read, and a run that resumes at any
/// step reads nothing before it.
///
/// # Order
/// [`order`](Images::order) draws the order of the shards, and shuffles the samples of as many successive shards as
/// have at most [`window`](TarShards::window) samples together, and of one at least. So reading stays within a few
/// shards at a time.
///
/// # Errors
/// [`Error::WrongFolder`] names a shard that is missing, truncated or damaged, and the key of a sample that lacks its
/// picture or class, has two of one kind, or occurs twice in a shard. A shard must end with the block of zeros that
/// ends a tar file. [`Error::UnknownLabel`] if `classes.txt` has too few classes.
#[derive(Clone, Debug)]
pub struct TarShards {
    /// The number of samples that are shuffled together, 10 000 by default.
    pub window: usize,
    name: String,
    paths: Vec<PathBuf>,
    index: Index,
    classes: usize,
    class_names: Option<Names>,
}

/// Where the samples of some shards are.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Index {
    /// Length and last change of each shard.
    stamps: Vec<(u64, i64)>,
    /// How many samples the shards up to and with each one have.
    ends: Vec<usize>,
    samples: Samples,
}

impl TarShards {
    /// The shards at `place`: a folder (all `*.tar` in it, in the order of their names), one tar file, or a pattern
    /// with braces and one star in the file's name: `train-{000000..000146}.tar`, `{a,b}.tar`, `train-*.tar`.
    ///
    /// # Errors
    /// See [`TarShards`].
    pub fn open(place: &str) -> Result<Self> {
        let paths = pattern::files(place, "tar")?;
        let folder = paths[0].parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let index = Index::of(folder, &paths)?;
        let largest = index.samples.labels.iter().max().map_or(0, |&label| label as usize);
        let class_names = read_names(&folder.join("classes.txt"))?;
        let classes = class_names.as_ref().map_or(largest + 1, Names::len);
        if largest >= classes {
            let which = format!("{}: {} beside it has {classes} classes, a sample", paths[0].display(), "classes.txt");
            return Err(Error::UnknownLabel { which, label: largest as i64, classes }.into());
        }
        Ok(Self { window: 10_000, name: place.to_owned(), paths, index, classes, class_names })
    }
}

impl Index {
    /// The index of these shards: the one that is kept while it is fresh, or a new one.
    fn of(folder: &Path, paths: &[PathBuf]) -> Result<Self> {
        let start = SystemTime::now();
        let stamp = |path: &PathBuf| {
            let metadata = path.metadata().map_err(|error| wrong(path, format!("cannot read it: {error}")))?;
            Ok((metadata.len(), changed(&metadata).unwrap_or(i64::MAX)))
        };
        let stamps = paths.iter().map(stamp).collect::<Result<Vec<_>>>()?;
        let names: Vec<u8> =
            paths.iter().flat_map(|path| [path.as_os_str().as_encoded_bytes(), b"\0"].concat()).collect();
        let places = Places::new(folder, &format!(".msharp-index-{}", &hex(&Sha256::digest(names))[..16]));
        let fresh = |index: &Self| index.stamps == stamps && index.is_sound(paths.len());
        if let Some((index, _)) = places.find(fresh) {
            return Ok(index);
        }
        let parts: Vec<Result<Samples>> = paths.par_iter().map(|path| scan::samples(path)).collect();
        let (mut samples, mut ends) = (Samples::default(), Vec::with_capacity(paths.len()));
        for part in parts {
            samples.append(part?);
            ends.push(samples.labels.len());
        }
        let index = Self { stamps, ends, samples: samples.shrink() };
        if index.samples.labels.is_empty() {
            return Err(wrong(&paths[0], "the shards have no samples, expected KEY.jpg and KEY.cls".into()));
        }
        if index.stamps.iter().all(|&(_, changed)| settled(changed, start)) {
            places.keep(&index);
        }
        Ok(index)
    }

    /// The shard of sample `index`.
    fn shard(&self, index: usize) -> usize {
        self.ends.partition_point(|&end| end <= index)
    }

    /// Whether the picture of sample `index` ends before its shard does.
    fn is_within(&self, index: usize) -> bool {
        let end = self.samples.offsets[index].checked_add(self.samples.lengths[index].into());
        end.is_some_and(|end| end <= self.stamps[self.shard(index)].0)
    }

    /// Whether each shard and each sample has all that is said of it.
    fn is_sound(&self, shards: usize) -> bool {
        let n = self.samples.labels.len();
        n > 0
            && self.ends.len() == shards
            && self.ends.is_sorted()
            && self.ends.last() == Some(&n)
            && [self.samples.keys.len(), self.samples.offsets.len(), self.samples.lengths.len()] == [n; 3]
            && (0..n).all(|index| self.is_within(index))
    }
}

/// The lines of a file, if it is there.
fn read_names(path: &Path) -> Result<Option<Names>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.lines().collect())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(path, format!("cannot read it: {error}"))),
    }
}

impl Images for TarShards {
    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> &[u32] {
        &self.index.samples.labels
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn class_name(&self, class: usize) -> String {
        self.class_names.as_ref().map_or_else(|| class.to_string(), |names| names.get(class).to_owned())
    }

    fn origin(&self, index: usize) -> String {
        format!("{}: {}", self.paths[self.index.shard(index)].display(), self.index.samples.keys.get(index))
    }

    fn picture(&self, index: usize) -> Result<Picture> {
        let Samples { offsets, lengths, .. } = &self.index.samples;
        let mut bytes = vec![0; lengths[index] as usize];
        let read = File::open(&self.paths[self.index.shard(index)]).and_then(|mut shard| {
            shard.seek(SeekFrom::Start(offsets[index]))?;
            shard.read_exact(&mut bytes)
        });
        read.map_err(|error| candle_core::Error::from(error).context(format!("cannot read {}", self.origin(index))))?;
        Picture::decode(&bytes, || self.origin(index))
    }

    fn order(&self, key: Key) -> Vec<usize> {
        let starts = std::iter::once(0).chain(self.index.ends.iter().copied());
        let group = |(start, &end): (usize, &usize)| Group { samples: start..end, cost: (end - start) as u64 };
        in_windows(starts.zip(&self.index.ends).map(group).collect(), self.window as u64, key)
    }
}

#[cfg(test)]
mod tests;
