//! The norm of every sample's gradient from one backward pass over the whole batch: ghost norms.
//!
//! The gradient of a parameter is a sum over samples. The backward of an op has the factors of each term: its input and
//! the gradient of its result, sample by sample. It can compute the norms of the terms instead of their sum, at the
//! cost of the sum or less (Goodfellow 2015, <https://arxiv.org/abs/1510.01799>; Li et al. 2022,
//! <https://arxiv.org/abs/2110.05679>, whose Gram matrices `cpu::conv::squares` uses).
//!
//! # How an op takes part
//!
//! In its forward it calls [`take_part`] with its parameters and keeps the [`Part`] in its backward. There it calls
//! [`Part::gradient`] for each parameter, with a closure for the gradient and one for the squared norms of the samples'
//! terms, `[b]` in f64; one of them runs, or none. Where a sample's term *is* a part of dy, as for a position
//! embedding, the second is `squares_of_rows`. An op whose result for a sample depends on the others (batch
//! normalisation) calls [`samples_are_coupled`]. The first dimension of every activation is the samples'.

use crate::graph::grad_enabled;
use crate::per_sample::last_layer::note_parameters;
use candle_core::{Device, Result, Tensor, TensorId, bail};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What [`ghost_norms`] returns.
#[derive(Clone, Debug)]
pub struct GhostNorms {
    /// `[b]`: the losses, their graph still open. Further backward passes through it give ordinary gradients.
    pub losses: Tensor,
    /// f64 `[b]`: the norm of each sample's share of the gradient over all parameters.
    pub norms: Tensor,
    /// f64 `[p, b]`: the square of the same for each parameter alone.
    pub squares: Tensor,
    /// Whether an op normalised over the batch: then a share is not the gradient of a sample's own loss.
    pub coupled: bool,
    /// `[p]`: whether each parameter is used after every op that normalised over the batch, so that a sample's share of
    /// it should be its own gradient even so.
    pub uncoupled: Vec<bool>,
}

