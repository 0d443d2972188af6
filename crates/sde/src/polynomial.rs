//! Polynomials of degree 2 in x, on which chains and equations with affine drift act as matrices.

use crate::error::Error;

/// The coefficients of vector functions that are polynomials of degree at most 2: found from values, and checked at one
/// more point, every component by itself.
///
/// The monomials are 1, then xⱼ, then xⱼxₖ with j ≤ k, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Monomials {
    pub d: usize,
}

impl Monomials {
    /// How many there are: 1 + d + d(d + 1)/2.
    pub fn count(self) -> usize {
        1 + self.d + self.d * (self.d + 1) / 2
    }

    /// The place of xⱼ.
    pub fn linear(self, j: usize) -> usize {
        1 + j
    }

    /// The place of xⱼxₖ.
    pub fn quadratic(self, j: usize, k: usize) -> usize {
        let (j, k) = (j.min(k), j.max(k));
        1 + self.d + j * self.d - j * j.saturating_sub(1) / 2 + (k - j)
    }

    /// Their values at x.
    pub fn at(self, x: &[f64]) -> Vec<f64> {
        let mut values = vec![1.; self.count()];
        for j in 0..self.d {
            values[self.linear(j)] = x[j];
            (j..self.d).for_each(|k| values[self.quadratic(j, k)] = x[j] * x[k]);
        }
        values
    }

    /// The polynomial of degree `degree` (1 or 2) through values of `f`, and how far it is from `f` at one more point.
    pub fn fit(self, degree: usize, f: impl Fn(&[f64]) -> Vec<f64>) -> Fit {
        let d = self.d;
        let point = |j: usize, k: usize, a: f64, b: f64| {
            let mut x = vec![0.; d];
            x[j] += a;
            x[k] += b;
            f(&x)
        };
        let origin = f(&vec![0.; d]);
        let mut all = vec![vec![0.; self.count()]; origin.len()];
        let (plus, minus): (Vec<_>, Vec<_>) = (0..d).map(|j| (point(j, j, 1., 0.), point(j, j, -1., 0.))).unzip();
        for (c, row) in all.iter_mut().enumerate() {
            row[0] = origin[c];
            for j in 0..d {
                row[self.linear(j)] = (plus[j][c] - minus[j][c]) / 2.;
                row[self.quadratic(j, j)] = (plus[j][c] + minus[j][c]) / 2. - origin[c];
            }
        }
        for j in 0..d {
            for k in j + 1..d {
                let both = point(j, k, 1., 1.);
                for (c, row) in all.iter_mut().enumerate() {
                    row[self.quadratic(j, k)] = both[c] - plus[j][c] - plus[k][c] + origin[c];
                }
            }
        }
        if degree == 1 {
            all.iter_mut().for_each(|row| row[1 + d..].fill(0.));
        }
        let x: Vec<f64> = (0..d).map(|j| 1.7 * (1.3 * j as f64 + 0.4).cos()).collect();
        let (values, monomials) = (f(&x), self.at(&x));
        let misses = all.iter().zip(&values).map(|(row, value)| {
            let found: f64 = row.iter().zip(&monomials).map(|(a, x)| a * x).sum();
            (found - value).abs()
        });
        Fit { degree, misses: misses.collect(), values, rows: all }
    }

    /// The coefficients of a drift, `[d, count]`, and of its σσᵀ, `[d · d, count]`, each with its name.
    ///
    /// # Errors
    /// If the drift is not affine, or σσᵀ is not quadratic. Each component is held against its own size, to 1e-8:
    /// (σσᵀ)ⱼₖ against that of √((σσᵀ)ⱼⱼ(σσᵀ)ₖₖ). What is below 1e-12 of the other one in the same component, a drift
    /// beside its noise or a σ beside its drift, is rounding.
    pub fn equation(self, (of_b, b): (&str, Fit), (of_a, a): (&str, Fit)) -> Result<(Rows, Rows), Error> {
        let d = self.d;
        let noise: Vec<f64> = (0..d).map(|j| a.size(j * d + j).sqrt()).collect();
        let sigma: Vec<f64> = (0..d).map(|j| noise[j].hypot(1e-8 * b.size(j))).collect();
        let affine = b.checked(of_b, |b, j| 1e-8 * b.size(j) + 1e-12 * noise[j])?;
        Ok((affine, a.checked(of_a, |_, e| 1e-8 * sigma[e / d] * sigma[e % d])?))
    }
}

