//! The algebra of Winograd's F(4 × 4, 3 × 3): one-dimensional transforms, and their squares.
//!
//! A polynomial product is evaluated at the points 0, ±a, ±b, ∞ with a = 1/√2 and b = √2. These points give half the
//! rounding error of the usual 0, ±1, ±2, ∞, and as a b = 1 they are closed under p → 1/p.
//!
//! For a row of six inputs d, a filter g of three and four outputs y: y = Aᵀ (G g ⊙ Bᵀ d). In two dimensions each
//! matrix acts on the columns and then on the rows. What goes back are the transposes: dg = Gᵀ (A dy ⊙ Bᵀ d).

use crate::cpu::vector::{Lanes, Vector};
use pulp::Simd;

const A: f64 = std::f64::consts::FRAC_1_SQRT_2;
const B: f64 = std::f64::consts::SQRT_2;

/// A matrix of `M` rows and `N` columns, times a column.
pub(super) trait Transform<const N: usize, const M: usize> {
    /// The product with `x`, lane by lane.
    fn of<T: Lanes, S: Simd>(simd: S, x: [Vector<T, S>; N]) -> [Vector<T, S>; M];
}

/// Bᵀ d.
pub(super) struct Input;

impl Transform<6, 6> for Input {
    #[inline(always)]
    fn of<T: Lanes, S: Simd>(simd: S, d: [Vector<T, S>; 6]) -> [Vector<T, S>; 6] {
        let [d0, d1, d2, d3, d4, d5] = d;
        let even_a = T::sub_mul(simd, d4, T::constant(simd, 2.0), d2);
        let odd_a = T::sub_mul(simd, d3, T::constant(simd, 2.0), d1);
        let even_b = T::sub_mul(simd, d4, T::constant(simd, 0.5), d2);
        let odd_b = T::sub_mul(simd, d3, T::constant(simd, 0.5), d1);
        [
            T::sub_mul(simd, T::add(simd, d0, d4), T::constant(simd, 2.5), d2),
            T::mul_add(simd, T::constant(simd, A), odd_a, even_a),
            T::sub_mul(simd, even_a, T::constant(simd, A), odd_a),
            T::mul_add(simd, T::constant(simd, B), odd_b, even_b),
            T::sub_mul(simd, even_b, T::constant(simd, B), odd_b),
            T::sub_mul(simd, T::add(simd, d1, d5), T::constant(simd, 2.5), d3),
        ]
    }
}

/// Aᵀ m.
pub(super) struct Output;

impl Transform<6, 4> for Output {
    #[inline(always)]
    fn of<T: Lanes, S: Simd>(simd: S, m: [Vector<T, S>; 6]) -> [Vector<T, S>; 4] {
        let [m0, m1, m2, m3, m4, m5] = m;
        let (sum_a, difference_a) = (T::add(simd, m1, m2), T::sub(simd, m1, m2));
        let (sum_b, difference_b) = (T::add(simd, m3, m4), T::sub(simd, m3, m4));
        [
            T::add(simd, m0, T::add(simd, sum_a, sum_b)),
            T::mul_add(simd, T::constant(simd, A), difference_a, T::mul(simd, T::constant(simd, B), difference_b)),
            T::mul_add(simd, T::constant(simd, 0.5), sum_a, T::add(simd, sum_b, sum_b)),
            T::mul_add(
                simd,
                T::constant(simd, 0.5 * A),
                difference_a,
                T::mul_add(simd, T::constant(simd, 2.0 * B), difference_b, m5),
            ),
        ]
    }
}

/// A y: the transpose of [`Output`].
pub(super) struct GradOutput;

impl Transform<4, 6> for GradOutput {
    #[inline(always)]
    fn of<T: Lanes, S: Simd>(simd: S, y: [Vector<T, S>; 4]) -> [Vector<T, S>; 6] {
        let [y0, y1, y2, y3] = y;
        let even_a = T::mul_add(simd, T::constant(simd, 0.5), y2, y0);
        let odd_a = T::mul_add(simd, T::constant(simd, 0.5), y3, y1);
        let even_b = T::mul_add(simd, T::constant(simd, 2.0), y2, y0);
        let odd_b = T::mul_add(simd, T::constant(simd, 2.0), y3, y1);
        [
            y0,
            T::mul_add(simd, T::constant(simd, A), odd_a, even_a),
            T::sub_mul(simd, even_a, T::constant(simd, A), odd_a),
            T::mul_add(simd, T::constant(simd, B), odd_b, even_b),
            T::sub_mul(simd, even_b, T::constant(simd, B), odd_b),
            y3,
        ]
    }
}

/// G g.
pub(super) struct Weight;

