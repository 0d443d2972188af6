//! First and second moments without Monte Carlo: of an algorithm by recursion, of an equation by a linear ODE.

use crate::action::{action, fits, outer};
use crate::algorithm::Algorithm;
use crate::error::Error;
use crate::exponential::{MATRICES, exponential};
use crate::modified::{Modified, Order};
use crate::perturbed::Expansion;
use crate::polynomial::Monomials;
use crate::problem::Problem;
use crate::sde::{NoiseType, Sde, dimension};
use nalgebra::{DMatrix, DVector};

/// The first two moments at one time.
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

    /// The largest absolute difference from `other` in any moment; NaN if a moment is NaN. It is dominated by the
    /// largest components: see [`relative_distance`](Moments::relative_distance).
    ///
    /// # Panics
    /// If the dimensions differ.
    #[track_caller]
    pub fn distance(&self, other: &Self) -> f64 {
        self.largest_difference(other, |_| 1.)
    }

    /// The largest relative difference from `other` in any moment: of E xⱼ relative to √E xⱼ² of `other`, of E xⱼxₖ
    /// relative to √(E xⱼ² E xₖ²). It does not depend on the units of x. NaN if a moment is NaN; ∞ if only `other` has
    /// a component that is always 0.
    ///
    /// # Panics
    /// If the dimensions differ.
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

/// The recursion of an algorithm's moments: (1, E x, E xxᵀ) ↦ P(1, E x, E xxᵀ) in a step, with P = 1 + ηP₁ + η²P₂.
///
/// It is exact, and available, where the step is affine in x: SGD, USAM, n-USAM and m-USAM on
/// [`Quadratic`](crate::problems::Quadratic) losses.
#[derive(Clone, Debug)]
pub struct StepMoments {
    monomials: Monomials,
    eta: f64,
    first: DMatrix<f64>,
    second: DMatrix<f64>,
}

impl StepMoments {
    /// The recursion of `algorithm` with learning rate `eta`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the moments do not close; [`Error::TooLarge`] from d = 127 on, as the matrices grow
    /// with d⁴; otherwise as [`Modified::new`].
    pub fn new(problem: &dyn Problem, algorithm: Algorithm, eta: f64) -> Result<Self, Error> {
        fits(problem.dim(), 6.)?;
        let exact = Modified::new(problem, algorithm, eta, Order { eta: 1, rho: Expansion::Exact })?;
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

    /// The moments after `steps` steps from the point `start`, `[d]`.
    ///
    /// # Panics
    /// If `start` has another dimension.
    #[track_caller]
    pub fn after(&self, steps: usize, start: &[f64]) -> Moments {
        let count = self.monomials.count();
        let step = DMatrix::identity(count, count) + &self.first * self.eta + &self.second * (self.eta * self.eta);
        let mut values = at(self.monomials, start);
        (0..steps).for_each(|_| values = &step * &values);
        Moments::of(self.monomials, &values)
    }

    /// The linear ODE of `order` N ≥ 1 in η for these moments: log(P)/η truncated after ηᴺ⁻¹. It reproduces the moments
    /// up to O(ηᴺ).
    ///
    /// N = 1 is the gradient flow dX = b dt. N = 2 is the equation [`Modified`] of order 2, with drift b − (η/2)(Db)b
    /// and diffusion √η Σ^½. For N ≥ 3 the logarithm acts on polynomials of degree 2 as the generator of a diffusion,
    /// but in general not on those of degree 3: its η² term contains κ₃(h)/6·∇³, with the third cumulant κ₃ of a step,
    /// which no Itô equation has. So equations of order 3 exist for the first two moments only, unless κ₃ vanishes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for N = 0; [`Error::TooLarge`] if the series, which grows with N·d⁴, takes more than
    /// 4 GiB.
    pub fn generator(&self, order: usize) -> Result<Generator, Error> {
        if order == 0 {
            return Err(Error::invalid("the order in eta is 0; expected at least 1"));
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

/// The generator of an equation on its moments, d/dt (1, E x, E xxᵀ) = L(1, E x, E xxᵀ): exact, and available, where
/// the drift is affine and σσᵀ quadratic in x.
#[derive(Clone, Debug)]
pub struct Generator {
    monomials: Monomials,
    matrix: DMatrix<f64>,
}

impl Generator {
    /// The generator of any equation. The polynomials are found from values, and checked at one more point.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the moments do not close: the drift is not affine, or σσᵀ not quadratic.
    /// [`Error::TooLarge`] from d = 98 on, as the matrices grow with d⁴.
    pub fn new(equation: &impl Sde) -> Result<Self, Error> {
        let d = dimension(equation)?;
        fits(d, MATRICES)?;
        let monomials = Monomials { d };
        let drift = |x: &[f64]| {
            let mut drift = vec![0.; d];
            equation.drift(x, &mut drift);
            drift
        };
        let noise = equation.noise_type();
        let covariance = |x: &[f64]| {
            let mut sigma = vec![0.; noise.len(d)];
            equation.diffusion(x, &mut sigma);
            let q = noise.sources(d);
            let at = |i: usize, k: usize| match noise {
                NoiseType::Diagonal if i == k => sigma[i],
                NoiseType::Diagonal => 0.,
                NoiseType::General(_) => sigma[i * q + k],
            };
            (0..d * d).map(|e| (0..q).map(|k| at(e / d, k) * at(e % d, k)).sum()).collect::<Vec<f64>>()
        };
        let (b, sigma) = monomials.equation(
            ("the drift", monomials.fit(1, drift)),
            ("the diffusion squared", monomials.fit(2, covariance)),
        )?;
        Ok(Self { monomials, matrix: action(monomials, &b, &sigma) })
    }

    /// The moments at `time` from the point `start`, `[d]`, by one matrix exponential; NaN if they overflow.
    ///
    /// # Panics
    /// If `time` is negative or not finite, or `start` has another dimension.
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
