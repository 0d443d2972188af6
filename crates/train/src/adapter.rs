//! Any optimizer of candle-nn, or of a crate in its manner, behind our seam.

use candle_core::{Result, Tensor, bail};
use msharp_core::{Component, Optimizer, ParamVec, Params, Range, State};

/// Steps with an optimizer that implements [`candle_nn::Optimizer`], made for the variables of the same parameters. Its
/// learning rate is set in each step, so the trainer's schedule holds.
///
/// Its state cannot be seen from outside, so a checkpoint cannot hold it: [`state`](Component::state) is an `Err` that
/// says so, instead of a run that would resume with other moments. [`Sgd`](crate::Sgd) and [`AdamW`](crate::AdamW)
/// resume.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use candle_nn::{Optimizer as _, ParamsAdamW};
/// use msharp_core::{Optimizer, ParamVec, Params};
/// use msharp_train::CandleNn;
///
/// let w = Var::ones(2, DType::F32, &Device::Cpu)?;
/// let params = Params::new([("w".to_owned(), w.clone())])?;
/// let adamw = candle_nn::AdamW::new(vec![w.clone()], ParamsAdamW { weight_decay: 0., ..Default::default() })?;
/// let grads = ParamVec::new(&params, vec![Tensor::new(&[3f32, -4.], &Device::Cpu)?]);
/// CandleNn(adamw).step(&params, &grads, 0.1)?;
/// let moved = w.to_vec1::<f32>()?; // the first step is that of the sign
/// assert!((moved[0] - 0.9).abs() < 1e-6 && (moved[1] - 1.1).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug)]
pub struct CandleNn<O>(pub O);

impl<O: candle_nn::Optimizer> Component for CandleNn<O> {
    fn own_state(&mut self, _: &Params, _: &mut State) -> Result<()> {
        bail!(
            "an optimizer of candle-nn does not show its state, so a checkpoint cannot hold it; expected Sgd or AdamW \
             of msharp-train, or a run without checkpoints"
        )
    }
}

impl<O: candle_nn::Optimizer> Optimizer for CandleNn<O> {
    fn step(&mut self, params: &Params, grads: &ParamVec, lr: f64) -> Result<()> {
        // candle makes an empty store only as the gradients of something.
        let mut store = Tensor::zeros((), candle_core::DType::F32, &candle_core::Device::Cpu)?.backward()?;
        for (param, grad) in params.iter().zip(grads.tensors()) {
            store.insert(&param.var, grad.clone());
        }
        Range::AT_LEAST_0.check("the learning rate", lr)?;
        self.0.set_learning_rate(lr);
        self.0.step(&store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdamW, Sgd};
    use candle_core::{DType, Device, Var};
    use candle_nn::{Optimizer as _, ParamsAdamW};
    use msharp_core::Key;
    use std::collections::BTreeMap;

    #[test]
    fn candles_optimizers_step_as_ours_do() -> Result<()> {
        let run = |make: &dyn Fn(Vec<Var>) -> Result<Box<dyn Optimizer>>| -> Result<Vec<f32>> {
            let vars = [Var::ones(4, DType::F32, &Device::Cpu)?, Var::ones((2, 3), DType::F32, &Device::Cpu)?];
            let params = Params::new([("a".to_owned(), vars[0].clone()), ("b".to_owned(), vars[1].clone())])?;
            let mut optimizer = make(vars.to_vec())?;
            for k in 0..4 {
                optimizer.step(&params, &ParamVec::gaussian(&params, Key::new(k))?, 0.1 / (k + 1) as f64)?;
            }
            vars.iter().map(|var| var.flatten_all()?.to_vec1()).collect::<Result<Vec<_>>>().map(|all| all.concat())
        };
        let apart = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0., f32::max);
        let theirs = run(&|vars| Ok(Box::new(CandleNn(candle_nn::SGD::new(vars, 1.)?))))?;
        assert_eq!(apart(theirs, run(&|_| Ok(Box::new(Sgd::default())))?), 0.);
        let theirs = run(&|vars| Ok(Box::new(CandleNn(candle_nn::AdamW::new(vars, ParamsAdamW::default())?))))?;
        let ours = run(&|_| Ok(Box::new(AdamW::default())))?;
        assert!(apart(theirs, ours) < 1e-6);
        Ok(())
    }

    #[test]
    fn what_cannot_be_saved_says_so() -> Result<()> {
        let var = Var::ones(4, DType::F32, &Device::Cpu)?;
        let params = Params::new([("a".to_owned(), var.clone())])?;
        let mut saved = BTreeMap::new();
        let mut optimizer = CandleNn(candle_nn::SGD::new(vec![var], 1.)?);
        let error = optimizer.state(&params, &mut State::save("optimizer", &mut saved)).unwrap_err();
        assert!(error.to_string().contains("candle-nn"));
        Ok(())
    }
}
