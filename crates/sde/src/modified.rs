//! The equation of an algorithm: drift and diffusion from the moments of a step, to an order in η and one in ρ.

use crate::algorithm::{Algorithm, AscentGradient};
use crate::error::Error;
use crate::law::Law;
use crate::memory;
use crate::perturbed::{Expansion, Perturbed, direction};
use crate::problem::{FIVE_POINTS, Problem, STEP, mean_gradient, not_empty};
use crate::sde::{NoiseType, Sde};
use crate::square_root::square_root;

/// The orders of an equation in its two parameters.
///
/// E g(x_k) − E g(X_{kη}) is O(ηᵃ + ρᵇ⁺¹) for `eta` = a and `rho` = `Expansion::Order(b)`, uniformly over k ≤ T/η, and
/// O(ηᵃ) with `Expansion::Exact`, if losses and the direction u are smooth along all paths. The normalised direction is
/// not smooth where v = 0, unless it has a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The weak order in η: 1, or 2 with the correction −(η/2)(Db)b of the drift.
    pub eta: usize,
    /// The expansion in ρ.
    pub rho: Expansion,
}

impl Order {
    /// Order 1 in η and in ρ: the theorems of the paper.
    pub const PAPER: Self = Self { eta: 1, rho: Expansion::Order(1) };
    /// Order 2 in η and no expansion in ρ, the highest orders available.
    pub const BEST: Self = Self { eta: 2, rho: Expansion::Exact };
}

/// The stochastic modified equation of an [`Algorithm`]: dX = (b − (η/2)(Db)b) dt + √η Σ^½ dW, the weak approximation
/// of x⁺ = x + ηh with b = E h and Σ = Cov h (Li, Tai, E 2019, <https://arxiv.org/abs/1811.01558>). Order 1 in η omits
/// the correction.
///
/// −h is the algorithm's gradient, or its expansion in ρ. For micro-batch I with direction u it is
///
/// > ∇f_I + ρ ∇²f_I u + (ρ²/2) ∇³f_I[u, u] + …
///
/// To order 1 in ρ that is Theorems 3.3 to 3.8 of the paper: for USAM b = −∇(f + (ρ/2)‖∇f‖² + (ρ/2m) tr V), as
/// [`theorems`](crate::theorems) computes in closed form. Σ is the covariance *of the expansion*, not the expansion of
/// the covariance: the two agree to the requested order, and this one is positive semidefinite.
///
/// Expectations are exact, by enumeration of the micro-batches (see [`Law`]). A drift costs one gradient per
/// micro-batch, five with the correction. The derivative of b along b in the correction is a five-point difference: its
/// error is about 1e-12 where b varies over lengths of order 1, and larger where b varies faster, as near a small
/// floor. Its step corresponds to a time of at least η/10 000, so that rounding changes each component of the drift by
/// at most about 1e-12 of that component.
#[derive(Clone, Debug)]
pub struct Modified<'a> {
    problem: &'a dyn Problem,
    algorithm: Algorithm,
    eta: f64,
    order: Order,
    law: Law,
}

impl<'a> Modified<'a> {
    /// The equation of `algorithm` with learning rate `eta`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if [`Algorithm::validate`] fails, η is not a positive number, or an order is not
    /// available; [`Error::TooLarge`] if there are too many micro-batches to enumerate, or their gradients take more
    /// than 4 GiB.
    pub fn new(problem: &'a dyn Problem, algorithm: Algorithm, eta: f64, order: Order) -> Result<Self, Error> {
        not_empty(problem)?;
        let law = Law::new(&algorithm, problem.samples())?;
        if !(eta > 0. && eta.is_finite()) {
            return Err(Error::invalid(format!("eta is {eta}; expected a finite number above 0")));
        }
        if !(1..=2).contains(&order.eta) {
            return Err(Error::invalid(format!("the order in eta is {}; expected 1 or 2", order.eta)));
        }
        if let Expansion::Order(k) = order.rho
            && k > 2
        {
            return Err(Error::invalid(format!("the order in rho is {k}; expected 0 to 2, or all terms")));
        }
        let (d, n, all) = (problem.dim(), problem.samples(), law.len());
        memory::fits(
            &format!("the gradients of {n} samples and {all} micro-batches in {d} dimensions"),
            memory::numbers((n as f64 + all as f64 + 3.) * d as f64),
            "use paths (Descent in an Ensemble), which enumerate nothing",
        )?;
        Ok(Self { problem, algorithm, eta, order, law })
    }

