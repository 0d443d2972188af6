//! Expectations of any smooth function without Monte Carlo: Kolmogorov's backward equation on a grid.

use crate::algorithm::Algorithm;
use crate::error::Error;
use crate::exponential::exponential;
use crate::grid::Grid;
use crate::modified::{Modified, Order};
use crate::perturbed::Expansion;
use crate::problem::Problem;
use crate::sde::{NoiseType, Sde};
use nalgebra::{DMatrix, DVector};

/// The transition operator of an algorithm's step on a grid: u ↦ E u(x⁺).
#[derive(Clone, Debug)]
pub struct StepOperator {
    grid: Grid,
    matrix: DMatrix<f64>,
}

impl StepOperator {
    /// The operator of `algorithm` with learning rate `eta`, exactly, by enumeration of all batches.
    ///
    /// Functions are polynomials on the box, and are extrapolated where a step leaves it. Paths from the start should
    /// leave the box seldom, and u should be smooth near it. Raise the degree of the grid to estimate the error.
    ///
    /// # Errors
    /// As [`Modified::new`]; [`Error::TooLarge`] if there are too many batches to enumerate;
    /// [`Error::InvalidArgument`] if the grid has another dimension than the problem.
    pub fn new(problem: &dyn Problem, algorithm: Algorithm, eta: f64, grid: &Grid) -> Result<Self, Error> {
        same_dimension(grid, problem.dim(), "problem")?;
        let exact = Modified::new(problem, algorithm, eta, Order { eta: 1, rho: Expansion::Exact })?;
        let all = exact.law().steps()?;
        let points = grid.points();
        let mut matrix = DMatrix::zeros(points.len(), points.len());
        for (row, x) in points.iter().enumerate() {
            let values = exact.steps(x);
            let mut sum = DVector::zeros(points.len());
            for (pieces, p) in &all {
                let share = eta / pieces.len() as f64;
                let moved = |j: usize| x[j] + share * pieces.iter().map(|k| values[k * x.len() + j]).sum::<f64>();
                sum += grid.basis(&(0..x.len()).map(moved).collect::<Vec<f64>>()) * *p;
            }
            matrix.set_row(row, &sum.transpose());
        }
        Ok(Self { grid: grid.clone(), matrix })
    }

    /// E g(x_k) after k = `steps` steps from x₀ = `start`, `[d]`. Costs `steps` products with a matrix of the size of
    /// the grid.
    ///
    /// # Panics
    /// If `start` has another dimension than the grid.
    #[track_caller]
    pub fn after(&self, steps: usize, start: &[f64], g: impl Fn(&[f64]) -> f64) -> f64 {
        let mut values = on(&self.grid, g);
        (0..steps).for_each(|_| values = &self.matrix * &values);
        self.grid.basis(start).dot(&values)
    }
}

/// The infinitesimal generator L of an equation on a grid: u ↦ b·∇u + ½σσᵀ:∇²u.
#[derive(Clone, Debug)]
pub struct EquationOperator {
    grid: Grid,
    matrix: DMatrix<f64>,
}

impl EquationOperator {
    /// The generator of any equation, on the polynomials of the grid: see [`StepOperator::new`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the grid has another dimension than the equation.
    pub fn new(equation: &impl Sde, grid: &Grid) -> Result<Self, Error> {
        let d = equation.dim();
        same_dimension(grid, d, "equation")?;
        let (noise, points) = (equation.noise_type(), grid.points());
        let (mut drift, mut sigma) = (vec![0.; d], vec![0.; noise.len(d)]);
        // At all points, bⱼ and (σσᵀ)ⱼₖ/2: what the derivatives are multiplied by.
        let (mut slopes, mut curvatures) = (vec![Vec::new(); d], vec![Vec::new(); d * d]);
        for x in &points {
            equation.drift(x, &mut drift);
            equation.diffusion(x, &mut sigma);
            for j in 0..d {
                slopes[j].push(drift[j]);
                for k in 0..d {
                    let squared = match noise {
                        NoiseType::Diagonal if j != k => 0.,
                        NoiseType::Diagonal => sigma[j] * sigma[j],
                        NoiseType::General(q) => (0..q).map(|l| sigma[j * q + l] * sigma[k * q + l]).sum(),
                    };
                    curvatures[j * d + k].push(squared / 2.);
                }
            }
        }
        // One derivative after the other, so that memory does not grow with their number, d².
        let mut matrix = DMatrix::zeros(points.len(), points.len());
        let mut add = |derivative: &DMatrix<f64>, by: &[f64]| {
            for (mut column, derivative) in matrix.column_iter_mut().zip(derivative.column_iter()) {
                column.iter_mut().zip(&derivative).zip(by).for_each(|((sum, value), by)| *sum += value * by);
            }
        };
        for j in 0..d {
            let slope = grid.derivative(j);
            add(&slope, &slopes[j]);
            for k in 0..d {
                add(&(&slope * grid.derivative(k)), &curvatures[j * d + k]);
            }
        }
        Ok(Self { grid: grid.clone(), matrix })
    }

    /// The transition operator e^{tL} over `time` t; one matrix exponential for any number of functions. All
    /// expectations are NaN if drift or σ are not finite at a point of the grid, or too large for an exponential.
    ///
    /// # Panics
    /// If `time` is negative or not finite.
    #[track_caller]
    pub fn over(&self, time: f64) -> TransitionOperator {
        crate::sde::assert_time(time);
        TransitionOperator { grid: self.grid.clone(), matrix: exponential(&(&self.matrix * time)) }
    }
}

/// The transition operator e^{tL} of an equation over a time t: g ↦ E g(X_t), as a function of the start.
#[derive(Clone, Debug)]
pub struct TransitionOperator {
    grid: Grid,
    matrix: DMatrix<f64>,
}

impl TransitionOperator {
    /// E g(X_t) for X₀ = `start`, `[d]`.
    ///
    /// # Panics
    /// If `start` has another dimension than the grid.
    #[track_caller]
    pub fn expect(&self, start: &[f64], g: impl Fn(&[f64]) -> f64) -> f64 {
        self.grid.basis(start).dot(&(&self.matrix * on(&self.grid, g)))
    }
}

fn same_dimension(grid: &Grid, d: usize, of: &str) -> Result<(), Error> {
    if grid.dim() == d {
        return Ok(());
    }
    Err(Error::invalid(format!("the grid is in {} dimensions; expected {d}, those of the {of}", grid.dim())))
}

fn on(grid: &Grid, g: impl Fn(&[f64]) -> f64) -> DVector<f64> {
    DVector::from_vec(grid.points().iter().map(|x| g(x)).collect())
}
