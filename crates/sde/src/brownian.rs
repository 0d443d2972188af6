//! The increments of Brownian motions over a step: normal ones, and the discrete ones of weak integrators.

use crate::lanes::Number;
use crate::normal::pair;
use crate::sde::assert_time;

/// Fills `to`, `[q]`, with independent N(0, dt): ΔW of q Brownian motions. Takes 64 random bits for each, and 64 more
/// where q is odd.
///
/// # Panics
/// If `dt` is negative or not finite.
#[inline(always)]
#[track_caller]
pub fn gaussian<T: Number>(source: &mut T::Source, dt: f64, to: &mut [T]) {
    assert_time(dt);
    let deviation = dt.sqrt();
    let scaled = |radius, angle| {
        let (a, b) = pair(radius, angle);
        (deviation * a, deviation * b)
    };
    let (pairs, last) = to.as_chunks_mut();
    for [first, second] in pairs {
        (*first, *second) = T::draw_twice(source, scaled);
    }
    for last in last {
        (*last, _) = T::draw_twice(source, scaled);
    }
}

/// Fills `increments`, `[q]`, with independent numbers that are ±√(3 dt) with probability 1/6 each, and 0 otherwise,
/// and `signs`, `[q (q − 1)/2]`, with ±√dt, one half each. Takes 64 random bits for each increment and for two signs.
///
/// The increments have the first five moments of N(0, dt), the signs the first three, which suffices for integrators of
/// weak order 2 (Kloeden and Platen, 1992, §14.2).
///
/// # Panics
/// If `dt` is negative or not finite.
#[inline(always)]
#[track_caller]
pub fn discrete<T: Number>(source: &mut T::Source, dt: f64, increments: &mut [T], signs: &mut [T]) {
    assert_time(dt);
    for increment in increments {
        (*increment, _) = T::draw(source, |bits| (three_point(bits, dt), 0.));
    }
    for signs in signs.chunks_mut(2) {
        let (first, second) = T::draw(source, |bits| (two_point(bits, dt), two_point(bits >> 32, dt)));
        signs[0] = first;
        if let Some(last) = signs.get_mut(1) {
            *last = second;
        }
    }
}

/// ±√(3 dt) or 0.
#[inline(always)]
fn three_point(bits: u64, dt: f64) -> f64 {
    const SIXTH: u64 = u64::MAX / 6;
    let size = (3. * dt).sqrt();
    if bits < SIXTH {
        size
    } else if bits < 2 * SIXTH {
        -size
    } else {
        0.
    }
}

/// ±√dt from the lowest bit.
#[inline(always)]
fn two_point(bits: u64, dt: f64) -> f64 {
    if bits & 1 == 0 { dt.sqrt() } else { -dt.sqrt() }
}
