//! First and second moments without Monte Carlo: of the algorithm by recursion, of the equation by a linear ODE.

use crate::action::{action, fits, outer};
use crate::algorithm::Algorithm;
use crate::error::Error;
use crate::exponential::{MATRICES, exponential};
use crate::modified::{Modified, Order};
use crate::perturbed::InRho;
use crate::polynomial::Monomials;
use crate::problem::Problem;
use crate::sde::{Noise, Sde, dimension};
use nalgebra::{DMatrix, DVector};

/// E x and E xxᵀ at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// E xⱼ, `[d]`.
    pub mean: Vec<f64>,
    /// E xⱼxₖ, `[d, d]`.
    pub second: Vec<f64>,
}

impl Moments {
    fn of(monomials: Monomials, values: &DVector<f64>) -> Self {
        let d = monomials.d;
        Self {
            mean: (0..d).map(|j| values[monomials.linear(j)]).collect(),
            second: (0..d * d).map(|e| values[monomials.quadratic(e / d, e % d)]).collect(),
        }
    }

    /// The largest absolute difference from `other` in any moment, each in its own units; NaN if one is. Where
    /// components are of different size it tells of the largest alone: see
    /// [`relative_distance`](Moments::relative_distance).
    ///
    /// # Panics
    /// If they are not of the same dimension.
    #[track_caller]
    pub fn distance(&self, other: &Self) -> f64 {
        self.largest_difference(other, |_| 1.)
    }

    /// The largest difference from `other` in units in which E xⱼ² of `other` is 1: of E xⱼ by √E xⱼ², of E xⱼxₖ by
    /// √(E xⱼ² E xₖ²). It does not depend on the units of x. NaN if a moment is; ∞ where a component of `other` alone
    /// is always 0.
    ///
    /// # Panics
    /// If they are not of the same dimension.
    #[track_caller]
    pub fn relative_distance(&self, other: &Self) -> f64 {
        let d = other.mean.len();
        self.largest_difference(other, |j| other.second[j * d + j].sqrt())
    }

    /// In units in which component j has the size `size(j)`.
    #[track_caller]
    fn largest_difference(&self, other: &Self, size: impl Fn(usize) -> f64) -> f64 {
        let (d, e) = (self.mean.len(), other.mean.len());
        assert!(d == e, "moments in {d} dimensions and in {e}");
        let off = |a: &f64, b: &f64, size: f64| if a == b { 0. } else { ((a - b) / size).abs() };
        let means = self.mean.iter().zip(&other.mean).enumerate().map(|(j, (a, b))| off(a, b, size(j)));
        let seconds = self.second.iter().zip(&other.second).enumerate();
        let seconds = seconds.map(|(e, (a, b))| off(a, b, size(e / d) * size(e % d)));
        // In the total order NaN is above all numbers, so that what is undefined is no agreement.
        means.chain(seconds).max_by(f64::total_cmp).unwrap_or(0.)
    }
}

/// How the moments of an algorithm change in a step: (1, E x, E xxᵀ) ↦ P(1, E x, E xxᵀ), with P = 1 + ηP₁ + η²P₂, exact
/// where the step is affine in x: SGD and n- and m-USAM, whose weights do not depend on x, on
/// [`Quadratic`](crate::problems::Quadratic) losses.
#[derive(Clone, Debug)]
pub struct StepMoments {
    monomials: Monomials,
    eta: f64,
    first: DMatrix<f64>,
    second: DMatrix<f64>,
}

impl StepMoments {
    /// # Errors
    /// If the moments do not close, or as [`Modified::new`] says; or if their matrices, which grow as d⁴, take more
    /// than 4 GiB: from d = 127 on.
    pub fn new<P: Problem + ?Sized>(problem: &P, algorithm: Algorithm, eta: f64) -> Result<Self, Error> {
        fits(problem.dim(), 6.)?;
        let exact = Modified::new(problem, algorithm, eta, Order { eta: 1, rho: InRho::Exact })?;
        let monomials = Monomials { d: problem.dim() };
        let mean = |x: &[f64]| {
            let mut mean = vec![0.; x.len()];
            exact.mean_step(x, &mut mean);
            mean
        };
        let covariance = |x: &[f64]| {
            let mut covariance = vec![0.; x.len() * x.len()];
            exact.covariance(x, &mut covariance);
            covariance
        };
        let name = algorithm.name();
        let (b, sigma) = monomials.equation(
            (&format!("the mean step of {name}"), monomials.fit(1, mean)),
            (&format!("the covariance of {name}"), monomials.fit(2, covariance)),
        )?;
        let (first, drift_only) = (action(monomials, &b, &[]), outer(monomials, &b));
        let second = action(monomials, &[], &sigma) + drift_only;
        Ok(Self { monomials, eta, first, second })
    }

    /// The moments after so many steps from the point `start`, `[d]`.
    ///
    /// # Panics
    /// If `start` is not of dimension d.
    #[track_caller]
    pub fn after(&self, steps: usize, start: &[f64]) -> Moments {
        let count = self.monomials.count();
        let step = DMatrix::identity(count, count) + &self.first * self.eta + &self.second * (self.eta * self.eta);
        let mut values = at(self.monomials, start);
        (0..steps).for_each(|_| values = &step * &values);
        Moments::of(self.monomials, &values)
    }

