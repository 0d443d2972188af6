//! The convergence orders of the schemes, as a table.
//!
//! Weak errors have no noise: where all increments are discrete, expectations are sums over their values. Gaussian ones
//! are replaced by three-point ones, which have the same moments as far as these polynomials ask. Strong errors are
//! means over paths that share their Brownian motions with the exact solution, or with the scheme on a finer grid where
//! that is not known.

use crate::linear::{B, Kind, Linear, SEPARABLE, diagonal, general};
use crate::step::{Scheme, outcomes, step};
use msharp_sde::{Sde, brownian, stream};

/// How the noise of a row enters.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Enters {
    OneMotion,
    /// So many motions that do not commute.
    Motions(usize),
    /// Diagonal, σᵢ of all of x.
    Coupled,
    /// Diagonal, σᵢ of xᵢ alone.
    Separable,
    Additive,
}

/// Scheme, noise, weak order, strong order: none where the increments are not those of a motion.
const TABLE: [(Scheme, Enters, f64, Option<f64>); 14] = {
    use Enters::{Additive, Coupled, Motions, OneMotion, Separable};
    use Scheme::{Euler, Milstein, Weak2};
    [
        (Euler, OneMotion, 1., Some(0.5)),
        (Euler, Motions(2), 1., Some(0.5)),
        (Euler, Coupled, 1., Some(0.5)),
        (Euler, Separable, 1., Some(0.5)),
        (Euler, Additive, 1., Some(1.)),
        (Milstein, OneMotion, 1., Some(1.)),
        (Milstein, Separable, 1., Some(1.)),
        (Milstein, Additive, 1., Some(1.)),
        (Weak2, OneMotion, 2., None),
        (Weak2, Motions(2), 2., None),
        (Weak2, Motions(3), 2., None),
        (Weak2, Coupled, 2., None),
        (Weak2, Separable, 2., None),
        (Weak2, Additive, 2., None),
    ]
};

#[test]
fn weak_orders_are_those_of_the_table() {
    for (scheme, noise, order, _) in TABLE {
        let sde = match noise {
            Enters::OneMotion => general(1),
            Enters::Motions(q) => general(q),
            Enters::Coupled => diagonal(B[0], Kind::Diagonal),
            Enters::Separable => diagonal(SEPARABLE, Kind::Diagonal),
            Enters::Additive => diagonal(SEPARABLE, Kind::Additive),
        };
        let slope = (weak_error(scheme, &sde, 32) / weak_error(scheme, &sde, 64)).log2();
        assert!((slope - order).abs() < 0.1, "{scheme:?}, {noise:?}: weak order {slope:.3}, expected {order}");
    }
}

#[test]
fn strong_orders_are_those_of_the_table() {
    for (scheme, noise, _, order) in TABLE {
        let Some(order) = order else { continue };
        let slope = (strong_error(scheme, noise, 16) / strong_error(scheme, noise, 64)).log2() / 2.;
        assert!((slope - order).abs() < 0.1, "{scheme:?}, {noise:?}: strong order {slope:.3}, expected {order}");
    }
}

/// The largest error at time 1, over the moments of order 1 and 2 of a linear equation: a step is affine in x, so that
/// these moments after it are linear in those before.
fn weak_error(scheme: Scheme, sde: &Linear, steps: i32) -> f64 {
    let (x, dt) = ([1., 0.5], 1. / f64::from(steps));
    let affine: Vec<(f64, [[f64; 3]; 3])> = outcomes(sde.noise_type().sources(2), dt)
        .into_iter()
        .map(|(p, increments, signs)| {
            let from = |x: [f64; 2]| {
                let mut x = x;
                step(scheme, sde, dt, &mut x, &increments, &signs);
                x
            };
            let (zero, first, second) = (from([0., 0.]), from([1., 0.]), from([0., 1.]));
            let row = |i: usize| [zero[i], first[i] - zero[i], second[i] - zero[i]];
            (p, [[1., 0., 0.], row(0), row(1)])
        })
        .collect();
    // the second moments of (1, x, y)
    let mut m = [[1., x[0], x[1]], [x[0], x[0] * x[0], x[0] * x[1]], [x[1], x[0] * x[1], x[1] * x[1]]];
    for _ in 0..steps {
        let mut after = [[0.; 3]; 3];
        for (p, t) in &affine {
            for (i, j, k, l) in (0..81).map(|n| (n / 27, n / 9 % 3, n / 3 % 3, n % 3)) {
                after[i][j] += p * t[i][k] * m[k][l] * t[j][l];
            }
        }
        m = after;
    }
    let (exact, found) = (sde.exact(x), [1., m[0][1], m[0][2], m[1][1], m[1][2], m[2][2]]);
    (0..6).map(|i| (exact[i] - found[i]).abs()).fold(0., f64::max)
}

