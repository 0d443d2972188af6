//! What ops of parameters record of a clean pass, sample by sample: the scope of [`ghost_norms`](crate::ghost_norms)
//! and [`micro_gradients`](crate::micro_gradients).
//!
//! # How an op takes part
//!
//! In its forward it calls [`take_part`] with its parameters and keeps the [`Part`] in its backward. There it calls
//! [`Part::gradient`] for each parameter, with a closure for the gradient and one for its [`Terms`]: what each
//! micro-batch contributes to it, which for ghost norms is each sample. One of them runs, or none. In the forward and
//! in the gradient of its input it computes with the parameter as [`Part::displaced`] says. The first dimension of
//! every activation is the samples'. An op whose result for a sample depends on the others (batch normalisation)
//! computes with each micro-batch alone inside [`micro_batch_size`], and calls [`samples_are_coupled`] outside of it.

use super::groups::Groups;
use super::last_layer::note_parameters;
use super::micro::{Displacement, Displacements};
use crate::graph::{Precision, grad_enabled};
use crate::layers::Geometry;
use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId, bail};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What each micro-batch contributes to the gradient of one parameter.
#[derive(Debug)]
pub(crate) struct Terms {
    /// The samples that the op saw.
    pub(crate) samples: usize,
    /// f64 `[groups]`, on the device of the op: the squared norms.
    pub(crate) squares: Tensor,
    /// The gradients of the micro-batches, where they are kept.
    pub(crate) gradients: Option<Gradients>,
}

/// The gradients of the micro-batches with respect to one parameter.
#[derive(Debug)]
pub(crate) enum Gradients {
    /// `[groups, elements]`; of the filters of a convolution on a GPU `[groups, c_out, taps, c_in]`.
    Formed(Tensor),
    /// Input a and output gradient d of a convolution or linear map: Σ d aᵀ over the positions of a micro-batch.
    Factors(Factors),
}

/// Input and output gradient of a convolution or linear map, without the graph that they come from.
#[derive(Debug)]
pub(crate) struct Factors {
    pub(crate) a: Tensor,
    pub(crate) d: Tensor,
    pub(crate) g: Geometry,
    /// That of the forward; on the CPU there is one.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "there is one"))]
    pub(crate) precision: Precision,
}

impl Gradients {
    pub(crate) fn factors(a: &Tensor, d: &Tensor, g: Geometry, precision: Precision) -> Self {
        Gradients::Factors(Factors { a: a.detach(), d: d.detach(), g, precision })
    }
}

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scope {
    /// The norm of each sample's share of the gradient.
    Norms,
    /// The shares themselves.
    Samples,
    /// The gradients of micro-batches of so many samples, each as if it were alone.
    MicroBatches(usize),
}

impl Scope {
    /// Samples of a micro-batch.
    fn size(self) -> usize {
        if let Scope::MicroBatches(size) = self { size } else { 1 }
    }

    /// Whether gradients are kept, and not their squared norms alone.
    fn keeps(self) -> bool {
        self != Scope::Norms
    }
}

/// What the ops of one forward pass share with each other and with the backward that measures.
pub(crate) struct Recorder {
    /// The function that records, for errors.
    caller: &'static str,
    params: Vec<TensorId>,
    scope: Scope,
    noted: Mutex<Noted>,
    /// During that backward; in others, ops compute their gradients.
    measuring: AtomicBool,
}

struct Noted {
    /// The ops that use each parameter.
    uses: Vec<Vec<&'static str>>,
    terms: Vec<Option<Terms>>,
    coupled: bool,
    /// Of each parameter, whether it was used since the last op that coupled the samples.
    after: Vec<bool>,
}

/// What was recorded.
pub(crate) struct Record {
    /// `[b]`, the graph open.
    pub(crate) losses: Tensor,
    /// Of each parameter.
    pub(crate) terms: Vec<Terms>,
    pub(crate) coupled: bool,
    pub(crate) uncoupled: Vec<bool>,
}

thread_local! {
    static RECORDER: RefCell<Option<Arc<Recorder>>> = const { RefCell::new(None) };
}