/// Runs `losses`, which yields one loss ℓᵢ for each sample, `[b]`, and returns with them the norm of each sample's
/// *share* of ∇Σⱼℓⱼ: the part that reaches the parameters through the activations of sample i.
///
/// It costs 1 forward, and 1 backward that computes squared norms of the terms of `params` and no gradient of any
/// variable that is a parameter of our ops, in the list or not; about as much as an ordinary backward if the list has
/// all parameters, and less if it has few. The gradients of activations are computed as ever, also before the first op
/// of the list. So the norms of the affine parameters of normalisation layers alone, which predict those of all
/// parameters (Gray et al. 2024, <https://arxiv.org/abs/2411.00999>), cost a backward without any weight's gradient.
///
/// The shares add up to the whole gradient. Where nothing but the parameters connects the samples, a share is ∇ℓᵢ.
/// Under batch normalisation in training mode it is not ([`GhostNorms::coupled`]): share i then is the gradient of Σⱼℓⱼ
/// with respect to a copy of the parameters that only sample i uses, and because of the shared statistics it has a part
/// of every ℓⱼ and lacks the parts of ∇ℓᵢ that flow through other samples. Another coupling (a contrastive loss) has
/// the same effect and is not detected, and neither is an op whose rows are not samples but as many: compare a sample
/// with its own gradient.
///
/// `params` are variables by name, each used once, by an op of this crate whose activations have the samples in their
/// first dimension. On the CPU.
///
/// # Errors
/// A parameter is used by an op that does not take part (candle's own), by two ops (the norm of a sum is not the sum of
/// norms), or by none; the first dimension of an op is not `b`; a parameter is not on the CPU.
pub fn ghost_norms(params: &[(&str, &Tensor)], losses: impl FnOnce() -> Result<Tensor>) -> Result<GhostNorms> {
    if !grad_enabled() {
        bail!("ghost_norms: a backward pass is needed, and this is inside no_grad");
    }
    for (name, param) in params {
        if !param.is_variable() {
            bail!("ghost_norms: parameter {name:?} is not a variable");
        }
        if !param.device().is_cpu() {
            bail!("ghost_norms: parameter {name:?} is on {:?}; ghost norms are for the CPU", param.device());
        }
    }
    let recorder = Arc::new(Recorder {
        params: params.iter().map(|(_, param)| param.id()).collect(),
        noted: Mutex::new(Noted {
            uses: vec![vec![]; params.len()],
            squares: vec![None; params.len()],
            coupled: false,
            after: vec![false; params.len()],
        }),
        measuring: AtomicBool::new(false),
    });
    let losses = recorder.within_scope(losses)?;
    let &[b] = losses.dims() else { bail!("ghost_norms: expected losses [b], got {:?}", losses.dims()) };
    recorder.with(|noted| {
        let uses = params.iter().zip(&noted.uses);
        uses.into_iter().try_for_each(|((name, _), uses)| match uses.as_slice() {
            [_] => Ok(()),
            [] => bail!(
                "ghost_norms: parameter {name:?} is used by no op that measures its samples' gradients: use it through \
                 the ops of msharp-ops, as conv2d, linear and the norms, or take another estimator"
            ),
            uses => bail!(
                "ghost_norms: parameter {name:?} is shared by {} ops ({}), and the norm of a sum is not to be had from \
                 its terms: take another estimator",
                uses.len(),
                uses.join(", ")
            ),
        })
    })?;
    let grads = recorder.while_measuring(|| losses.sum_all()?.backward())?;
    recorder.with(|noted| {
        let (mut total, mut all) = (vec![0.; b], Vec::with_capacity(params.len() * b));
        for (((name, param), squares), uses) in params.iter().zip(&noted.squares).zip(&noted.uses) {
            let op = uses.join(", ");
            let Some(squares) = squares else {
                bail!("ghost_norms: parameter {name:?} is used by {op}, but received no gradient from there")
            };
            if grads.get(param).is_some() {
                bail!(
                    "ghost_norms: parameter {name:?} is used by {op} and by another op that does not measure its \
                     samples' gradients"
                );
            }
            if squares.len() != b {
                bail!(
                    "ghost_norms: {op}, which uses {name:?}, has {} as its first dimension, and there are {b} losses: \
                     samples must come first",
                    squares.len()
                );
            }
            total.iter_mut().zip(squares).for_each(|(total, square)| *total += square);
            all.extend_from_slice(squares);
        }
        let norms: Vec<f64> = total.into_iter().map(f64::sqrt).collect();
        Ok(GhostNorms {
            norms: Tensor::from_vec(norms, b, &Device::Cpu)?,
            squares: Tensor::from_vec(all, (params.len(), b), &Device::Cpu)?,
            coupled: noted.coupled,
            uncoupled: noted.after.clone(),
            losses: losses.clone(),
        })
    })
}

/// What the ops of one forward pass share with each other and with the backward that measures.
struct Recorder {
    params: Vec<TensorId>,
    noted: Mutex<Noted>,
    /// During that backward; in others, ops compute their gradients.
    measuring: AtomicBool,
}

struct Noted {
    /// The ops that use each parameter.
    uses: Vec<Vec<&'static str>>,
    /// Of each parameter, `[b]`.
    squares: Vec<Option<Vec<f64>>>,
    coupled: bool,
    /// Of each parameter, whether it was used since the last op that coupled the samples.
    after: Vec<bool>,
}

thread_local! {
    static RECORDER: RefCell<Option<Arc<Recorder>>> = const { RefCell::new(None) };
}

impl Recorder {
    fn with<R>(&self, f: impl FnOnce(&mut Noted) -> Result<R>) -> Result<R> {
        match self.noted.lock() {
            Ok(mut noted) => f(&mut noted),
            Err(_) => bail!("ghost_norms: a backward pass panicked, and another one goes on with its graph"),
        }
    }

