//! Random directional derivatives from a few extra forward passes.

mod check;

use candle_core::{Result, Tensor, bail};
use msharp_core::{
    Batch, BatchLoss, Component, Cost, Estimate, GradNormEstimator, Key, Measures, ParamVec, Params, Precision, Range,
    Rescale, State, at_least_1,
};
use msharp_ops::{Slope, rms_slopes};

/// ‖∇ℓᵢ‖ ≈ √( 1/K Σₖ ((ℓᵢ(x + δzₖ) − ℓᵢ(x))/δ)² ) for random zₖ, since E⟨z, g⟩² = ‖g‖².
///
/// **Bias.** None in ‖·‖², up to O(δ) of curvature (central: O(δ²)) and the rounding of the losses over δ. The norm
/// itself, a square root, is too small on average: of one probe by a factor of about √(2/π) = 0.80, alike for all
/// samples.
///
/// **Variance.** That of ⟨z, g⟩², which [`Probe`] states, over K. One probe gives |⟨z, gᵢ⟩|, whose coefficient of
/// variation is 0.76 whatever the norms: it hardly ranks samples; six do. `cargo xtask reproduce estimators` measures
/// that.
///
/// **Cost.** K + 1 forwards, or 2K + 1 if `central`; the forward at x keeps its graph and serves an ascent too. The
/// first estimate is two more (on the CPU): it evaluates the losses twice at one point, and refuses an objective whose
/// losses differ, since the differences would be those of random draws. A check is 4 more, 5 if `central`. Memory: one
/// vector in parameter space, two for probes that are not signs. All forwards are computed in f32, whatever the network
/// asks for on a GPU: in bfloat16 the difference would be noise.
///
/// **Randomness.** The probes are functions of the batch's key. **State.** [`Tuned`], where something is checked.
///
/// **Under batch normalisation** every forward has the statistics of its own displaced batch, so the derivative is that
/// of ℓᵢ through the shared statistics, as [`Exact`](crate::Exact)'s.
///
/// **Noise.** Two things tell when a difference is mostly noise. The rounding of the losses alone, half an ulp of each,
/// costs nothing to know: `probe_rounding`, rounding to signal, is reported with each estimate. It sees a step along
/// which losses move by less than an ulp; it does not see what the network rounds before, nor curvature. A *check*,
/// every `check_every` estimates, measures all of it along one probe, as [`ProbeNoise`](crate::ProbeNoise) describes,
/// and reports `probe_noise`, noise to signal. `probe_ratio` = ‖δz‖/‖x‖ is reported too.
///
/// # Errors
/// Where a ratio reaches 1, with its value, δ, whether δ is too short or too long, and what to set. On a GPU there is
/// no host-device synchronisation inside a step: there a ratio is a measure and no error, but for [`Delta::Adaptive`],
/// which reads at its checks. Losses that do not move even along the default step have gradients of 0 as far as
/// differences can tell: their norms are 0, and that is no error, since weights of equal norms need no information.
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
    /// Every so many estimates, the first among them, the noise is measured; 0: never.
    pub check_every: usize,
    /// What checks found out so far.
    pub tuned: Tuned,
}

/// What a [`FiniteDifference`] carries from estimate to estimate; saved and restored to the bit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuned {
    /// ‖δz‖/‖x‖ of the next step, where that is [`Delta::Adaptive`].
    pub ratio: f64,
    /// Estimates so far.
    pub estimates: u64,
}

/// Estimates between two checks where something adapts: 4 forwards in 64 steps are a sixteenth of one in each.
const CHECK_EVERY: usize = 64;

impl Default for FiniteDifference {
    /// One one-sided Rademacher probe with ‖δz‖ = 10⁻⁴ ‖x‖, unchecked.
    fn default() -> Self {
        Self {
            probes: 1,
            probe: Probe::Rademacher,
            delta: Delta::Relative(Self::DEFAULT_RATIO),
            central: false,
            check_every: 0,
            tuned: Tuned { ratio: Self::DEFAULT_RATIO, estimates: 0 },
        }
    }
}

