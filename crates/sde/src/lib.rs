//! Stochastic modified equations of SGD and the SAM family in learning rate η and radius ρ, and their numerical
//! validation.
//!
//! Use this crate to study SAM through its continuous-time approximation: to compute the drift of a variant, to
//! simulate it, and to measure the error of the approximation. It depends on no tensor library; everything is f64.
//!
//! A discrete algorithm x⁺ = x + ηh, with h drawn anew in every step, is weakly approximated by
//! dX = b dt + √η Σ^½ dW with b = E h and Σ = Cov h. The equations here have both small parameters of SAM, η and ρ. For
//! m-USAM, unnormalised SAM on micro-batches of m samples, the drift descends f + (ρ/2)‖∇f‖² + (ρ/2m) tr V, where V is
//! the covariance of per-sample gradients: smaller m penalises gradient noise more.
//!
//! ```
//! use msharp_sde::problems::Quadratic;
//! use msharp_sde::{Algorithm, Generator, Modified, Order, StepMoments};
//!
//! // m-USAM on four noisy quadratics, and its equation of order 2: half of η, a quarter of the error.
//! let problem = Quadratic::random(4, 2, 7);
//! let error = |eta: f64, steps: usize| -> Result<f64, msharp_sde::Error> {
//!     let algorithm = Algorithm::m_usam(0.1, 1, 2); // ρ = 0.1, m = 1, b = 2
//!     let equation = Modified::new(&problem, algorithm, eta, Order::BEST)?;
//!     let exact = StepMoments::new(&problem, algorithm, eta)?.after(steps, &[1., -1.5]);
//!     Ok(exact.distance(&Generator::new(&equation)?.at(2., &[1., -1.5])))
//! };
//! let ratio = error(0.02, 100)? / error(0.01, 200)?;
//! assert!((ratio - 4.).abs() < 0.1);
//! # Ok::<(), msharp_sde::Error>(())
//! ```
//!
//! # Parts
//!
//! - A [`Problem`] has per-sample losses with their derivatives. [`problems`] has some; [`derivative_errors`] tests
//!   your own.
//! - An [`Algorithm`] is an ascent gradient, a normalisation, ρ, m, b and a sampling. [`Descent`] is its Markov
//!   [`Chain`].
//! - [`Modified`] is its equation, an [`Sde`], to an [`Order`] in η and ρ, by enumeration of all batches (a [`Law`]).
//!   [`theorems`] has the paper's closed forms, which need no enumeration.
//! - Integrators make a [`Chain`] of any [`Sde`]:
//!
//! | integrator | strong order | weak order | noise |
//! |---|---|---|---|
//! | [`EulerMaruyama`] | ½ (1 for constant σ) | 1 | any |
//! | [`Milstein`] | 1 | 1 | one Brownian motion, or [separable](Sde::separable) |
//! | [`WeakOrder2`] | – | 2 | any |
//!
//! - Expectations of a chain or an equation:
//!
//! | method | applies to | result |
//! |---|---|---|
//! | [`StepMoments`], [`Generator`] | affine steps or drifts | first and second moments, exact |
//! | [`StepOperator`], [`EquationOperator`] on a [`Grid`] | few dimensions, smooth functions | any expectation, spectral accuracy |
//! | [`Ensemble`] | any [`Chain`] | Monte Carlo means, end points, exit times |
//! | [`mean_exit_time`] | one-dimensional equations | mean first passage time |
//!
//! # Invariants
//!
//! - Every result is a pure function of its arguments: seeds are arguments, and [`Ensemble`] has the same bits for any
//!   number of threads.
//! - A request that would take more than 4 GiB, or enumerate more than 200 000 batches, is an [`Error::TooLarge`]
//!   before anything is allocated.
//! - [`Error`] tells apart a wrong argument, a request that is too large, and a method that does not apply.

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

pub use algorithm::{Algorithm, AscentGradient, Normalisation, Sampling};
pub use chain::Chain;
pub use coupled::Coupled;
pub use derivatives::derivative_errors;
pub use descent::Descent;
pub use ensemble::{Ensemble, MonteCarlo, Snapshot, Stopped, at, silent};
pub use error::Error;
pub use euler::EulerMaruyama;
pub use exit::Exits;
pub use expectation::{EquationOperator, StepOperator, TransitionOperator};
pub use grid::Grid;
pub use lanes::{LANES, Lanes, Number};
pub use law::Law;
pub use mean_exit::mean_exit_time;
pub use milstein::Milstein;
pub use modified::{Modified, Order};
pub use moments::{Generator, Moments, StepMoments};
pub use perturbed::Expansion;
pub use problem::{Problem, mean_gradient, mean_hessian, mean_loss};
pub use sde::{NoiseType, Sde};
pub use stream::{Stream, Streams, stream};
pub use weak2::WeakOrder2;
