//! The gradient of a micro-batch at its perturbed point: exactly, or by its Taylor expansion in ρ.

use crate::algorithm::{Algorithm, AscentGradient, Normalisation};
use crate::problem::Problem;

/// The Taylor expansion in ρ of the gradient at the perturbed point, ∇f_I(x + ρu).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expansion {
    /// The terms up to ρᵏ, k at most 2: 0 is SGD's gradient, 1 adds the Hessian's term, 2 the third derivative's.
    Order(usize),
    /// No expansion: the gradient at x + ρu itself.
    Exact,
}

/// Writes the direction u of a micro-batch, `[d]`. `members` are the gradients of its samples at x with their shares in
/// it, which sum to 1; `full` is ∇f(x), which only the n-variants use.
pub(crate) fn direction<'g>(
    algorithm: &Algorithm,
    members: impl Iterator<Item = (&'g [f64], f64)> + Clone,
    full: &[f64],
    u: &mut [f64],
) {
    u.fill(0.);
    let add = |u: &mut [f64], weight: f64, g: &[f64]| u.iter_mut().zip(g).for_each(|(u, g)| *u += weight * g);
    match algorithm.ascent {
        AscentGradient::None => return,
        AscentGradient::Full => u.copy_from_slice(full),
        AscentGradient::Mean => members.for_each(|(g, share)| add(u, share, g)),
        AscentGradient::Gibbs { lambda } => {
            let largest = members.clone().map(|(g, _)| norm(g)).fold(0., f64::max);
            let mut sum = 0.;
            for (g, share) in members {
                let weight = share * (lambda * (norm(g) - largest)).exp();
                add(u, weight, g);
                sum += weight;
            }
            u.iter_mut().for_each(|u| *u /= sum);
        }
    }
    if let Normalisation::Unit { floor } = algorithm.normalisation {
        let length = norm(u).hypot(floor);
        if length > 0. {
            u.iter_mut().for_each(|u| *u /= length);
        }
    }
}

/// A problem at a point x, with ρ and the direction u of a micro-batch.
pub(crate) struct Perturbed<'a> {
    pub problem: &'a dyn Problem,
    pub rho: f64,
    pub x: &'a [f64],
    pub u: &'a [f64],
}

impl Perturbed<'_> {
    /// Adds weight·∇f_I(x + ρu) to `out`, or its expansion to `terms`: ∇f_I + ρ∇²f_I u + (ρ²/2)∇³f_I[u,
    /// u]. `members` are the samples of I with their shares in it; `scratch` is `[d]`.
    pub fn add_gradient(
        &self,
        terms: Expansion,
        members: impl Iterator<Item = (usize, f64)>,
        weight: f64,
        out: &mut [f64],
        scratch: &mut [f64],
    ) {
        let &Self { problem, rho, x, u } = self;
        match terms {
            Expansion::Exact => {
                scratch.iter_mut().zip(x).zip(u).for_each(|((y, x), u)| *y = x + rho * u);
                members.for_each(|(i, share)| problem.add_gradient(i, scratch, weight * share, out));
            }
            Expansion::Order(order) => {
                for (i, share) in members {
                    let weight = weight * share;
                    problem.add_gradient(i, x, weight, out);
                    if order >= 1 {
                        problem.add_hessian(i, x, u, weight * rho, out);
                    }
                    if order >= 2 {
                        problem.add_third(i, x, u, u, weight * rho * rho / 2., out);
                    }
                }
            }
        }
    }
}

/// ‖v‖, also where squares leave the range of numbers.
pub(crate) fn norm(v: &[f64]) -> f64 {
    let square = v.iter().map(|v| v * v).sum::<f64>();
    // 1e-290, so that components that are lost under it are 1e-9 of the others.
    if (1e-290..f64::INFINITY).contains(&square) || square.is_nan() {
        return square.sqrt();
    }
    let largest = v.iter().map(|v| v.abs()).fold(0., f64::max);
    if largest == 0. || largest.is_infinite() {
        return largest;
    }
    largest * v.iter().map(|v| (v / largest).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gradient of any size has a direction: SAM's step from it has the length ρ.
    #[test]
    fn lengths_are_those_of_small_and_large_vectors() {
        for scale in [1e-320, 1e-200, 1e-140, 1., 1e140, 1e200] {
            let length = norm(&[3. * scale, -4. * scale]);
            assert!((length / (5. * scale) - 1.).abs() < 1e-3, "{scale:e}: {length:e}");
            let (members, mut u) = ([3. * scale, -4. * scale], [0.; 2]);
            direction(&Algorithm::sam(0.1, 1), [(&members[..], 1.)].into_iter(), &[], &mut u);
            assert!((u[0] - 0.6).abs() < 1e-3 && (u[1] + 0.8).abs() < 1e-3, "{scale:e}: {u:?}");
        }
        assert_eq!((norm(&[0., 0.]), norm(&[f64::NEG_INFINITY, 1.])), (0., f64::INFINITY));
        assert!(norm(&[f64::NAN, 0.]).is_nan() && norm(&[]) == 0.);
    }
}
