//! What a combination may ask for: the gradient at x, and the one at x + ε, which is computed when it is asked for.

use crate::batch_loss::Statistics;
use crate::{Batch, BatchLoss, Gradient, Measures, Offset, ParamVec, Uphill};
use candle_core::{Result, Tensor, bail};

/// The two passes of a rule, the first of which is made. A [`Combine`](crate::Combine) that never asks for the second
/// does not pay for it.
pub struct Passes<'a, U: Uphill = Gradient> {
    loss: BatchLoss<'a>,
    uphill: U,
    offset: &'a mut dyn Offset,
    measures: Measures,
}

impl<'a, U: Uphill> Passes<'a, U> {
    /// What follows an ascent to `uphill`, perturbed by `offset`.
    pub fn new(loss: BatchLoss<'a>, uphill: U, offset: &'a mut dyn Offset) -> Self {
        Self { loss, uphill, offset, measures: Measures::new() }
    }

    /// The batch: its key, and its place in the run.
    pub fn batch(&self) -> &Batch {
        self.loss.batch
    }

    /// The loss of the batch at x: its parameters, and passes of your own.
    pub fn loss(&self) -> BatchLoss<'a> {
        self.loss
    }

    /// ∇f_γ(x + ε), the mean gradient there. One forward and one backward pass, in each call; an offset with state
    /// moves on with each.
    ///
    /// Reports ‖ε‖ as `offset_norm` and the mean loss at x + ε as `sharp_loss`.
    pub fn sharp(&mut self) -> Result<ParamVec> {
        let epsilon = self.epsilon()?;
        self.at(&epsilon, None)
    }

    /// ∇ Σ wᵢ ℓᵢ(x + ε) with weights, `[b]`, that are a function of the losses ℓᵢ(x + ε), of all ranks' samples. One
    /// forward and one backward pass; one more forward where the objective [limits](crate::Objective::max_samples) the
    /// size of a pass.
    pub fn sharp_weighted(&mut self, weigh: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<ParamVec> {
        let epsilon = self.epsilon()?;
        if !U::AT_X || self.loss.pieces()?.len() > 1 {
            let all = self.loss.gathered(&self.loss.losses_at(&epsilon)?)?;
            return self.at(&epsilon, Some(&all.own(&weigh(&all.values)?)?));
        }
        let (losses, grads) = self.loss.weighed_gradient_at(&epsilon, weigh)?;
        self.report(&losses)?;
        Ok(grads)
    }

    /// Adds a number to what the rule reports.
    pub fn measure(&mut self, name: &'static str, value: Tensor) {
        self.measures.insert(name, value);
    }

    /// What the rule returns, `descent` being what was combined.
    pub fn finish(self, descent: ParamVec) -> Gradient {
        self.uphill.report(descent, self.measures)
    }

    /// What a rule returns that descends ∇f_γ(x + ε) alone. The direction uphill is freed before the second pass, which
    /// needs so much less memory.
    pub fn finish_at_sharp(mut self) -> Result<Gradient> {
        let epsilon = self.epsilon()?;
        self.uphill.release();
        let sharp = self.at(&epsilon, None)?;
        Ok(self.finish(sharp))
    }

    fn epsilon(&mut self) -> Result<ParamVec> {
        let epsilon = self.offset.offset(self.loss, self.uphill.direction())?;
        let length = epsilon.squared_norm()?.sqrt()?;
        self.measure("offset_norm", length);
        Ok(epsilon)
    }

    fn at(&mut self, epsilon: &ParamVec, weights: Option<&Tensor>) -> Result<ParamVec> {
        let statistics = if U::AT_X { Statistics::PutBack } else { Statistics::Keep };
        let pass = self.loss.gradient_of_pass(epsilon, weights, statistics)?;
        if let Some(losses) = &pass.losses {
            self.report(losses)?;
        }
        Ok(pass.grads)
    }

    fn report(&mut self, losses: &Tensor) -> Result<()> {
        self.measure("sharp_loss", crate::gradient::mean(losses)?);
        Ok(())
    }
}

impl Passes<'_, Gradient> {
    /// ∇ Σ pᵢ ℓᵢ(x + ε), with the weights p of an ascent that is Σ pᵢ ∇ℓᵢ(x). As [`sharp`](Self::sharp).
    ///
    /// # Errors
    /// Of an ascent that does not weigh samples.
    pub fn sharp_as_ascended(&mut self) -> Result<ParamVec> {
        let Some(weights) = self.uphill.weights.clone() else {
            bail!("the ascent does not weigh samples; expected one that does, as those of RW-SAM and δ-SAM")
        };
        let epsilon = self.epsilon()?;
        self.at(&epsilon, Some(&weights))
    }

    /// The gradient at x: the ascent's. After a reweighting ascent it is the reweighted one, after that of a full batch
    /// the full batch's, and a combination that descends it descends that.
    pub fn clean(&self) -> &ParamVec {
        &self.uphill.grads
    }

    /// ℓᵢ at x, `[b]`, of all ranks' samples: the ascent's. One forward pass without a graph where the ascent made none
    /// over this batch, as that of a full batch.
    pub fn losses(&self) -> Result<Tensor> {
        let own = match &self.uphill.losses {
            Some(losses) => losses.clone(),
            None => self.loss.losses_at(&ParamVec::zeros(self.loss.params)?)?,
        };
        Ok(self.loss.gathered(&own)?.values)
    }
}
