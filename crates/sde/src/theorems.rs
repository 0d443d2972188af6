//! The paper's theorems in closed form, to order 1 in ρ; [`Modified`](crate::Modified) computes the same by
//! enumeration.
//!
//! g, H without an index are the gradient and Hessian of f, ξᵢ = ∇ℓᵢ − g, Zᵢ = ∇²ℓᵢ − H, V = E ξξᵀ over the samples,
//! and φ_k is [`Sampling::population_factor`](crate::Sampling::population_factor): 1 with replacement, (n − k)/(n − 1)
//! without.

use crate::algorithm::{Algorithm, AscentGradient, Normalisation, Sampling};
use crate::error::Error;
use crate::law::Law;
use crate::perturbed::norm;
use crate::problem::{Problem, mean_gradient, mean_hessian, mean_loss, not_empty};

/// tr V(x), the trace of the covariance of per-sample gradients. Costs 2n gradients.
///
/// # Panics
/// If the problem has no samples or no dimension.
#[track_caller]
pub fn noise_trace(problem: &dyn Problem, x: &[f64]) -> f64 {
    let deviations = deviations(problem, x);
    deviations.iter().map(|v| v * v).sum::<f64>() / problem.samples() as f64
}

/// Writes ½∇tr V(x) = E\[Zξ\] into `out`, `[d]`.
///
/// # Panics
/// If the problem has no samples or no dimension.
#[track_caller]
pub fn half_gradient_of_noise_trace(problem: &dyn Problem, x: &[f64], out: &mut [f64]) {
    let (n, d) = (problem.samples(), x.len());
    out.fill(0.);
    for (i, xi) in deviations(problem, x).chunks_exact(d).enumerate() {
        problem.add_hessian(i, x, xi, 1. / n as f64, out); // E[Hξ] = 0
    }
}

/// The function whose negative gradient is the drift of order 1: f for SGD, and for
///
/// | | unnormalised (USAM) | normalised (SAM) |
/// |---|---|---|
/// | n- | f + (ρ/2)‖g‖² (Theorem 3.4) | f + ρ‖g‖ |
/// | on micro-batches of m, or the whole batch, m = b | f + (ρ/2)‖g‖² + (ρ/2m) φ_m tr V (Theorems 3.3, 3.5) | f + ρ E‖∇f_I‖ (3.6–3.8) |
///
/// The expectation over micro-batches I is by enumeration.
///
/// # Errors
/// [`Error::Unsupported`] for the reweighted ascent gradient, whose drift is not a gradient, and for a normalisation
/// with a floor; [`Error::TooLarge`] if there are too many micro-batches to enumerate; as [`Algorithm::validate`].
pub fn potential(problem: &dyn Problem, algorithm: &Algorithm, x: &[f64]) -> Result<f64, Error> {
    let (n, m, rho) = (problem.samples(), algorithm.micro, algorithm.rho);
    not_empty(problem)?;
    algorithm.validate(n)?;
    let mut full = vec![0.; x.len()];
    mean_gradient(problem, x, &mut full);
    let size = norm(&full);
    let extra = match (algorithm.ascent, algorithm.normalisation) {
        (AscentGradient::None, _) => 0.,
        (AscentGradient::Gibbs { .. }, _) => {
            return Err(Error::unsupported("the reweighted ascent has no potential; expected another"));
        }
        (AscentGradient::Full, Normalisation::None) => size * size / 2.,
        (AscentGradient::Mean, Normalisation::None) => {
            let factor = algorithm.sampling.population_factor(n, m) / m as f64;
            (size * size + factor * noise_trace(problem, x)) / 2.
        }
        (_, Normalisation::Unit { floor }) if floor > 0. => {
            return Err(Error::unsupported(format!(
                "the normalisation with floor {floor} has no potential of this form; expected 0"
            )));
        }
        (AscentGradient::Full, Normalisation::Unit { .. }) => size,
        (AscentGradient::Mean, Normalisation::Unit { .. }) => expected_norm(problem, x, m, algorithm.sampling)?,
    };
    Ok(mean_loss(problem, x) + rho * extra)
}

/// Writes the drift of USAM's variants to order 1 in both parameters, −(g + ρHg + ρ(φ_m/m)E\[Zξ\]), into `out`,
/// without the last term for n-USAM.
///
/// It costs 3n per-sample gradients and 2n Hessian-vector products for any batch size, so it applies to problems that
/// are too large to enumerate.
///
/// # Errors
/// [`Error::Unsupported`] for other algorithms; as [`Algorithm::validate`].
pub fn usam_drift(problem: &dyn Problem, algorithm: &Algorithm, x: &[f64], out: &mut [f64]) -> Result<(), Error> {
    let (n, m, rho) = (problem.samples(), algorithm.micro, algorithm.rho);
    not_empty(problem)?;
    algorithm.validate(n)?;
    let share = match (algorithm.ascent, algorithm.normalisation) {
        (AscentGradient::Full, Normalisation::None) => 0.,
        (AscentGradient::Mean, Normalisation::None) => algorithm.sampling.population_factor(n, m) / m as f64,
        _ => return Err(no_theorem(algorithm)),
    };
    let (mut full, mut curved, mut noise) = (vec![0.; x.len()], vec![0.; x.len()], vec![0.; x.len()]);
    mean_gradient(problem, x, &mut full);
    mean_hessian(problem, x, &full, &mut curved);
    half_gradient_of_noise_trace(problem, x, &mut noise);
    for (j, out) in out.iter_mut().enumerate() {
        *out = -(full[j] + rho * (curved[j] + share * noise[j]));
    }
    Ok(())
}

