//! Polynomials of degree 2 in x, on which chains and equations with affine drift act as matrices.

use crate::error::Error;

/// The coefficients of vector functions that are polynomials of degree at most 2: found from values, and checked at one
/// more point.
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

    /// The coefficients of every component of `f`, `[components, count]`.
    ///
    /// # Errors
    /// If `f` is no polynomial of degree `degree` (1 or 2); `what` names it.
    pub fn fit(self, what: &str, degree: usize, f: impl Fn(&[f64]) -> Vec<f64>) -> Result<Vec<Vec<f64>>, Error> {
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
        // Relative to the largest that there is: the function may be small, and some of its components only rounding.
        let scale = all.iter().flatten().chain(&values).map(|a| a.abs()).fold(0., f64::max);
        for (row, value) in all.iter().zip(&values) {
            let found: f64 = row.iter().zip(&monomials).map(|(a, x)| a * x).sum();
            let agrees = (found - value).abs() <= 1e-8 * scale; // which NaN does not
            if !agrees {
                return Err(Error::new(format!(
                    "{what} is no polynomial of degree {degree}, so its moments do not close; expected an affine drift \
                     and a quadratic diffusion, as SGD, n-USAM, USAM and m-USAM have them on quadratics"
                )));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_come_back() {
        let monomials = Monomials { d: 3 };
        assert_eq!(monomials.count(), 10);
        let f = |x: &[f64]| vec![1. + 2. * x[1] - 3. * x[0] * x[2] + 0.5 * x[2] * x[2], x[0]];
        let rows = monomials.fit("f", 2, f).unwrap();
        assert_eq!(rows[0], [1., 0., 2., 0., 0., 0., -3., 0., 0., 0.5]);
        assert_eq!(rows[1][monomials.linear(0)], 1.);
        assert!(monomials.fit("f", 1, f).is_err());
        assert!(monomials.fit("f", 2, |x| vec![x[0].powi(3)]).is_err());
        assert!(monomials.fit("f", 2, |x| vec![1e-10 * (1. + x[0].powi(4))]).is_err(), "small");
        assert!(monomials.fit("f", 2, |x| vec![x[0].sqrt()]).is_err(), "NaN");
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