    fn within_scope<R>(self: &Arc<Self>, f: impl FnOnce() -> R) -> R {
        struct Leave(Option<Arc<Recorder>>);
        impl Drop for Leave {
            fn drop(&mut self) {
                RECORDER.set(self.0.take());
            }
        }
        let _leave = Leave(RECORDER.replace(Some(self.clone())));
        f()
    }

    fn while_measuring<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Leave<'a>(&'a AtomicBool);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Relaxed);
            }
        }
        self.measuring.store(true, Ordering::Relaxed);
        let _leave = Leave(&self.measuring);
        f()
    }
}

/// An op's part in [`ghost_norms`], for its `N` parameters; none outside of one.
#[derive(Clone)]
pub(crate) struct Part<const N: usize> {
    recorder: Option<Arc<Recorder>>,
    roles: [Role; N],
}

/// What the backward that measures does with a parameter of an op.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// Its squares, at this place of the recorder.
    Measured(usize),
    /// Nothing: it is another variable, and nothing else depends on its gradient.
    Skipped,
    /// Its gradient as ever, which flows on into what it is computed from.
    Computed,
}

/// Called by an op in its forward, with the parameters that it passes to `record`.
pub(crate) fn take_part<const N: usize>(op: &'static str, params: [&Tensor; N]) -> Part<N> {
    if op != "linear" {
        note_parameters(&params); // a linear map has `note_linear`
    }
    let recorder = RECORDER.with_borrow(Clone::clone).filter(|_| grad_enabled());
    let Some(recorder) = recorder else { return Part { recorder: None, roles: [Role::Computed; N] } };
    let roles = params.map(|param| match recorder.params.iter().position(|known| *known == param.id()) {
        Some(place) => Role::Measured(place),
        None if param.is_variable() => Role::Skipped,
        None => Role::Computed,
    });
    if let Ok(mut noted) = recorder.noted.lock() {
        for role in roles {
            if let Role::Measured(place) = role {
                noted.uses[place].push(op);
                noted.after[place] = true;
            }
        }
    }
    Part { recorder: Some(recorder), roles }
}

/// Called by an op in its forward if its result for a sample depends on the others.
pub(crate) fn samples_are_coupled() {
    RECORDER.with_borrow(|recorder| {
        if let Some(Ok(mut noted)) = recorder.as_ref().map(|recorder| recorder.noted.lock()) {
            noted.coupled = true;
            noted.after.fill(false);
        }
    });
}

impl<const N: usize> Part<N> {
    /// Whether this backward is the one that measures.
    fn is_measuring(&self) -> bool {
        self.recorder.as_ref().is_some_and(|recorder| recorder.measuring.load(Ordering::Relaxed))
    }

    /// Whether this backward measures parameter `k`.
    pub(crate) fn measures(&self, k: usize) -> bool {
        matches!(self.roles[k], Role::Measured(_)) && self.is_measuring()
    }

    /// Whether parameter `k` gets a gradient in this backward if it is `wanted`.
    pub(crate) fn computes(&self, k: usize, wanted: bool) -> bool {
        wanted && (self.roles[k] == Role::Computed || !self.is_measuring())
    }

    /// The gradient of parameter `k`, if it is `wanted`; or none in a backward that measures: it takes `squares`, the
    /// squared norms of the samples' terms, `[b]`, of a parameter of the list, and nothing of another variable.
    pub(crate) fn gradient(
        &self,
        k: usize,
        wanted: bool,
        gradient: impl FnOnce() -> Result<Tensor>,
        squares: impl FnOnce() -> Result<Vec<f64>>,
    ) -> Result<Option<Tensor>> {
        if self.measures(k) {
            self.add(k, squares()?)?;
            return Ok(None);
        }
        self.computes(k, wanted).then(gradient).transpose()
    }

    /// The squares of parameter `k`, which this backward measures.
    pub(crate) fn add(&self, k: usize, squares: Vec<f64>) -> Result<()> {
        let (Some(recorder), Role::Measured(place)) = (&self.recorder, self.roles[k]) else { return Ok(()) };
        recorder.with(|noted| {
            noted.squares[place] = Some(squares);
            Ok(())
        })
    }
}
