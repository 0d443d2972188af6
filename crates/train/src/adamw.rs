//! Adam with decoupled weight decay.

use candle_core::{Result, Tensor};
use msharp_core::{Component, Optimizer, ParamVec, Params, Range, Role, State};
use msharp_ops::AdamWStep;

/// AdamW as PyTorch defines it: x ← x − lr·wd·x; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; x ← x − lr·m̂/(√v̂ + ε),
/// with m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ).
///
/// State: m, v and t. Reference: Loshchilov, Hutter, ICLR 2019.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// β₁ in [0, 1).
    pub beta1: f64,
    /// β₂ in [0, 1).
    pub beta2: f64,
    /// ε > 0
    pub eps: f64,
    /// wd ≥ 0
    pub weight_decay: f64,
    /// Whether norm layers and biases decay as well, as in PyTorch's default.
    pub decay_norms_and_biases: bool,
    /// m, once there was a step.
    pub mean: Option<ParamVec>,
    /// v, once there was a step.
    pub square: Option<ParamVec>,
    /// t, the steps taken.
    pub steps: u64,
}

impl Default for AdamW {
    /// PyTorch's.
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            decay_norms_and_biases: true,
            mean: None,
            square: None,
            steps: 0,
        }
    }
}

impl Component for AdamW {
    fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        state.vector("mean", params, &mut self.mean)?;
        state.vector("square", params, &mut self.square)?;
        state.count("steps", &mut self.steps)
    }

    fn own_check(&self, _: &Params) -> Result<()> {
        Range::BELOW_1.check("beta1", self.beta1)?;
        Range::BELOW_1.check("beta2", self.beta2)?;
        Range::ABOVE_0.check("eps", self.eps)?;
        Range::AT_LEAST_0.check("the weight decay", self.weight_decay)
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, params: &Params, grads: &ParamVec, lr: f64) -> Result<()> {
        self.check(params)?;
        Range::AT_LEAST_0.check("the learning rate", lr)?;
        let decay = |role| if self.decay_norms_and_biases || role == Role::Weight { self.weight_decay } else { 0. };
        let weight_decay: Vec<f64> = params.iter().map(|param| decay(param.role)).collect();
        let grads: Vec<&Tensor> = grads.tensors().iter().collect();
        // What fails leaves the moments as they are.
        let mut moments = match (&self.mean, &self.square) {
            (Some(mean), Some(square)) => Some([mean.tensors().to_vec(), square.tensors().to_vec()]),
            _ => None,
        };
        let Self { beta1, beta2, eps, .. } = *self;
        let step = AdamWStep { lr, beta1, beta2, eps, weight_decay: &weight_decay, t: self.steps + 1 };
        msharp_ops::adamw_step(&params.refs(), &grads, &mut moments, step)?;
        self.steps += 1;
        if let Some([mean, square]) = moments {
            (self.mean, self.square) = (Some(ParamVec::new(params, mean)), Some(ParamVec::new(params, square)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use std::collections::BTreeMap;

    fn params() -> Result<Params> {
        let var = |values: &[f64], shape: &[usize]| Var::from_tensor(&Tensor::from_slice(values, shape, &Device::Cpu)?);
        Params::new([("bn.weight".to_owned(), var(&[1.], &[1])?), ("fc.weight".to_owned(), var(&[1.], &[1, 1])?)])
    }

    /// Steps on ½‖x‖², where g = x.
    fn steps(adamw: &mut AdamW, params: &Params, n: usize) -> Result<Vec<f64>> {
        for _ in 0..n {
            let x = params.iter().map(|p| p.var.as_detached_tensor().copy()).collect::<Result<_>>()?;
            adamw.step(params, &ParamVec::new(params, x), 0.1)?;
        }
        params.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1::<f64>()?[0])).collect()
    }

    #[test]
    fn the_first_step_is_the_sign_and_decay_has_its_place() -> Result<()> {
        let params = params()?;
        let x = steps(&mut AdamW { weight_decay: 0.5, decay_norms_and_biases: false, ..AdamW::default() }, &params, 1)?;
        // m̂/√v̂ = sign(g) at first, so x = 1 − 0.1·wd − 0.1, up to ε.
        assert!((x[0] - 0.9).abs() < 1e-8 && (x[1] - 0.85).abs() < 1e-8, "{x:?}");
        Ok(())
    }

    #[test]
    fn a_resumed_run_goes_on_to_the_bit() -> Result<()> {
        let whole = steps(&mut AdamW::default(), &params()?, 5)?;
        let (params, mut first, mut second) = (params()?, AdamW::default(), AdamW::default());
        steps(&mut first, &params, 2)?;
        let mut tensors = BTreeMap::new();
        first.state(&params, &mut State::save("optimizer", &mut tensors))?;
        second.state(&params, &mut State::load("optimizer", &tensors))?;
        assert_eq!(steps(&mut second, &params, 3)?, whole);
        Ok(())
    }
}
