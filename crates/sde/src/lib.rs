//! Stochastic differential equations in two parameters for SGD and the SAM family, and their proof by numbers.

mod chain;
mod sde;

pub use chain::{Chain, Stream, stream};
pub use sde::{Noise, Sde};
