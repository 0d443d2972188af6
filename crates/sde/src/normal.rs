//! Normal numbers out of random bits, without a branch, so that several are made at once.
//!
//! Box and Muller's transformation (1958), with its own logarithm, sine and cosine: the system's are calls, one number
//! at a time, and differ from system to system. Only operations that IEEE 754 rounds exactly are used, so the bits are
//! the same on every processor. The polynomials are those of fdlibm (Sun Microsystems, 1993).

use std::f64::consts::{FRAC_PI_2, LN_2};

/// The exponent and sign of the numbers in [1, 2).
const ONE: u64 = 0x3ff0_0000_0000_0000;

/// Two independent standard normal numbers out of 128 independent random bits.
///
/// Of `radius` the upper 52 bits count, so that no number is beyond √(104 ln 2) = 8.49, which one in 5·10¹⁶ should be.
#[inline(always)]
pub(crate) fn pair(radius: u64, angle: u64) -> (f64, f64) {
    let uniform = 2. - f64::from_bits(radius >> 12 | ONE); // in (0, 1]
    let radius = (-2. * ln(uniform)).sqrt();
    // A quarter of the circle from 52 bits, and which quarter from the two lowest.
    let (sin, cos) = sin_cos((f64::from_bits(angle >> 12 | ONE) - 1.5) * FRAC_PI_2);
    let (a, b) = if angle & 1 == 0 { (cos, sin) } else { (sin, cos) };
    let sign = (angle & 2) << 62;
    (f64::from_bits(a.to_bits() ^ sign) * radius, f64::from_bits(b.to_bits() ^ sign) * radius)
}

/// ln u of a normal u > 0.
#[inline(always)]
fn ln(u: f64) -> f64 {
    /// √½, but for its lower bits.
    const LOW: u64 = 0x3fe6_a09e_0000_0000;
    const L: [f64; 7] = [
        6.666_666_666_666_735e-1,
        3.999_999_999_940_942e-1,
        2.857_142_874_366_239e-1,
        2.222_219_843_214_978_4e-1,
        1.818_357_216_161_805e-1,
        1.531_383_769_920_937_3e-1,
        1.479_819_860_511_658_6e-1,
    ];
    // u = 2ᵏ (1 + f) with 1 + f from √½ to √2. k goes through the mantissa of 2⁵²: older processors convert no u64.
    let shifted = u.to_bits().wrapping_add(ONE - LOW);
    let k = f64::from_bits(shifted >> 52 | 0x4330_0000_0000_0000) - (4_503_599_627_370_496. + 1023.);
    let f = f64::from_bits((shifted & 0x000f_ffff_ffff_ffff).wrapping_add(LOW)) - 1.;
    let s = f / (2. + f);
    let z = s * s;
    let w = z * z;
    let even = w * (L[1] + w * (L[3] + w * L[5]));
    let odd = z * (L[0] + w * (L[2] + w * (L[4] + w * L[6])));
    k * LN_2 + s * (2. + (even + odd)) // ln (1 + f) = 2 artanh s
}

/// The sine and the cosine of x in [−π/4, π/4].
#[inline(always)]
fn sin_cos(x: f64) -> (f64, f64) {
    const S: [f64; 6] = [
        -1.666_666_666_666_663_2e-1,
        8.333_333_333_322_49e-3,
        -1.984_126_982_985_795e-4,
        2.755_731_370_707_006_8e-6,
        -2.505_076_025_340_686_3e-8,
        1.589_690_995_211_55e-10,
    ];
    const C: [f64; 6] = [
        4.166_666_666_666_66e-2,
        -1.388_888_888_887_411e-3,
        2.480_158_728_947_673e-5,
        -2.755_731_435_139_066_3e-7,
        2.087_572_321_298_175e-9,
        -1.135_964_755_778_819_5e-11,
    ];
    let z = x * x;
    let w = z * z;
    let sin = x + x * z * (S[0] + z * (S[1] + z * S[2]) + z * w * (S[3] + z * (S[4] + z * S[5])));
    let cos = z * (C[0] + z * (C[1] + z * C[2])) + w * w * (C[3] + z * (C[4] + z * C[5]));
    (sin, 1. + z * (cos - 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::stream;

    #[test]
    fn logarithm_sine_and_cosine_are_the_systems_to_some_ulps() {
        let mut bits = stream(1, 0);
        for _ in 0..100_000 {
            let u = (bits.bits() >> 12 | 1) as f64 / 2f64.powi(52);
            for u in [u, u * u * u, 1. - u * u * 1e-6, f64::EPSILON * u] {
                let error = (ln(u) - u.ln()).abs() / u.ln().abs().max(f64::MIN_POSITIVE);
                assert!(error < 3. * f64::EPSILON, "ln {u}: {} for {}", ln(u), u.ln());
            }
            let x = (u - 0.5) * FRAC_PI_2;
            let (sin, cos) = sin_cos(x);
            assert!((sin - x.sin()).abs() <= f64::EPSILON * x.sin().abs(), "sin {x}: {sin}");
            assert!((cos - x.cos()).abs() <= f64::EPSILON, "cos {x}: {cos}");
        }
        assert_eq!((ln(1.), sin_cos(0.)), (0., (0., 1.)));
    }

    /// The corners of the bits: the ends of the radius, and all four quarters of the circle.
    #[test]
    fn a_pair_is_a_point_of_the_plane() {
        let longest = (104. * 2f64.ln()).sqrt();
        for angle in [0, u64::MAX, 1, 2, 3, 1 << 63 | 1, 1 << 63 | 2] {
            let (a, b) = pair(u64::MAX, angle);
            assert!((a.hypot(b) - longest).abs() < 1e-14 * longest, "{a}, {b}");
            let (a, b) = pair(0, angle);
            assert_eq!((a.abs(), b.abs()), (0., 0.));
        }
        let quarter = |angle: u64| {
            let (a, b) = pair(1 << 63, 1 << 63 | angle);
            (a.round() as i64, b.round() as i64)
        };
        assert_eq!([0, 1, 2, 3].map(quarter), [(1, 0), (0, 1), (-1, 0), (0, -1)]);
    }
}
