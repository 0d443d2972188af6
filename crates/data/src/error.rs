//! What can be wrong with a data set on disk, a download or a request, as values that a program can match on.

use std::fmt::{Display, Formatter};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why images could not be read, downloaded or cut into batches.
///
/// Functions of this crate return candle's [`Result`](candle_core::Result), so that they combine with everything else
/// that works on tensors. Where the cause is one of these variants, the candle error carries it, also under layers of
/// context and backtraces, and [`Error::of`] finds it:
///
/// ```
/// use msharp_data::{Error, cifar10, synthetic};
/// # fn main() -> candle_core::Result<()> {
/// # let empty = std::env::temp_dir().join("msharp-no-cifar");
/// # let folder = &empty;
/// let split = match cifar10(folder) {
///     Ok(split) => split,
///     Err(error) => match Error::of(&error) {
///         Some(Error::MissingFile { .. }) => synthetic(1000, 200, 0), // or download: `Release::cifar10()`
///         _ => return Err(error),                                    // damaged files, a full disk, …
///     },
/// };
/// assert_eq!(split.train.len(), 1000);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A file of a [`Release`](crate::Release) does not exist.
    MissingFile {
        /// The file that was looked for.
        path: PathBuf,
        /// The rest of the message: what was found in its place, and how to get it.
        advice: String,
    },
    /// A folder contains the files of no known release.
    NoRelease {
        /// The folder that was searched.
        dir: PathBuf,
    },
    /// A file has another length than its release states: truncated, or in another format.
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// The length in bytes that the release states.
        expected: u64,
        /// The rest of the message: what the length consists of, and how to get the right file.
        advice: String,
    },
    /// The files have the right length, but other images or labels than the release.
    WrongDigest {
        /// The release and its part: `cifar10 train`.
        part: String,
        /// The digest of the files, in hexadecimal; see [`ReleasePart::digest`](crate::ReleasePart::digest).
        found: String,
        /// The digest of the release.
        expected: String,
    },
    /// A label is not below the number of classes.
    UnknownLabel {
        /// Which label of which image: `record 3 has coarse_label`.
        which: String,
        /// Its value.
        label: i64,
        /// The number of classes.
        classes: usize,
    },
    /// Not one picture of a batch can be read, where broken pictures are left out.
    NoPicture {
        /// The step within the epoch.
        step: usize,
        /// Why the first cannot be read.
        first: String,
    },
    /// A picture cannot be decoded, or its file is gone.
    BrokenImage {
        /// The file, or the shard and the entry in it.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder or a file is not what a data set of its kind consists of.
    WrongFolder {
        /// The folder or the file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A setting of a [`Loader`](crate::Loader), an argument, or a [`Dataset`](crate::Dataset) that contradicts
    /// itself. The text names the field, its value and what was expected.
    InvalidArgument(String),
    /// The hub cannot be reached, has no such data set, or broke off. The text lists all causes.
    Download(String),
}

impl Error {
    /// The error of this crate that `error` carries, under any layers of context, path or backtrace; `None` if it is
    /// another one.
    pub fn of(error: &candle_core::Error) -> Option<&Self> {
        msharp_core::find(error)
    }

    /// The kind that the error has as a [`std::io::Error`].
    fn kind(&self) -> ErrorKind {
        match self {
            Self::MissingFile { .. } | Self::NoRelease { .. } => ErrorKind::NotFound,
            Self::WrongLength { .. } | Self::WrongDigest { .. } | Self::UnknownLabel { .. } => ErrorKind::InvalidData,
            Self::NoPicture { .. } | Self::BrokenImage { .. } | Self::WrongFolder { .. } => ErrorKind::InvalidData,
            Self::InvalidArgument(_) => ErrorKind::InvalidInput,
            Self::Download(_) => ErrorKind::Other,
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MissingFile { path, advice } => write!(f, "{} is missing{advice}", path.display()),
            Self::NoRelease { dir } => write!(
                f,
                "{} holds neither cifar10 nor cifar100; `msharp data fetch cifar10` downloads one",
                dir.display()
            ),
            Self::WrongLength { path, found, expected, advice } => {
                write!(f, "{} has {found} bytes, expected {expected}{advice}", path.display())
            }
            Self::WrongDigest { part, found, expected } => {
                write!(f, "{part}: the content's digest is {found}, expected {expected}")
            }
            Self::UnknownLabel { which, label, classes } => write!(f, "{which} {label}, expected below {classes}"),
            Self::NoPicture { step, first } => {
                write!(f, "step {step}: none of its pictures can be read; the first: {first}")
            }
            Self::BrokenImage { origin, reason } => write!(f, "cannot decode {origin}: {reason}"),
            Self::WrongFolder { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::InvalidArgument(text) | Self::Download(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// Candle's own variants for foreign errors keep only their text, so the error travels as the source of an I/O error,
/// whose text is the same.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        candle_core::Error::from(std::io::Error::new(error.kind(), error)).bt()
    }
}

/// The error for a folder or a file that is not what was expected.
pub(crate) fn wrong(path: &Path, reason: String) -> candle_core::Error {
    Error::WrongFolder { path: path.to_path_buf(), reason }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_under_context_path_and_backtrace_and_keeps_its_text() {
        let own = Error::UnknownLabel { which: "record 3 has label".into(), label: 10, classes: 10 };
        let carried = candle_core::Error::from(own.clone());
        assert!(carried.to_string().starts_with("record 3 has label 10, expected below 10"), "{carried}");
        let inner = Box::new(carried.context("in a file").with_path("x.bin").context("outer"));
        let backtrace = Box::new(std::backtrace::Backtrace::disabled());
        let wrapped = candle_core::Error::WithBacktrace { inner, backtrace };
        assert_eq!(Error::of(&wrapped), Some(&own));
    }

    #[test]
    fn another_error_is_none_of_this_crate() {
        let io = std::io::Error::new(ErrorKind::NotFound, "no such file");
        for other in [candle_core::Error::msg("x"), io.into(), candle_core::Error::UnwrapNone.context("y")] {
            assert_eq!(Error::of(&other), None);
        }
    }
}
