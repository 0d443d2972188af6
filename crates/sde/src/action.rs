//! What drift and diffusion do to polynomials of degree 2, as matrices that act on expectations of monomials.

use crate::error::Error;
use crate::memory;
use crate::polynomial::Monomials;
use nalgebra::DMatrix;

/// Whether the coefficients in d dimensions, and so many square matrices on monomials, have room.
pub(crate) fn fits(d: usize, matrices: f64) -> Result<(), Error> {
    let dim = d as f64;
    let count = 1. + dim + dim * (dim + 1.) / 2.;
    memory::fits(
        &format!("all first and second moments in {d} dimensions, which grow as d⁴,"),
        memory::numbers((dim * dim + dim) * count + matrices * count * count),
        "estimate them from paths (Ensemble)",
    )
}

/// The generator b·∇ + ½A:∇² on monomials, as a matrix that acts on their expectations; `b` and `a` may be absent.
pub(crate) fn action(monomials: Monomials, b: &[Vec<f64>], a: &[Vec<f64>]) -> DMatrix<f64> {
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
pub(crate) fn outer(monomials: Monomials, b: &[Vec<f64>]) -> DMatrix<f64> {
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
