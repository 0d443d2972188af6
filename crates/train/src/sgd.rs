//! Stochastic gradient descent with momentum.

use candle_core::{Result, Tensor, bail};
use msharp_core::{Component, Optimizer, ParamVec, Params, Range, Role, State};
use msharp_ops::SgdStep;

/// SGD as PyTorch defines it: d = g + wd·x; v ← μv + d (v = d at first); x ← x − lr·v, or x − lr·(d + μv) with
/// Nesterov.
///
/// State: v. Weight decay acts here, outside of any ascent gradient.
#[derive(Clone, Debug)]
pub struct Sgd {
    /// μ in [0, 1).
    pub momentum: f64,
    /// Nesterov's form.
    pub nesterov: bool,
    /// wd ≥ 0, an L2 penalty of wd/2·‖x‖².
    pub weight_decay: f64,
    /// Whether norm layers and biases decay as well, as in PyTorch's default.
    pub decay_norms_and_biases: bool,
    /// v, once there was a step.
    pub velocity: Option<ParamVec>,
}

impl Default for Sgd {
    /// No momentum, no decay; should there be decay, everything decays.
    fn default() -> Self {
        Self { momentum: 0., nesterov: false, weight_decay: 0., decay_norms_and_biases: true, velocity: None }
    }
}

impl Component for Sgd {
    fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        state.vector("velocity", params, &mut self.velocity)
    }

    fn own_check(&self, _: &Params) -> Result<()> {
        Range::BELOW_1.check("the momentum", self.momentum)?;
        Range::AT_LEAST_0.check("the weight decay", self.weight_decay)?;
        if self.nesterov && self.momentum == 0. {
            bail!("Nesterov's form is one of momentum, and the momentum is 0; expected a momentum above 0")
        }
        Ok(())
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, params: &Params, grads: &ParamVec, lr: f64) -> Result<()> {
        self.check(params)?;
        Range::AT_LEAST_0.check("the learning rate", lr)?;
        let decay = |role| if self.decay_norms_and_biases || role == Role::Weight { self.weight_decay } else { 0. };
        let weight_decay: Vec<f64> = params.iter().map(|param| decay(param.role)).collect();
        let step = SgdStep { lr, momentum: self.momentum, weight_decay: &weight_decay, nesterov: self.nesterov };
        let grads: Vec<&Tensor> = grads.tensors().iter().collect();
        // What fails leaves the velocity as it is.
        let mut velocity = self.velocity.as_ref().map(|v| v.tensors().to_vec());
        msharp_ops::sgd_step(&params.refs(), &grads, &mut velocity, step)?;
        self.velocity = velocity.map(|velocity| ParamVec::new(params, velocity));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// Three steps on ½‖x‖² with a weight and a norm's scale, both from 1.
    fn run(mut sgd: Sgd) -> Vec<f64> {
        let var = |values: &[f64], shape: &[usize]| {
            Var::from_tensor(&Tensor::from_slice(values, shape, &Device::Cpu).unwrap()).unwrap()
        };
        let all = [("bn.weight".to_owned(), var(&[1.], &[1])), ("fc.weight".to_owned(), var(&[1.], &[1, 1]))];
        let params = Params::new(all).unwrap();
        for lr in [0.1, 0.1, 0.05] {
            let x = params.iter().map(|p| p.var.as_detached_tensor().copy().unwrap()).collect();
            sgd.step(&params, &ParamVec::new(&params, x), lr).unwrap();
        }
        params.iter().map(|p| p.var.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0]).collect()
    }

    #[test]
    fn steps_are_pytorchs() {
        // torch.optim.SGD(params, lr, momentum, weight_decay=0.01, nesterov) on x ← x from 1, lr .1, .1, .05:
        let by_hand = |momentum: f64, nesterov: bool, decay: f64| {
            let (mut x, mut v) = (1f64, None);
            for lr in [0.1, 0.1, 0.05] {
                let d = x + decay * x;
                let now = v.map_or(d, |v| momentum * v + d);
                x -= lr * if nesterov { d + momentum * now } else { now };
                v = Some(now);
            }
            x
        };
        for (momentum, nesterov) in [(0., false), (0.9, false), (0.9, true)] {
            let sgd = Sgd { momentum, nesterov, weight_decay: 0.01, ..Sgd::default() };
            for x in run(sgd.clone()) {
                assert!((x - by_hand(momentum, nesterov, 0.01)).abs() < 1e-14);
            }
            let x = run(Sgd { decay_norms_and_biases: false, ..sgd });
            assert!((x[0] - by_hand(momentum, nesterov, 0.)).abs() < 1e-14, "a norm's scale does not decay");
            assert!((x[1] - by_hand(momentum, nesterov, 0.01)).abs() < 1e-14);
        }
    }
}
