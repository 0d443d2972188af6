//! Exact m-SAM with all micro-batches at once: the gradients of the micro-batches of a batch from one pass, and a pass
//! in which each micro-batch sees parameters of its own.
//!
//! # Why no micro-batch needs weights of its own
//!
//! m-SAM perturbs the parameters for every micro-batch j by εⱼ = cⱼ gⱼ, gⱼ the gradient of its mean loss. In a linear
//! map y = W x the block of gⱼ is Σ d aᵀ over the positions of j, with the inputs a and the output gradients d of the
//! clean pass, which has them for the whole batch. So the displaced map of micro-batch j is
//!
//! (W + εⱼ) x = W x + cⱼ Σ d ⟨a, x⟩,
//!
//! its input gradient is Wᵀ dy + cⱼ Σ a ⟨d, dy⟩, and its weight gradient is the ordinary one, Σ dy xᵀ over the whole
//! batch. ‖gⱼ‖² comes of the same a and d. So two passes over the whole batch do what 2b/m passes over micro-batches
//! do.
//!
//! # What a layer keeps, and how it is displaced
//!
//! * **Formed.** Where the gradients of all micro-batches have no more elements than a and d together (few channels,
//!   many positions), the clean pass forms and keeps them in the place of a and d. W + εⱼ is made when micro-batch j is
//!   due.
//! * **Low rank.** Elsewhere a and d are kept. Where micro-batches have few positions the two thin products above are
//!   added to the product of the whole batch.
//! * **Formed again** from a and d, where they have many.
//!
//! The parameters that normalisations, LayerScale, biases and embeddings have are few: they are always formed.
//!
//! # Work
//!
//! In products of a layer's size (forward, input gradient and weight gradient are one each), SAM does 6. The clean pass
//! here does 2 and the norms, which cost 1 at most and compute no weight gradient besides; the displaced pass does 3,
//! and 1 more in the forward and in the backward if εⱼ is formed again or of low rank: 8 at most, 4/3 of SAM for every
//! m, and 6 where the gradients are kept.

use super::groups::Groups;
use super::recorder::{Gradients, Recorder, Scope};
use crate::dispatch::on_device;
use candle_core::{Result, Tensor, bail};
use std::cell::RefCell;
use std::sync::Arc;

/// The gradients of the micro-batches of a batch, by parameter, as factors or formed.
#[derive(Debug)]
pub struct MicroGradients {
    /// `[b]`: the losses, their graph still open. Further backward passes through it give ordinary gradients.
    pub losses: Tensor,
    /// `[p][micro-batches]`: ‖∂f_j/∂xₖ‖², f_j the mean loss of micro-batch j.
    pub squares: Vec<Vec<f64>>,
    /// Whether an op normalised over the whole batch: only of [`sample_gradients`].
    pub coupled: bool,
    params: Vec<Tensor>,
    gradients: Vec<Arc<Gradients>>,
    groups: Groups,
}

/// Runs `losses`, which yields one loss for each of `samples` samples, and the backward that yields the gradient of the
/// mean loss of each micro-batch of `size` samples; the last one may be shorter.
///
/// Each micro-batch is computed as if it were alone: batch normalisation takes its statistics of it, and running
/// statistics move once for each, in order. 1 forward, and 1 backward that computes no gradient of a parameter; see the
/// requirements of [`ghost_norms`](crate::ghost_norms), which are the same. On a GPU the squared norms are read back
/// once, at the end: what is displaced by how much is decided on the host.
///
/// # Errors
/// Those of [`ghost_norms`](crate::ghost_norms); `size` is 0; the losses are not `samples`.
pub fn micro_gradients(
    params: &[(&str, &Tensor)],
    samples: usize,
    size: usize,
    losses: impl FnOnce() -> Result<Tensor>,
) -> Result<MicroGradients> {
    if size == 0 {
        bail!("micro_gradients: the size of a micro-batch is 0; expected at least 1")
    }
    let size = size.min(samples.max(1));
    let groups = Groups { samples, size };
    let means = |losses: &Tensor| {
        if losses.elem_count() != samples {
            bail!("micro_gradients: {samples} samples have {} losses; expected one for each", losses.elem_count())
        }
        let shares: Vec<f64> = groups.all().flat_map(|group| vec![1. / group.len() as f64; group.len()]).collect();
        crate::weighted_sum(losses, Some(&Tensor::from_vec(shares, samples, losses.device())?))
    };
    record("micro_gradients", params, Scope::MicroBatches(size), groups, losses, means)
}

