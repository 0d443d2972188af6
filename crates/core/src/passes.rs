//! What a combination may ask for: the gradient at x, and the one at x + ε, which is computed when it is asked for.

use crate::{Batch, Gradient, Objective, Offset, ParamVec, Params, gradient_at, only_gradient_at};
use candle_core::{Result, Tensor, bail};

/// The two passes of a rule, the first of which is made. A [`Combine`](crate::Combine) that never asks for the second
/// does not pay for it.
pub struct Passes<'a> {
    f: &'a dyn Objective,
    params: &'a Params,
    batch: &'a Batch,
    ascent: Gradient,
    at_x: bool,
    offset: &'a mut dyn Offset,
}

impl<'a> Passes<'a> {
    /// What follows an ascent. `at_x` is its [`Ascent::at_x`](crate::Ascent::at_x).
    pub fn new(
        f: &'a dyn Objective,
        params: &'a Params,
        batch: &'a Batch,
        ascent: Gradient,
        at_x: bool,
        offset: &'a mut dyn Offset,
    ) -> Self {
        Self { f, params, batch, ascent, at_x, offset }
    }

    /// The batch: its key, and when it comes.
    pub fn batch(&self) -> &Batch {
        self.batch
    }

    /// The gradient at x: the ascent's. After a reweighting ascent it is the reweighted one, after that of a full batch
    /// the full batch's, and a combination that descends it descends that.
    ///
    /// # Errors
    /// If the ascent has none: a moving average or a random direction is not a gradient at x.
    pub fn clean(&self) -> Result<&ParamVec> {
        match self.at_x {
            true => Ok(&self.ascent.grads),
            false => bail!("this combination needs the gradient at x, and its ascent does not compute it"),
        }
    }

    /// ℓᵢ at x, `[b]`.
    ///
    /// # Errors
    /// If the ascent made no pass over this batch at x.
    pub fn losses(&self) -> Result<&Tensor> {
        match &self.ascent.losses {
            Some(losses) => Ok(losses),
            None => bail!("this combination needs the losses at x, and its ascent makes no pass over the batch there"),
        }
    }

    /// ∇f_γ(x + ε), the mean gradient there. One forward and one backward pass.
    ///
    /// Its mean loss is reported as `sharp_loss`.
    pub fn sharp(&mut self) -> Result<ParamVec> {
        let epsilon = self.epsilon()?;
        self.at(&epsilon, None)
    }

    /// ∇ Σ wᵢ ℓᵢ(x + ε) with weights, `[b]`, that are a function of the losses ℓᵢ(x + ε). One forward and one backward
    /// pass; one more forward where the objective [limits](Objective::most) the size of a pass.
    pub fn sharp_weighted(&mut self, weigh: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<ParamVec> {
        let epsilon = self.epsilon()?;
        if !self.at_x || self.f.pieces(self.batch)?.len() > 1 {
            let weights = weigh(&crate::losses_at(self.f, self.params, self.batch, &epsilon)?)?;
            return self.at(&epsilon, Some(&weights));
        }
        let (losses, grads) = crate::gradient::weighed_gradient_at(self.f, self.params, self.batch, &epsilon, weigh)?;
        self.report(&losses)?;
        Ok(grads)
    }

    /// Adds a number to what the rule reports.
    pub fn measure(&mut self, name: &'static str, value: Tensor) {
        self.ascent.measures.insert(name, value);
    }

    /// What the rule hands to the optimizer, `direction` being what was combined.
    pub fn finish(self, direction: ParamVec) -> Gradient {
        Gradient { grads: direction, losses: if self.at_x { self.ascent.losses } else { None }, ..self.ascent }
    }

    fn epsilon(&mut self) -> Result<ParamVec> {
        self.offset.offset(self.f, self.params, self.batch, &self.ascent.grads)
    }

    fn at(&mut self, epsilon: &ParamVec, weights: Option<&Tensor>) -> Result<ParamVec> {
        let pass = if self.at_x {
            gradient_at(self.f, self.params, self.batch, Some(epsilon), weights)?
        } else {
            only_gradient_at(self.f, self.params, self.batch, epsilon, weights)?
        };
        if let Some(losses) = &pass.losses {
            self.report(losses)?;
        }
        Ok(pass.grads)
    }

    fn report(&mut self, losses: &Tensor) -> Result<()> {
        // candle's own mean copies shapes to a GPU.
        let mean = msharp_ops::no_grad(|| msharp_ops::weighted_sum(losses, None))?.to_dtype(candle_core::DType::F64)?;
        self.measure("sharp_loss", mean);
        Ok(())
    }
}
