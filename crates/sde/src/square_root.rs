//! A square root of a covariance.

/// A pivot that is so small for its own diagonal entry is what rounding leaves of 0, up to d ≈ 100.
const ROUNDING: f64 = 1e-13;

/// Replaces the positive semidefinite `a`, `[d, d]`, by its lower triangular square root L (Cholesky): LLᵀ = a, up to
/// an error in element (i, j) that is small for √(aᵢᵢaⱼⱼ), whatever the other components are.
///
/// Pivot j is aⱼⱼ less squares of what is known of row j. It is 0 where it is rounding of *that* difference, small for
/// aⱼⱼ; then its column is 0, so that a covariance of lower rank has a root as well. No component is held against
/// another, so DaD has the root DL for every positive diagonal D, of powers of 2 to the bit.
///
/// A negative variance, and a component that correlates with another by far more than 1, are no rounding: their root is
/// NaN.
pub(crate) fn square_root(a: &mut [f64], d: usize) {
    let rounding = ROUNDING.max(4. * d as f64 * f64::EPSILON);
    for j in 0..d {
        let variance = a[j * d + j];
        let pivot = variance - (0..j).map(|k| a[j * d + k] * a[j * d + k]).sum::<f64>();
        let root = if variance < 0. || pivot < -variance / 2. {
            f64::NAN
        } else if pivot <= rounding * variance {
            0.
        } else {
            pivot.sqrt() // NaN stays NaN
        };
        a[j * d + j] = root;
        for i in j + 1..d {
            let rest = a[i * d + j] - (0..j).map(|k| a[i * d + k] * a[j * d + k]).sum::<f64>();
            a[i * d + j] = if root == 0. { 0. } else { rest / root };
            a[j * d + i] = 0.;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B Bᵀ for B of 4×`columns`, and of rank 2 at most.
    fn covariance(columns: usize) -> Vec<f64> {
        let b = |i: usize, k: usize| ((7 * i + 3 * k + 1) as f64).sin();
        (0..16).map(|e| (0..columns).map(|k| b(e / 4, k) * b(e % 4, k)).sum()).collect()
    }

    #[test]
    fn the_root_times_its_transpose_is_the_matrix() {
        for columns in [4, 2, 1] {
            let (d, a) = (4, covariance(columns));
            let mut root = a.clone();
            square_root(&mut root, d);
            for (e, a) in a.iter().enumerate() {
                let product: f64 = (0..d).map(|k| root[e / 4 * d + k] * root[e % 4 * d + k]).sum();
                assert!((product - a).abs() < 1e-7, "{columns} columns, element {e}: {product} for {a}");
            }
        }
        let mut nothing = vec![0.; 9];
        square_root(&mut nothing, 3);
        assert_eq!(nothing, [0.; 9]);
    }

    #[test]
    fn a_small_component_beside_a_large_one_keeps_its_noise() {
        let mut root = [0.01 * 1e8, 0., 0., 0.01 * 1e-6];
        square_root(&mut root, 2);
        assert_eq!(root, [1000., 0., 0., 1e-4]);
        let mut root = [1e-200, 0., 0., 1e200];
        square_root(&mut root, 2);
        assert!((root[0] / 1e-100 - 1.).abs() < 1e-15 && (root[3] / 1e100 - 1.).abs() < 1e-15, "{root:?}");
    }

    /// Coordinates in other units: the same root in those units, of any rank.
    #[test]
    fn the_root_does_not_depend_on_units() {
        let units = [2f64.powi(40), 1., 2f64.powi(-60), 2f64.powi(7)];
        for columns in [4, 2, 1] {
            let (mut plain, a) = (covariance(columns), covariance(columns));
            square_root(&mut plain, 4);
            let mut scaled: Vec<f64> = (0..16).map(|e| units[e / 4] * a[e] * units[e % 4]).collect();
            square_root(&mut scaled, 4);
            (0..16).for_each(|e| assert_eq!(scaled[e], units[e / 4] * plain[e], "{columns} columns, element {e}"));
            assert_eq!((0..4).filter(|j| plain[j * 5] > 0.).count(), columns.min(2), "the rank");
        }
    }

    #[test]
    fn what_is_no_covariance_has_no_root() {
        for mut a in [[1., 0., 0., f64::NAN], [1., 0., 0., -1e-9], [1., 2., 2., 1.]] {
            square_root(&mut a, 2);
            assert!(a[3].is_nan(), "{a:?}");
        }
        let mut first = [f64::NAN, 0., 0., 1.];
        square_root(&mut first, 2);
        assert!(first[0].is_nan() && first[3].is_nan());
    }
}
