//! One binary for all tests that cross crates.

mod catalogue;
mod closed_form;
mod convergence;
mod convolutions;
mod end_to_end;
mod equivalence;
mod estimators;
mod ghost;
mod micro;
mod misfits;
mod noise;
mod parity;
mod parts;
mod problems;
mod published;
mod ranks;
mod refusals;
mod resume;
mod rules;
mod runs;
mod stability;
mod sync_batch_norm;
mod tidy;
