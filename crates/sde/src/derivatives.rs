//! Numerical validation of the derivatives of a problem.

use crate::problem::{FIVE_POINTS, Problem, STEP, not_empty};

/// The largest relative errors of the first, second and third derivative over all samples at x, `[d]`, against
/// five-point differences of the next lower derivative along all axes. Use it to test a [`Problem`] of your own.
///
/// Each component is compared relative to the larger of its two values, so that a mistake in a small component shows.
/// The uncertainty of the difference itself is subtracted: with step h = 1e-3, the rounding 16ε|F|/h of the
/// differenced component F, and the deviation from the difference with step 2h, about 5e-13 of the fifth derivative of
/// F. A component of a gradient is compared down to 4e-12 of the loss.
///
/// A correct implementation has errors below 1e-8, if F varies over lengths of order 1 and is not a difference of much
/// larger numbers. A mistake shows with its relative size, up to 2; an undefined value as NaN. Costs O(n d²) third
/// derivatives.
///
/// # Panics
/// If the problem has no samples or no dimension.
#[track_caller]
pub fn derivative_errors(problem: &dyn Problem, x: &[f64]) -> [f64; 3] {
    if let Err(error) = not_empty(problem) {
        panic!("{error}");
    }
    let d = problem.dim();
    let unit = |k: usize| (0..d).map(|j| f64::from(u8::from(j == k))).collect::<Vec<f64>>();
    let mut worst = [0f64; 3];
    let mut compare = |order: usize, mine: &[f64], other: &[Slope]| {
        for (mine, other) in mine.iter().zip(other) {
            let error = other.error(*mine);
            // NaN has a sign, and the one above all numbers is the positive one.
            if error.abs().total_cmp(&worst[order]).is_gt() {
                worst[order] = error.abs();
            }
        }
    };
    for i in 0..problem.samples() {
        let gradient = |x: &[f64]| written(d, &|weight, out| problem.add_gradient(i, x, weight, out));
        let other = (0..d).flat_map(|k| slopes(&|x| vec![problem.loss(i, x)], x, &unit(k)));
        compare(0, &gradient(x), &other.collect::<Vec<Slope>>());
        for k in 0..d {
            let u = unit(k);
            let hessian = |x: &[f64]| written(d, &|weight, out| problem.add_hessian(i, x, &u, weight, out));
            compare(1, &hessian(x), &slopes(&gradient, x, &u));
            for l in 0..d {
                let v = unit(l);
                let third = written(d, &|weight, out| problem.add_third(i, x, &u, &v, weight, out));
                compare(2, &third, &slopes(&hessian, x, &v));
            }
        }
    }
    worst
}

/// What `add` adds, times a weight, to numbers that are not 0: an implementation without the weight or the addition
/// differs.
fn written(d: usize, add: &dyn Fn(f64, &mut [f64])) -> Vec<f64> {
    let weight = 0.7;
    let mut alone = vec![0.; d];
    add(weight, &mut alone);
    let there: Vec<f64> = alone.iter().map(|value| if *value == 0. { 1. } else { 0.4 * value }).collect();
    let mut sum = there.clone();
    add(weight, &mut sum);
    sum.iter().zip(&there).map(|(sum, there)| (sum - there) / weight).collect()
}

/// A derivative by a difference, and how far it may be off.
struct Slope {
    value: f64,
    uncertain: f64,
}

impl Slope {
    /// That of a derivative, for the larger of the two.
    fn error(&self, mine: f64) -> f64 {
        let off = (mine - self.value).abs() - self.uncertain;
        if off <= 0. { 0. } else { off / mine.abs().max(self.value.abs()) } // NaN stays NaN
    }
}

