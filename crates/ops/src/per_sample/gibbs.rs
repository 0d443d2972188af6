//! The Gibbs weights of RW-SAM, and the temperature that makes them comparable over a training run.

use crate::Range;
use candle_core::{Result, Tensor};

/// How λ relates to the norms. A raw λ depends on their scale, which changes tenfold within 100 steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Temperature {
    /// λ as in the paper: pᵢ ∝ exp(λ‖gᵢ‖).
    Raw(f64),
    /// pᵢ ∝ exp(λ‖gᵢ‖/mean‖g‖): the same λ for small and large gradients.
    Relative(f64),
    /// The λ for which 1/Σpᵢ² = m: RW-SAM and m-SAM then have the same parameter.
    EffectiveSize(f64),
}

impl Temperature {
    /// What a λ may be, raw or relative.
    pub const LAMBDA: Range = Range::AT_LEAST_0;
    /// What an effective size may be, in samples.
    pub const SIZE: Range = Range::AT_LEAST_1;

    /// # Errors
    /// If λ is below 0, an effective size below 1, or either no finite number.
    pub fn check(&self) -> Result<()> {
        match *self {
            Temperature::Raw(lambda) | Temperature::Relative(lambda) => Self::LAMBDA.check("lambda", lambda),
            Temperature::EffectiveSize(m) => Self::SIZE.check("the effective size", m),
        }
    }
}

/// pᵢ = exp(λsᵢ)/Σⱼexp(λsⱼ) for the norms sᵢ: the maximiser of Σpᵢsᵢ + H(P)/λ over the simplex (RW-SAM, the paper's
/// Gibbs weights). They sum to 1; λ = 0 gives 1/b exactly.
///
/// The maximum is subtracted before λ multiplies, so nothing overflows, for any finite norms and λ ≥ 0. A norm that is
/// not finite makes weights that are not finite, and so a loss that is not.
///
/// ```
/// use msharp_ops::{Temperature, effective_size, gibbs};
/// let weights = gibbs(&[1., 2., 3., 100.], Temperature::EffectiveSize(2.));
/// assert!((effective_size(&weights) - 2.).abs() < 1e-6);
/// ```
///
/// # Panics
/// If [`Temperature::check`] is an error; [`reweight`](crate::reweight) returns it.
#[track_caller]
pub fn gibbs(norms: &[f64], temperature: Temperature) -> Vec<f64> {
    if let Err(error) = temperature.check() {
        panic!("{error}");
    }
    match temperature {
        Temperature::Raw(lambda) => softmax(norms, lambda),
        Temperature::Relative(lambda) => {
            let mean: f64 = norms.iter().map(|s| s / norms.len() as f64).sum();
            let scaled: Vec<f64> = norms.iter().map(|s| if mean == 0. { 0. } else { s / mean }).collect();
            softmax(&scaled, lambda)
        }
        Temperature::EffectiveSize(m) => softmax(norms, lambda_for_size(norms, m)),
    }
}

/// m_eff = 1/Σpᵢ²: the number of samples that a weighted mean really averages, from 1 to b.
///
/// For weights independent of the gradients E‖g̃‖² = ‖∇f‖² + tr V/m_eff, as for a micro-batch of m_eff samples.
/// NaN of no weights.
pub fn effective_size(weights: &[f64]) -> f64 {
    if weights.is_empty() {
        return f64::NAN;
    }
    1. / weights.iter().map(|p| p * p).sum::<f64>()
}

/// The q-quantile of `values` for q in [0, 1], by the nearest rank; NaN if there are none.
///
/// # Panics
/// For another q.
#[track_caller]
pub fn quantile(values: &[f64], q: f64) -> f64 {
    assert!(Range::SHARE.holds(q), "the quantile of {q}; expected {}", Range::SHARE);
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (q * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}

/// The weights of a batch and their statistics; all f64, on the device of the norms.
#[derive(Clone, Debug)]
pub struct Reweighted {
    /// `[b]`: [`gibbs`] of the norms.
    pub weights: Tensor,
    /// `[]`: their [`effective_size`].
    pub effective_size: Tensor,
    /// `[]` each: the 0.1-, 0.5- and 0.9-[`quantile`] of the norms.
    pub quantiles: [Tensor; 3],
}

fn softmax(scores: &[f64], lambda: f64) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let unnormalised: Vec<f64> = scores.iter().map(|s| (lambda * (s - largest)).exp()).collect();
    let sum: f64 = unnormalised.iter().sum();
    unnormalised.iter().map(|u| u / sum).collect()
}

