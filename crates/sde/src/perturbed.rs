//! The gradient of a micro-batch at its perturbed point: exactly, and as a series in ρ.

use crate::algorithm::{Algorithm, Ascent, Ball};
use crate::problem::Problem;

/// How far a series in ρ goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InRho {
    /// The terms up to ρᵏ: 0 is SGD's, 1 has the Hessian, 2 the third derivative too. There is no 3.
    Order(usize),
    /// All of them: the gradient at x + ρu itself.
    Exact,
}

/// A micro-batch I at a point x.
pub(crate) struct Piece<'a, P: ?Sized> {
    pub problem: &'a P,
    pub algorithm: &'a Algorithm,
    pub x: &'a [f64],
    /// I; a sample may be there twice.
    pub members: &'a [usize],
}

impl<P: Problem + ?Sized> Piece<'_, P> {
    /// Writes u, `[d]`; `full` is ∇f(x), which only the n-variants look at, and `scratch` is `[d]`.
    pub fn direction(&self, full: &[f64], u: &mut [f64], scratch: &mut [f64]) {
        let &Piece { problem, algorithm, x, members } = self;
        u.fill(0.);
        match algorithm.ascent {
            Ascent::None => return,
            Ascent::Full => u.copy_from_slice(full),
            Ascent::Mean => members.iter().for_each(|&i| problem.add_gradient(i, x, 1. / members.len() as f64, u)),
            Ascent::Gibbs { lambda } => {
                let norm_of = |i: usize, scratch: &mut [f64]| {
                    scratch.fill(0.);
                    problem.add_gradient(i, x, 1., scratch);
                    norm(scratch)
                };
                let largest = members.iter().map(|&i| norm_of(i, scratch)).fold(0., f64::max);
                let mut sum = 0.;
                for &i in members {
                    let weight = (lambda * (norm_of(i, scratch) - largest)).exp();
                    problem.add_gradient(i, x, weight, u);
                    sum += weight;
                }
                u.iter_mut().for_each(|u| *u /= sum);
            }
        }
        if let Ball::Unit { floor } = algorithm.ball {
            let length = norm(u).hypot(floor);
            if length > 0. {
                u.iter_mut().for_each(|u| *u /= length);
            }
        }
    }

    /// Adds weight·∇f_I(x + ρu) to `out`, or as much of its series as `terms` says: ∇f_I + ρ∇²f_I u + (ρ²/2)∇³f_I[u, u].
    /// `scratch` is `[d]`.
    pub fn add_gradient(&self, terms: InRho, u: &[f64], weight: f64, out: &mut [f64], scratch: &mut [f64]) {
        let &Piece { problem, algorithm: &Algorithm { rho, .. }, x, members } = self;
        let weight = weight / members.len() as f64;
        match terms {
            InRho::Exact => {
                scratch.iter_mut().zip(x).zip(u).for_each(|((y, x), u)| *y = x + rho * u);
                members.iter().for_each(|&i| problem.add_gradient(i, scratch, weight, out));
            }
            InRho::Order(order) => {
                for &i in members {
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

pub(crate) fn norm(v: &[f64]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}
