//! Random parameters only: the stochastic weight perturbation of ESAM.

use candle_core::{Result, Tensor};
use msharp_core::{Batch, Objective, Offset, ParamVec, Params, Range, State};

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

impl<O: Offset> Offset for Sparse<O> {
    fn offset(&mut self, f: &dyn Objective, params: &Params, batch: &Batch, g: &ParamVec) -> Result<ParamVec> {
        let epsilon = self.inner.offset(f, params, batch, g)?.scale(1. / self.beta)?;
        let uniform = ParamVec::uniform(params, batch.key.fold_name("sparse"))?;
        let masked = |(epsilon, u): (&Tensor, &Tensor)| epsilon * u.lt(self.beta)?.to_dtype(epsilon.dtype())?;
        let pairs = epsilon.tensors().iter().zip(uniform.tensors());
        Ok(ParamVec::new(params, pairs.map(masked).collect::<Result<_>>()?))
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        self.inner.state(params, &mut state.part("inner"))
    }

    fn check(&self, params: &Params) -> Result<()> {
        Sparse::BETA.check("beta", self.beta)?;
        self.inner.check(params)
    }

    fn name(&self) -> String {
        format!("Sparse({})", self.inner.name())
    }
}