/// Bisection on λ ≥ 0: m_eff falls from b at λ = 0 to the number of samples that share the largest norm.
fn lambda_for_size(norms: &[f64], m: f64) -> f64 {
    let size = |lambda: f64| effective_size(&softmax(norms, lambda));
    let largest = norms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let spread = norms.iter().map(|s| largest - s).filter(|&gap| gap > 0.).fold(f64::INFINITY, f64::min);
    if m >= norms.len() as f64 || !spread.is_finite() {
        return 0.;
    }
    // At λ·gap = 750 every weight but the largest is 0 in f64: a larger λ changes nothing.
    let (mut low, mut high) = (0., 750. / spread);
    if !high.is_finite() || size(high) >= m {
        return high.min(f64::MAX);
    }
    for _ in 0..200 {
        let middle = low + (high - low) / 2.;
        if middle == low || middle == high {
            break;
        }
        if size(middle) > m {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_0_is_uniform_to_the_bit() {
        for temperature in [Temperature::Raw(0.), Temperature::Relative(0.), Temperature::EffectiveSize(3.)] {
            assert_eq!(gibbs(&[5., 1e300, 0.], temperature), [1. / 3.; 3]);
        }
    }

    #[test]
    fn weights_are_the_closed_form() {
        let norms = [0.5f64, 2., 1.];
        let sum: f64 = norms.iter().map(|s| f64::exp(0.7 * s)).sum();
        for (p, s) in gibbs(&norms, Temperature::Raw(0.7)).iter().zip(norms) {
            assert!((p - (0.7 * s).exp() / sum).abs() < 1e-15);
        }
        let scaled: Vec<f64> = norms.iter().map(|s| s * 1e-6).collect();
        let (a, b) = (gibbs(&norms, Temperature::Relative(2.)), gibbs(&scaled, Temperature::Relative(2.)));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn a_large_lambda_selects_the_largest_norm() {
        for temperature in [Temperature::Raw(1e6), Temperature::Relative(1e6), Temperature::EffectiveSize(1.)] {
            assert_eq!(gibbs(&[0.5, 2., 1.], temperature), [0., 1., 0.], "{temperature:?}");
        }
    }

    #[test]
    fn nothing_overflows() {
        for norms in [[1e308, 1., 0.], [0., 0., 0.], [1e-320, 0., 1e-320], [700., 700., 700.]] {
            for temperature in [Temperature::Raw(1e8), Temperature::Relative(1e8), Temperature::EffectiveSize(1.)] {
                let weights = gibbs(&norms, temperature);
                assert!((weights.iter().sum::<f64>() - 1.).abs() < 1e-12, "{norms:?} {temperature:?} {weights:?}");
            }
        }
    }

    #[test]
    fn bisection_finds_the_size_that_was_asked_for() {
        let norms: Vec<f64> = (0..128).map(|i| ((i * 37 % 101) as f64 / 20.).exp() * 1e-3).collect();
        for m in [1.001, 2., 7.5, 32., 100., 127.9] {
            let found = effective_size(&gibbs(&norms, Temperature::EffectiveSize(m)));
            assert!((found / m - 1.).abs() < 1e-9, "{found} for {m}");
        }
        assert_eq!(effective_size(&gibbs(&norms, Temperature::EffectiveSize(128.))), 128.);
    }

    #[test]
    fn ties_bound_the_size_from_below() {
        let weights = gibbs(&[3., 3., 1., 0.], Temperature::EffectiveSize(1.));
        assert_eq!(weights, [0.5, 0.5, 0., 0.]);
    }

    #[test]
    fn quantiles_are_the_nearest_ranks() {
        assert_eq!([0., 0.5, 1.].map(|q| quantile(&[3., 1., 2.], q)), [1., 2., 3.]);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
