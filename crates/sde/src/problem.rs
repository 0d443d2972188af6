//! The seam of everything that is derived here: losses of samples that know their derivatives.

/// n samples, each with a loss of x ∈ ℝᵈ that knows its first three derivatives. The mean over them is f.
///
/// The derivatives are *added*, times a weight, to what is there already, so that means over batches need no memory of
/// their own. [`derivative_errors`](crate::derivative_errors) holds an implementation against finite differences.
///
/// ```
/// use msharp_sde::{Algorithm, Modified, Order, Problem, Sde};
///
/// /// ℓᵢ(x) = log cosh(x − cᵢ).
/// struct Cosh(Vec<f64>);
///
/// impl Problem for Cosh {
///     fn dim(&self) -> usize {
///         1
///     }
///     fn samples(&self) -> usize {
///         self.0.len()
///     }
///     fn loss(&self, i: usize, x: &[f64]) -> f64 {
///         (x[0] - self.0[i]).cosh().ln()
///     }
///     fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]) {
///         out[0] += weight * (x[0] - self.0[i]).tanh();
///     }
///     fn add_hessian(&self, i: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
///         let t = (x[0] - self.0[i]).tanh();
///         out[0] += weight * (1. - t * t) * v[0];
///     }
/// }
///
/// let problem = Cosh(vec![-1., 0.5, 0.6]);
/// let equation = Modified::new(&problem, Algorithm::m_usam(0.1, 1, 2), 0.05, Order::BEST)?;
/// let mut drift = [0.];
/// equation.drift(&[0.3], &mut drift);
/// assert!(drift[0] < 0.);
/// # Ok::<(), msharp_sde::Error>(())
/// ```
pub trait Problem: Sync {
    /// d.
    fn dim(&self) -> usize;

    /// n.
    fn samples(&self) -> usize;

    /// ℓᵢ(x).
    fn loss(&self, i: usize, x: &[f64]) -> f64;

    /// Adds weight·∇ℓᵢ(x) to `out`, `[d]`.
    fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]);

    /// Adds weight·∇²ℓᵢ(x)v to `out`, `[d]`.
    fn add_hessian(&self, i: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]);

    /// Adds weight·∇³ℓᵢ(x)[u, v, ·] to `out`, `[d]`. Only equations of order 2 in ρ ask for it.
    ///
    /// By default a five-point difference of [`add_hessian`](Problem::add_hessian) along u, right to about 1e-11 where
    /// the Hessian varies over lengths of the size of 1.
    fn add_third(&self, i: usize, x: &[f64], u: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        let length = crate::perturbed::norm(u);
        if length == 0. {
            return;
        }
        let h = STEP / length;
        for (far, share) in FIVE_POINTS {
            let there: Vec<f64> = x.iter().zip(u).map(|(x, u)| x + far * h * u).collect();
            self.add_hessian(i, &there, v, weight * share / h, out);
        }
    }
}

/// Where a function is looked at for its slope, in steps, and with which weights: the error is of order h⁴, and of
/// rounding over h.
pub(crate) const FIVE_POINTS: [(f64, f64); 4] = [(-2., 1. / 12.), (-1., -8. / 12.), (1., 8. / 12.), (2., -1. / 12.)];

/// h, with which both errors are small where functions and lengths are of the size of 1.
pub(crate) const STEP: f64 = 1e-3;

/// f(x), the mean over all samples.
pub fn mean_loss<P: Problem + ?Sized>(problem: &P, x: &[f64]) -> f64 {
    let n = problem.samples();
    (0..n).map(|i| problem.loss(i, x)).sum::<f64>() / n as f64
}

/// Writes ∇f(x) into `out`.
pub fn mean_gradient<P: Problem + ?Sized>(problem: &P, x: &[f64], out: &mut [f64]) {
    let n = problem.samples();
    out.fill(0.);
    (0..n).for_each(|i| problem.add_gradient(i, x, 1. / n as f64, out));
}

/// Writes ∇²f(x)v into `out`.
pub fn mean_hessian<P: Problem + ?Sized>(problem: &P, x: &[f64], v: &[f64], out: &mut [f64]) {
    let n = problem.samples();
    out.fill(0.);
    (0..n).for_each(|i| problem.add_hessian(i, x, v, 1. / n as f64, out));
}

/// The errors of the first, second and third derivative of every sample at x, the largest of each, against five-point
/// differences of the one before along all axes: relative to the derivative's norm, or absolute where that is below 1.
/// A right implementation, of losses and derivatives of the size of 1, is below 1e-8; a wrong one has the size of its
/// mistake, and NaN where something is undefined.
pub fn derivative_errors<P: Problem + ?Sized>(problem: &P, x: &[f64]) -> [f64; 3] {
    let d = problem.dim();
    let unit = |k: usize| (0..d).map(|j| f64::from(u8::from(j == k))).collect::<Vec<f64>>();
    // With a weight, and added to what is there: who forgets either is found out.
    let (weight, there) = (0.7, 0.3);
    let written = |fill: &dyn Fn(f64, &mut [f64])| {
        let mut out = vec![there; d];
        fill(weight, &mut out);
        out.into_iter().map(|value| (value - there) / weight).collect::<Vec<f64>>()
    };
    let slope = |f: &dyn Fn(&[f64]) -> Vec<f64>, direction: &[f64]| {
        let at = |far: f64| f(&x.iter().zip(direction).map(|(x, u)| x + far * STEP * u).collect::<Vec<f64>>());
        let all = FIVE_POINTS.map(|(far, share)| at(far).into_iter().map(|f| f * share / STEP).collect::<Vec<f64>>());
        (0..all[0].len()).map(|j| all.iter().map(|f| f[j]).sum()).collect::<Vec<f64>>()
    };
    let mut worst = [0f64; 3];
    let mut compare = |order: usize, mine: &[f64], other: &[f64]| {
        let scale = other.iter().map(|v| v * v).sum::<f64>().sqrt().max(1.);
        let error = mine.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        let error = (error / scale).abs(); // NaN has a sign, and the one above all numbers is the positive one
        if error.total_cmp(&worst[order]).is_gt() {
            worst[order] = error;
        }
    };
    for i in 0..problem.samples() {
        let gradient = |x: &[f64]| written(&|weight, out| problem.add_gradient(i, x, weight, out));
        let mine = gradient(x);
        let other: Vec<f64> = (0..d).map(|k| slope(&|x| vec![problem.loss(i, x)], &unit(k))[0]).collect();
        compare(0, &mine, &other);
        for k in 0..d {
            let u = unit(k);
            let hessian = |x: &[f64]| written(&|weight, out| problem.add_hessian(i, x, &u, weight, out));
            compare(1, &hessian(x), &slope(&gradient, &u));
            for l in 0..d {
                let v = unit(l);
                compare(2, &written(&|weight, out| problem.add_third(i, x, &u, &v, weight, out)), &slope(&hessian, &v));
            }
        }
    }
    worst
}
