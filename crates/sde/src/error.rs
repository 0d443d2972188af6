//! What can be wrong with a request, by what a caller can do about it.

use std::fmt::{Display, Formatter};

/// Why a request cannot be met. The text names what was requested and what was expected.
///
/// ```
/// use msharp_sde::problems::Quadratic;
/// use msharp_sde::{Algorithm, Error, StepMoments};
///
/// let problem = Quadratic::random(4, 2, 7);
/// // SAM's normalised step is not affine, so its moments do not close: use a grid or paths instead.
/// match StepMoments::new(&problem, Algorithm::sam(0.1, 2), 0.05) {
///     Err(Error::Unsupported(text)) => assert!(text.contains("moments do not close")),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An argument is outside of its range, or two arguments contradict each other: correct the call.
    InvalidArgument(String),
    /// The computation would take more than 4 GiB, or enumerate more than 200 000 batches: use fewer samples or
    /// dimensions, or paths ([`Ensemble`](crate::Ensemble)), which need neither.
    TooLarge(String),
    /// The method does not apply to this algorithm or equation: use another method.
    Unsupported(String),
    /// The progress callback of an ensemble requested to stop: see [`Stopped`](crate::Stopped).
    Stopped,
}

impl Error {
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::InvalidArgument(text.into())
    }

    pub(crate) fn too_large(text: impl Into<String>) -> Self {
        Self::TooLarge(text.into())
    }

    pub(crate) fn unsupported(text: impl Into<String>) -> Self {
        Self::Unsupported(text.into())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InvalidArgument(text) | Self::TooLarge(text) | Self::Unsupported(text) => f.write_str(text),
            Self::Stopped => crate::Stopped.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