/// As [`ghost_norms`](crate::ghost_norms), and keeps the samples' shares of the gradient, of which
/// [`MicroGradients::weighted`] makes sums: micro-batches of one sample, but normalised over the whole batch. On a GPU
/// the squared norms are read back once.
///
/// # Errors
/// Those of [`ghost_norms`](crate::ghost_norms); the losses are not `samples`.
pub fn sample_gradients(
    params: &[(&str, &Tensor)],
    samples: usize,
    losses: impl FnOnce() -> Result<Tensor>,
) -> Result<MicroGradients> {
    let groups = Groups { samples, size: 1 };
    record("sample_gradients", params, Scope::Samples, groups, losses, Tensor::sum_all)
}

fn record(
    caller: &'static str,
    params: &[(&str, &Tensor)],
    scope: Scope,
    groups: Groups,
    losses: impl FnOnce() -> Result<Tensor>,
    reduce: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<MicroGradients> {
    let record = Recorder::new(caller, params, scope)?.record(params, losses, reduce)?;
    if record.losses.elem_count() != groups.samples {
        bail!("{caller}: {} samples have {} losses; expected one for each", groups.samples, record.losses.elem_count())
    }
    let (mut squares, mut gradients) = (vec![], vec![]);
    for (terms, (name, _)) in record.terms.into_iter().zip(params) {
        let Some(kept) = terms.gradients else { bail!("{caller}: the gradients of {name:?} were not kept") };
        squares.push(terms.squares);
        gradients.push(Arc::new(kept));
    }
    let squares = if squares.is_empty() { vec![] } else { Tensor::stack(&squares, 0)?.to_vec2()? };
    let params = params.iter().map(|(_, param)| param.detach()).collect();
    Ok(MicroGradients { losses: record.losses, squares, coupled: record.coupled, params, gradients, groups })
}

impl MicroGradients {
    /// The number of micro-batches.
    pub fn count(&self) -> usize {
        self.groups.count()
    }

    /// The samples of each micro-batch.
    pub fn sizes(&self) -> Vec<usize> {
        self.groups.all().map(|group| group.len()).collect()
    }

    /// ‖∇f_j‖ over all parameters, of every micro-batch.
    pub fn norms(&self) -> Vec<f64> {
        (0..self.count()).map(|j| self.squares.iter().map(|squares| squares[j]).sum::<f64>().sqrt()).collect()
    }

    /// Runs `f`, in which every op computes micro-batch j with the parameter k displaced by `scales[k][j]` times the
    /// gradient of j, in the forward and in the backward of what is recorded in it. The parameters themselves do not
    /// move. Gradients with respect to them are ordinary ones, of the displaced computation.
    ///
    /// Batches in `f` must have as many samples. The scope belongs to the calling thread and ends even if `f` panics.
    ///
    /// # Errors
    /// If `scales` are not `[p][micro-batches]`; those of `f`.
    pub fn displaced<R>(&self, scales: &[Vec<f64>], f: impl FnOnce() -> Result<R>) -> Result<R> {
        if scales.len() != self.params.len() || scales.iter().any(|scales| scales.len() != self.count()) {
            bail!("displaced: expected {} scales for each of {} parameters", self.count(), self.params.len())
        }
        let size = self.groups.size;
        let Some(first) = self.params.first() else { return Displacements { of: vec![], size }.within_scope(f) };
        let on_device = Tensor::from_vec(scales.concat(), (scales.len(), self.count()), first.device())?;
        let displacement = |(k, gradients): (usize, &Arc<Gradients>)| {
            if scales[k].iter().all(|scale| *scale == 0.) {
                return Ok(None);
            }
            let (gradients, groups) = (gradients.clone(), self.groups);
            Ok(Some(Arc::new(Displacement { scales: on_device.get(k)?, gradients, groups })))
        };
        let all = self.gradients.iter().enumerate().map(displacement).collect::<Result<Vec<_>>>()?;
        let of = self.params.iter().map(address).zip(all).collect();
        Displacements { of, size }.within_scope(f)
    }

    /// Σ wⱼ gⱼ for the `weights` of the micro-batches, a tensor for each parameter with the elements of its shape. The
    /// cost of a backward's weight gradients.
    ///
    /// # Errors
    /// If the weights are not one for each micro-batch.
    pub fn weighted(&self, weights: &[f64]) -> Result<Vec<Tensor>> {
        if weights.len() != self.count() {
            bail!("weighted: {} micro-batches have {} weights; expected one for each", self.count(), weights.len())
        }
        let Some(first) = self.params.first() else { return Ok(Vec::new()) };
        let weights = Tensor::new(weights, first.device())?;
        let sum =
            |gradients: &Arc<Gradients>| on_device!(&weights, weighted_gradient(gradients, self.groups, &weights));
        self.gradients.iter().map(sum).collect()
    }
}

/// Runs `f`, in which ops compute each micro-batch of `size` samples as if it were alone: batch normalisation takes its
/// statistics of it. The scope belongs to the calling thread and ends even if `f` panics.
///
/// # Errors
/// If `size` is 0; those of `f`.
pub fn in_micro_batches<R>(size: usize, f: impl FnOnce() -> Result<R>) -> Result<R> {
    if size == 0 {
        bail!("in_micro_batches: the size of a micro-batch is 0; expected at least 1")
    }
    Displacements { of: vec![], size }.within_scope(f)
}

/// What is added to one parameter: cⱼ gⱼ.
#[derive(Debug)]
pub(crate) struct Displacement {
    /// f64 `[micro-batches]`, on the device of the parameter.
    pub(crate) scales: Tensor,
    pub(crate) gradients: Arc<Gradients>,
    pub(crate) groups: Groups,
}

impl Displacement {
    /// The micro-batches, if there are as many samples now.
    pub(crate) fn groups_of(&self, op: &str, samples: usize) -> Result<Groups> {
        if samples != self.groups.samples {
            bail!(
                "{op}: {samples} samples are displaced by the gradients of {}; expected the same batch in both passes",
                self.groups.samples
            )
        }
        Ok(self.groups)
    }
}

/// What is added to all parameters inside of [`MicroGradients::displaced`].
#[derive(Debug)]
pub(crate) struct Displacements {
    of: Vec<(usize, Option<Arc<Displacement>>)>,
    size: usize,
}

/// Where the values of a parameter are: inside `no_grad` an op has another tensor of the same storage.
fn address(param: &Tensor) -> usize {
    std::ptr::from_ref(&*param.storage_and_layout().0).addr()
}

thread_local! {
    static DISPLACED: RefCell<Option<Arc<Displacements>>> = const { RefCell::new(None) };
}

impl Displacements {
    fn within_scope<R>(self, f: impl FnOnce() -> R) -> R {
        struct Leave(Option<Arc<Displacements>>);
        impl Drop for Leave {
            fn drop(&mut self) {
                DISPLACED.set(self.0.take());
            }
        }
        let _leave = Leave(DISPLACED.replace(Some(Arc::new(self))));
        f()
    }

    /// That of a parameter.
    pub(crate) fn of(param: &Tensor) -> Option<Arc<Displacement>> {
        DISPLACED.with_borrow(|displaced| {
            let all = &displaced.as_ref()?.of;
            all.iter().find(|(at, _)| *at == address(param))?.1.clone()
        })
    }

    /// The samples of a micro-batch.
    pub(crate) fn size() -> Option<usize> {
        DISPLACED.with_borrow(|displaced| displaced.as_ref().map(|displaced| displaced.size))
    }
}