/// Coefficients, a row for each component.
pub(crate) type Rows = Vec<Vec<f64>>;

/// A polynomial through values of a function, which may be no polynomial.
pub(crate) struct Fit {
    degree: usize,
    rows: Rows,
    /// At one more point.
    values: Vec<f64>,
    /// How far the polynomial is from these.
    misses: Vec<f64>,
}

impl Fit {
    /// The largest number that a component has.
    fn size(&self, c: usize) -> f64 {
        self.rows[c].iter().chain([&self.values[c]]).map(|a| a.abs()).fold(0., f64::max)
    }

    /// The coefficients, if each component is within what it is `allowed` at the point more; `what` names the function.
    fn checked(self, what: &str, allowed: impl Fn(&Self, usize) -> f64) -> Result<Rows, Error> {
        let agrees = |(c, miss): (usize, &f64)| *miss <= allowed(&self, c); // which NaN does not
        if self.misses.iter().enumerate().all(agrees) {
            return Ok(self.rows);
        }
        Err(Error::unsupported(format!(
            "{what} is no polynomial of degree {}, so its moments do not close; expected an affine drift and a \
             quadratic diffusion, as SGD, n-USAM, USAM and m-USAM have them on quadratics",
            self.degree
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(fit: Fit) -> Result<Rows, Error> {
        fit.checked("f", |f, c| 1e-8 * f.size(c))
    }

    #[test]
    fn coefficients_come_back() {
        let monomials = Monomials { d: 3 };
        assert_eq!(monomials.count(), 10);
        let f = |x: &[f64]| vec![1. + 2. * x[1] - 3. * x[0] * x[2] + 0.5 * x[2] * x[2], x[0]];
        let rows = own(monomials.fit(2, f)).unwrap();
        assert_eq!(rows[0], [1., 0., 2., 0., 0., 0., -3., 0., 0., 0.5]);
        assert_eq!(rows[1][monomials.linear(0)], 1.);
        assert!(own(monomials.fit(1, f)).is_err());
        assert!(own(monomials.fit(2, |x| vec![x[0].powi(3)])).is_err());
        assert!(own(monomials.fit(2, |x| vec![1e-10 * (1. + x[0].powi(4))])).is_err(), "small");
        assert!(own(monomials.fit(2, |x| vec![x[0].sqrt()])).is_err(), "NaN");
    }

    /// σ = (`large`, 1e-6·`bend`) and b = (0, `drift`), one dimension small beside the other.
    fn equation(large: f64, bend: fn(f64) -> f64, drift: fn(f64) -> f64) -> Result<(Rows, Rows), Error> {
        let monomials = Monomials { d: 2 };
        let b = monomials.fit(1, |x| vec![0., drift(x[1])]);
        let a = monomials.fit(2, |x| vec![large * large, 0., 0., 1e-12 * bend(x[1])]);
        monomials.equation(("the drift", b), ("the noise", a))
    }

    #[test]
    fn a_small_component_beside_a_large_one_must_be_a_polynomial_too() {
        assert!(equation(1e6, |x| 1. + x * x, |x| -1e-6 * x).is_ok());
        let text = equation(1e6, |x| 1. + x.powi(4), |x| -1e-6 * x).unwrap_err().to_string();
        assert!(text.contains("the noise is no polynomial of degree 2"), "{text}");
        let text = equation(1e6, |x| 1. + x * x, |x| -1e-6 * (x + 0.01 * x.sin())).unwrap_err().to_string();
        assert!(text.contains("the drift is no polynomial of degree 1"), "{text}");
    }

    #[test]
    fn rounding_of_a_component_is_no_part_of_it() {
        assert!(equation(1., |_| 1., |x| 1e-20 * x.sin()).is_ok());
        assert!(equation(1., |_| 0., |x| x + 1e-17 * x.sin()).is_ok());
    }

    #[test]
    fn places_are_all_different() {
        let monomials = Monomials { d: 4 };
        let mut places: Vec<usize> = (0..4).flat_map(|j| (j..4).map(move |k| monomials.quadratic(j, k))).collect();
        assert_eq!(places, (5..15).collect::<Vec<_>>());
        places.dedup();
        assert_eq!(places.len(), 10);
        assert_eq!(monomials.quadratic(3, 1), monomials.quadratic(1, 3));
    }
}
