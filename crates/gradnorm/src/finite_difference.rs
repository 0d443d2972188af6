//! Random directional derivatives from a few extra forward passes.

use candle_core::{Result, Tensor, bail};
use msharp_core::{
    Batch, Estimate, GradNormEstimator, Key, Length, Measures, Objective, ParamVec, Params, losses_at, losses_at_signs,
};
use msharp_ops::{Precision, Slope, rms_slopes};

/// ‖∇ℓᵢ‖ ≈ √( 1/K Σₖ ((ℓᵢ(x + δzₖ) − ℓᵢ(x))/δ)² ) for random zₖ, since E⟨z, g⟩² = ‖g‖².
///
/// Cost: K + 1 forwards, or 2K + 1 if `central`; the forward at x keeps its graph and serves an ascent too. Memory: one
/// vector in parameter space, two for Gaussian probes. All forwards are computed in f32, whatever the network asks for on
/// a GPU: in bfloat16 the difference would be noise. The probes are functions of the batch's key. Reports `probe_ratio` = ‖δz‖/‖x‖.
///
/// One probe gives |⟨z, gᵢ⟩|, whose coefficient of variation is 0.76 whatever the norms: it hardly ranks samples; six do.
///
/// Reference: RW-SAM (Luo et al., NeurIPS 2025), with K = 1 and Rademacher probes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FiniteDifference {
    /// K ≥ 1.
    pub probes: usize,
    /// The distribution of z.
    pub probe: Probe,
    /// The length of the step.
    pub delta: Delta,
    /// (ℓ(x + δz) − ℓ(x − δz))/2δ instead of the one-sided difference: an error of O(δ²) instead of O(δ).
    pub central: bool,
}

impl Default for FiniteDifference {
    /// One one-sided Rademacher probe with ‖δz‖ = 3·10⁻⁴ ‖x‖.
    fn default() -> Self {
        Self { probes: 1, probe: Probe::Rademacher, delta: Delta::Relative(3e-4), central: false }
    }
}

/// The distribution of a probe z; both have E zzᵀ = I.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Probe {
    /// ±1 with equal chance: the smallest variance, 2(‖g‖⁴ − Σgⱼ⁴).
    Rademacher,
    /// N(0, I): variance 2‖g‖⁴.
    Gaussian,
}

/// How long a step is. Too short, and the rounding of the loss dominates; too long, and its curvature does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delta {
    /// ‖δz‖ = r‖x‖: the same r for nets of any size. 3·10⁻⁴ is good in f32.
    Relative(f64),
    /// δ itself. The best δ falls with the number of parameters.
    Absolute(f64),
}

impl FiniteDifference {
    /// ℓᵢ a step ahead of x along the probe of `key`, or behind it; the step δ; and ‖δz‖/‖x‖.
    fn step(
        &self,
        f: &dyn Objective,
        params: &Params,
        batch: &Batch,
        key: Key,
        side: f64,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let x = params.each();
        let length = match self.delta {
            Delta::Absolute(delta) => Length::Times(side * delta),
            Delta::Relative(ratio) => Length::Relative(side * ratio, &x),
        };
        let (losses, delta, squared_length) = match self.probe {
            Probe::Rademacher => {
                let (losses, delta) = losses_at_signs(f, params, batch, key, length)?;
                (losses, delta, None)
            }
            Probe::Gaussian => {
                let (offset, delta) = ParamVec::gaussian(params, key)?.scale_to(length)?;
                (losses_at(f, params, batch, &offset)?, delta, Some(offset.squared_norm()?))
            }
        };
        let ratio = match (self.delta, squared_length) {
            (Delta::Relative(ratio), _) => delta.affine(0., ratio)?, // where δ is, without a copy from the host
            (Delta::Absolute(_), Some(squared)) => (squared / params.squared_norm()?)?.sqrt()?,
            (Delta::Absolute(delta), None) => {
                let squared = delta * delta * params.count() as f64;
                (params.squared_norm()?.recip()? * squared)?.sqrt()?
            }
        };
        Ok((losses, delta, ratio))
    }
}

impl GradNormEstimator for FiniteDifference {
    fn estimate(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Estimate> {
        if self.probes == 0 {
            bail!("a finite-difference estimate needs at least one probe, `probes` is 0")
        }
        // Where to read is not to wait, a step of length 0 is told at once; elsewhere it makes losses that are not
        // finite, and those are the trainer's business.
        let length = if params.device().is_cpu() { params.norm()? } else { f64::INFINITY };
        let (Delta::Absolute(step) | Delta::Relative(step)) = self.delta;
        if step <= 0. || length == 0. {
            bail!("the finite-difference step {:?} is not positive (‖x‖ = {length})", self.delta)
        }
        msharp_ops::with_precision(Precision::F32, || {
            // The probes come first: they keep no graph, and the one at x stays open.
            let (mut slopes, mut measures) = (Vec::new(), Measures::new());
            for k in 0..self.probes {
                let key = batch.key.fold_name("probe").fold(k as u64);
                let (ahead, delta, ratio) = self.step(f, params, batch, key, 1.)?;
                let behind = if self.central { Some(self.step(f, params, batch, key, -1.)?.0) } else { None };
                slopes.push((ahead, behind, delta));
                measures.insert("probe_ratio", ratio);
            }
            let losses = f.losses(batch, true)?; // [b]
            let slope = |(ahead, behind, delta): (Tensor, Option<Tensor>, Tensor)| match behind {
                None => Slope { ahead, behind: losses.detach(), delta, sides: 1. },
                Some(behind) => Slope { ahead, behind, delta, sides: 2. },
            };
            let norms = rms_slopes(&slopes.into_iter().map(slope).collect::<Vec<_>>())?;
            Ok(Estimate { losses, norms, measures })
        })
    }
}
