//! Parquet files of pictures and labels, as the Hugging Face hub stores ImageNet and CIFAR.

mod cache;
mod columns;

use cache::Cache;

use crate::error::wrong;
use crate::names::Names;
use crate::shards::order::{Group, in_windows};
use crate::shards::pattern;
use crate::{Columns, Error, Images, Picture};
use candle_core::Result;
use msharp_core::Key;
use parquet::file::reader::{FileReader, SerializedFileReader};
use rayon::prelude::*;
use std::fs::File;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The pictures in Parquet files, which stay on the disk. Needs the feature `parquet`.
///
/// A row has the content of a picture file in `image.bytes`, or in `image` itself, and its class in `label`;
/// [`Columns`] has their names. Class names are those that the hub's tools write into the file. Without them the number
/// of classes is the largest label plus 1. Columns may be uncompressed or compressed by Snappy, the default of those
/// tools.
///
/// Opening reads the labels, and nothing of the pictures. A picture is read with all others of its row group. Row
/// groups stay in memory, up to [`cache_bytes`](ParquetImages::cache_bytes) of them, so that each is read once or twice
/// in an epoch; beside them, memory holds a label for each picture.
///
/// # Order
/// [`order`](Images::order) draws the order of the row groups, and shuffles the rows of as many successive row groups
/// as have at most half of `cache_bytes` together, and of one at least.
///
/// # Errors
/// [`Error::WrongFolder`] names a file that is missing or damaged, or the column or label that is not what was
/// expected. [`Error::UnknownLabel`] if a label has no class. [`Error::BrokenImage`] from
/// [`picture`](Images::picture) names file and row.
#[derive(Clone, Debug)]
pub struct ParquetImages {
    /// Bytes of pictures that stay in memory, 1 GiB by default. The row group that is being read counts too, and may
    /// be larger.
    pub cache_bytes: u64,
    name: String,
    columns: Columns,
    paths: Vec<PathBuf>,
    groups: Vec<RowGroup>,
    labels: Vec<u32>,
    classes: usize,
    class_names: Option<Names>,
    cache: Arc<Cache>,
}

/// Rows that are stored, and read, together.
#[derive(Clone, Debug)]
struct RowGroup {
    /// Which file it is in, and its number there.
    file: usize,
    number: usize,
    /// Its rows among those of all files.
    rows: Range<usize>,
    /// How many bytes the pictures have.
    bytes: u64,
}

/// What is read of a file when it is opened.
struct Opened {
    /// The labels and the bytes of each row group.
    groups: Vec<(Vec<i64>, u64)>,
    class_names: Option<Names>,
}

impl ParquetImages {
    /// The files at `place`: a folder (all `*.parquet` in it, in the order of their names), one file, or a pattern with
    /// braces and one star in the file's name, `train-*.parquet`.
    ///
    /// # Errors
    /// See [`ParquetImages`].
    pub fn open(place: &str, columns: Columns) -> Result<Self> {
        let paths = pattern::files(place, "parquet")?;
        let open = |path: &PathBuf| guarded(|| open(path, &columns)).map_err(|reason| wrong(path, reason));
        let opened: Vec<Result<Opened>> = paths.par_iter().map(open).collect();
        let (mut labels, mut groups, mut class_names) = (Vec::new(), Vec::new(), None);
        for (file, opened) in opened.into_iter().enumerate() {
            let opened = opened?;
            class_names = class_names.or(opened.class_names);
            for (number, (values, bytes)) in opened.groups.into_iter().enumerate() {
                let start = labels.len();
                labels.extend(values);
                groups.push(RowGroup { file, number, rows: start..labels.len(), bytes });
            }
        }
        let classes =
            class_names.as_ref().map_or_else(|| labels.iter().max().map_or(0, |&l| l + 1), |n| n.len() as i64);
        let checked = |(row, &label): (usize, &i64)| match u32::try_from(label) {
            Ok(known) if label < classes => Ok(known),
            _ => Err(Error::UnknownLabel {
                which: format!("{place}: row {row} has label"),
                label,
                classes: classes as usize,
            }),
        };
        let labels = labels.iter().enumerate().map(checked).collect::<std::result::Result<Vec<u32>, Error>>()?;
        if labels.is_empty() {
            return Err(wrong(&paths[0], "the files have no rows, expected a picture and a label in each".into()));
        }
        let (name, classes, cache) = (place.to_owned(), classes as usize, Arc::default());
        Ok(Self { cache_bytes: 1 << 30, name, columns, paths, groups, labels, classes, class_names, cache })
    }

