//! The traits of a sharpness-aware rule, and of the three parts that most rules are composed of.

use crate::{BatchLoss, Component, Gradient, Measures, ParamVec, Passes};
use candle_core::{Result, bail};

/// A way to compute a gradient. SAM and its relatives compute gradients; they are not optimizers: any optimizer steps
/// with the result.
pub trait Perturbation: Component {
    /// The direction to descend at x, from one batch. Parameters are afterwards what they were.
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient>;

    /// Whether it can compute all micro-batches of a batch at once. False by default.
    fn goes_together(&self, _loss: BatchLoss) -> Result<bool> {
        Ok(false)
    }

    /// The mean over micro-batches of `size` samples, weighted by their length, of what [`gradient`](Self::gradient)
    /// yields on each, computed with all of them at once: of a rule that [can](Self::goes_together).
    ///
    /// # Errors
    /// Of any other rule; those of [`BatchLoss::micro_gradients`].
    fn together(&mut self, _loss: BatchLoss, _size: usize) -> Result<Gradient> {
        bail!("{} cannot compute all micro-batches at once", self.name())
    }

    /// The mean cost of a step on a batch of `samples`. That of SAM by default: override it where it differs, for
    /// estimates of time are made of it.
    fn cost(&self, _samples: usize) -> Cost {
        Cost::passes(2.)
    }
}

/// Where the ascent direction of a composed rule comes from.
pub trait Ascent: Component {
    /// What it computes: [`Gradient`], the gradient at x; or [`Direction`], which is not a gradient at x, as a moving
    /// average or noise.
    type Uphill: Uphill;

    /// The direction that points uphill at x.
    fn ascend(&mut self, loss: BatchLoss) -> Result<Self::Uphill>;

    /// Whether it is ∇f_γ(x) and nothing else. False by default.
    fn is_mean(&self) -> bool {
        false
    }

    /// Receives the final descent direction of a step, for an ascent along earlier ones.
    fn learn(&mut self, _direction: &ParamVec) -> Result<()> {
        Ok(())
    }

    /// Its share of the [cost of a step](Perturbation::cost). One forward and one backward by default.
    fn cost(&self, _samples: usize) -> Cost {
        Cost::passes(1.)
    }
}

/// How the ascent direction becomes an offset ε, the perturbation of the weights.
pub trait Offset: Component {
    /// ε for the ascent direction `g`. Most need nothing else; an offset of several steps evaluates the loss again.
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec>;

    /// The factor on g of each parameter that makes ε of g, if that is all that this offset does, as a function of the
    /// `squares` ‖g‖² of each parameter. None by default.
    fn factors(&self, _loss: BatchLoss, _squares: &[f64]) -> Result<Option<Vec<f64>>> {
        Ok(None)
    }

    /// Its share of the [cost of a step](Perturbation::cost). None by default.
    fn cost(&self, _samples: usize) -> Cost {
        Cost::passes(0.)
    }
}

/// How the gradient at x and the one at x + ε become the direction to descend, and whether the second is needed.
///
/// `U` is what the ascent computes. A combination that uses the gradient at x is implemented for [`Gradient`] only, the
/// default, so that it does not compile beside an ascent that has none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot follow an ascent that computes a `{U}`",
    label = "needs the gradient at x",
    note = "moving averages and noise are no gradients at x; `Descend` follows any ascent"
)]
pub trait Combine<U: Uphill = Gradient>: Component {
    /// The direction to descend.
    fn combine(&mut self, passes: &mut Passes<U>) -> Result<ParamVec>;

    /// Whether it always descends the gradient at x + ε alone. False by default.
    fn is_sharp_alone(&self) -> bool {
        false
    }

    /// Its share of the [cost of a step](Perturbation::cost). One forward and one backward by default, at x + ε.
    fn cost(&self, _samples: usize) -> Cost {
        Cost::passes(1.)
    }
}

