//! Some parameters more than others, and some not at all.

use candle_core::{Result, Tensor, bail};
use msharp_core::{BatchLoss, Component, Cost, Offset, Param, ParamVec, Params, Range, Select, parts};

/// A factor on the ε of groups of parameters: the first group that holds a parameter decides, and 1 where none does.
///
/// A parameter whose factor is 0 is masked: it does not move, *and its gradient does not count* in the norm that
/// `inner` takes. Other factors multiply ε after the norm over all parameters was taken.
///
/// Reference: masks: SAM-ON (Müller et al., NeurIPS 2023).
#[derive(Clone, Debug)]
pub struct Grouped<O> {
    /// The offset of what is not masked.
    pub inner: O,
    /// Which parameters, and their factor.
    pub groups: Vec<(Select, f64)>,
}

impl<O> Grouped<O> {
    /// Only these parameters move.
    pub fn only(these: Select, inner: O) -> Self {
        Self::without(Select::Not(Box::new(these)), inner)
    }

    /// All but these move.
    pub fn without(these: Select, inner: O) -> Self {
        Self { inner, groups: vec![(these, 0.)] }
    }

    fn factor(&self, param: &Param) -> f64 {
        self.groups.iter().find(|(select, _)| select.holds(param)).map_or(1., |(_, factor)| *factor)
    }
}

impl Grouped<()> {
    /// What a factor on ρ may be.
    pub const FACTOR: Range = Range::AT_LEAST_0;
}

impl<O: Offset> Component for Grouped<O> {
    parts!(inner);

    fn own_check(&self, params: &Params) -> Result<()> {
        for (i, (select, factor)) in self.groups.iter().enumerate() {
            Grouped::FACTOR.check("the factor of a group", *factor)?;
            select.check(params)?;
            let decides = |param: &Param| self.groups.iter().position(|(other, _)| other.holds(param)) == Some(i);
            if !params.iter().any(decides) && params.iter().any(|param| select.holds(param)) {
                bail!("the group {select} decides about no parameter: groups before it hold all of its own")
            }
        }
        Ok(())
    }
}

impl<O: Offset> Offset for Grouped<O> {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        self.groups.iter().try_for_each(|(select, _)| select.check(loss.params))?;
        let params = loss.params;
        let times = |factor: f64, t: &Tensor| match factor {
            0. => t.zeros_like(),
            1. => Ok(t.clone()),
            factor => t.affine(factor, 0.),
        };
        let masked = g.map(params, |param, g| times(if self.factor(param) == 0. { 0. } else { 1. }, g))?;
        let epsilon = self.inner.offset(loss, &masked)?;
        epsilon.map(params, |param, epsilon| times(self.factor(param), epsilon))
    }

    fn factors(&self, loss: BatchLoss, squares: &[f64]) -> Result<Option<Vec<f64>>> {
        self.groups.iter().try_for_each(|(select, _)| select.check(loss.params))?;
        let own: Vec<f64> = loss.params.iter().map(|param| self.factor(param)).collect();
        let held: Vec<f64> = own.iter().zip(squares).map(|(own, s)| if *own == 0. { 0. } else { *s }).collect();
        let factors = self.inner.factors(loss, &held)?;
        Ok(factors.map(|factors| factors.iter().zip(&own).map(|(c, own)| c * own).collect()))
    }

    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples)
    }
}