    /// The row group of row `index`.
    fn group(&self, index: usize) -> usize {
        self.groups.partition_point(|group| group.rows.end <= index)
    }
}

/// Opens a file and reads its labels.
fn open(path: &Path, columns: &Columns) -> std::result::Result<Opened, String> {
    let reader = reader(path)?;
    let read = |number| {
        let named = |reason: String| format!("row group {number}: {reason}");
        let group = reader.get_row_group(number).map_err(|error| named(error.to_string()))?;
        let labels = columns.labels(&*group).map_err(named)?;
        let bytes = columns.bytes(&*group).map_err(named)?;
        Ok((labels, bytes))
    };
    let groups = (0..reader.num_row_groups()).map(read).collect::<std::result::Result<_, String>>()?;
    Ok(Opened { groups, class_names: columns.class_names(reader.metadata().file_metadata()) })
}

fn reader(path: &Path) -> std::result::Result<SerializedFileReader<File>, String> {
    let file = File::open(path).map_err(|error| format!("cannot read it: {error}"))?;
    SerializedFileReader::new(file).map_err(|error| format!("it is truncated or damaged: {error}"))
}

/// What `read` returns. The Parquet reader panics at some damaged files, which is an error here.
fn guarded<T>(read: impl FnOnce() -> std::result::Result<T, String>) -> std::result::Result<T, String> {
    let caught = std::panic::catch_unwind(AssertUnwindSafe(read));
    caught.unwrap_or_else(|_| Err("it is damaged: its numbers contradict each other".into()))
}

impl Images for ParquetImages {
    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn class_name(&self, class: usize) -> String {
        self.class_names.as_ref().map_or_else(|| class.to_string(), |names| names.get(class).to_owned())
    }

    fn origin(&self, index: usize) -> String {
        let file = self.groups[self.group(index)].file;
        let first = self.groups.partition_point(|group| group.file < file);
        format!("{}: row {}", self.paths[file].display(), index - self.groups[first].rows.start)
    }

    fn picture(&self, index: usize) -> Result<Picture> {
        let at = self.group(index);
        let group = &self.groups[at];
        let read = || {
            let named = |reason: String| format!("row group {}: {reason}", group.number);
            let reader = reader(&self.paths[group.file])?;
            let rows = reader.get_row_group(group.number).map_err(|error| named(error.to_string()))?;
            self.columns.pictures(&*rows).map_err(named)
        };
        let pictures = self.cache.group(at, group.bytes, self.cache_bytes, || guarded(read));
        let broken = |reason: &String| Error::BrokenImage { origin: self.origin(index), reason: reason.clone() };
        let picture = pictures.as_ref().as_ref().map_err(broken)?.get(index - group.rows.start);
        match picture {
            Some(Some(bytes)) => Picture::decode(bytes.data(), || self.origin(index)),
            Some(None) => Err(broken(&"the row has no picture".into()).into()),
            None => Err(broken(&"the file has fewer rows than when it was opened".into()).into()),
        }
    }

    fn order(&self, key: Key) -> Vec<usize> {
        let group = |group: &RowGroup| Group { samples: group.rows.clone(), cost: group.bytes };
        in_windows(self.groups.iter().map(group).collect(), self.cache_bytes / 2, key)
    }
}

#[cfg(test)]
mod tests;
