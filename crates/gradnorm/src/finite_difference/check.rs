//! The checks of a finite difference: when its step is too short or too long, and where a better one is.

use super::{Delta, FiniteDifference, Step, probe_key};
use crate::Error;
use crate::probe_noise::{Moments, Points, ProbeNoise, SHORT};
use candle_core::{DType, Result, Tensor};
use msharp_core::{BatchLoss, ParamVec, Params, Precision, uncounted};
use msharp_ops::Slope;

/// Checks in a row at most, while the step is far from the best.
const ROUNDS: usize = 8;

/// Other probes that are tried where the losses do not move along those of an estimate.
const OTHERS: usize = 6;

/// The longest step that adapts, in ‖x‖.
const LONGEST: f64 = 0.1;

impl FiniteDifference {
    /// Measures the noise of the first probe of the batch's key at the current step: 4 forwards, 5 if `central`, and
    /// nothing else; parameters and buffers are put back. A host-device synchronisation on a GPU.
    pub fn noise(&self, loss: BatchLoss) -> Result<ProbeNoise> {
        self.check_constants()?;
        loss.check_repeatable()?;
        msharp_ops::with_precision(Precision::F32, || self.moments(loss)?.read())
    }

    fn moments(&self, loss: BatchLoss) -> Result<Moments> {
        let at = |t| -> Result<Tensor> { Ok(self.step(loss, probe_key(loss.batch, 0), t)?.0) };
        let here = loss.losses_at(&ParamVec::zeros(loss.params)?)?;
        let far = self.central.then(|| at(2.)).transpose()?;
        let ulp = epsilon(here.dtype());
        Points { behind: at(-1.)?, here, short: at(SHORT)?, ahead: at(1.)?, far, ulp }.moments()
    }

    /// Checks the noise, and moves an adaptive step to where there is least of it.
    pub(super) fn check_noise(&mut self, loss: BatchLoss) -> Result<Tensor> {
        let params = loss.params;
        if self.delta != Delta::Adaptive {
            let moments = self.moments(loss)?;
            if params.device().is_cpu() {
                self.refuse(&moments.read()?, params)?;
            }
            return moments.ratio();
        }
        let shortest = 64. * params.iter().map(|param| epsilon(param.var.dtype())).fold(0., f64::max);
        self.tuned.ratio = self.tuned.ratio.clamp(shortest, LONGEST);
        let (mut noise, mut here) = (self.moments(loss)?.read()?, self.tuned.ratio);
        let (mut best, mut at) = (noise, here);
        if self.tuned.estimates > 0 && noise.ratio() < 0.5 {
            at = here * noise.factor(); // settled: it follows what is measured
        } else {
            for _ in 1..ROUNDS {
                let factor = stride(&noise);
                here = (here * factor).clamp(shortest, LONGEST);
                if (0.5..=2.).contains(&factor) || here == self.tuned.ratio {
                    at = here;
                    break;
                }
                self.tuned.ratio = here;
                noise = self.moments(loss)?.read()?;
                if noise.ratio() <= best.ratio() {
                    (best, at) = (noise, here);
                }
            }
        }
        self.tuned.ratio = at.clamp(shortest, LONGEST);
        self.refuse(&best, params)?;
        Tensor::new(best.ratio(), params.device())
    }

    /// `Err` where there is more noise than signal.
    fn refuse(&self, noise: &ProbeNoise, params: &Params) -> Result<()> {
        if noise.ratio() < 1. || noise.ratio().is_nan() {
            return Ok(());
        }
        let (what, how) = match noise.is_too_short() {
            true => ("rounding: δ is too small", "longer"),
            false => ("curvature: δ is too large", "shorter"),
        };
        let advice = match self.delta {
            Delta::Adaptive => "and no δ has less; take another estimator, such as Exact".to_owned(),
            _ => format!("set a {how} δ, about {:.2} times this one, or Delta::Adaptive", noise.factor()),
        };
        let (ratio, at) = (noise.ratio(), self.describe(params)?);
        let text = format!(
            "FiniteDifference: the noise of its slopes is {ratio:.3} times their signal at {at}, mostly {what}; {advice}"
        );
        Err(Error::TooNoisy { ratio, longer: noise.is_too_short(), text }.into())
    }

