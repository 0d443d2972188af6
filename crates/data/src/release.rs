//! The files of a published data set: how to read them, and how to verify them.

use crate::records::{IMAGE_BYTES, content_digest, read_records};
use crate::{Dataset, Error, Split};
use candle_core::Result;
use std::path::{Path, PathBuf};

/// A published set of 32×32 RGB images in the binary layout of CIFAR: its files, and what is in them.
///
/// A file is a sequence of records. A record is one byte for each of [`labels`](Release::labels), then 3072 bytes of
/// pixels: red, green and blue channel, each row by row. The constructors [`cifar10`](Release::cifar10) and
/// [`cifar100`](Release::cifar100) describe the two official releases; a literal describes another set of this layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// The name in commands and messages: `cifar10`.
    pub name: &'static str,
    /// Its id on the Hugging Face hub.
    pub hub_id: &'static str,
    /// The folder of the files, as the official archive unpacks.
    pub folder: &'static str,
    /// The labels of a record in order, at least one; the last is the class.
    pub labels: &'static [Label],
    /// The training files.
    pub train: ReleasePart,
    /// The test files.
    pub test: ReleasePart,
    /// Mean of each channel over the training images, of pixel values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of each channel over the training images, of pixel values in [0, 1].
    pub std: [f32; 3],
}

/// One label of a record, stored in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The name of its column on the hub.
    pub column: &'static str,
    /// The number of classes; the byte is below it.
    pub classes: usize,
}

/// The training or the test files of a [`Release`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleasePart {
    /// `train` or `test`.
    pub name: &'static str,
    /// File names, in order.
    pub files: &'static [&'static str],
    /// Records in each file.
    pub records: usize,
    /// SHA-256 of the concatenated, sorted SHA-256 digests of all records, in hexadecimal. It does not depend on the
    /// order of the images, which differs between mirrors.
    pub digest: String,
}