/// The increments of a path on the finest grid.
type Fine<'a> = &'a [[f64; 2]];

const FINE: usize = 1024;

/// An equation with its solution at time 1 from (1, ½) as a function of the motions, where that is known.
type Known = (Linear, Option<fn(Fine) -> [f64; 2]>);

fn total(fine: Fine, k: usize) -> f64 {
    fine.iter().map(|w| w[k]).sum()
}

fn with_solution(noise: Enters) -> Known {
    match noise {
        // growth C and rotation S by one motion commute: x turns by S W − C S and grows by exp(A − (C² − S²)/2 + C W)
        Enters::OneMotion => {
            const A: f64 = -0.3;
            const C: f64 = 0.4;
            const S: f64 = 0.7;
            let sde = Linear { a: [[A, 0.], [0., A]], b: vec![[[C, -S], [S, C]]], kind: Kind::General };
            let exact = |fine: Fine| {
                let w = total(fine, 0);
                let (size, (sin, cos)) = ((A - 0.5 * (C * C - S * S) + C * w).exp(), (S * w - C * S).sin_cos());
                [size * (cos - 0.5 * sin), size * (sin + 0.5 * cos)]
            };
            (sde, Some(exact))
        }
        Enters::Motions(q) => (general(q), None),
        Enters::Coupled => (diagonal(B[0], Kind::Diagonal), None),
        // geometric Brownian motions: exp(a − σ²/2 + σ W)
        Enters::Separable => {
            let sde = Linear { a: [[-0.5, 0.], [0., 0.3]], b: vec![SEPARABLE], kind: Kind::Diagonal };
            let exact = |fine: Fine| {
                let grown = |a: f64, s: f64, w: f64| (a - 0.5 * s * s + s * w).exp();
                [grown(-0.5, 0.6, total(fine, 0)), 0.5 * grown(0.3, 0.4, total(fine, 1))]
            };
            (sde, Some(exact))
        }
        // Ornstein and Uhlenbeck: ∫ exp(−θ (1 − t)) dW by the midpoints of the fine grid
        Enters::Additive => {
            let sde = Linear { a: [[-1., 0.], [0., -2.]], b: vec![SEPARABLE], kind: Kind::Additive };
            let exact = |fine: Fine| {
                let end = |theta: f64, x: f64, sigma: f64, k: usize| {
                    let left = |i: usize| 1. - (i as f64 + 0.5) / fine.len() as f64;
                    let noise: f64 = fine.iter().enumerate().map(|(i, w)| (-theta * left(i)).exp() * w[k]).sum();
                    x * (-theta).exp() + sigma * noise
                };
                [end(1., 1., 0.6, 0), end(2., 0.5, 0.4, 1)]
            };
            (sde, Some(exact))
        }
    }
}

/// The root of the mean squared error at time 1.
fn strong_error(scheme: Scheme, noise: Enters, steps: usize) -> f64 {
    let (sde, exact) = with_solution(noise);
    let (paths, q) = (2000, sde.noise_type().sources(2));
    let solved = |fine: Fine, steps: usize| {
        let mut x = [1., 0.5];
        for coarse in fine.chunks(FINE / steps) {
            let total = [0, 1].map(|k| coarse.iter().map(|w| w[k]).sum::<f64>());
            step(scheme, &sde, 1. / steps as f64, &mut x, &total[..q], &[]);
        }
        x
    };
    let mut sum = 0.;
    for path in 0..paths {
        let (mut stream, mut fine) = (stream(3, path), [[0.; 2]; FINE]);
        for increments in &mut fine {
            brownian::gaussian(&mut stream, 1. / FINE as f64, &mut increments[..q]);
        }
        let (x, exact) = (solved(&fine, steps), exact.map_or_else(|| solved(&fine, FINE), |exact| exact(&fine)));
        sum += (x[0] - exact[0]).powi(2) + (x[1] - exact[1]).powi(2);
    }
    (sum / paths as f64).sqrt()
}