/// Writes the diffusion matrix of USAM's variants to order 1 in ρ, with replacement, into `out`, `[d, d]`, without its
/// factor η: V/b + ρ(C + Cᵀ) with
///
/// > C = (1/b)(VH + K) + (1/bm) E\[ξξᵀZ\], K = E[ξ(Zg)ᵀ];  n-USAM: C = K/b.
///
/// At ρ = 0 all variants have the same, V/b: what differs between them at first order is the drift.
///
/// # Errors
/// [`Error::Unsupported`] for other algorithms, and for sampling without replacement; as [`Algorithm::validate`].
pub fn usam_diffusion(problem: &dyn Problem, algorithm: &Algorithm, x: &[f64], out: &mut [f64]) -> Result<(), Error> {
    let (n, d, rho) = (problem.samples(), x.len(), algorithm.rho);
    not_empty(problem)?;
    algorithm.validate(n)?;
    if algorithm.sampling == Sampling::WithoutReplacement {
        return Err(Error::unsupported("the diffusion in closed form is with replacement; expected that"));
    }
    if !matches!(
        (algorithm.ascent, algorithm.normalisation),
        (AscentGradient::Full | AscentGradient::Mean, Normalisation::None)
    ) {
        return Err(no_theorem(algorithm));
    }
    let (b, m) = (algorithm.batch as f64, algorithm.micro as f64);
    let mut full = vec![0.; d];
    mean_gradient(problem, x, &mut full);
    out.fill(0.);
    let (mut term, mut mean, mut curved) = (vec![0.; d], vec![0.; d], vec![0.; d]);
    mean_hessian(problem, x, &full, &mut curved);
    for (i, xi) in deviations(problem, x).chunks_exact(d).enumerate() {
        // What stands to the right of ξ in C: (Zg)ᵀ/b, and for the mean ascent also (Hξ)ᵀ/b + (Zξ)ᵀ/(bm).
        term.fill(0.);
        problem.add_hessian(i, x, &full, 1. / b, &mut term);
        (0..d).for_each(|j| term[j] -= curved[j] / b);
        if algorithm.ascent == AscentGradient::Mean {
            problem.add_hessian(i, x, xi, 1. / (b * m), &mut term);
            mean_hessian(problem, x, xi, &mut mean);
            (0..d).for_each(|j| term[j] += mean[j] / b * (1. - 1. / m));
        }
        for j in 0..d {
            for k in 0..d {
                out[j * d + k] += (xi[j] * xi[k] / b + rho * (xi[j] * term[k] + term[j] * xi[k])) / n as f64;
            }
        }
    }
    Ok(())
}

/// E‖∇f_γ(x)‖ over batches γ of k samples, by enumeration. It increases as k decreases (Proposition 3.9).
///
/// # Errors
/// [`Error::InvalidArgument`] if k is 0, or above the number of samples without replacement, or the problem is empty;
/// [`Error::TooLarge`] if there are too many batches to enumerate.
pub fn expected_norm(problem: &dyn Problem, x: &[f64], k: usize, sampling: Sampling) -> Result<f64, Error> {
    not_empty(problem)?;
    if k == 0 {
        return Err(Error::invalid("the size k of a batch is 0; expected at least 1"));
    }
    let law = Law::new(&Algorithm { sampling, ..Algorithm::sgd(k) }, problem.samples())?;
    let mut gradient = vec![0.; x.len()];
    let of = |(members, p): (&[(usize, f64)], f64)| {
        gradient.fill(0.);
        members.iter().for_each(|&(i, share)| problem.add_gradient(i, x, share, &mut gradient));
        p * norm(&gradient)
    };
    Ok(law.iter().map(of).sum())
}

fn no_theorem(algorithm: &Algorithm) -> Error {
    Error::unsupported(format!("{} has no closed form here; expected n-USAM, USAM or m-USAM", algorithm.name()))
}

/// ξᵢ of every sample, `[n, d]`.
#[track_caller]
fn deviations(problem: &dyn Problem, x: &[f64]) -> Vec<f64> {
    if let Err(error) = not_empty(problem) {
        panic!("{error}");
    }
    let d = x.len();
    let (mut full, mut all) = (vec![0.; d], vec![0.; problem.samples() * d]);
    mean_gradient(problem, x, &mut full);
    for (i, xi) in all.chunks_exact_mut(d).enumerate() {
        problem.add_gradient(i, x, 1., xi);
        xi.iter_mut().zip(&full).for_each(|(xi, g)| *xi -= g);
    }
    all
}
