//! One step of a scheme, with any increments.

use crate::linear::{B, Kind, diagonal, general};
use msharp_sde::{Chain, EulerMaruyama, Milstein, Sde, WeakOrder2, stream};

/// The schemes of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scheme {
    Euler,
    Milstein,
    Weak2,
}

/// One step of a scheme from x with given increments.
pub fn step<E: Sde>(scheme: Scheme, sde: &E, dt: f64, x: &mut [f64], increments: &[f64], signs: &[f64]) {
    let mut scratch = vec![0.; 100];
    match scheme {
        Scheme::Euler => EulerMaruyama::new(sde, dt).unwrap().advance_with(x, increments, &mut scratch),
        Scheme::Milstein => Milstein::new(sde, dt).expect("its noise").advance_with(x, increments, &mut scratch),
        Scheme::Weak2 => WeakOrder2::new(sde, dt).unwrap().advance_with(x, increments, signs, &mut scratch),
    }
}

/// All values of `q` three-point increments and of a two-point one for each pair of them, with their probabilities.
pub fn outcomes(q: usize, dt: f64) -> Vec<(f64, Vec<f64>, Vec<f64>)> {
    /// Each list goes on with each of the values, which have these chances.
    fn each(lists: Vec<(f64, Vec<f64>)>, values: &[(f64, f64)]) -> Vec<(f64, Vec<f64>)> {
        let longer = |(p, list): &(f64, Vec<f64>)| -> Vec<_> {
            values.iter().map(|(more, value)| (p * more, [&list[..], &[*value]].concat())).collect()
        };
        lists.iter().flat_map(longer).collect()
    }
    let (far, near) = ((3. * dt).sqrt(), dt.sqrt());
    let (mut increments, mut signs) = (vec![(1., vec![])], vec![(1., vec![])]);
    for _ in 0..q {
        increments = each(increments, &[(1. / 6., far), (1. / 6., -far), (2. / 3., 0.)]);
    }
    for _ in 0..q * q.saturating_sub(1) / 2 {
        signs = each(signs, &[(0.5, near), (0.5, -near)]);
    }
    let pairs = increments.iter().flat_map(|(p, w)| signs.iter().map(move |(r, s)| (p * r, w.clone(), s.clone())));
    pairs.collect()
}

/// The mean of f after one step, which is right up to one power of dt more than the scheme's weak order.
pub fn after_a_step<E: Sde>(scheme: Scheme, sde: &E, start: &[f64], dt: f64, f: impl Fn(&[f64]) -> f64) -> f64 {
    let mean = |(p, increments, signs): (f64, Vec<f64>, Vec<f64>)| {
        let mut x = start.to_vec();
        step(scheme, sde, dt, &mut x, &increments, &signs);
        p * f(&x)
    };
    outcomes(sde.noise_type().sources(start.len()), dt).into_iter().map(mean).sum()
}

/// What the table tells of paths holds of what a chain draws: the mean and the spread after a step are those of the
/// sums.
#[test]
fn a_step_of_a_chain_draws_the_increments_of_its_scheme() {
    let (sde, dt, start) = (general(2), 0.25, [1., 0.5]);
    let mut scratch = vec![0.; 100];
    let mut check = |scheme: Scheme, chain: &dyn Chain| {
        let exact = [0, 1].map(|i| after_a_step(scheme, &sde, &start, dt, |x| x[i] * x[i]));
        let (mut mean, mut square, paths) = ([0.; 2], [0.; 2], 20_000);
        for path in 0..paths {
            let mut x = start;
            chain.step(&mut x, &mut stream(5, path), &mut scratch);
            for i in 0..2 {
                mean[i] += x[i] * x[i] / paths as f64;
                square[i] += x[i].powi(4) / paths as f64;
            }
        }
        for i in 0..2 {
            let z = (mean[i] - exact[i]) / ((square[i] - mean[i] * mean[i]) / paths as f64).sqrt();
            assert!(z.abs() < 4., "{scheme:?}: {} for {}, {z:.1} standard errors", mean[i], exact[i]);
        }
    };
    check(Scheme::Euler, &EulerMaruyama::new(&sde, dt).unwrap());
    check(Scheme::Weak2, &WeakOrder2::new(&sde, dt).unwrap());
}

#[test]
fn milstein_refuses_noise_that_it_is_wrong_for() {
    for sde in [general(2), diagonal(B[0], Kind::Diagonal)] {
        let error = Milstein::new(sde, 0.1).err().expect("several motions enter a component").to_string();
        assert!(error.contains("expects one Brownian motion") && error.contains("Sde::separable"), "{error}");
    }
}
