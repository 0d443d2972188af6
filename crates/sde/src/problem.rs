//! The seam of everything that is derived here: losses of samples that know their derivatives.

use crate::error::Error;

/// n samples, each with a loss of x ∈ ℝᵈ that knows its first three derivatives. The mean over them is f.
///
/// The derivatives are *added*, times a weight, to what is there already, so that means over batches need no memory of
/// their own. [`derivative_errors`](crate::derivative_errors) holds an implementation against finite differences.
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
    /// d.
    fn dim(&self) -> usize;

    /// n.
    fn samples(&self) -> usize;

    /// ℓᵢ(x).
    fn loss(&self, i: usize, x: &[f64]) -> f64;

    /// Adds weight·∇ℓᵢ(x) to `out`, `[d]`.
    fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]);

    /// Adds weight·∇²ℓᵢ(x)v to `out`, `[d]`.
    fn add_hessian(&self, i: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]);

    /// Adds weight·∇³ℓᵢ(x)[u, v, ·] to `out`, `[d]`. Only equations of order 2 in ρ ask for it.
    ///
    /// By default five-point differences of [`add_hessian`](Problem::add_hessian) along u, right to about 1e-11 where
    /// the Hessian varies over lengths of the size of 1: one, or several where components of u are of very different
    /// size, so that no component is lost beside another.
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

/// Where a function is looked at for its slope, in steps, and with which weights: the error is of order h⁴, and of
/// rounding over h.
pub(crate) const FIVE_POINTS: [(f64, f64); 4] = [(-2., 1. / 12.), (-1., -8. / 12.), (1., 8. / 12.), (2., -1. / 12.)];

/// h, with which both errors are small where functions and lengths are of the size of 1.
pub(crate) const STEP: f64 = 1e-3;

/// Whether there is a problem at all.
pub(crate) fn not_empty<P: Problem + ?Sized>(problem: &P) -> Result<(), Error> {
    if problem.dim() == 0 {
        return Err(Error::new("the problem is in 0 dimensions; expected at least 1"));
    }
    if problem.samples() == 0 {
        return Err(Error::new("the problem has no samples; expected at least one"));
    }
    Ok(())
}

/// n, over which means are.
#[track_caller]
fn count<P: Problem + ?Sized>(problem: &P) -> usize {
    let n = problem.samples();
    assert!(n > 0, "the problem has no samples; expected at least one");
    n
}

/// f(x), the mean over all samples.
///
/// # Panics
/// If there are no samples.
#[track_caller]
pub fn mean_loss<P: Problem + ?Sized>(problem: &P, x: &[f64]) -> f64 {
    let n = count(problem);
    (0..n).map(|i| problem.loss(i, x)).sum::<f64>() / n as f64
}

/// Writes ∇f(x) into `out`.
///
/// # Panics
/// If there are no samples.
#[track_caller]
pub fn mean_gradient<P: Problem + ?Sized>(problem: &P, x: &[f64], out: &mut [f64]) {
    let n = count(problem);
    out.fill(0.);
    (0..n).for_each(|i| problem.add_gradient(i, x, 1. / n as f64, out));
}

/// Writes ∇²f(x)v into `out`.
///
/// # Panics
/// If there are no samples.
#[track_caller]
pub fn mean_hessian<P: Problem + ?Sized>(problem: &P, x: &[f64], v: &[f64], out: &mut [f64]) {
    let n = count(problem);
    out.fill(0.);
    (0..n).for_each(|i| problem.add_hessian(i, x, v, 1. / n as f64, out));
}
