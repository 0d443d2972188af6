//! Which images: a set with a name of its own, or somebody's, by kind and path.

use anyhow::{Error, Result, bail};
use msharp_data::Columns;
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
    /// `parquet:PATH`, the same with Parquet files, as the Hugging Face hub stores sets of pictures; with
    /// `parquet:PATH#img,fine_label` these columns.
    Parquet(PathBuf, Columns),
}

/// The names, for messages.
const EXPECTED: &str = "expected synthetic, thumbnails, cifar10, cifar100, folder:PATH, tar:PATH or parquet:PATH";

impl DataName {
    /// The number of classes, where it is known before the set is read.
    pub fn classes(&self) -> Option<usize> {
        match self {
            DataName::Cifar100 => Some(100),
            DataName::Synthetic | DataName::Thumbnails | DataName::Cifar10 => Some(10),
            DataName::Folder(_) | DataName::Tar(_) | DataName::Parquet(..) => None,
        }
    }

    /// Height and width of the images in pixels, where all have the same.
    pub fn side(&self) -> Option<usize> {
        match self {
            DataName::Thumbnails => Some(16),
            DataName::Synthetic | DataName::Cifar10 | DataName::Cifar100 => Some(32),
            DataName::Folder(_) | DataName::Tar(_) | DataName::Parquet(..) => None,
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
            DataName::Parquet(path, columns) => {
                write!(f, "parquet:{}", path.display())?;
                let Columns { image, label } = columns;
                if *columns == Columns::default() { Ok(()) } else { write!(f, "#{image},{label}") }
            }
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
            ("parquet", Some(path)) => match path.to_str().and_then(|path| path.rsplit_once('#')) {
                Some((path, columns)) => DataName::Parquet(path.into(), of_pictures(columns)?),
                None => DataName::Parquet(path, Columns::default()),
            },
            _ => bail!("there is no data set {text:?}; {EXPECTED}"),
        })
    }
}

/// `IMAGE,LABEL`
fn of_pictures(columns: &str) -> Result<Columns> {
    match columns.split_once(',') {
        Some((image, label)) if ![image, label].contains(&"") && !label.contains(',') => {
            Ok(Columns { image: image.to_owned(), label: label.to_owned() })
        }
        _ => bail!("the columns of --data parquet:PATH#{columns}: expected IMAGE,LABEL, such as img,fine_label"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_another_is_refused_with_what_there_is() {
        let of_files = ["folder:a/b:c", "tar:shards", "parquet:/x y", "parquet:/x#y#img,fine_label"];
        for text in ["synthetic", "thumbnails", "cifar10", "cifar100"].into_iter().chain(of_files) {
            assert_eq!(text.parse::<DataName>().unwrap().to_string(), text);
        }
        assert_eq!("parquet:x#image,label".parse::<DataName>().unwrap().to_string(), "parquet:x");
        for text in ["parquet:x#", "parquet:x#img", "parquet:x#,label", "parquet:x#a,b,c"] {
            let message = text.parse::<DataName>().unwrap_err().to_string();
            assert!(message.contains("expected IMAGE,LABEL"), "{text}: {message}");
        }
        for text in ["mnist", "folder", "folder:", "cifar10:here", "Cifar10", ""] {
            let message = text.parse::<DataName>().unwrap_err().to_string();
            assert!(message.contains("expected synthetic") && message.contains("folder:PATH"), "{text}: {message}");
        }
    }
}
