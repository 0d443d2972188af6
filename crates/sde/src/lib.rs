//! Stochastic differential equations in two parameters for SGD and the SAM family, and their proof by numbers.

pub mod brownian;
mod chain;
mod ensemble;
mod euler;
mod exit;
mod lanes;
mod milstein;
mod normal;
mod scheme;
mod sde;
mod stream;
mod weak2;

pub use chain::Chain;
pub use ensemble::{Ensemble, Estimate, Snapshot, Stopped, at, silent};
pub use euler::EulerMaruyama;
pub use exit::Exits;
pub use lanes::{LANES, Lanes, Number, gather, scatter};
pub use milstein::{Milstein, WrongNoise};
pub use sde::{Noise, Sde};
pub use stream::{Stream, Streams, stream};
pub use weak2::WeakOrder2;
