//! The trait of problems: per-sample losses with their derivatives.

use crate::error::Error;
use std::fmt::{Debug, Formatter};

/// n per-sample losses ℓᵢ of x ∈ ℝᵈ with their first three derivatives; f is their mean. Implement it for a problem of
/// your own.
///
/// Derivatives are *added* to the output, times a weight, so that means over batches need no buffer.
/// [`derivative_errors`](crate::derivative_errors) compares an implementation with finite differences.
///
/// ```
/// use msharp_sde::{Algorithm, Modified, Order, Problem, Sde};
///
/// /// ℓᵢ(x) = log cosh(x − cᵢ).
/// struct Cosh(Vec<f64>);
///
/// impl Problem for Cosh {
///     fn dim(&self) -> usize {
///         1
///     }
///     fn samples(&self) -> usize {
///         self.0.len()
///     }
///     fn loss(&self, i: usize, x: &[f64]) -> f64 {
///         (x[0] - self.0[i]).cosh().ln()
///     }
///     fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]) {
///         out[0] += weight * (x[0] - self.0[i]).tanh();
///     }
///     fn add_hessian(&self, i: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
///         let t = (x[0] - self.0[i]).tanh();
///         out[0] += weight * (1. - t * t) * v[0];
///     }
/// }
///
/// let problem = Cosh(vec![-1., 0.5, 0.6]);
/// let equation = Modified::new(&problem, Algorithm::m_usam(0.1, 1, 2), 0.05, Order::BEST)?;
/// let mut drift = [0.];
/// equation.drift(&[0.3], &mut drift);
/// assert!(drift[0] < 0.);
/// # Ok::<(), msharp_sde::Error>(())
/// ```
pub trait Problem: Sync {
    /// d, the number of parameters.
    fn dim(&self) -> usize;

    /// n, the number of samples.
    fn samples(&self) -> usize;

    /// ℓᵢ(x) for x `[d]`.
    fn loss(&self, i: usize, x: &[f64]) -> f64;

    /// Adds weight·∇ℓᵢ(x) to `out`, `[d]`.
    fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]);

    /// Adds weight·∇²ℓᵢ(x)v to `out`, `[d]`.
    fn add_hessian(&self, i: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]);

    /// Adds weight·∇³ℓᵢ(x)[u, v, ·] to `out`, `[d]`. Only equations of order 2 in ρ use it.
    ///
    /// The default takes five-point differences of [`add_hessian`](Problem::add_hessian) along u, with an error of
    /// about 1e-11 where the Hessian varies over lengths of order 1. Where components of u differ by more than a factor
    /// of 1000 it takes one difference for each magnitude, so that small components keep their relative accuracy.
    fn add_third(&self, i: usize, x: &[f64], u: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        for u in of_one_size(u) {
            let h = STEP / crate::perturbed::norm(&u);
            let mut slope = vec![0.; out.len()];
            // Both points of a pair, so that what does not depend on u adds to 0 to the bit.
            for (far, share) in [0, 3, 1, 2].map(|k| FIVE_POINTS[k]) {
                let there: Vec<f64> = x.iter().zip(&u).map(|(x, u)| x + far * h * u).collect();
                self.add_hessian(i, &there, v, share, &mut slope);
            }
            out.iter_mut().zip(&slope).for_each(|(out, slope)| *out += weight * slope / h);
        }
    }
}

impl Debug for dyn Problem + '_ {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "a problem of {} samples in {} dimensions", self.samples(), self.dim())
    }
}

/// u as a sum of vectors whose components, where they are not 0, are within a factor of 1000 of each other; none for 0.
fn of_one_size(u: &[f64]) -> Vec<Vec<f64>> {
    let (mut rest, mut parts) = (u.to_vec(), Vec::new());
    loop {
        let largest = rest.iter().map(|u| u.abs()).fold(0., f64::max);
        if largest == 0. && rest.iter().all(|u| *u == 0.) {
            return parts;
        }
        let small = |u: f64| u.abs() < 1e-3 * largest; // which NaN is not
        parts.push(rest.iter().map(|&u| if small(u) { 0. } else { u }).collect());
        rest.iter_mut().for_each(|u| *u = if small(*u) { *u } else { 0. });
    }
}

/// Points, in units of h, and weights of the five-point difference: its error is O(h⁴), plus rounding over h.
pub(crate) const FIVE_POINTS: [(f64, f64); 4] = [(-2., 1. / 12.), (-1., -8. / 12.), (1., 8. / 12.), (2., -1. / 12.)];

/// h, for functions and lengths of order 1.
pub(crate) const STEP: f64 = 1e-3;

/// Checks that the problem has a dimension and samples.
pub(crate) fn not_empty(problem: &dyn Problem) -> Result<(), Error> {
    if problem.dim() == 0 {
        return Err(Error::invalid("the problem is in 0 dimensions; expected at least 1"));
    }
    if problem.samples() == 0 {
        return Err(Error::invalid("the problem has no samples; expected at least one"));
    }
    Ok(())
}

/// n, at least 1.
#[track_caller]
fn count(problem: &dyn Problem) -> usize {
    let n = problem.samples();
    assert!(n > 0, "the problem has no samples; expected at least one");
    n
}

/// f(x), the mean over all samples.
///
/// # Panics
/// If there are no samples.
#[track_caller]
pub fn mean_loss(problem: &dyn Problem, x: &[f64]) -> f64 {
    let n = count(problem);
    (0..n).map(|i| problem.loss(i, x)).sum::<f64>() / n as f64
}

/// Writes ∇f(x) into `out`.
///
/// # Panics
/// If there are no samples.
#[track_caller]
pub fn mean_gradient(problem: &dyn Problem, x: &[f64], out: &mut [f64]) {
    let n = count(problem);
    out.fill(0.);
    (0..n).for_each(|i| problem.add_gradient(i, x, 1. / n as f64, out));
}

/// Writes ∇²f(x)v into `out`.
///
/// # Panics
/// If there are no samples.
#[track_caller]
pub fn mean_hessian(problem: &dyn Problem, x: &[f64], v: &[f64], out: &mut [f64]) {
    let n = count(problem);
    out.fill(0.);
    (0..n).for_each(|i| problem.add_hessian(i, x, v, 1. / n as f64, out));
}