    /// The equation of order N in η for these moments, N ≥ 1: what is left of log(P)/η up to ηᴺ⁻¹, a linear ODE. It
    /// reproduces them up to O(ηᴺ), for *any* N, since the logarithm of one step is what generates it.
    ///
    /// For N = 1 it is the flow dX = b dt, whose noise is of higher order; for N = 2 it is [`Modified`]'s order 2, with
    /// its diffusion √η Σ^½ and its drift b − (η/2)(Db)b. Beyond that the logarithm still is the generator of a
    /// diffusion, in so far as polynomials of degree 2 can tell; on those of degree 3 it is one only if the third
    /// cumulant of a step vanishes, κ₃(h)/6·∇³ being a part of its η² term that no Itô equation has. So equations of
    /// order 3 exist in the first two moments, and in general in nothing more.
    ///
    /// # Errors
    /// For N = 0, or if its series takes more than 4 GiB, which grows as N·d⁴.
    pub fn generator(&self, order: usize) -> Result<Generator, Error> {
        if order == 0 {
            return Err(Error::new("the order in eta is 0; expected at least 1"));
        }
        fits(self.monomials.d, MATRICES + 3. * order as f64)?;
        // log(1 + M) = Σ (−1)ʲ⁺¹ Mʲ/j with M = ηP₁ + η²P₂; powers[i] is the coefficient of ηⁱ in Mʲ.
        let count = self.monomials.count();
        let zero = || DMatrix::<f64>::zeros(count, count);
        let mut powers = vec![zero(); order + 1];
        powers[0] = DMatrix::identity(count, count);
        let mut coefficients = vec![zero(); order + 1];
        for j in 1..=order {
            let mut next = vec![zero(); order + 1];
            for i in 0..=order {
                for (shift, factor) in [(1, &self.first), (2, &self.second)] {
                    if i + shift <= order {
                        next[i + shift] += &powers[i] * factor;
                    }
                }
            }
            let sign = if j % 2 == 1 { 1. } else { -1. };
            coefficients.iter_mut().zip(&next).for_each(|(sum, power)| *sum += power * (sign / j as f64));
            powers = next;
        }
        let matrix = (1..=order).fold(zero(), |sum, i| sum + &coefficients[i] * self.eta.powi(i as i32 - 1));
        Ok(Generator { monomials: self.monomials, matrix })
    }
}

/// How the moments of an equation change in time: d/dt (1, E x, E xxᵀ) = L(1, E x, E xxᵀ), exact where its drift is
/// affine and σσᵀ quadratic.
#[derive(Clone, Debug)]
pub struct Generator {
    monomials: Monomials,
    matrix: DMatrix<f64>,
}

impl Generator {
    /// Of any equation.
    ///
    /// # Errors
    /// If its moments do not close: a drift that is not affine, or a σσᵀ that is not quadratic; or if their matrices,
    /// which grow as d⁴, take more than 4 GiB: from d = 98 on.
    pub fn new(equation: &impl Sde) -> Result<Self, Error> {
        let d = dimension(equation)?;
        fits(d, MATRICES)?;
        let monomials = Monomials { d };
        let drift = |x: &[f64]| {
            let mut drift = vec![0.; d];
            equation.drift(x, &mut drift);
            drift
        };
        let noise = equation.noise();
        let covariance = |x: &[f64]| {
            let mut sigma = vec![0.; noise.len(d)];
            equation.diffusion(x, &mut sigma);
            let q = noise.sources(d);
            let at = |i: usize, k: usize| match noise {
                Noise::Diagonal if i == k => sigma[i],
                Noise::Diagonal => 0.,
                Noise::General(_) => sigma[i * q + k],
            };
            (0..d * d).map(|e| (0..q).map(|k| at(e / d, k) * at(e % d, k)).sum()).collect::<Vec<f64>>()
        };
        let (b, sigma) = monomials.equation(
            ("the drift", monomials.fit(1, drift)),
            ("the diffusion squared", monomials.fit(2, covariance)),
        )?;
        Ok(Self { monomials, matrix: action(monomials, &b, &sigma) })
    }

    /// The moments after `time` from the point `start`, `[d]`; NaN where numbers do not reach far enough for them.
    ///
    /// # Panics
    /// If `time` is no finite number of at least 0, for an equation has no law before its start; or if `start` is not
    /// of dimension d.
    #[track_caller]
    pub fn at(&self, time: f64, start: &[f64]) -> Moments {
        crate::sde::assert_time(time);
        Moments::of(self.monomials, &(exponential(&(&self.matrix * time)) * at(self.monomials, start)))
    }
}

/// The monomials at a point.
#[track_caller]
fn at(monomials: Monomials, start: &[f64]) -> DVector<f64> {
    let (d, found) = (monomials.d, start.len());
    assert!(d == found, "a start in {found} dimensions; expected {d}");
    DVector::from_vec(monomials.at(start))
}
