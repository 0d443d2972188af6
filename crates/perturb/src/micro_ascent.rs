//! Micro-batches that ascend alone and descend together: a control of m-SAM.

use crate::micro::mean;
use candle_core::{Result, bail};
use msharp_core::{BatchLoss, Component, Cost, Gradient, Measures, Offset, Params, Perturbation, at_least_1, parts};

/// The mean over micro-batches j, weighted by their length, of ∇f_γ(x + εⱼ): the perturbation is that of micro-batch j,
/// and the gradient there is that of the *whole* batch.
///
/// In m-SAM the gradient at x + εⱼ is of micro-batch j alone, so that the noise of a sample meets its own curvature,
/// with the weight 1/m: the paper's ρ/(2m)·tr V of USAM, and that over ‖∇f_γ‖ of SAM. Here that weight is 1/b, as in
/// SAM, and the perturbations are as long and as noisy as those of m-SAM. What m-SAM has and this has not comes of that
/// weight. Where noise is all there is, ‖∇f_γ‖ is √(b/m) times that of the batch, and this is SAM at ρ√(m/b).
///
/// Cost: 1 forward and 1 backward for the ascents, and b/m of each at the displaced points. It reports the means of
/// `offset_norm` and `sharp_loss`. Running statistics move b/m times, in the ascents.
///
/// # Errors
/// With several ranks.
#[derive(Clone, Debug)]
pub struct MicroAscent<O> {
    /// How a gradient becomes εⱼ.
    pub offset: O,
    /// m ≥ 1, in samples.
    pub size: usize,
}

impl<O: Offset> Component for MicroAscent<O> {
    parts!(offset);

    fn own_check(&self, _: &Params) -> Result<()> {
        at_least_1("the size of a micro-batch", self.size)
    }
}

impl<O: Offset> Perturbation for MicroAscent<O> {
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
        self.check(loss.params)?;
        let ranks = loss.ranks.size();
        if ranks > 1 {
            bail!("micro-batches that ascend alone and descend together are for one rank, and there are {ranks}")
        }
        mean(loss, &loss.batch.chunks(self.size)?, |micro_batch| {
            let uphill = micro_batch.gradient()?;
            let epsilon = self.offset.offset(micro_batch, &uphill.grads)?;
            let sharp = loss.gradient_at(&epsilon)?;
            let mut measures = Measures::from([("offset_norm", epsilon.squared_norm()?.sqrt()?)]);
            measures.extend(sharp.mean_loss()?.map(|loss| ("sharp_loss", loss)));
            Ok(Gradient { losses: uphill.losses, grads: sharp.grads, measures, weights: None })
        })
    }

    fn cost(&self, samples: usize) -> Cost {
        Cost::passes(1. + samples.div_ceil(self.size) as f64)
    }
}
