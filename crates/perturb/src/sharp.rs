//! Composed rules: the two passes, written once.

use candle_core::{Result, bail};
use msharp_core::{
    Ascent, BatchLoss, Combine, Component, Cost, Gradient, Measures, Offset, Passes, Perturbation, parts,
};

/// A rule composed of three parts: ascend, perturb, take the gradient there, combine.
///
/// Cost: the ascent's passes, and one forward and one backward at x + ε in the steps in which the combination asks for
/// them. It reports ‖ε‖ as `offset_norm` and the mean loss at x + ε as `sharp_loss`. State: that of its parts. Running
/// statistics of norm layers move in the ascent's pass at x, if it makes one, and otherwise in the pass at x + ε.
///
/// A combination that needs the gradient at x does not compile with an ascent that computes none:
///
/// ```compile_fail
/// use msharp_core::Perturbation;
/// use msharp_perturb::{Gsam, L2, Momentum, Sharp};
/// fn is_a_rule<P: Perturbation>(_: P) {}
/// is_a_rule(Sharp { ascent: Momentum::new(0.9), offset: L2 { rho: 0.1 }, combine: Gsam { alpha: 0.4 } });
/// ```
#[derive(Clone, Debug)]
pub struct Sharp<A, O, C = crate::Descend> {
    /// Where the ascent direction comes from.
    pub ascent: A,
    /// How it becomes an offset ε.
    pub offset: O,
    /// How the gradients at x and at x + ε combine.
    pub combine: C,
}

impl<A: Ascent, O: Offset, C: Combine<A::Uphill>> Perturbation for Sharp<A, O, C> {
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
        self.check(loss.params)?;
        let uphill = self.ascent.ascend(loss)?;
        let mut passes = Passes::new(loss, uphill, &mut self.offset);
        let step = if self.combine.is_sharp_alone() {
            passes.finish_at_sharp()?
        } else {
            let direction = self.combine.combine(&mut passes)?;
            passes.finish(direction)
        };
        self.ascent.learn(&step.grads)?;
        Ok(step)
    }

    fn goes_together(&self, loss: BatchLoss) -> Result<bool> {
        self.check(loss.params)?;
        let parts_do = self.ascent.is_mean() && self.combine.is_sharp_alone();
        Ok(parts_do && self.offset.factors(loss, &vec![0.; loss.params.len()])?.is_some())
    }

    fn together(&mut self, loss: BatchLoss, size: usize) -> Result<Gradient> {
        self.check(loss.params)?;
        let uphill = loss.micro_gradients(size)?;
        let (mut factors, mut lengths, mut norms) = (Vec::new(), Vec::new(), Vec::new());
        for j in 0..uphill.shares().len() {
            let squares = uphill.squares(j);
            let Some(of_micro_batch) = self.offset.factors(loss, &squares)? else {
                bail!("{} cannot compute all micro-batches at once", self.name())
            };
            let square: f64 = of_micro_batch.iter().zip(&squares).map(|(c, square)| c * c * square).sum();
            lengths.push(square.sqrt());
            norms.push(squares.iter().sum::<f64>().sqrt());
            factors.push(of_micro_batch);
        }
        let sharp = uphill.gradient_at(&factors)?;
        let mut measures =
            Measures::from([("offset_norm", uphill.mean(&lengths)?), ("micro_norm", uphill.mean(&norms)?)]);
        measures.extend(sharp.mean_loss()?.map(|loss| ("sharp_loss", loss)));
        Ok(Gradient { losses: Some(uphill.losses().clone()), grads: sharp.grads, measures, weights: None })
    }

    /// A combination that asks for x + ε in every k-th step pays for the offset there only.
    fn cost(&self, samples: usize) -> Cost {
        let sharp = self.combine.cost(samples);
        self.ascent.cost(samples) + sharp + sharp.forward * self.offset.cost(samples)
    }
}

impl<A: Component, O: Component, C: Component> Component for Sharp<A, O, C> {
    parts!(ascent, offset, combine);

    fn name(&self) -> String {
        format!("{} × {} × {}", self.ascent.name(), self.offset.name(), self.combine.name())
    }
}