    pub(crate) fn law(&self) -> &Law {
        &self.law
    }

    /// Writes h = −∇f_I(x + ρu) of every micro-batch, `[len, d]`, with the terms that the order has.
    pub(crate) fn steps(&self, x: &[f64]) -> Vec<f64> {
        let (d, n, problem, algorithm) = (x.len(), self.problem.samples(), self.problem, &self.algorithm);
        let mut scratch = vec![0.; (n + 3) * d];
        let (full, rest) = scratch.split_at_mut(d);
        let (u, rest) = rest.split_at_mut(d);
        let (point, gradients) = rest.split_at_mut(d);
        gradients.chunks_exact_mut(d).enumerate().for_each(|(i, g)| problem.add_gradient(i, x, 1., g));
        if algorithm.ascent == AscentGradient::Full {
            mean_gradient(problem, x, full);
        }
        let of = |i: usize| &gradients[i * d..][..d];
        let mut steps = vec![0.; self.law.len() * d];
        for ((members, _), step) in self.law.iter().zip(steps.chunks_exact_mut(d)) {
            direction(algorithm, members.iter().map(|&(i, share)| (of(i), share)), full, u);
            let perturbed = Perturbed { problem, rho: algorithm.rho, x, u };
            perturbed.add_gradient(self.order.rho, members.iter().copied(), -1., step, point);
        }
        steps
    }

    /// Writes b(x) = E h, the drift of order 1, into `mean`, `[d]`.
    pub fn mean_step(&self, x: &[f64], mean: &mut [f64]) {
        self.law.mean(&self.steps(x), mean);
    }

    /// Writes Σ(x) = Cov h into `covariance`, `[d, d]`: σσᵀ/η.
    pub fn covariance(&self, x: &[f64], covariance: &mut [f64]) {
        let steps = self.steps(x);
        let mut mean = vec![0.; x.len()];
        self.law.mean(&steps, &mut mean);
        self.law.covariance(&steps, &mean, covariance);
    }
}

impl Sde for Modified<'_> {
    fn dim(&self) -> usize {
        self.problem.dim()
    }

    /// d Brownian motions; diagonal in one dimension.
    fn noise_type(&self) -> NoiseType {
        match self.problem.dim() {
            1 => NoiseType::Diagonal,
            d => NoiseType::General(d),
        }
    }

    fn separable(&self) -> bool {
        self.problem.dim() == 1
    }

    fn drift(&self, x: &[f64], drift: &mut [f64]) {
        self.mean_step(x, drift);
        let length = crate::perturbed::norm(drift);
        if self.order.eta == 1 || length == 0. {
            return;
        }
        // (Db)b: the slope of b along b, at a distance that does not depend on how long b is, unless b is so long that
        // rounding would be divided by next to no time.
        let (d, step) = (x.len(), STEP.max(1e-4 * self.eta * length));
        let mut slope = vec![0.; d];
        let (mut y, mut at) = (vec![0.; d], vec![0.; d]);
        for (far, share) in FIVE_POINTS {
            (0..d).for_each(|j| y[j] = x[j] + far * step * drift[j] / length);
            self.mean_step(&y, &mut at);
            slope.iter_mut().zip(&at).for_each(|(slope, at)| *slope += share * at / step);
        }
        drift.iter_mut().zip(&slope).for_each(|(drift, slope)| *drift -= self.eta / 2. * length * slope);
    }

    fn diffusion(&self, x: &[f64], sigma: &mut [f64]) {
        self.covariance(x, sigma);
        sigma.iter_mut().for_each(|s| *s *= self.eta);
        square_root(sigma, x.len());
    }
}
