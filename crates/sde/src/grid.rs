//! Polynomials on a box, by their values at Chebyshev–Lobatto points.

use crate::error::Error;
use crate::exponential;
use crate::memory;
use nalgebra::{DMatrix, DVector};

/// A tensor product of Chebyshev–Lobatto points on a box in ℝᵈ. A function is represented by the polynomial through its
/// values there; for a smooth function the error falls exponentially with the degree.
#[derive(Clone, Debug)]
pub struct Grid {
    axes: Vec<Axis>,
}

#[derive(Clone, Debug)]
struct Axis {
    nodes: Vec<f64>,
    /// Barycentric weights.
    weights: Vec<f64>,
    /// d/dx at the nodes, of a polynomial through values there.
    derivative: DMatrix<f64>,
}

/// The least distance of two points in units of rounding, so that their difference has a relative error of 1e-8.
const NODE_ROUNDING: f64 = 1e8;

impl Grid {
    /// Polynomials of `degree` in each variable on [lowⱼ, highⱼ].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the degree or the number of variables is 0, bounds are not finite and in order, or
    /// a box is so narrow for its distance from 0 that rounding changes the distance of its points by more than 1e-8.
    /// [`Error::TooLarge`] for more than about 5 000 points, for which the exponential of an operator takes more than 4
    /// GiB.
    pub fn new(bounds: &[(f64, f64)], degree: usize) -> Result<Self, Error> {
        let variables = bounds.len();
        if degree == 0 || variables == 0 {
            return Err(Error::invalid(format!(
                "degree {degree} in {variables} variables; expected at least 1 of each"
            )));
        }
        let points = (degree as f64 + 1.).powf(variables as f64);
        memory::fits(
            &format!("operators on the {points} points of degree {degree} in {variables} variables"),
            memory::numbers(exponential::MATRICES * points * points),
            "take a lower degree, or paths (Ensemble)",
        )?;
        if let Some((low, high)) = bounds.iter().find(|(low, high)| !(low < high && (high - low).is_finite())) {
            return Err(Error::invalid(format!(
                "the box reaches from {low} to {high}; expected a lower and a higher number"
            )));
        }
        let axes: Vec<Axis> = bounds.iter().map(|&(low, high)| Axis::new(low, high, degree)).collect();
        for (axis, (low, high)) in axes.iter().zip(bounds) {
            let nearest = axis.nodes.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
            let between = low.abs().max(high.abs()) * f64::EPSILON;
            if nearest < NODE_ROUNDING * between {
                return Err(Error::invalid(format!(
                    "the points of degree {degree} from {low} to {high} are {nearest:e} apart, and numbers there \
                     {between:e}; expected a box that is wider or nearer to 0, or a lower degree"
                )));
            }
        }
        Ok(Self { axes })
    }

    /// d, the number of variables.
    pub fn dim(&self) -> usize {
        self.axes.len()
    }

    /// All points; the last variable changes fastest.
    pub(crate) fn points(&self) -> Vec<Vec<f64>> {
        let mut points = vec![Vec::new()];
        for axis in &self.axes {
            points = points
                .iter()
                .flat_map(|point: &Vec<f64>| axis.nodes.iter().map(move |&x| [point.as_slice(), &[x]].concat()))
                .collect();
        }
        points
    }

    /// The weight of the value at each point in the value at x, `[d]`, inside the box or near it.
    ///
    /// # Panics
    /// If x is not of dimension d.
    #[track_caller]
    pub(crate) fn basis(&self, x: &[f64]) -> DVector<f64> {
        assert!(x.len() == self.dim(), "a point in {} dimensions on a grid in {}", x.len(), self.dim());
        let mut all = vec![1.];
        for (axis, &x) in self.axes.iter().zip(x) {
            let values = axis.basis(x);
            all = all.iter().flat_map(|left| values.iter().map(move |right| left * right)).collect();
        }
        DVector::from_vec(all)
    }

    /// ∂/∂xⱼ as a matrix on values.
    ///
    /// # Panics
    /// If j is not below d.
    #[track_caller]
    pub(crate) fn derivative(&self, j: usize) -> DMatrix<f64> {
        assert!(j < self.dim(), "the derivative along axis {j} on a grid in {} dimensions", self.dim());
        let mut matrix = DMatrix::identity(1, 1);
        for (k, axis) in self.axes.iter().enumerate() {
            let count = axis.nodes.len();
            matrix = matrix.kronecker(&if k == j { axis.derivative.clone() } else { DMatrix::identity(count, count) });
        }
        matrix
    }
}

