//! The samples whose loss rises most: the data selection of ESAM.

use candle_core::{DType, Result, Tensor};
use msharp_core::{Combine, Component, ParamVec, Params, Passes, Range, share_of};

/// The mean gradient at x + ε over the ⌊γb⌋ samples, at least one, whose losses rose most from ℓᵢ(x) to ℓᵢ(x + ε), and
/// over all that tie with the last of them.
///
/// Cost: that of the whole batch: the published saving is in the backward pass over fewer samples.
///
/// Reference: ESAM (Du et al., ICLR 2022, §3.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EsamSelect {
    /// γ from above 0 to 1.
    pub gamma: f64,
}

impl EsamSelect {
    /// What γ may be.
    pub const GAMMA: Range = Range::SHARE_ABOVE_0;
}

impl Component for EsamSelect {
    fn own_check(&self, _: &Params) -> Result<()> {
        Self::GAMMA.check("gamma", self.gamma)
    }
}

impl Combine for EsamSelect {
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec> {
        let before = passes.losses()?.to_dtype(DType::F64)?;
        let count = share_of(self.gamma, before.elem_count()).max(1) as f64;
        passes.sharp_weighted(|after| {
            let rise = (after.to_dtype(DType::F64)? - before)?; // [b]
            let higher = rise.unsqueeze(0)?.broadcast_gt(&rise.unsqueeze(1)?)?; // [b, b]: is j above i?
            let rank = higher.to_dtype(DType::F64)?.sum(1)?; // [b]: how many are above i
            let taken = at_most_1(&rank.affine(-1., count)?.relu()?)?; // [b]: 1 for rank < count, else 0
            taken.broadcast_div(&taken.sum_all()?)
        })
    }
}

/// min(1, x)
fn at_most_1(x: &Tensor) -> Result<Tensor> {
    x.affine(-1., 1.)?.relu()?.affine(-1., 1.)
}
