//! Random parameters only: the stochastic weight perturbation of ESAM.

use candle_core::{Result, Tensor};
use msharp_core::{BatchLoss, Component, Cost, Offset, ParamVec, Params, Range, parts};

/// ε ∘ m/β for an ε of `inner`, which sees the whole gradient, and mⱼ = 1 with probability β, else 0; the mean over m
/// is ε. A function of the batch's key. On a GPU the mask is drawn by the host.
///
/// Reference: ESAM (Du et al., ICLR 2022, §3.1). The published code masks whole tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sparse<O> {
    /// What is masked.
    pub inner: O,
    /// β from above 0 to 1.
    pub beta: f64,
}

impl Sparse<()> {
    /// What β may be.
    pub const BETA: Range = Range::SHARE_ABOVE_0;
}

impl<O: Offset> Component for Sparse<O> {
    parts!(inner);

    fn own_check(&self, _: &Params) -> Result<()> {
        Sparse::BETA.check("beta", self.beta)
    }
}

impl<O: Offset> Offset for Sparse<O> {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        let epsilon = self.inner.offset(loss, g)?.scale(1. / self.beta)?;
        let uniform = ParamVec::uniform(loss.params, loss.batch.key.fold_name("sparse"))?;
        let masked = |(epsilon, u): (&Tensor, &Tensor)| epsilon * u.lt(self.beta)?.to_dtype(epsilon.dtype())?;
        let pairs = epsilon.tensors().iter().zip(uniform.tensors());
        Ok(ParamVec::new(loss.params, pairs.map(masked).collect::<Result<_>>()?))
    }

    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples)
    }
}