    /// ‖δz‖/‖x‖.
    fn relative(&self, params: &Params) -> Result<f64> {
        match self.now() {
            Step::Absolute(delta) => Ok(delta * (params.count() as f64).sqrt() / params.norm()?),
            Step::Relative(ratio) => Ok(ratio),
        }
    }

    fn describe(&self, params: &Params) -> Result<String> {
        let ratio = self.relative(params)?;
        let delta = ratio * params.norm()? / (params.count() as f64).sqrt();
        Ok(format!("δ = {delta:.1e} (‖δz‖ = {ratio:.1e}·‖x‖)"))
    }

    /// Rounding to signal of the differences, f64 `[]`, if the rounding of a loss is half an ulp of it: `Err` from 1
    /// on, where losses move by less than an ulp, if to read is not to wait, but for losses that do not move along a
    /// good step either, where it is 0.
    pub(super) fn rounding(&self, loss: BatchLoss, slopes: &[Slope], losses: &Tensor) -> Result<Tensor> {
        let params = loss.params;
        let most = epsilon(losses.dtype()) / 2.;
        let noise = (mean_square(losses)? * (2. * most * most))?;
        let mut moved = noise.zeros_like()?;
        for Slope { ahead, behind, .. } in slopes {
            let square = mean_square(&(ahead - behind)?)?; // neighbours subtract without rounding
            moved = (moved + (square / slopes.len() as f64)?)?;
        }
        let floor = noise.affine(1e-12, f64::MIN_POSITIVE)?;
        let ratio = (&noise / ((&moved - &noise)?.relu()? + floor)?)?.sqrt()?;
        if !params.device().is_cpu() {
            return Ok(ratio);
        }
        let value = ratio.to_scalar::<f64>()?;
        if value < 1. || !value.is_finite() {
            return Ok(ratio); // of losses that are not finite, which are the trainer's business
        }
        // A probe can be orthogonal to every gradient, as ±1 is to (a, −a): then others move the losses.
        let rounding = 4. * noise.to_scalar::<f64>()?;
        for k in 0..OTHERS {
            let key = probe_key(loss.batch, self.probes + k);
            let (ahead, ..) = uncounted(|| self.step(loss, key, 1.))?;
            if mean_square(&(ahead - losses.detach())?)?.to_scalar::<f64>()? > rounding {
                return Ok(ratio);
            }
        }
        let mut still = moved.to_scalar::<f64>()? == 0.;
        if still && self.relative(params)? < Self::DEFAULT_RATIO / 2. {
            let standard = Self { delta: Delta::Relative(Self::DEFAULT_RATIO), ..*self };
            let (ahead, ..) = standard.step(loss, probe_key(loss.batch, 0), 1.)?;
            still = mean_square(&(ahead - losses.detach())?)?.to_scalar::<f64>()? == 0.;
        }
        if still {
            return ratio.zeros_like();
        }
        // Far out the losses move no more either.
        let (is, set) = match self.relative(params)? > LONGEST {
            true => ("large", "shorter"),
            false => ("small", "longer"),
        };
        let text = format!(
            "FiniteDifference: the rounding of the losses is {value:.3} times what they move by at {}: δ is too {is}; \
             set a {set} δ, {:.0e}·‖x‖ for instance, or Delta::Adaptive",
            self.describe(params)?,
            Self::DEFAULT_RATIO
        );
        Err(Error::TooNoisy { ratio: value, longer: is == "small", text }.into())
    }
}

/// What an adaptive step is multiplied by: in much noise, where little can be told but which kind it is, by 4 at least.
fn stride(noise: &ProbeNoise) -> f64 {
    match (noise.ratio() >= 0.1, noise.is_too_short()) {
        (false, _) => noise.factor(),
        (true, true) => noise.factor().max(4.),
        (true, false) => noise.factor().min(1. / 4.),
    }
}

/// The distance from 1 to the next number.
fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        _ => f64::from(f32::EPSILON),
    }
}

/// The mean of the squares, f64 `[]`, without candle's reductions, which send shapes to a GPU.
fn mean_square(x: &Tensor) -> Result<Tensor> {
    msharp_ops::sum_of_squares(&[&x.detach()])? / x.elem_count() as f64
}
