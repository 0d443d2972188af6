//! Sums and maxima along a row, in one order for every processor: element i belongs to lane i mod 16.

use crate::cpu::float::Float;

/// Lanes of a sum: a multiple of those of any vector.
const LANES: usize = 16;

/// Σ f(xᵢ) in f64.
#[inline(always)]
pub(crate) fn sum<T: Float>(x: &[T], f: impl Fn(f64) -> f64) -> f64 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        let terms: [f64; LANES] = std::array::from_fn(|i| f(chunk[i].wide()));
        for i in 0..LANES {
            sums[i] += terms[i];
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += f(x.wide());
    }
    total(sums)
}

/// Σ xᵢ yᵢ in f64, over the shorter one.
#[inline(always)]
pub(crate) fn product<T: Float>(x: &[T], y: &[T]) -> f64 {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (x, y) in x.iter().zip(y) {
        let products: [f64; LANES] = std::array::from_fn(|i| x[i].wide() * y[i].wide());
        for i in 0..LANES {
            sums[i] += products[i];
        }
    }
    for ((sum, x), y) in sums.iter_mut().zip(x_rest).zip(y_rest) {
        *sum += x.wide() * y.wide();
    }
    total(sums)
}

/// The largest element; NaN is none. −∞ of an empty row.
#[inline(always)]
pub(crate) fn largest<T: Float>(x: &[T]) -> T {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut most = [T::narrow(f64::NEG_INFINITY); LANES];
    for chunk in chunks {
        for (most, x) in most.iter_mut().zip(chunk) {
            *most = if *x > *most { *x } else { *most };
        }
    }
    for (most, x) in most.iter_mut().zip(rest) {
        *most = if *x > *most { *x } else { *most };
    }
    in_halves(most, |a, b| if b > a { b } else { a })
}

/// The lanes, halves added to halves.
#[inline(always)]
fn total(sums: [f64; LANES]) -> f64 {
    in_halves(sums, |a, b| a + b)
}

/// The lanes, the second half of them joined to the first until there is one.
#[inline(always)]
fn in_halves<T: Copy>(mut lanes: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = join(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_counts_once() {
        for len in 0..70 {
            let x: Vec<f32> = (0..len).map(|i| (i * 7 % 11) as f32 - 20.0).collect();
            let exact: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            assert_eq!(sum(&x, |x| x * x), exact.iter().map(|x| x * x).sum::<f64>());
            assert_eq!(product(&x, &x), exact.iter().map(|x| x * x).sum::<f64>());
            assert_eq!(largest(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
        assert_eq!(largest(&[1.0, f64::NAN, 3.0]), 3.0);
    }
}
