//! Micro-batches that ascend alone and descend together: a control of m-SAM.

use candle_core::{Result, Tensor, bail};
use msharp_core::{
    BatchLoss, Component, Cost, Gradient, Measures, Offset, ParamVec, Params, Perturbation, at_least_1, parts,
};

/// The mean over micro-batches j, weighted by their length, of ∇f_γ(x + εⱼ): the perturbation is that of micro-batch j,
/// and the gradient there is that of the *whole* batch.
///
/// In m-SAM the gradient at x + εⱼ is of micro-batch j alone, so that the noise of a sample meets its own curvature,
/// with the weight 1/m: the paper's ρ/(2m)·tr V. Here that weight is 1/b, as in SAM, and the perturbations are as long
/// and as noisy as those of m-SAM. What m-SAM has and this has not comes of that weight.
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
        let (mut sum, mut losses) = (None, Vec::new());
        let mut means: [Option<Tensor>; 2] = [None, None];
        for chunk in &loss.batch.chunks(self.size)? {
            let share = chunk.len() as f64 / loss.batch.len() as f64;
            let uphill = loss.of(chunk).gradient()?;
            let epsilon = self.offset.offset(loss.of(chunk), &uphill.grads)?;
            let sharp = loss.gradient_at(&epsilon)?;
            ParamVec::accumulate(&mut sum, share, &sharp.grads)?;
            let values = [Some(epsilon.squared_norm()?.sqrt()?), sharp.mean_loss()?];
            for (mean, value) in means.iter_mut().zip(values) {
                let Some(value) = value else { continue };
                let term = (value * share)?;
                *mean = Some(match mean.take() {
                    Some(sum) => (sum + term)?,
                    None => term,
                });
            }
            losses.extend(uphill.losses);
        }
        let Some(grads) = sum else { bail!("the batch has no micro-batch") };
        let named = ["offset_norm", "sharp_loss"].into_iter().zip(means);
        let measures = named.filter_map(|(name, mean)| Some((name, mean?))).collect::<Measures>();
        Ok(Gradient { losses: Some(Tensor::cat(&losses, 0)?), grads, measures, weights: None })
    }

    fn cost(&self, samples: usize) -> Cost {
        Cost::passes(1. + samples.div_ceil(self.size) as f64)
    }
}
