//! A square root of a covariance.

/// Replaces the positive semidefinite `a`, `[d, d]`, by its lower triangular square root L (Cholesky): LLᵀ = a.
///
/// A pivot that is 0 to rounding makes its column 0, so that a covariance of lower rank has a root as well.
pub(crate) fn square_root(a: &mut [f64], d: usize) {
    let largest = (0..d).map(|i| a[i * d + i]).fold(0., f64::max);
    for j in 0..d {
        let pivot = a[j * d + j] - (0..j).map(|k| a[j * d + k] * a[j * d + k]).sum::<f64>();
        let root = if pivot <= 1e-13 * largest { 0. } else { pivot.sqrt() }; // NaN stays NaN
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

    #[test]
    fn the_root_times_its_transpose_is_the_matrix() {
        // B Bᵀ for B of 4×4, and of 4×2: full rank, and half of it.
        for columns in [4, 2, 1] {
            let (d, mut a) = (4, vec![0.; 16]);
            let b = |i: usize, k: usize| ((7 * i + 3 * k + 1) as f64).sin();
            (0..16).for_each(|e| a[e] = (0..columns).map(|k| b(e / 4, k) * b(e % 4, k)).sum());
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
        let mut undefined = [1., 0., 0., f64::NAN];
        square_root(&mut undefined, 2);
        assert!(undefined[3].is_nan());
    }
}
