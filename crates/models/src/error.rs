//! What can be wrong with a name, a network or its weights, as values that a program can match on.

use msharp_core::Fit;
use std::fmt::{Display, Formatter};
use std::io::ErrorKind;

/// Why a name is unknown, a network cannot be built, or weights or images do not fit it.
///
/// Parsing a name returns it directly. All other functions of this crate return candle's
/// [`Result`](candle_core::Result); the candle error then carries the cause, also under layers of context and
/// backtraces, and [`Error::of`] finds it:
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarBuilder;
/// use msharp_models::{Architecture, Error, Norm};
///
/// assert!(matches!("resnet19".parse::<Architecture>(), Err(Error::UnknownArchitecture { .. })));
///
/// let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
/// let vit: Architecture = "vit-mini".parse()?;
/// let error = vit.build(Norm::Group(32), 10, vb).unwrap_err(); // it has layer normalisation
/// assert!(matches!(Error::of(&error), Some(Error::InvalidConfig(_))));
/// # Ok::<(), Error>(())
/// ```
///
/// A tensor that is missing, or has another shape, is an error of candle or of `msharp_core`, which names it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No [`Architecture`](crate::Architecture) has this name.
    UnknownArchitecture {
        /// The text that was parsed.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// No [`Norm`](crate::Norm) has this name.
    UnknownNorm {
        /// The text that was parsed.
        name: String,
    },
    /// No network has this shape, or this normalisation. The text names what was requested and what is possible.
    InvalidConfig(String),
    /// The [`Description`](crate::Description) in the metadata of weights cannot be read, or cannot be written. The
    /// text names the entry.
    InvalidDescription(String),
    /// The weights are those of another network, or of images that were normalised in another way.
    WrongWeights {
        /// The entry of the description: `model`, `norm`, `classes`, `mean` or `std`.
        entry: String,
        /// Its value in the file of weights.
        found: String,
        /// Its value for the network.
        expected: String,
    },
    /// Published weights have an element that no weight can be.
    InvalidTensor {
        /// Its tensor.
        name: String,
        /// The element.
        value: String,
        /// What elements can be.
        expected: &'static str,
    },
    /// Tensors of published weights do not fit the network.
    Misfit {
        /// All that are missing, unexpected or of another shape.
        fit: Box<Fit>,
        /// What may be the reason.
        hints: Vec<String>,
    },
    /// Images have another shape than the network takes, or were not normalised as in training.
    WrongImages(String),
}

impl Error {
    /// The error of this crate that `error` carries, under any layers of context, path or backtrace; `None` if it is
    /// another one.
    pub fn of(error: &candle_core::Error) -> Option<&Self> {
        msharp_core::find(error)
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownArchitecture { name, known } => {
                let sized = "resnetDEPTHa such as resnet20a, and wrn-DEPTH-WIDEN such as wrn-28-10; @SIZE after a vit is \
                             the size of its images";
                write!(f, "there is no architecture {name:?}; there are {known}, {sized}")
            }
            Self::UnknownNorm { name } => write!(
                f,
                "there is no normalisation {name:?}; there are batch, group (32 groups) and group-8 or the like"
            ),
            Self::WrongWeights { entry, found, expected } => {
                write!(f, "the weights are those of {entry} {found}; expected {entry} {expected}")
            }
            Self::InvalidTensor { name, value, expected } => {
                write!(f, "the tensor {name} has the element {value}; expected {expected}")
            }
            Self::Misfit { fit, hints } => {
                write!(f, "{fit}")?;
                hints.iter().try_for_each(|hint| write!(f, "; {hint}"))
            }
            Self::InvalidConfig(text) | Self::InvalidDescription(text) | Self::WrongImages(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// Candle's own variants for foreign errors keep only their text, so the error travels as the source of an I/O error,
/// whose text is the same.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::WrongWeights { .. }
            | Error::InvalidTensor { .. }
            | Error::Misfit { .. }
            | Error::InvalidDescription(_) => ErrorKind::InvalidData,
            _ => ErrorKind::InvalidInput,
        };
        candle_core::Error::from(std::io::Error::new(kind, error)).bt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_under_context_path_and_backtrace_and_keeps_its_text() {
        let own = Error::UnknownNorm { name: "layer".into() };
        let carried = candle_core::Error::from(own.clone());
        assert!(carried.to_string().starts_with(&own.to_string()), "{carried}");
        let inner = Box::new(carried.context("in a file").with_path("x.safetensors").context("outer"));
        let backtrace = Box::new(std::backtrace::Backtrace::disabled());
        let wrapped = candle_core::Error::WithBacktrace { inner, backtrace };
        assert_eq!(Error::of(&wrapped), Some(&own));
        for other in [candle_core::Error::msg("x"), std::io::Error::other("y").into()] {
            assert_eq!(Error::of(&other), None);
        }
    }
}
