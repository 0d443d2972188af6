//! Micro-batches: m-SAM, and the m-variant of every other rule.

use candle_core::{Result, Tensor, bail};
use msharp_core::{
    Batch, BatchLoss, Component, Cost, Gradient, Measures, ParamVec, Params, Perturbation, at_least_1, parts,
};
use std::collections::BTreeMap;

/// The mean over micro-batches of `size` samples of what `inner` computes on each, weighted by their length.
///
/// Each micro-batch has its own perturbation *and* its own descent gradient. A last micro-batch that is shorter counts
/// for less; a batch no longer than `size` is handed to `inner` as it is.
///
/// # One after another, or together
///
/// There are two [paths](Path) to the same numbers. One after another, each micro-batch makes the passes of `inner`,
/// b/m smaller pieces. Together, the whole batch makes them once, and each micro-batch sees parameters of its own in it
/// ([`MicroGradients`](msharp_core::MicroGradients)): at most 4/3 of the work of `inner` on the whole batch, for every
/// m. The results agree up to rounding. It exists for SAM and USAM ([`Mean`](crate::Mean), an offset that is the
/// gradient with a factor for each parameter, [`Descend`](crate::Descend)), where every parameter is used once, by an
/// op of msharp-ops. On a GPU a step reads the norms back, once. The first step compares two micro-batches with their
/// own gradients; [`reason`](Self::reason) says why micro-batches go one after another. Steps that go together report
/// `together` = 1, and as `micro_norm` the mean of ‖∇f_j(x)‖, the paper's E‖∇f_γ‖: m-SAM adds ρ times it to the loss.
///
/// Dropout draws from the key of the batch where micro-batches go together, and from that of each micro-batch where
/// they do not: other masks of the same law.
///
/// Cost: that of `inner`. State: `inner` sees the micro-batches as b/m successive batches, so a moving average in it
/// moves b/m times a step; what counts steps, as every k-th one, counts optimizer steps. Under batch normalisation each
/// micro-batch is its own normalisation batch, and running statistics move b/m times: compare rules on models without
/// it.
///
/// With several [ranks](msharp_core::Communicator) each cuts its own part of the batch and perturbs on its own: the
/// step has one mean over ranks, that of the result. Where m divides the samples of a rank, the micro-batches are those
/// of one process, also under their keys. State of `inner`, but for counts of steps, is then another one on each rank.
///
/// Reference: m-SAM (Foret et al., ICLR 2021, §4.1; Luo et al., NeurIPS 2025).
#[derive(Clone, Debug)]
pub struct Micro<P> {
    /// The rule on one micro-batch.
    pub inner: P,
    /// m ≥ 1, in samples.
    pub size: usize,
    /// Whether the micro-batches go together.
    pub path: Path,
    /// Whether they can, once it is known: or why not.
    found: Option<std::result::Result<(), String>>,
}

/// How the micro-batches of a batch are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    /// Together where they can be, else one after another.
    #[default]
    Auto,
    /// Together, or an error that says why they cannot be.
    Parallel,
    /// One after another.
    Sequential,
}

impl<P> Micro<P> {
    /// Micro-batches of `size` samples, together where they can be.
    pub fn new(inner: P, size: usize) -> Self {
        Self { inner, size, path: Path::Auto, found: None }
    }

    /// The same on one path.
    pub fn with_path(self, path: Path) -> Self {
        Self { path, ..self }
    }

    /// Why the micro-batches go one after another, where that was not asked for; nothing before the first step.
    pub fn reason(&self) -> Option<&str> {
        self.found.as_ref()?.as_ref().err().map(String::as_str)
    }
}

impl<P: Perturbation> Component for Micro<P> {
    parts!(inner);

    fn own_check(&self, _: &Params) -> Result<()> {
        at_least_1("the size of a micro-batch", self.size)
    }
}