impl ReleasePart {
    /// The number of records in all files.
    pub fn len(&self) -> usize {
        self.files.len() * self.records
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Release {
    /// The number of classes: that of the last label.
    pub fn classes(&self) -> usize {
        self.labels.last().map_or(0, |label| label.classes)
    }

    /// Reads the files in the folder [`folder`](Release::folder) of `dir`, or in `dir` if it is that folder itself.
    ///
    /// Checks lengths and labels, but not the digest, which [`verify`](Release::verify) does.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::WrongLength`] or [`Error::UnknownLabel`]; each names the file.
    pub fn load(&self, dir: impl AsRef<Path>) -> Result<Split> {
        let load = |part: &ReleasePart| -> Result<Dataset> {
            let mut images = Vec::with_capacity(part.len() * IMAGE_BYTES);
            let mut labels = Vec::with_capacity(part.len());
            for path in self.paths(dir.as_ref(), part) {
                for record in read_records(&path, self, part)?.chunks_exact(self.record_len()) {
                    let (front, channels) = record.split_at(self.labels.len());
                    labels.extend(front.last().map(|&class| class as u32));
                    let plane = IMAGE_BYTES / 3;
                    images.extend((0..plane).flat_map(|p| [channels[p], channels[plane + p], channels[2 * plane + p]]));
                }
            }
            Ok(Dataset {
                name: format!("{} {}", self.name, part.name),
                images,
                labels,
                classes: self.classes(),
                size: (32, 32),
                mean: self.mean,
                std: self.std,
            })
        };
        Ok(Split { train: load(&self.train)?, test: load(&self.test)? })
    }

    /// Whether all files exist, in the folder or in `dir` itself. Does not look into them.
    pub fn is_complete(&self, dir: impl AsRef<Path>) -> bool {
        [&self.train, &self.test].iter().all(|part| self.paths(dir.as_ref(), part).iter().all(|path| path.is_file()))
    }

    /// Checks that the files contain exactly the images and labels of this release, in any order. Reads and hashes all
    /// of them.
    ///
    /// # Errors
    /// As [`load`](Release::load), and [`Error::WrongDigest`].
    pub fn verify(&self, dir: impl AsRef<Path>) -> Result<()> {
        self.verify_part(dir.as_ref(), &self.train)?;
        self.verify_part(dir.as_ref(), &self.test)
    }

    pub(crate) fn verify_part(&self, dir: &Path, part: &ReleasePart) -> Result<()> {
        let mut records = Vec::with_capacity(part.len() * self.record_len());
        for path in self.paths(dir, part) {
            records.append(&mut read_records(&path, self, part)?);
        }
        self.check_digest(part, &records)
    }

    /// # Errors
    /// If `records` are not those of `part`.
    pub(crate) fn check_digest(&self, part: &ReleasePart, records: &[u8]) -> Result<()> {
        let found = content_digest(records, self.record_len());
        if found != part.digest {
            let expected = part.digest.clone();
            return Err(Error::WrongDigest { part: format!("{} {}", self.name, part.name), found, expected }.into());
        }
        Ok(())
    }

    /// Bytes of a record.
    pub(crate) fn record_len(&self) -> usize {
        self.labels.len() + IMAGE_BYTES
    }

    /// A sentence about what `dir` contains in place of the binary files: the Python version of the same set, an
    /// archive that is not unpacked, or the folder one level further down. `None` if it contains none of these.
    pub fn found_instead(&self, dir: &Path) -> Option<String> {
        let base = self.folder.trim_end_matches("-batches-bin").trim_end_matches("-binary"); // cifar-10
        let python = match self.folder.ends_with("-batches-bin") {
            true => format!("{base}-batches-py"),
            false => format!("{base}-python"),
        };
        let [binary_archive, python_archive] = ["binary", "python"].map(|form| format!("{base}-{form}.tar.gz"));
        let there = |name: &str| dir.join(name).exists();
        let is_python = dir.file_name().is_some_and(|name| *name == *python)
            || (there("data_batch_1") && there("batches.meta"))
            || (there("meta") && there("train") && there("test"));
        if is_python || there(&python) {
            let what = if is_python { dir.to_path_buf() } else { dir.join(python) };
            return Some(format!(
                "{} is the Python version, another format; expected the binary version, of {binary_archive}",
                what.display()
            ));
        }
        if dir.is_file() {
            return Some(format!("{} is a file; expected a folder, with an archive unpacked in it", dir.display()));
        }
        if there(&binary_archive) {
            return Some(format!("{} is there; expected it unpacked", dir.join(binary_archive).display()));
        }
        if there(&python_archive) {
            return Some(format!(
                "{} is the Python version, another format; expected {binary_archive}, unpacked",
                dir.join(python_archive).display()
            ));
        }
        let inner = std::fs::read_dir(dir).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut inner: Vec<PathBuf> = inner.filter(|folder| folder.join(self.folder).is_dir()).collect();
        inner.sort();
        inner.first().map(|folder| format!("{} holds {}; expected that folder", folder.display(), self.folder))
    }

    /// The folder with the files: `dir` itself if it holds the first one, else the official folder in it.
    pub(crate) fn folder_in(&self, dir: &Path) -> PathBuf {
        let outer = dir.join(self.folder);
        let first = self.train.files.iter().chain(self.test.files).map(|file| dir.join(file)).find(|f| f.is_file());
        if !outer.is_dir() && first.is_some() { dir.to_path_buf() } else { outer }
    }

    /// Where the files of `part` are, or would be.
    pub(crate) fn paths(&self, dir: &Path, part: &ReleasePart) -> Vec<PathBuf> {
        let folder = self.folder_in(dir);
        part.files.iter().map(|file| folder.join(file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{record, write_small};

    #[test]
    fn images_come_out_upright_with_their_class() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let release = write_small(folder.path(), Release::cifar100());
        for dir in [folder.path().to_path_buf(), folder.path().join(release.folder)] {
            let split = release.load(&dir)?;
            assert_eq!((split.train.len(), split.test.len(), split.train.classes), (3, 2, 100));
            assert_eq!((split.train.name.as_str(), split.test.name.as_str()), ("cifar100 train", "cifar100 test"));
            assert_eq!(split.train.labels, [10, 11, 12]);
            let bytes = record(&release, 1);
            for (y, x, c) in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (3, 17, 2), (31, 31, 1)] {
                let (official, ours) = (2 + c * 1024 + y * 32 + x, (y * 32 + x) * 3 + c);
                assert_eq!(split.train.image(1)[ours], bytes[official]);
            }
            release.verify(&dir)?;
        }
        Ok(())
    }

    #[test]
    fn a_missing_file_is_named_with_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = Release::cifar10().load(folder.path()).unwrap_err();
        let missing = folder.path().join("cifar-10-batches-bin/data_batch_1.bin");
        assert!(matches!(Error::of(&error), Some(Error::MissingFile { path, .. }) if *path == missing), "{error}");
        let error = error.to_string();
        for part in ["cifar-10-batches-bin/data_batch_1.bin", "msharp data fetch cifar10", "--data-dir"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_people_have_in_its_place_is_named() {
        for (release, has, dir, parts) in [
            (
                Release::cifar10(),
                "cifar-10-batches-py/data_batch_1",
                "",
                ["cifar-10-batches-py", "cifar-10-binary.tar.gz"],
            ),
            (Release::cifar10(), "cifar-10-batches-py/x", "cifar-10-batches-py", ["Python", "cifar-10-binary.tar.gz"]),
            (Release::cifar100(), "cifar-100-python/train", "", ["cifar-100-python", "cifar-100-binary.tar.gz"]),
            (Release::cifar10(), "cifar-10-binary.tar.gz", "", ["cifar-10-binary.tar.gz is there", "unpacked"]),
            (Release::cifar10(), "cifar-10-python.tar.gz", "", ["Python", "expected cifar-10-binary.tar.gz"]),
            (Release::cifar10(), "cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz", ["is a file", "unpacked"]),
            (Release::cifar10(), "deep/cifar-10-batches-bin/x", "", ["deep holds", "expected that folder"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(folder.path().join(has).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(has), b"").unwrap();
            let error = release.load(folder.path().join(dir)).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{has}: {error}");
        }
    }

    #[test]
    fn a_file_of_the_wrong_length_is_named_with_both_lengths() {
        let folder = tempfile::tempdir().unwrap();
        let release = write_small(folder.path(), Release::cifar10());
        let path = folder.path().join("cifar-10-batches-bin/data_batch_3.bin");
        let whole = std::fs::read(&path).unwrap();
        for wrong in [&whole[..whole.len() - 1], &[&whole[..], &[0]].concat()] {
            std::fs::write(&path, wrong).unwrap();
            let error = release.load(folder.path()).unwrap_err();
            let lengths = |found: u64, expected: u64| (found, expected) == (wrong.len() as u64, whole.len() as u64);
            assert!(
                matches!(Error::of(&error), Some(Error::WrongLength { found, expected, .. }) if lengths(*found, *expected))
            );
            let error = error.to_string();
            for part in ["data_batch_3.bin", &wrong.len().to_string(), &whole.len().to_string()] {
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn a_label_out_of_range_is_named_with_its_record() {
        let folder = tempfile::tempdir().unwrap();
        let release = write_small(folder.path(), Release::cifar100());
        let path = folder.path().join("cifar-100-binary/test.bin");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3074] = 20; // the second record's coarse label
        std::fs::write(&path, &bytes).unwrap();
        let error = release.load(folder.path()).unwrap_err();
        assert!(matches!(Error::of(&error), Some(Error::UnknownLabel { label: 20, classes: 20, .. })), "{error}");
        let error = error.to_string();
        for part in ["test.bin", "record 1", "coarse_label 20", "below 20"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_changed_pixel_is_found_and_another_order_is_not_minded() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let release = write_small(folder.path(), Release::cifar10());
        let path = folder.path().join("cifar-10-batches-bin/data_batch_1.bin");
        let mut bytes = std::fs::read(&path)?;
        let (first, rest) = bytes.split_at(3073);
        std::fs::write(&path, [rest, first].concat())?;
        release.verify(folder.path())?;
        bytes[100] ^= 1;
        std::fs::write(&path, &bytes)?;
        let error = release.verify(folder.path()).unwrap_err();
        assert!(matches!(Error::of(&error), Some(Error::WrongDigest { .. })), "{error}");
        let error = error.to_string();
        assert!(error.contains("cifar10 train") && error.contains(&release.train.digest), "{error}");
        Ok(())
    }
}