impl Axis {
    fn new(low: f64, high: f64, degree: usize) -> Self {
        let angle = |k: usize| std::f64::consts::PI * k as f64 / degree as f64;
        let nodes: Vec<f64> = (0..=degree).map(|k| (low + high) / 2. - (high - low) / 2. * angle(k).cos()).collect();
        let weight =
            |k: usize| (if k.is_multiple_of(2) { 1. } else { -1. }) * if k == 0 || k == degree { 0.5 } else { 1. };
        let weights: Vec<f64> = (0..=degree).map(weight).collect();
        let mut derivative = DMatrix::zeros(degree + 1, degree + 1);
        for i in 0..=degree {
            for j in 0..=degree {
                if i != j {
                    derivative[(i, j)] = weights[j] / weights[i] / (nodes[i] - nodes[j]);
                    derivative[(i, i)] -= weights[j] / weights[i] / (nodes[i] - nodes[j]); // constants have none
                }
            }
        }
        Self { nodes, weights, derivative }
    }

    fn basis(&self, x: f64) -> Vec<f64> {
        if let Some(k) = self.nodes.iter().position(|&node| node == x) {
            return (0..self.nodes.len()).map(|j| f64::from(u8::from(j == k))).collect();
        }
        let terms: Vec<f64> = self.nodes.iter().zip(&self.weights).map(|(node, weight)| weight / (x - node)).collect();
        let sum: f64 = terms.iter().sum();
        terms.into_iter().map(|term| term / sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_met_exactly() {
        let grid = Grid::new(&[(-1., 2.), (0.5, 3.)], 5).unwrap();
        let f = |x: &[f64]| x[0].powi(5) - 2. * x[0] * x[1].powi(4) + 3.;
        let values = DVector::from_vec(grid.points().iter().map(|x| f(x)).collect::<Vec<f64>>());
        for x in [[0.3, 1.7], [-1., 3.], [2.2, 0.4]] {
            assert!((grid.basis(&x).dot(&values) - f(&x)).abs() < 1e-11);
            let slopes = [5. * x[0].powi(4) - 2. * x[1].powi(4), -8. * x[0] * x[1].powi(3)];
            for (j, slope) in slopes.into_iter().enumerate() {
                assert!((grid.basis(&x).dot(&(grid.derivative(j) * &values)) - slope).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn what_is_no_box_is_an_error() {
        assert!(Grid::new(&[(1., 1.)], 4).unwrap_err().to_string().contains("expected"));
        assert!(Grid::new(&[(0., 1.)], 0).is_err() && Grid::new(&[], 4).is_err());
        let text = Grid::new(&[(0., 1.); 4], 20).unwrap_err().to_string();
        assert!(text.contains("194481 points") && text.contains("GiB") && text.contains("paths"), "{text}");
        assert!(Grid::new(&[(0., 1.); 2], 70).is_ok() && Grid::new(&[(0., 1.); 400], usize::MAX).is_err());
        for bad in [(f64::NAN, 1.), (0., f64::INFINITY), (2., 1.)] {
            assert!(Grid::new(&[(0., 1.), bad], 4).unwrap_err().to_string().contains("a lower and a higher number"));
        }
    }

    #[test]
    fn a_narrow_box_far_from_0_is_an_error_and_near_0_is_none() {
        let text = Grid::new(&[(1e8, 1e8 + 1e-6)], 8).unwrap_err().to_string();
        assert!(text.contains("apart") && text.contains("expected a box that is wider"), "{text}");
        let grid = Grid::new(&[(-1e-9, 1e-9), (1e6, 1e6 + 10.)], 8).unwrap();
        let values = DVector::from_vec(grid.points().iter().map(|x| x[0] * x[1]).collect::<Vec<f64>>());
        let slope = grid.basis(&[3e-10, 1e6 + 2.]).dot(&(grid.derivative(1) * &values));
        assert!((slope / 3e-10 - 1.).abs() < 1e-7, "{slope:e}");
    }
}