impl<P: Perturbation> Micro<P> {
    /// Whether the micro-batches of these losses can go together, or why not. One forward and some backward passes.
    fn find(&self, loss: BatchLoss) -> Result<std::result::Result<(), String>> {
        if let Some(most) = loss.objective.max_samples().filter(|most| *most < self.size) {
            return Ok(Err(format!("a pass takes {most} samples at most, and a micro-batch has {}", self.size)));
        }
        if !self.inner.goes_together(loss)? {
            return Ok(Err(format!("{} has no such form; SAM and USAM have", self.inner.name())));
        }
        let pieces = self.pieces(loss)?;
        Ok(loss.of(&pieces[0]).fault_of_micro_gradients(self.size)?.map_or(Ok(()), Err))
    }

    /// What goes together: the batch, or pieces of whole micro-batches where the objective limits the samples of a
    /// pass.
    fn pieces(&self, loss: BatchLoss) -> Result<Vec<Batch>> {
        match loss.objective.max_samples() {
            Some(most) if most < loss.batch.len() => loss.batch.chunks(most / self.size * self.size),
            _ => Ok(vec![loss.batch.clone()]),
        }
    }

    fn goes_together(&mut self, loss: BatchLoss) -> Result<bool> {
        if self.path == Path::Sequential {
            return Ok(false);
        }
        if self.found.is_none() || loss.objective.max_samples().is_some_and(|most| most < self.size) {
            self.found = Some(self.find(loss)?);
        }
        match self.reason() {
            Some(reason) if self.path == Path::Parallel => bail!("micro-batches cannot go together: {reason}"),
            reason => Ok(reason.is_none()),
        }
    }
}

impl<P: Perturbation> Perturbation for Micro<P> {
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
        at_least_1("the size of a micro-batch", self.size)?;
        let chunks = loss.batch.chunks(self.size)?;
        let (own, size) = (loss.alone(), self.size);
        let step = match chunks.as_slice() {
            [whole] => self.inner.gradient(own.of(whole))?,
            _ if self.goes_together(own)? => {
                let mut step = match self.pieces(own)?.as_slice() {
                    [whole] => self.inner.together(own.of(whole), size)?,
                    pieces => mean(own, pieces, |piece| self.inner.together(piece, size))?,
                };
                step.measures.insert("together", Tensor::new(1f64, loss.params.device())?);
                step
            }
            chunks => mean(own, chunks, |chunk| self.inner.gradient(chunk))?,
        };
        Ok(Gradient { grads: loss.mean_over_ranks(step.grads)?, ..step })
    }

    /// That of `inner` on a micro-batch: b/m of them are a batch.
    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples.min(self.size))
    }
}

/// The mean of what `of` computes on parts of a batch, weighted by their length.
pub(crate) fn mean(
    loss: BatchLoss,
    parts: &[Batch],
    mut of: impl FnMut(BatchLoss) -> Result<Gradient>,
) -> Result<Gradient> {
    let (mut sum, mut losses) = (None, Vec::new());
    let mut measures: BTreeMap<&str, (Tensor, f64)> = BTreeMap::new();
    for part in parts {
        let share = part.len() as f64 / loss.batch.len() as f64;
        let step = of(loss.of(part))?;
        ParamVec::accumulate(&mut sum, share, &step.grads)?;
        losses.extend(step.losses);
        for (name, value) in step.measures {
            let term = (value * share)?;
            let sum = match measures.get(name) {
                Some((sum, shares)) => ((sum + term)?, shares + share),
                None => (term, share),
            };
            measures.insert(name, sum);
        }
    }
    // The mean over the parts that have it.
    let measures = measures.into_iter().map(|(name, (sum, shares))| Ok((name, (sum / shares)?)));
    let measures = measures.collect::<Result<Measures>>()?;
    let Some(grads) = sum else { bail!("no micro-batch has a gradient") };
    let losses = (losses.len() == parts.len()).then(|| Tensor::cat(&losses, 0)).transpose()?;
    Ok(Gradient { losses, grads, measures, weights: None })
}
