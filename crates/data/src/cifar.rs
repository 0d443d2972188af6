//! CIFAR-10 and CIFAR-100: where they are published and what is in them.

use crate::release::{Label, Release, ReleasePart};
use crate::{Error, Split};
use candle_core::Result;
use std::path::Path;

impl Release {
    /// CIFAR-10: 50 000 training and 10 000 test images of 10 classes (Krizhevsky 2009,
    /// <https://www.cs.toronto.edu/~kriz/cifar.html>).
    pub fn cifar10() -> Self {
        let files =
            &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
        Self {
            name: "cifar10",
            hub_id: "uoft-cs/cifar10",
            folder: "cifar-10-batches-bin",
            labels: &[Label { column: "label", classes: 10 }],
            train: ReleasePart {
                name: "train",
                files,
                records: 10_000,
                digest: "55a61f79a40ece2ceda9fb5f9f7078f6ea2fc4952489cef56682bcf92cfcc260".into(),
            },
            test: ReleasePart {
                name: "test",
                files: &["test_batch.bin"],
                records: 10_000,
                digest: "325704b01eb92e1e2a6215ae6a916bb7db7de054af0c496be1c7be2e0fcfbf5f".into(),
            },
            mean: [0.4914, 0.4822, 0.4465],
            std: [0.2470, 0.2435, 0.2616],
        }
    }

    /// CIFAR-100: 50 000 training and 10 000 test images (Krizhevsky 2009). The class is the fine label, one of 100.
    pub fn cifar100() -> Self {
        Self {
            name: "cifar100",
            hub_id: "uoft-cs/cifar100",
            folder: "cifar-100-binary",
            labels: &[Label { column: "coarse_label", classes: 20 }, Label { column: "fine_label", classes: 100 }],
            train: ReleasePart {
                name: "train",
                files: &["train.bin"],
                records: 50_000,
                digest: "7077d87fc363f92dbf1245f13ba80561d7b33a96c79ad57168d49dc172aaa92b".into(),
            },
            test: ReleasePart {
                name: "test",
                files: &["test.bin"],
                records: 10_000,
                digest: "96adb3db8da7632dbb350559a17b9f585fab5b17675de5fc8f6761384196b294".into(),
            },
            mean: [0.5071, 0.4865, 0.4409],
            std: [0.2673, 0.2564, 0.2762],
        }
    }
}

/// Reads CIFAR-10 from its official binary files, the folder `cifar-10-batches-bin` in `dir` or `dir` itself.
///
/// # Errors
/// As [`Release::load`].
pub fn cifar10(dir: impl AsRef<Path>) -> Result<Split> {
    Release::cifar10().load(dir)
}

/// Reads CIFAR-100 with its 100 fine classes from its official binary files, the folder `cifar-100-binary` in `dir` or
/// `dir` itself.
///
/// # Errors
/// As [`Release::load`].
pub fn cifar100(dir: impl AsRef<Path>) -> Result<Split> {
    Release::cifar100().load(dir)
}

/// Verifies the digest of every known release that has a folder in `dir`, and returns their names.
///
/// # Errors
/// [`Error::NoRelease`] if there is none; as [`Release::verify`] for the first that fails.
pub fn verify(dir: impl AsRef<Path>) -> Result<Vec<&'static str>> {
    let dir = dir.as_ref();
    let mut found = Vec::new();
    for release in [Release::cifar10(), Release::cifar100()] {
        if release.folder_in(dir).is_dir() {
            release.verify(dir)?;
            found.push(release.name);
        }
    }
    if found.is_empty() {
        return Err(Error::NoRelease { dir: dir.to_path_buf() }.into());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_any_is_an_error_that_says_how_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = verify(folder.path()).unwrap_err();
        assert_eq!(Error::of(&error), Some(&Error::NoRelease { dir: folder.path().to_path_buf() }));
        let error = error.to_string();
        assert!(error.contains("msharp data fetch") && error.contains(&*folder.path().to_string_lossy()), "{error}");
    }

    #[test]
    fn a_folder_of_another_content_is_not_verified() {
        let folder = tempfile::tempdir().unwrap();
        crate::records::tests::write_small(folder.path(), Release::cifar100());
        let error = verify(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cifar-100-binary/train.bin"), "{error}");
    }

    #[test]
    fn the_digests_are_those_that_the_table_of_datasets_states() {
        let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/README.md")).unwrap();
        for release in [Release::cifar10(), Release::cifar100()] {
            for part in [&release.train, &release.test] {
                let row = format!("| {} {} | {} | `{}` |", release.name, part.name, part.len(), part.digest);
                assert!(table.contains(&row), "datasets/README.md lacks the row {row}");
            }
        }
    }
}