/// Those of all components of `f` along an axis.
fn slopes(f: &dyn Fn(&[f64]) -> Vec<f64>, x: &[f64], axis: &[f64]) -> Vec<Slope> {
    let at = |far: f64| f(&x.iter().zip(axis).map(|(x, u)| x + far * STEP * u).collect::<Vec<f64>>());
    let (near, far) = (FIVE_POINTS.map(|(far, _)| at(far)), FIVE_POINTS.map(|(far, _)| at(2. * far)));
    let slope = |values: &[Vec<f64>; 4], j: usize, step: f64| -> f64 {
        values.iter().zip(FIVE_POINTS).map(|(f, (_, share))| f[j] * share / step).sum()
    };
    let of = |j: usize| {
        let value = slope(&near, j, STEP);
        let largest = near.iter().map(|f| f[j].abs()).fold(0., f64::max);
        let truncated = (slope(&far, j, 2. * STEP) - value).abs();
        Slope { value, uncertain: truncated + 16. * f64::EPSILON * largest / STEP }
    };
    (0..near[0].len()).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ℓ(x) = Σⱼ sⱼ sin(xⱼ + 1), of whose derivatives one component is multiplied by 1.01.
    struct Sines {
        sizes: [f64; 2],
        wrong: Option<(usize, usize)>,
    }

    impl Sines {
        fn add(&self, order: usize, weight: f64, of: impl Fn(usize) -> f64, out: &mut [f64]) {
            for (j, out) in out.iter_mut().enumerate() {
                let mistake = if self.wrong == Some((order, j)) { 1.01 } else { 1. };
                *out += weight * mistake * self.sizes[j] * of(j);
            }
        }
    }

    impl Problem for Sines {
        fn dim(&self) -> usize {
            2
        }
        fn samples(&self) -> usize {
            1
        }
        fn loss(&self, _: usize, x: &[f64]) -> f64 {
            self.sizes[0] * (x[0] + 1.).sin() + self.sizes[1] * (x[1] + 1.).sin()
        }
        fn add_gradient(&self, _: usize, x: &[f64], weight: f64, out: &mut [f64]) {
            self.add(0, weight, |j| (x[j] + 1.).cos(), out);
        }
        fn add_hessian(&self, _: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
            self.add(1, weight, |j| -(x[j] + 1.).sin() * v[j], out);
        }
        fn add_third(&self, _: usize, x: &[f64], u: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
            self.add(2, weight, |j| -(x[j] + 1.).cos() * u[j] * v[j], out);
        }
    }

    const X: [f64; 2] = [0.3, -0.2];

    #[test]
    fn a_small_component_and_a_small_problem_show_their_mistakes() {
        for sizes in [[1., 1.], [1e-6, 1e-6], [1., 1e-6], [1e6, 1.], [1e-200, 1e-203], [1e150, 1e147]] {
            let right = derivative_errors(&Sines { sizes, wrong: None }, &X);
            assert!(right.iter().all(|error| *error < 1e-8), "{sizes:?}: {right:?}");
            for order in 0..3 {
                for j in 0..2 {
                    let found = derivative_errors(&Sines { sizes, wrong: Some((order, j)) }, &X);
                    assert!(found[order] > 5e-3, "{sizes:?}, derivative {}, component {j}: {found:?}", order + 1);
                }
            }
        }
    }

    /// Of second and third derivatives even what no difference of the loss can show.
    #[test]
    fn derivatives_of_a_gradient_are_compared_however_small_beside_the_loss() {
        let sizes = [1e12, 1e-12];
        assert!(derivative_errors(&Sines { sizes, wrong: None }, &X).iter().all(|error| *error < 1e-8));
        for order in [1, 2] {
            assert!(derivative_errors(&Sines { sizes, wrong: Some((order, 1)) }, &X)[order] > 5e-3);
        }
    }

    #[test]
    #[should_panic(expected = "the problem has no samples; expected at least one")]
    fn an_empty_problem_is_not_right() {
        let empty = crate::problems::Quadratic { hessians: vec![], centres: vec![], dim: 2 };
        derivative_errors(&empty, &X);
    }
}
