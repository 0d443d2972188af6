//! Which images: a set with a name of its own, or somebody's, by kind and path.

use anyhow::{Error, Result, bail};
use std::fmt::{Display, Formatter};
use std::path::PathBuf;
use std::str::FromStr;

/// What --data takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataName {
    /// `synthetic`: ten drawn classes of 32×32, no download.
    Synthetic,
    /// `thumbnails`: the same classes, simpler and of 16×16, learnt in seconds.
    Thumbnails,
    /// `cifar10`.
    Cifar10,
    /// `cifar100`.
    Cifar100,
    /// `folder:PATH`, pictures in `PATH/{train,val}/CLASS/`, as ImageNet is unpacked.
    Folder(PathBuf),
    /// `tar:PATH`, shards `PATH/{train,val}/*.tar` or `PATH/{train,val}-*.tar`, as webdataset writes them.
    Tar(PathBuf),
    /// `parquet:PATH`, the same with Parquet files, as the Hugging Face hub stores sets of pictures.
    Parquet(PathBuf),
}

/// The names, for messages.
const EXPECTED: &str = "expected synthetic, thumbnails, cifar10, cifar100, folder:PATH, tar:PATH or parquet:PATH";

impl DataName {
    /// The number of classes, where it is known before the set is read.
    pub fn classes(&self) -> Option<usize> {
        match self {
            DataName::Cifar100 => Some(100),
            DataName::Synthetic | DataName::Thumbnails | DataName::Cifar10 => Some(10),
            DataName::Folder(_) | DataName::Tar(_) | DataName::Parquet(_) => None,
        }
    }

    /// Height and width of the images in pixels, where all have the same.
    pub fn side(&self) -> Option<usize> {
        match self {
            DataName::Thumbnails => Some(16),
            DataName::Synthetic | DataName::Cifar10 | DataName::Cifar100 => Some(32),
            DataName::Folder(_) | DataName::Tar(_) | DataName::Parquet(_) => None,
        }
    }
}

impl Display for DataName {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            DataName::Synthetic => f.write_str("synthetic"),
            DataName::Thumbnails => f.write_str("thumbnails"),
            DataName::Cifar10 => f.write_str("cifar10"),
            DataName::Cifar100 => f.write_str("cifar100"),
            DataName::Folder(path) => write!(f, "folder:{}", path.display()),
            DataName::Tar(path) => write!(f, "tar:{}", path.display()),
            DataName::Parquet(path) => write!(f, "parquet:{}", path.display()),
        }
    }
}

impl FromStr for DataName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, path) = text.split_once(':').map_or((text, None), |(kind, path)| (kind, Some(PathBuf::from(path))));
        Ok(match (kind, path) {
            ("synthetic", None) => DataName::Synthetic,
            ("thumbnails", None) => DataName::Thumbnails,
            ("cifar10", None) => DataName::Cifar10,
            ("cifar100", None) => DataName::Cifar100,
            ("folder" | "tar" | "parquet", None) => bail!("{kind} needs a path, {kind}:PATH; {EXPECTED}"),
            (_, Some(path)) if path.as_os_str().is_empty() => bail!("{text:?} has no path after the colon; {EXPECTED}"),
            ("folder", Some(path)) => DataName::Folder(path),
            ("tar", Some(path)) => DataName::Tar(path),
            ("parquet", Some(path)) => DataName::Parquet(path),
            _ => bail!("there is no data set {text:?}; {EXPECTED}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_another_is_refused_with_what_there_is() {
        for text in ["synthetic", "thumbnails", "cifar10", "cifar100", "folder:a/b:c", "tar:shards", "parquet:/x y"] {
            assert_eq!(text.parse::<DataName>().unwrap().to_string(), text);
        }
        for text in ["mnist", "folder", "folder:", "cifar10:here", "Cifar10", ""] {
            let message = text.parse::<DataName>().unwrap_err().to_string();
            assert!(message.contains("expected synthetic") && message.contains("folder:PATH"), "{text}: {message}");
        }
    }
}
