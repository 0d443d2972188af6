//! The exponential function and the normal distribution, without calls and branches in f32: loops over them become
//! vectors. f64 takes libm's.

use std::f32::consts::LOG2_E;

/// eˣ for x ≤ 0, to 2 units in the last place; 0 from −87.3 on, where f32 would leave its normal numbers.
///
/// x = n ln 2 + r with |r| ≤ ln 2 / 2, and eʳ by its series, pairs of terms at a time (Estrin's scheme), which a
/// processor can compute side by side. Every product is rounded together with the sum that it is for, so the bits do
/// not depend on the processor.
#[inline(always)]
pub(crate) fn exp_f32(x: f32) -> f32 {
    /// Adding it rounds to an integer, which is then in the last bits.
    const ROUND: f32 = 1.5 * (1 << 23) as f32;
    /// ln 2 in two parts; the first has few bits, so that n times it is exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let shifted = x.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2.1, n.mul_add(-LN_2.0, x));
    let square = r * r;
    let low = r.mul_add(1.0 / 6.0, 0.5).mul_add(square, r);
    let high = r.mul_add(1.0 / 5040.0, 1.0 / 720.0).mul_add(square, r.mul_add(1.0 / 120.0, 1.0 / 24.0));
    let series = high.mul_add(square * square, low) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23)); // 2ⁿ
    if x < -87.3 { 0.0 } else { series * power }
}

/// Φ(x) and φ(x) of the standard normal distribution, Φ to 2e-7, and on the left of 0 to 1e-6 of itself.
///
/// Φ(−a) = exp(−a²/2) t P(t), t = 1 / (1 + 0.35 a), P of degree 8 fitted to 3e-8 of the tail on [0, 14].
#[inline(always)]
pub(crate) fn normal_f32(x: f32) -> (f32, f32) {
    const TAIL: [f32; 9] = [
        0.139_621_4,
        0.139_861_87,
        0.119_832_87,
        0.105_508,
        -0.023_109_824,
        0.159_174_14,
        -0.255_714_24,
        0.143_971_7,
        -0.029_145_929,
    ];
    let t = 1.0 / x.abs().mul_add(0.35, 1.0);
    let pair = |i: usize| t.mul_add(TAIL[i + 1], TAIL[i]);
    let t2 = t * t;
    let t4 = t2 * t2;
    let high = t4.mul_add(TAIL[8], pair(6).mul_add(t2, pair(4)));
    let tail = high.mul_add(t4, pair(2).mul_add(t2, pair(0)));
    let bell = exp_f32(-0.5 * x * x);
    let tail = tail * t * bell;
    (if x > 0.0 { 1.0 - tail } else { tail }, bell * 0.398_942_3)
}

/// As [`normal_f32`], to the digits of f64 near 0 and to 1e-16 in the tail.
pub(crate) fn normal_f64(x: f64) -> (f64, f64) {
    let bell = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (0.5 * (1.0 + candle_core::cpu::erf::erf_f64(x * std::f64::consts::FRAC_1_SQRT_2)), bell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_has_all_its_digits() {
        let mut worst = 0.0f64;
        for i in 0..=1_000_000 {
            let x = -87.2 * i as f32 / 1e6;
            let exact = (x as f64).exp();
            worst = worst.max((exp_f32(x) as f64 / exact - 1.0).abs());
        }
        assert!(worst < 2.0 * f32::EPSILON as f64, "{worst:e}");
        assert_eq!([0.0, -87.4, -1e30, f32::NEG_INFINITY].map(exp_f32), [1.0, 0.0, 0.0, 0.0]);
        assert!(exp_f32(f32::NAN).is_nan());
    }

    #[test]
    fn the_normal_distribution_is_libms() {
        for i in -1_300_000..=1_300_000 {
            let x = i as f32 * 1e-5;
            let ((cdf, pdf), (exact, bell)) = (normal_f32(x), normal_f64(x as f64));
            assert!((cdf as f64 - exact).abs() < 2.5e-7, "Φ({x}) is {cdf}, not {exact}");
            assert!(
                (pdf as f64 - bell).abs() < 2e-7 && (pdf as f64 - bell).abs() < 4e-6 * bell,
                "φ({x}) is {pdf}, not {bell}"
            );
            if x > -5.0 && x < 0.0 {
                assert!((cdf as f64 / exact - 1.0).abs() < 2e-6, "Φ({x}) is {cdf}, not {exact}");
            }
        }
        assert_eq!([f32::NEG_INFINITY, f32::INFINITY].map(normal_f32), [(0.0, 0.0), (1.0, 0.0)]);
        assert!(normal_f32(f32::NAN).1.is_nan());
    }
}
