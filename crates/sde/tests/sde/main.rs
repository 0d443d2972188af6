//! Everything that the crate computes, held against closed forms and against itself.

#![allow(clippy::unwrap_used, reason = "a test, and what it calls, may panic")]

mod brownian;
mod descent;
mod ensembles;
mod expectation;
mod linear;
mod memory;
mod moments;
mod nonlinear;
mod orders;
mod refusals;
mod scales;
mod step;
mod theorems;