impl Recorder {
    /// A recorder for `params` by name, which `caller` makes.
    pub(crate) fn new(caller: &'static str, params: &[(&str, &Tensor)], scope: Scope) -> Result<Arc<Recorder>> {
        if !grad_enabled() {
            bail!("{caller}: a backward pass is needed, and this is inside no_grad");
        }
        for (name, param) in params {
            if !param.is_variable() {
                bail!("{caller}: parameter {name:?} is not a variable");
            }
        }
        Ok(Arc::new(Recorder {
            caller,
            params: params.iter().map(|(_, param)| param.id()).collect(),
            scope,
            noted: Mutex::new(Noted {
                uses: vec![vec![]; params.len()],
                terms: params.iter().map(|_| None).collect(),
                coupled: false,
                after: vec![false; params.len()],
            }),
            measuring: AtomicBool::new(false),
        }))
    }

    /// Runs `losses` and the backward of `reduce` of them, in which ops measure.
    pub(crate) fn record(
        self: &Arc<Self>,
        params: &[(&str, &Tensor)],
        losses: impl FnOnce() -> Result<Tensor>,
        reduce: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Record> {
        let caller = self.caller;
        let losses = self.within_scope(losses)?;
        let &[b] = losses.dims() else { bail!("{caller}: expected losses [b], got {:?}", losses.dims()) };
        self.check_uses(params)?;
        let grads = self.while_measuring(|| reduce(&losses)?.backward())?;
        let terms = self.with(|noted| {
            let all = params.iter().zip(noted.terms.iter_mut().zip(&noted.uses));
            all.map(|(param, (terms, uses))| self.checked(*param, terms.take(), uses, b, &grads)).collect()
        })?;
        self.with(|noted| Ok(Record { losses, terms, coupled: noted.coupled, uncoupled: noted.after.clone() }))
    }

    /// That each parameter is used by one op that takes part.
    fn check_uses(&self, params: &[(&str, &Tensor)]) -> Result<()> {
        let caller = self.caller;
        let check = |name: &str, uses: &[&str]| match uses {
            [_] => Ok(()),
            [] => bail!(
                "{caller}: parameter {name:?} is used by no op that measures its samples' gradients: use it through \
                 the ops of msharp-ops, as conv2d, linear and the norms, or take another estimator"
            ),
            uses => bail!(
                "{caller}: parameter {name:?} is shared by {} ops ({}), and the norm of a sum is not to be had from \
                 its terms: take another estimator",
                uses.len(),
                uses.join(", ")
            ),
        };
        self.with(|noted| params.iter().zip(&noted.uses).try_for_each(|((name, _), uses)| check(name, uses)))
    }

    /// The terms of a parameter, if they are its whole gradient and of the samples that have the `b` losses.
    fn checked(
        &self,
        (name, param): (&str, &Tensor),
        terms: Option<Terms>,
        uses: &[&str],
        b: usize,
        grads: &GradStore,
    ) -> Result<Terms> {
        let (caller, op) = (self.caller, uses.join(", "));
        let Some(terms) = terms else {
            bail!("{caller}: parameter {name:?} is used by {op}, but received no gradient from there")
        };
        if grads.get(param).is_some() {
            bail!(
                "{caller}: parameter {name:?} is used by {op} and by another op that does not measure its samples' \
                 gradients"
            );
        }
        if terms.samples != b {
            bail!(
                "{caller}: {op}, which uses {name:?}, has {} as its first dimension, and there are {b} losses: samples \
                 must come first",
                terms.samples
            );
        }
        Ok(terms)
    }

    fn with<R>(&self, f: impl FnOnce(&mut Noted) -> Result<R>) -> Result<R> {
        match self.noted.lock() {
            Ok(mut noted) => f(&mut noted),
            Err(_) => bail!("{}: a backward pass panicked, and another one goes on with its graph", self.caller),
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

/// An op's part in the scopes of this module and in [`micro`](super::micro), for its `N` parameters.
#[derive(Clone)]
pub(crate) struct Part<const N: usize> {
    recorder: Option<Arc<Recorder>>,
    roles: [Role; N],
    displaced: [Option<Arc<Displacement>>; N],
}

/// What the backward that measures does with a parameter of an op.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// Its terms, at this place of the recorder.
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
    let displaced = params.map(Displacements::of);
    let recorder = RECORDER.with_borrow(Clone::clone).filter(|_| grad_enabled());
    let Some(recorder) = recorder else { return Part { recorder: None, roles: [Role::Computed; N], displaced } };
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
    Part { recorder: Some(recorder), roles, displaced }
}

/// Called by an op in its forward if its result for a sample depends on the others of the batch.
pub(crate) fn samples_are_coupled() {
    RECORDER.with_borrow(|recorder| {
        if let Some(Ok(mut noted)) = recorder.as_ref().map(|recorder| recorder.noted.lock()) {
            noted.coupled = true;
            noted.after.fill(false);
        }
    });
}

/// The samples of a micro-batch in a pass that computes all of them as if each were alone.
pub(crate) fn micro_batch_size() -> Option<usize> {
    let recorded = RECORDER.with_borrow(|recorder| recorder.as_ref().map(|recorder| recorder.scope));
    match recorded {
        Some(Scope::MicroBatches(size)) => Some(size),
        _ => Displacements::size(),
    }
}

impl<const N: usize> Part<N> {
    /// Whether this backward is the one that measures.
    fn measuring(&self) -> Option<&Arc<Recorder>> {
        self.recorder.as_ref().filter(|recorder| recorder.measuring.load(Ordering::Relaxed))
    }

    /// Whether this backward measures parameter `k`.
    pub(crate) fn measures(&self, k: usize) -> bool {
        matches!(self.roles[k], Role::Measured(_)) && self.measuring().is_some()
    }

    /// Whether parameter `k` gets a gradient in this backward if it is `wanted`.
    pub(crate) fn computes(&self, k: usize, wanted: bool) -> bool {
        wanted && (self.roles[k] == Role::Computed || self.measuring().is_none())
    }

    /// What is added to parameter `k` for each micro-batch, if anything is.
    pub(crate) fn displaced(&self, k: usize) -> Option<&Displacement> {
        self.displaced[k].as_deref()
    }

    /// The gradient of parameter `k`, if it is `wanted`; or none in a backward that measures: it takes `terms`, of a
    /// parameter of the list, and nothing of another variable.
    ///
    /// `terms` gets the samples of a micro-batch, and whether their gradients are kept.
    pub(crate) fn gradient(
        &self,
        k: usize,
        wanted: bool,
        gradient: impl FnOnce() -> Result<Tensor>,
        terms: impl FnOnce(usize, bool) -> Result<Terms>,
    ) -> Result<Option<Tensor>> {
        self.measure(k, terms)?;
        self.computes(k, wanted).then(gradient).transpose()
    }

    /// Puts down the terms of parameter `k`, in a backward that measures them; `terms` gets the samples of a
    /// micro-batch, and whether their gradients are kept.
    pub(crate) fn measure(&self, k: usize, terms: impl FnOnce(usize, bool) -> Result<Terms>) -> Result<()> {
        let (Some(recorder), Role::Measured(place)) = (self.measuring(), self.roles[k]) else { return Ok(()) };
        let terms = terms(recorder.scope.size(), recorder.scope.keeps())?;
        recorder.with(|noted| {
            noted.terms[place] = Some(terms);
            Ok(())
        })
    }

    /// Whether this pass or its backward computes something for each sample or micro-batch alone.
    #[cfg(feature = "cuda")]
    pub(crate) fn is_sample_by_sample(&self) -> bool {
        self.recorder.is_some() || self.displaced.iter().any(Option::is_some) || micro_batch_size().is_some()
    }
}

impl Terms {
    /// The terms on the CPU that are these sums, `[groups][elements]`, kept in the element type of `like`.
    pub(crate) fn of_sums(groups: Groups, sums: &[Vec<f64>], keeps: bool, like: &Tensor) -> Result<Self> {
        let squares: Vec<f64> = sums.iter().map(|sum| crate::cpu::sum_of_squares(sum)).collect();
        let squares = Tensor::from_vec(squares, sums.len(), like.device())?;
        let formed = || {
            let all = Tensor::from_vec(sums.concat(), (sums.len(), sums.first().map_or(0, Vec::len)), like.device())?;
            all.to_dtype(like.dtype()).map(Gradients::Formed)
        };
        Ok(Self { samples: groups.samples, squares, gradients: keeps.then(formed).transpose()? })
    }
}
