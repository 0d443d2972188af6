//! SAM with the perturbation from an auxiliary iterate: SAMPa.

use crate::L2;
use candle_core::{DType, Result, Tensor, bail};
use msharp_core::{
    Batch, BatchLoss, Component, Gradient, Measures, ParamVec, Params, Part, Perturbation, Range, Rescale, Share, State,
};

/// x̃ₜ = xₜ + ρgₜ/‖gₜ‖, yₜ₊₁ = xₜ − ηₜgₜ, and the direction to descend is (1 − λ)∇f(x̃ₜ) + λgₜ₊₁ with gₜ₊₁ = ∇f(yₜ₊₁).
///
/// Both points follow from xₜ and gₜ alone: the two gradients of a step do not depend on each other. One process
/// computes them one after the other; of several ranks one half computes gₜ₊₁ and the other, at the same time,
/// ∇f(x̃ₜ), so that a step takes the time of one of SGD on half as many. The perturbed gradient is of the batch that
/// gₜ is of, the one *before* that of the step; gₜ₊₁ is of the step's batch.
///
/// Cost: 2 forwards and 2 backwards; 3 and 3 in the first step, where g₀ = ∇f(x₀). On several ranks two sums over all
/// of them, as for SAM, and every rank is sent the inputs of the batch. It reports no losses at x, and `sharp_loss` at
/// x̃ and `offset_norm`; running statistics move at y. State: gₜ and its batch. η is the learning rate of the
/// [training point](Batch::training_point).
///
/// Put it inside [`During`](crate::During) or [`Clipped`](crate::Clipped), not inside [`Every`](crate::Every), which
/// would leave it a gradient of several steps ago.
///
/// # Errors
/// For a batch without a training point; for a micro-batch, since x does not move between those of a step; with an odd
/// number of ranks above one; and where batch normalisation is over the samples of all ranks, of which the halves have
/// different ones.
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
        let halves = Halves::of(loss)?;
        let whole = loss.whole_batch()?;
        if whole.part != Part::WHOLE {
            bail!("SAMPa goes on from the last step's batch, and has no form for micro-batches; expected a whole batch")
        }
        let eta = loss.batch.training_point()?.lr;
        let (g, batch) = match (&self.g, &self.batch) {
            (Some(g), Some(batch)) => (g.clone(), batch.clone()),
            _ => (halves.mean(halves.part(FIRST, &whole, |loss| loss.gradient())?)?, whole.clone()),
        };
        let (epsilon, y) = (g.scale_to(Rescale::Of(self.rho))?.0, g.scale(-eta)?);
        // Each rank computes its part before it waits for those of the others.
        let sharp = halves.part(SECOND, &batch, |loss| loss.gradient_at(&epsilon))?;
        let next = halves.part(FIRST, &whole, |loss| loss.only_gradient_at(&y))?;
        let sharp_loss = halves.mean_loss(sharp.as_ref())?;
        let (sharp, next) = (halves.mean(sharp)?, halves.mean(next)?);
        let descent = sharp.scale(1. - self.lambda)?.add_scaled(self.lambda, &next)?;

        let measures = Measures::from([("offset_norm", epsilon.squared_norm()?.sqrt()?), ("sharp_loss", sharp_loss)]);
        (self.g, self.batch) = (Some(next), Some(whole));
        Ok(Gradient { losses: None, grads: descent, measures, weights: None })
    }
}

/// The half of the ranks that computes gₜ₊₁: with rank 0, which has the running statistics.
const FIRST: usize = 0;
/// The half that computes ∇f(x̃ₜ).
const SECOND: usize = 1;

/// Which gradients this rank has a part in: one process in both.
struct Halves<'a> {
    loss: BatchLoss<'a>,
    has_part: [bool; 2],
    /// Its samples of the batch of either.
    share: Share,
}

impl<'a> Halves<'a> {
    fn of(loss: BatchLoss<'a>) -> Result<Self> {
        let (rank, size) = (loss.ranks.rank(), loss.ranks.size());
        if size == 1 {
            return Ok(Self { loss, has_part: [true; 2], share: Share::WHOLE });
        }
        if !size.is_multiple_of(2) {
            bail!("SAMPa has a gradient for each half of the ranks, and there are {size}; expected an even number")
        }
        if loss.ranks.syncs_batch_norm() {
            bail!("SAMPa has other samples on each half of the ranks; expected batch normalisation by each rank")
        }
        let of = size / 2;
        Ok(Self { loss, has_part: [rank < of, rank >= of], share: Share { rank: rank % of, of } })
    }

    /// What `pass` yields on this rank's samples of `batch`, if it is of that half.
    fn part(
        &self,
        half: usize,
        batch: &Batch,
        pass: impl FnOnce(BatchLoss) -> Result<Gradient>,
    ) -> Result<Option<Gradient>> {
        let own = batch.slice(self.share)?;
        self.has_part[half].then(|| pass(self.loss.of(&own).alone())).transpose()
    }

    /// The mean over the samples of those that have a part.
    fn mean(&self, part: Option<Gradient>) -> Result<ParamVec> {
        match part {
            Some(Gradient { losses, grads, .. }) => {
                let samples = losses.map_or(0, |losses| losses.elem_count());
                self.loss.ranks.mean(grads, samples as f64)
            }
            None => self.loss.ranks.mean(ParamVec::zeros(self.loss.params)?, 0.),
        }
    }

    /// The mean of the losses.
    fn mean_loss(&self, part: Option<&Gradient>) -> Result<Tensor> {
        let losses = match part.and_then(|part| part.losses.as_ref()) {
            Some(losses) => losses.to_dtype(DType::F64)?,
            None => Tensor::zeros(0, DType::F64, self.loss.params.device())?,
        };
        self.loss.gathered(&losses)?.values.mean_all()
    }
}
