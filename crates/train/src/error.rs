//! What can be wrong with a checkpoint, for a program that reacts to it.

use std::fmt::{Display, Formatter};
use std::path::PathBuf;

/// The errors of this crate that a caller may want to tell apart. Functions return candle's error, which holds one of
/// these; [`Error::of`] finds it. A run that diverges is no error but an [`Outcome`](crate::Outcome).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A file is no checkpoint of this version, or is damaged.
    NoCheckpoint {
        /// What is wrong with it.
        problem: String,
    },
    /// A checkpoint is one of a run with another configuration.
    AnotherConfiguration {
        /// The file.
        path: PathBuf,
        /// The configuration in it.
        saved: String,
        /// That of the run.
        expected: String,
    },
    /// A checkpoint holds the state of another rule or optimizer.
    AnotherState {
        /// `rule` or `optimizer`.
        what: &'static str,
        /// The name of the one in the checkpoint.
        saved: String,
        /// The name of the one that is to be restored.
        expected: String,
    },
}

impl Error {
    /// The error of this crate that `error` holds, if there is one.
    pub fn of(error: &candle_core::Error) -> Option<&Self> {
        msharp_core::find(error)
    }

    pub(crate) fn no_checkpoint(problem: impl Into<String>) -> candle_core::Error {
        Self::NoCheckpoint { problem: problem.into() }.into()
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoCheckpoint { problem } => write!(f, "{problem}"),
            Error::AnotherConfiguration { path, saved, expected } => write!(
                f,
                "the checkpoint {} is one of a run with another configuration, {saved:?}; expected {expected:?}, or \
                 another file",
                path.display()
            ),
            Error::AnotherState { what, saved, expected } => {
                write!(f, "the checkpoint holds the state of the {what} {saved}; expected that of {expected}")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        msharp_core::hold(error)
    }
}