/// The distribution of a probe z; each has E zzᵀ = I.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Probe {
    /// ±1 with equal chance: the smallest variance, 2(‖g‖⁴ − Σgⱼ⁴).
    Rademacher,
    /// N(0, I): variance 2‖g‖⁴.
    Gaussian,
    /// Uniform on the sphere of radius √d: variance 2‖g‖⁴ (d − 1)/(d + 2), below the Gaussian's, whose length varies
    /// too.
    Sphere,
}

/// How long a step is. Too short, and the rounding of the loss dominates; too long, and its curvature does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delta {
    /// ‖δz‖ = r‖x‖: the same r for nets of any size. 10⁻⁴ is good in f32.
    Relative(f64),
    /// δ itself. The best δ falls with the number of parameters.
    Absolute(f64),
    /// ‖δz‖ = r‖x‖ for an r that starts at 10⁻⁴ and moves at checks to where rounding and curvature, both measured,
    /// make the least noise together. `check_every` must be at least 1.
    Adaptive,
}

/// [`Delta`] at this moment.
#[derive(Clone, Copy)]
enum Step {
    Relative(f64),
    Absolute(f64),
}

impl FiniteDifference {
    /// ‖δz‖/‖x‖ that is good in f32, on networks of any size.
    pub const DEFAULT_RATIO: f64 = 1e-4;

    /// K one-sided Rademacher probes with a step that adapts, checked every 64 estimates: a sixteenth of a forward more
    /// in each, and more in the first, which looks for the step.
    pub fn adaptive(probes: usize) -> Self {
        Self { probes, delta: Delta::Adaptive, check_every: CHECK_EVERY, ..Self::default() }
    }

    /// The k-th z of a batch, from 0: what the slopes of its samples are along.
    pub fn probe(&self, params: &Params, batch: &Batch, k: usize) -> Result<ParamVec> {
        let key = probe_key(batch, k);
        match self.probe {
            Probe::Rademacher => ParamVec::rademacher(params, key),
            Probe::Gaussian => ParamVec::gaussian(params, key),
            Probe::Sphere => {
                let radius = (params.count() as f64).sqrt();
                Ok(ParamVec::gaussian(params, key)?.scale_to(Rescale::Of(radius))?.0)
            }
        }
    }

    /// ℓᵢ at x + t δz for the probe z of `key`; δ; and ‖δz‖/‖x‖ (both for t = 1).
    fn step(&self, loss: BatchLoss, key: Key, t: f64) -> Result<(Tensor, Tensor, Tensor)> {
        let params = loss.params;
        let (x, d, now) = (params.refs(), params.count() as f64, self.now());
        let length = match (now, self.probe) {
            (Step::Relative(ratio), _) => Rescale::Relative(t * ratio, &x),
            (Step::Absolute(delta), Probe::Sphere) => Rescale::Of(t * delta * d.sqrt()),
            (Step::Absolute(delta), _) => Rescale::Times(t * delta),
        };
        let (losses, delta, squared_length) = match self.probe {
            Probe::Rademacher => {
                let (losses, delta) = loss.losses_at_signs(key, length)?;
                (losses, delta, None)
            }
            Probe::Gaussian | Probe::Sphere => {
                let (offset, factor) = ParamVec::gaussian(params, key)?.scale_to(length)?;
                let squared = offset.squared_norm()?;
                let delta = if self.probe == Probe::Sphere { (&squared / d)?.sqrt()? } else { factor };
                (loss.losses_at(&offset)?, delta, Some(squared))
            }
        };
        let ratio = match (now, squared_length) {
            (Step::Relative(ratio), _) => delta.affine(0., ratio)?, // where δ is, without a copy from the host
            (Step::Absolute(_), Some(squared)) => (squared / params.squared_norm()?)?.sqrt()?,
            (Step::Absolute(delta), None) => (params.squared_norm()?.recip()? * (delta * delta * d))?.sqrt()?,
        };
        Ok((losses, delta, ratio))
    }

    /// What δ may be, absolute or relative to ‖x‖.
    pub const DELTA: Range = Range::ABOVE_0;

