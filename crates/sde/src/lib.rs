//! Stochastic differential equations in two parameters for SGD and the SAM family, and their proof by numbers.

mod algorithm;
mod chain;
mod descent;
mod error;
mod expectation;
mod grid;
mod law;
mod modified;
mod moments;
mod perturbed;
mod polynomial;
mod problem;
pub mod problems;
mod sde;
mod square_root;
pub mod theorems;

pub use algorithm::{Algorithm, Ascent, Ball, Sampling};
pub use chain::{Chain, Stream, stream};
pub use descent::Descent;
pub use error::Error;
pub use expectation::{EquationOperator, Flow, StepOperator};
pub use grid::Grid;
pub use law::Law;
pub use modified::{Modified, Order};
pub use moments::{Generator, Moments, StepMoments};
pub use perturbed::InRho;
pub use problem::{Problem, derivative_errors, mean_gradient, mean_hessian, mean_loss};
pub use sde::{Noise, Sde};
