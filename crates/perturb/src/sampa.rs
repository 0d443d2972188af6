//! SAM with the perturbation from an auxiliary iterate: SAMPa.

use crate::L2;
use candle_core::{Result, bail};
use msharp_core::{
    Batch, BatchLoss, Component, Gradient, Measures, ParamVec, Params, Part, Perturbation, Range, Rescale, State,
};

/// x̃ₜ = xₜ + ρgₜ/‖gₜ‖, yₜ₊₁ = xₜ − ηₜgₜ, and the direction to descend is (1 − λ)∇f(x̃ₜ) + λgₜ₊₁ with gₜ₊₁ = ∇f(yₜ₊₁).
///
/// Both points follow from xₜ and gₜ alone: the two gradients of a step do not depend on each other and can be computed
/// at the same time on two devices. Here they are computed one after the other. The perturbed gradient is of the batch
/// that gₜ is of, the one *before* that of the step; gₜ₊₁ is of the step's batch.
///
/// Cost: 2 forwards and 2 backwards; 3 and 3 in the first step, where g₀ = ∇f(x₀). It reports no losses at x, and
/// `sharp_loss` at x̃ and `offset_norm`; running statistics move at y. State: gₜ and its batch. η is the learning rate
/// of the [training point](Batch::training_point).
///
/// Put it inside [`During`](crate::During) or [`Clipped`](crate::Clipped), not inside [`Every`](crate::Every), which
/// would leave it a gradient of several steps ago.
///
/// # Errors
/// For a batch without a training point; for a micro-batch, since x does not move between those of a step; and with
/// several ranks.
///
/// Reference: SAMPa-λ (Xie, Pethick, Cevher, NeurIPS 2024, arXiv 2410.10683), λ = 0.2. The published code adds the
/// optimizer's momentum and weight decay to the step to y; here it is the step of the paper, so that any optimizer will
/// do.
#[derive(Clone, Debug)]
pub struct Sampa {
    /// ρ ≥ 0; 0.1 as published.
    pub rho: f64,
    /// λ from 0 to 1: the weight of the gradient at the auxiliary iterate; 0.2 as published.
    pub lambda: f64,
    /// gₜ, once there was a step.
    g: Option<ParamVec>,
    /// Its batch.
    batch: Option<Batch>,
}

impl Sampa {
    /// What λ may be.
    pub const LAMBDA: Range = Range::SHARE;

    /// Before the first step.
    pub fn new(rho: f64, lambda: f64) -> Self {
        Self { rho, lambda, g: None, batch: None }
    }
}

impl Component for Sampa {
    fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        state.vector("g", params, &mut self.g)?;
        state.batch("batch", params, &mut self.batch)
    }

    fn own_check(&self, _: &Params) -> Result<()> {
        L2::RHO.check("rho", self.rho)?;
        Self::LAMBDA.check("lambda", self.lambda)
    }
}

impl Perturbation for Sampa {
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
        self.check(loss.params)?;
        if loss.batch.part != Part::WHOLE {
            bail!("SAMPa goes on from the last step's batch, and has no form for micro-batches; expected a whole batch")
        }
        if loss.ranks.size() > 1 {
            bail!("SAMPa keeps the last step's batch, of which a rank has a part; expected one process")
        }
        let eta = loss.batch.training_point()?.lr;
        let (g, batch) = match (&self.g, &self.batch) {
            (Some(g), Some(batch)) => (g.clone(), batch.clone()),
            _ => (loss.gradient()?.grads, loss.batch.clone()),
        };
        let epsilon = g.scale_to(Rescale::Of(self.rho))?.0;
        let sharp = loss.of(&batch).gradient_at(&epsilon)?;
        let next = loss.only_gradient_at(&g.scale(-eta)?)?.grads;
        let descent = sharp.grads.scale(1. - self.lambda)?.add_scaled(self.lambda, &next)?;

        let mut measures = Measures::from([("offset_norm", epsilon.squared_norm()?.sqrt()?)]);
        measures.extend(sharp.mean_loss()?.map(|mean| ("sharp_loss", mean)));
        (self.g, self.batch) = (Some(next), Some(loss.batch.clone()));
        Ok(Gradient { losses: None, grads: descent, measures })
    }
}
