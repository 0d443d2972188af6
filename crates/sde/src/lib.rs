//! Stochastic differential equations in two parameters for SGD and the SAM family, and their proof by numbers.
//!
//! An algorithm x⁺ = x + ηh, with h drawn anew in every step, is close in law to dX = b dt + √η Σ^½ dW with b = E h and
//! Σ = Cov h. The paper keeps two small numbers apart in b and Σ, the learning rate η and the radius ρ, and finds tr V
//! in b: with USAM on micro-batches of m the drift descends f + (ρ/2)‖∇f‖² + (ρ/2m) tr V. Here each part of that is a
//! thing of its own:
//!
//! - A [`Problem`] knows the losses of its samples and three derivatives; [`problems`] has some, [`derivative_errors`]
//!   checks yours.
//! - An [`Algorithm`] is a sentence: ascent × ball × micro-batches × sampling. [`Descent`] is its [`Chain`] of steps.
//! - [`Modified`] is its equation, an [`Sde`], to an [`Order`] in η and in ρ, by enumeration of all batches (a
//!   [`Law`]); [`theorems`] has the paper's closed forms, which need no enumeration.
//! - [`EulerMaruyama`], [`Milstein`] and [`WeakOrder2`] make a chain of any equation; an [`Ensemble`] runs any chain,
//!   in parallel, to the same bits for any number of threads: means, ends, or first exits.
//! - Expectations without paths: [`StepMoments`] and [`Generator`] where moments close, [`StepOperator`] and
//!   [`EquationOperator`] on a [`Grid`] where they do not, [`mean_exit_time`] in one dimension.
//!
//! Everything is f64 and a pure function of its arguments; nothing prints.
//!
//! ```
//! use msharp_sde::problems::Quadratic;
//! use msharp_sde::{Algorithm, Generator, Modified, Order, StepMoments};
//!
//! // m-SAM's unnormalised form on four noisy quadratics, and its equation of order 2: twice η, four times the error.
//! let problem = Quadratic::random(4, 2, 7);
//! let error = |eta: f64, steps: usize| -> Result<f64, msharp_sde::Error> {
//!     let algorithm = Algorithm::m_usam(0.1, 1, 2);
//!     let equation = Modified::new(&problem, algorithm, eta, Order::BEST)?;
//!     let exact = StepMoments::new(&problem, algorithm, eta)?.after(steps, &[1., -1.5]);
//!     Ok(exact.distance(&Generator::new(&equation)?.at(2., &[1., -1.5])))
//! };
//! let ratio = error(0.02, 100)? / error(0.01, 200)?;
//! assert!((ratio - 4.).abs() < 0.1);
//! # Ok::<(), msharp_sde::Error>(())
//! ```

mod action;
mod algorithm;
pub mod brownian;
mod chain;
mod coupled;
mod derivatives;
mod descent;
mod ensemble;
mod error;
mod euler;
mod exit;
mod expectation;
mod exponential;
mod grid;
mod lanes;
mod law;
mod mean_exit;
mod memory;
mod milstein;
mod modified;
mod moments;
mod normal;
mod perturbed;
mod polynomial;
mod problem;
pub mod problems;
mod scheme;
mod sde;
mod square_root;
mod stream;
mod subsets;
mod sum;
pub mod theorems;
mod weak2;

pub use algorithm::{Algorithm, Ascent, Ball, Sampling};
pub use chain::Chain;
pub use coupled::Coupled;
pub use derivatives::derivative_errors;
pub use descent::Descent;
pub use ensemble::{Ensemble, Estimate, Snapshot, Stopped, at, silent};
pub use error::Error;
pub use euler::EulerMaruyama;
pub use exit::Exits;
pub use expectation::{EquationOperator, Flow, StepOperator};
pub use grid::Grid;
pub use lanes::{LANES, Lanes, Number, gather, scatter};
pub use law::Law;
pub use mean_exit::mean_exit_time;
pub use milstein::Milstein;
pub use modified::{Modified, Order};
pub use moments::{Generator, Moments, StepMoments};
pub use perturbed::InRho;
pub use problem::{Problem, mean_gradient, mean_hessian, mean_loss};
pub use sde::{Noise, Sde};
pub use stream::{Stream, Streams, stream};
pub use weak2::WeakOrder2;
