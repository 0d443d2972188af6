//! The seams of a sharpness-aware rule: where the ascent gradient comes from, how it becomes an offset, how two
//! gradients combine, and how the gradient norm of each sample is estimated.

use crate::{Batch, Gradient, Measures, Objective, ParamVec, Params, Passes, State};
use candle_core::{Result, Tensor};

/// The name of a type without its modules: `Sharp<Mean, L2>`.
fn type_name<T: ?Sized>() -> String {
    let (full, part) = (std::any::type_name::<T>(), |c: char| c.is_alphanumeric() || c == '_');
    let mut short = String::new();
    for piece in full.split_inclusive(|c: char| !part(c)) {
        if piece.ends_with(':') {
            continue; // a module
        }
        short.push_str(piece);
    }
    short
}

/// A way to compute a gradient. SAM and its relatives compute gradients; they are not optimizers: any optimizer steps
/// with the result.
pub trait Perturbation {
    /// The direction to descend at x, from one batch. Parameters are afterwards what they were.
    fn gradient(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient>;

    /// Saves or restores what the rule carries from step to step; nothing by default.
    fn state(&mut self, _params: &Params, _state: &mut State) -> Result<()> {
        Ok(())
    }

    /// What can be known to be wrong before the first step: a constant out of its range, a selection that selects no
    /// parameter. A trainer asks before its first step; nothing by default.
    fn check(&self, _params: &Params) -> Result<()> {
        Ok(())
    }

    /// What a checkpoint is of, so that its state is not restored into something else: the name of the type, and for
    /// what is made of parts the names of these.
    fn name(&self) -> String {
        type_name::<Self>()
    }
}

/// Where the ascent gradient comes from.
pub trait Ascent {
    /// The gradient that points uphill at x.
    fn ascend(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient>;

    /// Whether that is a gradient at x from a pass in which running statistics move. Where it is not, as for a moving
    /// average, the pass at x + ε is the one that moves them, and a combination that needs the gradient at x fails.
    fn at_x(&self) -> bool {
        true
    }

    /// Receives the final descent direction, for an ascent along what was descended before.
    fn learn(&mut self, _direction: &ParamVec) -> Result<()> {
        Ok(())
    }

    /// As [`Perturbation::state`].
    fn state(&mut self, _params: &Params, _state: &mut State) -> Result<()> {
        Ok(())
    }

    /// As [`Perturbation::check`].
    fn check(&self, _params: &Params) -> Result<()> {
        Ok(())
    }

    /// As [`Perturbation::name`].
    fn name(&self) -> String {
        type_name::<Self>()
    }
}

/// How the ascent gradient becomes an offset ε.
pub trait Offset {
    /// ε for the ascent gradient `g`. Most need nothing else; an offset of several steps evaluates `f` again.
    fn offset(&mut self, f: &dyn Objective, params: &Params, batch: &Batch, g: &ParamVec) -> Result<ParamVec>;

    /// As [`Perturbation::state`].
    fn state(&mut self, _params: &Params, _state: &mut State) -> Result<()> {
        Ok(())
    }

    /// As [`Perturbation::check`].
    fn check(&self, _params: &Params) -> Result<()> {
        Ok(())
    }

    /// As [`Perturbation::name`].
    fn name(&self) -> String {
        type_name::<Self>()
    }
}

/// How the gradient at x and the one at x + ε become the direction to descend, and whether the second is needed.
pub trait Combine {
    /// The direction to descend.
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec>;

    /// As [`Perturbation::state`].
    fn state(&mut self, _params: &Params, _state: &mut State) -> Result<()> {
        Ok(())
    }

    /// As [`Perturbation::check`].
    fn check(&self, _params: &Params) -> Result<()> {
        Ok(())
    }

