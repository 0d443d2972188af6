//! Offsets that are scaled with the size of the parameters: ASAM.

use crate::{L2, Scale};
use candle_core::{Result, Tensor};
use msharp_core::{BatchLoss, Component, Cost, Offset, Param, ParamVec, Params, Range, Select, parts};

/// ε = T · (what `inner` makes of T g): with [`L2`], ε = ρ T² g/‖T g‖, the maximiser of ⟨g, ε⟩ over ‖T⁻¹ε‖ ≤ ρ.
///
/// T is the size of the parameters plus η where `on` says, and 1 elsewhere. There are two ASAMs in use, which differ in
/// this: [`Adaptive::everywhere`] and [`Adaptive::weights`]. Radii are larger than SAM's: 0.5 to 2.
///
/// Reference: ASAM (Kwon et al., ICML 2021).
#[derive(Clone, Debug)]
pub struct Adaptive<O> {
    /// The offset in the scaled space.
    pub inner: O,
    /// What the size of a parameter is.
    pub scale: Scale,
    /// η ≥ 0, so that parameters near 0 move too.
    pub eta: f64,
    /// Which parameters are scaled.
    pub on: Select,
}

impl Adaptive<L2> {
    /// T = |w| on every parameter, biases and norm layers included, without η: the definition most copied.
    pub fn everywhere(rho: f64) -> Self {
        Self { inner: L2 { rho }, scale: Scale::Element, eta: 0., on: Select::All }
    }

    /// T = |w| + 0.01 on every parameter called `weight`, those of norm layers included, and 1 on biases: the authors'
    /// definition.
    pub fn weights(rho: f64) -> Self {
        let named_weight = "*weight".parse().expect("a glob");
        Self { inner: L2 { rho }, scale: Scale::Element, eta: 0.01, on: named_weight }
    }
}

impl<O: Offset> Component for Adaptive<O> {
    parts!(inner);

    fn own_check(&self, params: &Params) -> Result<()> {
        Range::AT_LEAST_0.check("eta", self.eta)?;
        self.on.check(params)
    }
}

impl<O: Offset> Offset for Adaptive<O> {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        self.on.check(loss.params)?;
        let (params, scale, eta, on) = (loss.params, self.scale, self.eta, &self.on);
        let times_t = |param: &Param, g: &Tensor| match on.holds(param) {
            true => g.broadcast_mul(&(scale.of(param)? + eta)?),
            false => Ok(g.clone()),
        };
        let scaled = g.map(params, times_t)?;
        self.inner.offset(loss, &scaled)?.map(params, times_t)
    }

    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples)
    }
}
