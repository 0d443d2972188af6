//! What a rule or optimizer of your own should be tested for: that it resumes to the bit.

use crate::{Batch, BatchLoss, Key, Optimizer, ParamVec, Params, Perturbation, Seeded, State, TrainingPoint};
use candle_core::{DType, Device, Result, Tensor, bail};
use std::collections::BTreeMap;

/// Steps before the interruption, and after it.
const STEPS: u64 = 5;

/// Trains a tiny network for ten steps with the rule that `make` builds, and again with a second one that takes over
/// after five steps from the saved state of the first. A rule whose [`own_state`](crate::Component::own_state) leaves
/// something out descends elsewhere.
///
/// ```
/// # use candle_core::Result;
/// # use msharp_core::{BatchLoss, Component, Gradient, ParamVec, Params, Perturbation, State, testing};
/// struct Averaging { mean: Option<ParamVec> }
///
/// impl Component for Averaging {
///     fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
///         state.vector("mean", params, &mut self.mean) // without this line `check_resumes` is an error
///     }
/// }
///
/// impl Perturbation for Averaging {
///     fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
///         let step = loss.gradient()?;
///         let mean = match &self.mean {
///             Some(mean) => mean.scale(0.9)?.add_scaled(0.1, &step.grads)?,
///             None => step.grads,
///         };
///         self.mean = Some(mean.clone());
///         Ok(Gradient { grads: mean, ..step })
///     }
/// }
///
/// testing::check_resumes(|| Averaging { mean: None })?;
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// If the two runs do not end with the same bits; those of the rule.
pub fn check_resumes<R: Perturbation>(make: impl Fn() -> R) -> Result<()> {
    let plain = |params: &Params, g: &ParamVec| step_down(params, g, 0.1);
    compare(|| (make(), plain), |(rule, step), loss| step(loss.params, &rule.gradient(loss)?.grads), |(rule, _)| rule)
}

/// As [`check_resumes`], for an optimizer.
///
/// # Errors
/// If the two runs do not end with the same bits; those of the optimizer.
pub fn check_optimizer_resumes<O: Optimizer>(make: impl Fn() -> O) -> Result<()> {
    compare(&make, |optimizer, loss| optimizer.step(loss.params, &loss.gradient()?.grads, 0.1), |optimizer| optimizer)
}

/// `state` yields the component of a subject whose state is saved.
fn compare<S, C: crate::Component>(
    make: impl Fn() -> S,
    mut step: impl FnMut(&mut S, BatchLoss) -> Result<()>,
    component: impl Fn(&mut S) -> &mut C,
) -> Result<()> {
    let mut run = |interrupted: bool| -> Result<Vec<f64>> {
        let init = Seeded::new(1, DType::F64, &Device::Cpu);
        let vb = init.var_builder();
        let normal = candle_nn::Init::Randn { mean: 0., stdev: 0.5 };
        let (inner, outer) =
            (vb.get_with_hints((4, 8), "inner.weight", normal)?, vb.get_with_hints((8, 1), "outer.weight", normal)?);
        let params = init.params()?;
        let f = |batch: &Batch, _: bool| {
            (batch.inputs.matmul(&inner)?.tanh()?.matmul(&outer)?.squeeze(1)? - &batch.targets)?.sqr() // [b]
        };
        let mut subject = make();
        for k in 0..2 * STEPS {
            if interrupted && k == STEPS {
                let mut saved = BTreeMap::new();
                component(&mut subject).state(&params, &mut State::save("", &mut saved))?;
                subject = make();
                let mut state = State::load("", &saved);
                component(&mut subject).state(&params, &mut state)?;
                state.check_all_read()?;
            }
            let step_of = |name: &str, shape: &[usize]| {
                let of = Params::new([(name.to_owned(), candle_core::Var::zeros(shape, DType::F64, &Device::Cpu)?)])?;
                Ok::<Tensor, candle_core::Error>(ParamVec::gaussian(&of, Key::new(7).fold(k))?.tensors()[0].clone())
            };
            let point = TrainingPoint { progress: k as f64 / (2 * STEPS) as f64, lr: 0.1, lr_factor: 1. };
            let batch = Batch::new(step_of("inputs", &[6, 4])?, step_of("targets", &[6])?, Key::new(8).fold(k));
            step(&mut subject, BatchLoss::new(&f, &params, &batch.at(point)))?;
        }
        let weights: Vec<Tensor> = params.iter().map(|param| param.var.as_detached_tensor()).collect();
        ParamVec::new(&params, weights).to_vec()
    };
    let (whole, resumed) = (run(false)?, run(true)?);
    let furthest = whole.iter().zip(&resumed).map(|(a, b)| (a - b).abs()).fold(0., f64::max);
    if whole != resumed {
        bail!(
            "a run that was saved and restored after {STEPS} steps ends elsewhere, by up to {furthest:e}, than one that \
             went on: its state is not saved completely; expected all that a step leaves behind in `own_state`, and the \
             fields that are components in `parts!`"
        )
    }
    Ok(())
}

fn step_down(params: &Params, g: &ParamVec, lr: f64) -> Result<()> {
    params
        .iter()
        .zip(g.tensors())
        .try_for_each(|(param, g)| param.var.set(&(param.var.as_detached_tensor() - g.affine(lr, 0.)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Component, Gradient};

    struct Forgets(u64);

    impl Component for Forgets {}

    impl Perturbation for Forgets {
        fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
            self.0 += 1;
            let step = loss.gradient()?;
            Ok(Gradient { grads: step.grads.scale(self.0 as f64)?, ..step })
        }
    }

    impl Optimizer for Forgets {
        fn step(&mut self, params: &Params, grads: &ParamVec, lr: f64) -> Result<()> {
            self.0 += 1;
            step_down(params, grads, lr / self.0 as f64)
        }
    }

    #[test]
    fn a_counter_that_is_not_saved_is_found() {
        let error = check_resumes(|| Forgets(0)).unwrap_err().to_string();
        assert!(error.contains("ends elsewhere") && error.contains("own_state"), "{error}");
        assert!(check_optimizer_resumes(|| Forgets(0)).is_err());
    }
}
