//! Why norms cannot be had, for a program that reacts to it by another estimator or another step.

use std::fmt::{Display, Formatter};

/// The errors of this crate that a caller may want to tell apart. Functions return candle's error, which holds one of
/// these; [`Error::of`] finds it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The noise of finite differences reaches their signal.
    TooNoisy {
        /// Noise to signal, at least 1.
        ratio: f64,
        /// Whether a longer δ has less of it; else a shorter one.
        longer: bool,
        /// All of it, with δ and what to set.
        text: String,
    },
    /// An estimator's norms are not those of the samples' whole gradients, of which a variance is asked.
    NotWholeGradients {
        /// The name of the estimator.
        estimator: String,
        /// Why.
        text: String,
    },
    /// An estimator of a closed form cannot measure these losses or these parameters.
    Unmeasurable {
        /// The name of the estimator.
        estimator: &'static str,
        /// Why, and which estimators can.
        text: String,
    },
    /// A closed form does not hold for these losses: a sample's own gradient has another norm.
    Disagrees {
        /// The sample, from 0.
        sample: usize,
        /// All of it.
        text: String,
    },
}

impl Error {
    /// The error of this crate that `error` holds, if there is one.
    pub fn of(error: &candle_core::Error) -> Option<&Self> {
        msharp_core::find(error)
    }
}

/// What `estimator` cannot measure, with `advice`; errors of the objective and of the comparison stay what they are.
pub(crate) fn unmeasurable(estimator: &'static str, advice: &str) -> impl Fn(candle_core::Error) -> candle_core::Error {
    move |error| match msharp_core::Error::of(&error).is_some() || Error::of(&error).is_some() {
        true => error.context(advice.to_owned()),
        false => Error::Unmeasurable { estimator, text: format!("{advice}\n{error}") }.into(),
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::TooNoisy { text, .. }
            | Error::NotWholeGradients { text, .. }
            | Error::Unmeasurable { text, .. }
            | Error::Disagrees { text, .. } => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        msharp_core::hold(error)
    }
}
