//! What can go wrong in the catalogue, for a program that reacts to it.

use std::fmt::{Display, Formatter};

/// The errors of the catalogue. Functions return candle's error, which holds one of these; [`Error::of`] finds it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// No entry has this name.
    UnknownName {
        /// `rule`, `offset` or `combination`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// The names that there are.
        known: Vec<&'static str>,
    },
    /// An entry has no parameter of this name.
    UnknownParameter {
        /// The entry.
        of: &'static str,
        /// What was asked for.
        name: String,
        /// The parameters that there are.
        known: Vec<&'static str>,
    },
    /// A value that its parameter cannot have.
    OutOfRange {
        /// The entry.
        of: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// The value.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// Values that contradict each other.
    Contradiction {
        /// The entry.
        of: &'static str,
        /// Why.
        problem: String,
    },
    /// Text that is no list of parameters.
    Syntax {
        /// All of it.
        text: String,
        /// The part that cannot be read.
        part: String,
        /// What was expected.
        expected: String,
    },
    /// A rule is to be built without something that it needs.
    Missing {
        /// The rule.
        rule: &'static str,
        /// What it needs.
        what: &'static str,
    },
}

impl Error {
    /// The error of this crate that `error` holds, if there is one.
    pub fn of(error: &candle_core::Error) -> Option<&Self> {
        msharp_core::find(error)
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::UnknownName { what, name, known } => {
                write!(f, "no {what} is called {name:?}; expected one of {}", known.join(", "))
            }
            Error::UnknownParameter { of, name, known } => {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                write!(f, "{of} has no parameter {name:?}; expected {known}")
            }
            Error::OutOfRange { of, parameter, value, expected } => {
                let value = if value.is_empty() { "nothing" } else { value };
                write!(f, "{parameter} of {of} is {value}; expected {expected}")
            }
            Error::Contradiction { of, problem } => write!(f, "{of}: {problem}"),
            Error::Syntax { text, part, expected } => write!(f, "{part:?} in {text:?}: expected {expected}"),
            Error::Missing { rule, what } => write!(f, "{rule} is built with {what}, and there is none"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        msharp_core::hold(error)
    }
}