/// What an [`Ascent`] computes: a [`Gradient`] or a [`Direction`].
pub trait Uphill: sealed::Sealed {
    /// Whether it is the gradient at x, from a pass in which running statistics moved. Where it is not, the pass at
    /// x + ε moves them.
    const AT_X: bool;

    /// The direction uphill.
    fn direction(&self) -> &ParamVec;

    /// Frees the direction, which was read for the last time.
    fn release(&mut self);

    /// What a rule reports, with `descent` as the direction to descend.
    fn report(self, descent: ParamVec, measures: Measures) -> Gradient;
}

/// A direction that is not a gradient at x: of an ascent that makes no pass there.
#[derive(Clone, Debug)]
pub struct Direction(pub ParamVec);

impl Uphill for Gradient {
    const AT_X: bool = true;

    fn direction(&self) -> &ParamVec {
        &self.grads
    }

    fn release(&mut self) {
        self.grads = ParamVec::released();
    }

    fn report(self, descent: ParamVec, measures: Measures) -> Gradient {
        let mut all = self.measures;
        all.extend(measures);
        Gradient { losses: self.losses, grads: descent, measures: all, weights: None }
    }
}

impl Uphill for Direction {
    const AT_X: bool = false;

    fn direction(&self) -> &ParamVec {
        &self.0
    }

    fn release(&mut self) {
        self.0 = ParamVec::released();
    }

    fn report(self, descent: ParamVec, measures: Measures) -> Gradient {
        Gradient { losses: None, grads: descent, measures, weights: None }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::Gradient {}
    impl Sealed for super::Direction {}
}

/// Passes over a batch: 1 is one pass of all its samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Forward passes.
    pub forward: f64,
    /// Backward passes.
    pub backward: f64,
}

impl Cost {
    /// So many passes, forward and backward.
    pub const fn passes(count: f64) -> Self {
        Self { forward: count, backward: count }
    }
}

impl std::ops::Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost { forward: self.forward + other.forward, backward: self.backward + other.backward }
    }
}

impl std::ops::Mul<Cost> for f64 {
    type Output = Cost;

    fn mul(self, cost: Cost) -> Cost {
        Cost { forward: self * cost.forward, backward: self * cost.backward }
    }
}

impl<P: Perturbation + ?Sized> Perturbation for Box<P> {
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
        (**self).gradient(loss)
    }

    fn goes_together(&self, loss: BatchLoss) -> Result<bool> {
        (**self).goes_together(loss)
    }

    fn together(&mut self, loss: BatchLoss, size: usize) -> Result<Gradient> {
        (**self).together(loss, size)
    }

    fn cost(&self, samples: usize) -> Cost {
        (**self).cost(samples)
    }
}

impl<A: Ascent + ?Sized> Ascent for Box<A> {
    type Uphill = A::Uphill;

    fn ascend(&mut self, loss: BatchLoss) -> Result<Self::Uphill> {
        (**self).ascend(loss)
    }

    fn is_mean(&self) -> bool {
        (**self).is_mean()
    }

    fn learn(&mut self, direction: &ParamVec) -> Result<()> {
        (**self).learn(direction)
    }

    fn cost(&self, samples: usize) -> Cost {
        (**self).cost(samples)
    }
}

impl<O: Offset + ?Sized> Offset for Box<O> {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        (**self).offset(loss, g)
    }

    fn factors(&self, loss: BatchLoss, squares: &[f64]) -> Result<Option<Vec<f64>>> {
        (**self).factors(loss, squares)
    }

    fn cost(&self, samples: usize) -> Cost {
        (**self).cost(samples)
    }
}

impl<U: Uphill, C: Combine<U> + ?Sized> Combine<U> for Box<C> {
    fn combine(&mut self, passes: &mut Passes<U>) -> Result<ParamVec> {
        (**self).combine(passes)
    }

    fn is_sharp_alone(&self) -> bool {
        (**self).is_sharp_alone()
    }

    fn cost(&self, samples: usize) -> Cost {
        (**self).cost(samples)
    }
}
