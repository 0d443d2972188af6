//! The tests are in `main.rs` and its modules; here the Rust examples of README and pages are compiled and run as
//! doctests.

/// The README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The rules.
#[cfg(doctest)]
#[doc = include_str!("../../docs/rules.md")]
pub struct Rules;

/// The estimators.
#[cfg(doctest)]
#[doc = include_str!("../../docs/estimators.md")]
pub struct Estimators;

/// Training.
#[cfg(doctest)]
#[doc = include_str!("../../docs/training.md")]
pub struct Training;

/// Pictures and fine-tuning.
#[cfg(doctest)]
#[doc = include_str!("../../docs/fine-tuning.md")]
pub struct FineTuning;

/// Several processes.
#[cfg(doctest)]
#[doc = include_str!("../../docs/distributed.md")]
pub struct Distributed;

/// m-SAM with all micro-batches at once.
#[cfg(doctest)]
#[doc = include_str!("../../docs/parallel-m-sam.md")]
pub struct ParallelMSam;

/// The theory.
#[cfg(doctest)]
#[doc = include_str!("../../docs/theory.md")]
pub struct Theory;

/// How to extend it.
#[cfg(doctest)]
#[doc = include_str!("../../CONTRIBUTING.md")]
pub struct Contributing;