    fn check_constants(&self) -> Result<()> {
        at_least_1("the number of finite-difference probes", self.probes)?;
        match self.delta {
            Delta::Relative(ratio) => Self::DELTA.check("the finite-difference step relative to ‖x‖", ratio),
            Delta::Absolute(delta) => Self::DELTA.check("the finite-difference step", delta),
            Delta::Adaptive if self.check_every == 0 => {
                bail!("a finite difference whose step adapts needs checks, `check_every` is 0; expected at least 1")
            }
            Delta::Adaptive => Self::DELTA.check("the finite-difference step relative to ‖x‖", self.tuned.ratio),
        }
    }

    /// The step of the next estimate.
    fn now(&self) -> Step {
        match self.delta {
            Delta::Relative(ratio) => Step::Relative(ratio),
            Delta::Adaptive => Step::Relative(self.tuned.ratio),
            Delta::Absolute(delta) => Step::Absolute(delta),
        }
    }
}

/// The key of probe `k`.
fn probe_key(batch: &Batch, k: usize) -> Key {
    batch.key.fold_name("probe").fold(k as u64)
}

impl Component for FiniteDifference {
    fn own_check(&self, _: &Params) -> Result<()> {
        self.check_constants()
    }

    fn own_state(&mut self, _: &Params, state: &mut State) -> Result<()> {
        if self.check_every == 0 {
            return Ok(());
        }
        state.count("estimates", &mut self.tuned.estimates)?;
        state.number("ratio", &mut self.tuned.ratio)
    }
}

impl GradNormEstimator for FiniteDifference {
    fn estimate(&mut self, loss: BatchLoss) -> Result<Estimate> {
        let BatchLoss { params, batch, .. } = loss;
        self.check_constants()?;
        // Where to read is no synchronisation, what is wrong is an error at once; elsewhere a step of length 0 makes
        // losses that are not finite, and those are the trainer's business.
        let on_cpu = params.device().is_cpu();
        if on_cpu && matches!(self.now(), Step::Relative(_)) && params.norm()? == 0. {
            bail!(
                "all parameters are 0, so that the finite-difference step {:?}, which is relative to ‖x‖, has no length; \
                 expected Delta::Absolute there",
                self.delta
            )
        }
        msharp_ops::with_precision(Precision::F32, || {
            if on_cpu && self.tuned.estimates == 0 {
                loss.check_repeatable()?; // first, for a noise that is no rounding has no better δ
            }
            let (mut slopes, mut measures) = (Vec::new(), Measures::new());
            if self.check_every > 0 && self.tuned.estimates.is_multiple_of(self.check_every as u64) {
                measures.insert("probe_noise", self.check_noise(loss)?);
            }
            // The probes come first: they keep no graph, and the one at x stays open.
            for k in 0..self.probes {
                let key = probe_key(batch, k);
                let (ahead, delta, ratio) = self.step(loss, key, 1.)?;
                let behind = if self.central { Some(self.step(loss, key, -1.)?.0) } else { None };
                slopes.push((ahead, behind, delta));
                measures.insert("probe_ratio", ratio);
            }
            let losses = loss.losses()?; // [b]
            self.tuned.estimates += 1;
            let slope = |(ahead, behind, delta): (Tensor, Option<Tensor>, Tensor)| match behind {
                None => Slope { ahead, behind: losses.detach(), delta, sides: 1. },
                Some(behind) => Slope { ahead, behind, delta, sides: 2. },
            };
            let slopes: Vec<Slope> = slopes.into_iter().map(slope).collect();
            measures.insert("probe_rounding", self.rounding(loss, &slopes, &losses)?);
            Ok(Estimate { losses, norms: rms_slopes(&slopes)?, measures })
        })
    }

    /// Without the checks: 4 forwards in 64 steps, where the step adapts.
    fn cost(&self, _: usize) -> Cost {
        let probes = if self.central { 2 * self.probes } else { self.probes };
        Cost { forward: 1. + probes as f64, backward: 0. }
    }
}