impl Transform<3, 6> for Weight {
    #[inline(always)]
    fn of<T: Lanes, S: Simd>(simd: S, g: [Vector<T, S>; 3]) -> [Vector<T, S>; 6] {
        let [g0, g1, g2] = g;
        let even_a = T::mul(simd, T::constant(simd, -2.0 / 3.0), T::mul_add(simd, T::constant(simd, 0.5), g2, g0));
        let even_b = T::mul(simd, T::constant(simd, 1.0 / 6.0), T::mul_add(simd, T::constant(simd, 2.0), g2, g0));
        [
            g0,
            T::mul_add(simd, T::constant(simd, -2.0 / 3.0 * A), g1, even_a),
            T::sub_mul(simd, even_a, T::constant(simd, -2.0 / 3.0 * A), g1),
            T::mul_add(simd, T::constant(simd, B / 6.0), g1, even_b),
            T::sub_mul(simd, even_b, T::constant(simd, B / 6.0), g1),
            g2,
        ]
    }
}

/// Gᵀ u: the transpose of [`Weight`].
pub(super) struct GradWeight;

impl Transform<6, 3> for GradWeight {
    #[inline(always)]
    fn of<T: Lanes, S: Simd>(simd: S, u: [Vector<T, S>; 6]) -> [Vector<T, S>; 3] {
        let [u0, u1, u2, u3, u4, u5] = u;
        let (sum_a, difference_a) = (T::add(simd, u1, u2), T::sub(simd, u1, u2));
        let (sum_b, difference_b) = (T::add(simd, u3, u4), T::sub(simd, u3, u4));
        let (sum_a, sum_b) =
            (T::mul(simd, T::constant(simd, -2.0 / 3.0), sum_a), T::mul(simd, T::constant(simd, 1.0 / 6.0), sum_b));
        [
            T::add(simd, u0, T::add(simd, sum_a, sum_b)),
            T::mul_add(
                simd,
                T::constant(simd, -2.0 / 3.0 * A),
                difference_a,
                T::mul(simd, T::constant(simd, B / 6.0), difference_b),
            ),
            T::mul_add(simd, T::constant(simd, 0.5), sum_a, T::mul_add(simd, T::constant(simd, 2.0), sum_b, u5)),
        ]
    }
}

/// The transform of the columns and then of the rows of a square of vectors, `[row][column]`.
#[inline(always)]
pub(super) fn squared<F: Transform<N, M>, T: Lanes, S: Simd, const N: usize, const M: usize>(
    simd: S,
    x: [[Vector<T, S>; N]; N],
) -> [[Vector<T, S>; M]; M] {
    let zero = T::constant(simd, 0.0);
    let mut half = [[zero; N]; M];
    for j in 0..N {
        let mut column = [zero; N];
        for i in 0..N {
            column[i] = x[i][j];
        }
        let column = F::of::<T, S>(simd, column);
        for i in 0..M {
            half[i][j] = column[i];
        }
    }
    let mut y = [[zero; M]; M];
    for i in 0..M {
        y[i] = F::of::<T, S>(simd, half[i]);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::Scalar;

    fn matrix<F: Transform<N, M>, const N: usize, const M: usize>() -> [[f64; N]; M] {
        let mut matrix = [[0.0; N]; M];
        for j in 0..N {
            let mut unit = [0.0; N];
            unit[j] = 1.0;
            let column = F::of::<f64, Scalar>(Scalar::new(), unit);
            (0..M).for_each(|i| matrix[i][j] = column[i]);
        }
        matrix
    }

    /// y = Aᵀ (G g ⊙ Bᵀ d) is the correlation of d with g, for every unit d and g.
    #[test]
    fn the_transforms_make_a_correlation() {
        let (a, b, g) = (matrix::<Output, 6, 4>(), matrix::<Input, 6, 6>(), matrix::<Weight, 3, 6>());
        for i in 0..4 {
            for d in 0..6 {
                for tap in 0..3 {
                    let y: f64 = (0..6).map(|p| a[i][p] * g[p][tap] * b[p][d]).sum();
                    let expected = if d == i + tap { 1.0 } else { 0.0 };
                    assert!((y - expected).abs() < 1e-14, "output {i}, input {d}, tap {tap}: {y}");
                }
            }
        }
    }

    #[test]
    fn what_goes_back_is_the_transpose() {
        let (a, a_t) = (matrix::<Output, 6, 4>(), matrix::<GradOutput, 4, 6>());
        let (g, g_t) = (matrix::<Weight, 3, 6>(), matrix::<GradWeight, 6, 3>());
        for p in 0..6 {
            (0..4).for_each(|i| assert!((a[i][p] - a_t[p][i]).abs() < 1e-15));
            (0..3).for_each(|i| assert!((g[p][i] - g_t[i][p]).abs() < 1e-15));
        }
    }
}
