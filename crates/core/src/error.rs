//! What can go wrong, for a program that reacts to it.

use crate::Fit;
use candle_core::Tensor;
use std::fmt::{Display, Formatter};

/// The errors of this crate that a caller may want to tell apart. Functions return candle's error, which holds one of
/// these; [`Error::of`] finds it, also under the context that a trainer added.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use msharp_core::{Batch, Error, Key};
///
/// let nothing = Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?;
/// let error = Batch::new(nothing.clone(), nothing, Key::new(0)).check().unwrap_err().context("epoch 0, step 3");
/// assert!(matches!(Error::of(&error), Some(Error::EmptyBatch { .. })));
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A batch has no sample, for which no mean, no norm and no weight is defined.
    EmptyBatch {
        /// The shape of its inputs.
        dims: Vec<usize>,
    },
    /// An objective does not yield one loss for each sample.
    LossShape {
        /// What it yields.
        found: Vec<usize>,
        /// The number of samples, where it is known.
        samples: Option<usize>,
    },
    /// A parameter received no gradient.
    NoGradient {
        /// Its name.
        parameter: String,
    },
    /// Two evaluations of the losses at one point differ.
    NotRepeatable {
        /// The loss of a sample.
        once: f64,
        /// Its loss again.
        again: f64,
    },
    /// A schedule needs to know how far training has come, and the batch does not say it.
    NoTrainingPoint,
    /// A tensor that is to be restored is missing or unexpected, or does not fit.
    Mismatch {
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Tensors are missing, unexpected or of another shape, and were not to be skipped.
    Misfit(Box<Fit>),
}

impl Error {
    /// The error of this crate that `error` holds, if there is one.
    pub fn of(error: &candle_core::Error) -> Option<&Self> {
        find(error)
    }

    pub(crate) fn loss_shape(found: &Tensor, samples: Option<usize>) -> candle_core::Error {
        Self::LossShape { found: found.dims().to_vec(), samples }.into()
    }

    pub(crate) fn mismatch(tensor: &str, problem: impl Into<String>) -> candle_core::Error {
        Self::Mismatch { tensor: tensor.to_owned(), problem: problem.into() }.into()
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::EmptyBatch { dims } => {
                write!(f, "the batch is empty (inputs {dims:?}); expected at least one sample")
            }
            Error::LossShape { found, samples } => {
                let b = samples.map_or("b".to_owned(), |samples| samples.to_string());
                write!(f, "an objective yields one loss for each sample, [{b}], and this one yielded {found:?}")
            }
            Error::NoGradient { parameter } => write!(
                f,
                "parameter {parameter:?} received no gradient: the loss does not use it, or an operation without a \
                 backward pass (candle's LayerNorm and softmax_last_dim, for instance) cut the graph"
            ),
            Error::NotRepeatable { once, again } => write!(
                f,
                "two evaluations of the losses at one point, of one batch under one key, differ ({once:.6e} and \
                 {again:.6e} of one sample): the objective draws random numbers that are no function of the batch's key, \
                 as candle's Dropout does, or remembers earlier calls; expected the same losses, since a rule compares \
                 those at two points"
            ),
            Error::NoTrainingPoint => write!(
                f,
                "a schedule is a function of the progress and the learning rate of the run, and this batch has no \
                 training point; expected `batch.at(schedule.at(step, steps))`, or batches from `Schedule::epoch` or \
                 `fit` of msharp-train"
            ),
            Error::Mismatch { tensor, problem } => write!(f, "tensor {tensor:?} {problem}"),
            Error::Misfit(fit) => write!(f, "{fit}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        hold(error)
    }
}

/// A typed error inside candle's: the same text, and [`find`] gets it out again.
pub fn hold(error: impl std::error::Error + Send + Sync + 'static) -> candle_core::Error {
    // The one variant of candle's that holds another error as it is.
    candle_core::Error::Io(std::io::Error::other(error)).bt()
}

/// The error of type `E` that `error` holds, under whatever context was added.
pub fn find<E: std::error::Error + 'static>(error: &candle_core::Error) -> Option<&E> {
    match error {
        candle_core::Error::Io(io) => io.get_ref()?.downcast_ref(),
        candle_core::Error::Context { inner, .. }
        | candle_core::Error::WithPath { inner, .. }
        | candle_core::Error::WithBacktrace { inner, .. } => find(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_under_context_and_reads_as_before() {
        let held: candle_core::Error = Error::NoGradient { parameter: "fc.bias".to_owned() }.into();
        assert!(held.to_string().starts_with("parameter \"fc.bias\" received no gradient"), "{held}");
        let outer = held.context("epoch 1, step 2");
        assert_eq!(Error::of(&outer), Some(&Error::NoGradient { parameter: "fc.bias".to_owned() }));
        assert_eq!(Error::of(&candle_core::Error::msg("something else")), None);
    }
}
