//! First and second moments without Monte Carlo: of the algorithm by recursion, of the equation by a linear ODE.

use crate::algorithm::Algorithm;
use crate::error::Error;
use crate::modified::{Modified, Order};
use crate::perturbed::InRho;
use crate::polynomial::Monomials;
use crate::problem::Problem;
use crate::sde::Sde;
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

    /// The largest difference from `other` in any moment; NaN if one is.
    ///
    /// # Panics
    /// If they are not of the same dimension.
    #[track_caller]
    pub fn distance(&self, other: &Self) -> f64 {
        let (d, e) = (self.mean.len(), other.mean.len());
        assert_eq!(d, e, "moments in {d} dimensions and in {e}");
        let means = self.mean.iter().zip(&other.mean);
        let seconds = self.second.iter().zip(&other.second);
        // In the total order NaN is above all numbers, so that what is undefined is no agreement.
        means.chain(seconds).map(|(a, b)| (a - b).abs()).max_by(f64::total_cmp).unwrap_or(0.)
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
    /// If the moments do not close, or as [`Modified::new`] says.
    pub fn new<P: Problem + ?Sized>(problem: &P, algorithm: Algorithm, eta: f64) -> Result<Self, Error> {
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
        let b = monomials.fit(&format!("the mean step of {name}"), 1, mean)?;
        let sigma = monomials.fit(&format!("the covariance of {name}"), 2, covariance)?;
        let (first, drift_only) = (action(monomials, &b, &[]), outer(monomials, &b));
        let second = action(monomials, &[], &sigma) + drift_only;
        Ok(Self { monomials, eta, first, second })
    }

    /// The moments after so many steps from the point `start`, `[d]`.
    pub fn after(&self, steps: usize, start: &[f64]) -> Moments {
        let count = self.monomials.count();
        let step = DMatrix::identity(count, count) + &self.first * self.eta + &self.second * (self.eta * self.eta);
        let mut values = DVector::from_vec(self.monomials.at(start));
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
    /// # Panics
    /// For N = 0.
    #[track_caller]
    pub fn generator(&self, order: usize) -> Generator {
        assert!(order >= 1, "the order in eta is 0; expected at least 1");
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
        Generator { monomials: self.monomials, matrix }
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
    /// If its moments do not close: a drift that is not affine, or a σσᵀ that is not quadratic.
    pub fn new(equation: &impl Sde) -> Result<Self, Error> {
        let d = equation.dim();
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
                crate::Noise::Diagonal => {
                    if i == k {
                        sigma[i]
                    } else {
                        0.
                    }
                }
                crate::Noise::General(_) => sigma[i * q + k],
            };
            (0..d * d).map(|e| (0..q).map(|k| at(e / d, k) * at(e % d, k)).sum()).collect::<Vec<f64>>()
        };
        let b = monomials.fit("the drift", 1, drift)?;
        let sigma = monomials.fit("the diffusion squared", 2, covariance)?;
        Ok(Self { monomials, matrix: action(monomials, &b, &sigma) })
    }

    /// The moments after `time` from the point `start`, `[d]`.
    pub fn at(&self, time: f64, start: &[f64]) -> Moments {
        let values = (&self.matrix * time).exp() * DVector::from_vec(self.monomials.at(start));
        Moments::of(self.monomials, &values)
    }
}

/// The generator b·∇ + ½A:∇² on monomials, as a matrix that acts on their expectations; `b` and `a` may be absent.
fn action(monomials: Monomials, b: &[Vec<f64>], a: &[Vec<f64>]) -> DMatrix<f64> {
    let (d, count) = (monomials.d, monomials.count());
    let mut matrix = DMatrix::zeros(count, count);
    // x times a polynomial of degree 1
    let times = |j: usize, row: &[f64]| {
        let mut product = vec![0.; count];
        product[monomials.linear(j)] = row[0];
        (0..d).for_each(|k| product[monomials.quadratic(j, k)] += row[monomials.linear(k)]);
        product
    };
    let mut add = |to: usize, row: &[f64]| row.iter().enumerate().for_each(|(from, value)| matrix[(to, from)] += value);
    for j in 0..d {
        if let Some(row) = b.get(j) {
            add(monomials.linear(j), row);
        }
        for k in j..d {
            let to = monomials.quadratic(j, k);
            if !b.is_empty() {
                add(to, &times(j, &b[k]));
                add(to, &times(k, &b[j]));
            }
            if let Some(row) = a.get(j * d + k) {
                add(to, row);
            }
        }
    }
    matrix
}

/// The part bbᵀ:½∇² of a step's second order.
fn outer(monomials: Monomials, b: &[Vec<f64>]) -> DMatrix<f64> {
    let (d, count) = (monomials.d, monomials.count());
    let mut matrix = DMatrix::zeros(count, count);
    for j in 0..d {
        for k in j..d {
            let to = monomials.quadratic(j, k);
            let (p, q) = (&b[j], &b[k]);
            matrix[(to, 0)] += p[0] * q[0];
            for l in 0..d {
                let at = monomials.linear(l);
                matrix[(to, at)] += p[0] * q[at] + p[at] * q[0];
                (0..d).for_each(|r| matrix[(to, monomials.quadratic(l, r))] += p[at] * q[monomials.linear(r)]);
            }
        }
    }
    matrix
}