    /// As [`Perturbation::name`].
    fn name(&self) -> String {
        type_name::<Self>()
    }
}

/// Per-sample losses, and what was learnt of their gradients' norms on the way.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// `[b]`: ℓᵢ at x, the graph still open, so that an ascent needs no second forward pass.
    pub losses: Tensor,
    /// `[b]`: the estimate of ‖∇ℓᵢ‖ in f64, detached.
    pub norms: Tensor,
    /// What the estimator reports about itself.
    pub measures: Measures,
}

/// An estimator of ‖∇ℓᵢ(x)‖ for every sample of a batch.
///
/// Under batch normalisation ℓᵢ depends on the other samples, through the shared statistics; the norm is that of this
/// ℓᵢ.
pub trait GradNormEstimator {
    /// Losses and norms. The clean pass at x is part of it, and moves running statistics as in any training step.
    fn estimate(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Estimate>;

    /// Whether the norms are those of whole gradients, or unbiased in the square, so that a variance follows from them;
    /// not those of one layer's part, or of no gradient. What holds an estimator asks before it takes a variance.
    fn is_of_whole_gradients(&self) -> bool {
        true
    }

    /// The norms alone, `[b]`: buffers are put back. It counts as one more estimate for an estimator that has state.
    fn norms(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Tensor> {
        crate::keeping_buffers(params, || Ok(self.estimate(f, params, batch)?.norms))
    }

    /// As [`Perturbation::state`].
    fn state(&mut self, _params: &Params, _state: &mut State) -> Result<()> {
        Ok(())
    }

    /// As [`Perturbation::check`].
    fn check(&self, _params: &Params) -> Result<()> {
        Ok(())
    }

    /// As [`Perturbation::name`].
    fn name(&self) -> String {
        type_name::<Self>()
    }
}

/// Steps parameters along a direction. The learning rate is an argument, so schedules are no optimizer's business.
pub trait Optimizer {
    /// x ← x − lr · (what this optimizer makes of `grads`).
    fn step(&mut self, params: &Params, grads: &ParamVec, lr: f64) -> Result<()>;

    /// As [`Perturbation::state`].
    fn state(&mut self, _params: &Params, _state: &mut State) -> Result<()> {
        Ok(())
    }

    /// As [`Perturbation::check`].
    fn check(&self, _params: &Params) -> Result<()> {
        Ok(())
    }

    /// As [`Perturbation::name`].
    fn name(&self) -> String {
        type_name::<Self>()
    }
}

impl<P: Perturbation + ?Sized> Perturbation for Box<P> {
    fn gradient(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient> {
        (**self).gradient(f, params, batch)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        (**self).state(params, state)
    }

    fn check(&self, params: &Params) -> Result<()> {
        (**self).check(params)
    }

    fn name(&self) -> String {
        (**self).name()
    }
}

impl<A: Ascent + ?Sized> Ascent for Box<A> {
    fn ascend(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient> {
        (**self).ascend(f, params, batch)
    }

    fn at_x(&self) -> bool {
        (**self).at_x()
    }

    fn learn(&mut self, direction: &ParamVec) -> Result<()> {
        (**self).learn(direction)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        (**self).state(params, state)
    }

    fn check(&self, params: &Params) -> Result<()> {
        (**self).check(params)
    }

    fn name(&self) -> String {
        (**self).name()
    }
}

impl<O: Offset + ?Sized> Offset for Box<O> {
    fn offset(&mut self, f: &dyn Objective, params: &Params, batch: &Batch, g: &ParamVec) -> Result<ParamVec> {
        (**self).offset(f, params, batch, g)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        (**self).state(params, state)
    }

    fn check(&self, params: &Params) -> Result<()> {
        (**self).check(params)
    }

    fn name(&self) -> String {
        (**self).name()
    }
}

impl<C: Combine + ?Sized> Combine for Box<C> {
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec> {
        (**self).combine(passes)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        (**self).state(params, state)
    }

    fn check(&self, params: &Params) -> Result<()> {
        (**self).check(params)
    }

    fn name(&self) -> String {
        (**self).name()
    }
}

impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    fn step(&mut self, params: &Params, grads: &ParamVec, lr: f64) -> Result<()> {
        (**self).step(params, grads, lr)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        (**self).state(params, state)
    }

    fn check(&self, params: &Params) -> Result<()> {
        (**self).check(params)
    }

    fn name(&self) -> String {
        (**self).name()
    }
}

impl<E: GradNormEstimator + ?Sized> GradNormEstimator for Box<E> {
    fn estimate(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Estimate> {
        (**self).estimate(f, params, batch)
    }

    fn is_of_whole_gradients(&self) -> bool {
        (**self).is_of_whole_gradients()
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        (**self).state(params, state)
    }

    fn check(&self, params: &Params) -> Result<()> {
        (**self).check(params)
    }

    fn name(&self) -> String {
        (**self).name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Around<T>(T);

    #[test]
    fn a_type_is_named_without_its_modules() {
        assert_eq!(type_name::<Around<Option<Batch>>>(), "Around<Option<Batch>>");
        assert_eq!(type_name::<f64>(), "f64");
    }
}
