//! Towards the direction of largest curvature: Eigen-SAM.

use crate::L2;
use candle_core::Result;
use msharp_core::{
    BatchLoss, Component, Cost, Offset, ParamVec, Params, Precision, Range, Rescale, State, at_least_1, with_precision,
};

/// ε = ρ (u + α sign⟨g, v⟩ (v − ⟨u, v⟩u)) for u = g/‖g‖ and the leading eigenvector v of the Hessian; it is not
/// normalised again, so ‖ε‖ ≥ ρ.
///
/// v comes from power iterations, warm from the last v, every so many steps and in the first. A product of Hessian and
/// vector is the central difference of two gradients along it, since candle has no second derivatives: each iteration
/// costs 2 forwards and 2 backwards. Inside [`Micro`](crate::Micro) every micro-batch of such a step makes them. State:
/// v and the number of steps. v is that of all parameters, also where a mask around this takes some away.
///
/// Reference: Eigen-SAM (Luo et al., NeurIPS 2024). The published code has no v, and does not normalise, in the first
/// 100 steps.
#[derive(Clone, Debug)]
pub struct Eigen {
    /// ρ ≥ 0.
    pub rho: f64,
    /// α, 0.2 as published.
    pub alpha: f64,
    /// v is computed anew every so many steps, 100 as published; at least 1.
    pub every: usize,
    /// By so many power iterations, 5 as published; at least 1.
    pub iterations: usize,
    /// A gradient is taken so far from x, relative to ‖x‖: 10⁻³ is good in f32.
    pub reach: f64,
    /// v, once there was a step.
    v: Option<ParamVec>,
    /// Optimizer steps made: the micro-batches of a step count once.
    step: u64,
}

impl Eigen {
    /// What α may be.
    pub const ALPHA: Range = Range::AT_LEAST_0;

    /// As published, before the first step.
    pub fn new(rho: f64, alpha: f64) -> Self {
        Self { rho, alpha, every: 100, iterations: 5, reach: 1e-3, v: None, step: 0 }
    }

    /// The same, with v computed anew every `every` steps by `iterations` power iterations.
    pub fn refreshed(self, every: usize, iterations: usize) -> Self {
        Self { every, iterations, ..self }
    }

    /// The same, with gradients taken at a distance of `reach` ‖x‖.
    pub fn at_reach(self, reach: f64) -> Self {
        Self { reach, ..self }
    }

    /// H v/‖H v‖
    fn iterate(&self, loss: BatchLoss, v: &ParamVec) -> Result<ParamVec> {
        let h = v.scale_to(Rescale::Relative(self.reach, &loss.params.refs()))?.0;
        let ahead = loss.gradient_at(&h)?.grads;
        let behind = loss.gradient_at(&h.scale(-1.)?)?.grads;
        Ok(ahead.add_scaled(-1., &behind)?.scale_to(Rescale::Of(1.))?.0)
    }
}

impl Component for Eigen {
    fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        state.vector("v", params, &mut self.v)?;
        state.count("step", &mut self.step)
    }

    fn own_check(&self, _: &Params) -> Result<()> {
        L2::RHO.check("rho", self.rho)?;
        Self::ALPHA.check("alpha", self.alpha)?;
        Range::ABOVE_0.check("reach", self.reach)?;
        at_least_1("every", self.every)?;
        at_least_1("iterations", self.iterations)
    }
}

impl Offset for Eigen {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        let due = self.v.is_none() || self.step.is_multiple_of(self.every as u64);
        // To read is a synchronisation on a GPU; on the CPU a v that vanished or is not finite is drawn anew.
        let is_sound = |v: &ParamVec| -> Result<bool> { Ok(!loss.params.device().is_cpu() || v.norm()?.is_normal()) };
        let mut v = match &self.v {
            Some(v) if !due || is_sound(v)? => v.clone(),
            _ => ParamVec::gaussian(loss.params, loss.batch.key.fold_name("eigen"))?,
        };
        for _ in 0..if due { self.iterations } else { 0 } {
            // In bfloat16 the difference of two gradients would be noise.
            v = with_precision(Precision::F32, || self.iterate(loss, &v))?;
        }
        let u = g.scale_to(Rescale::Of(1.))?.0;
        let across = v.add_scaled(-1., &u.nearest_to(&v)?)?; // v − ⟨u, v⟩u
        let sign = g.inner(&v)?.sign()?;
        let epsilon = u.add_scaled(self.alpha, &across.scale_to(Rescale::Given(&sign))?.0)?.scale(self.rho);
        self.v = Some(v);
        self.step += u64::from(loss.batch.part.last);
        epsilon
    }

    /// Each power iteration is two gradients.
    fn cost(&self, _: usize) -> Cost {
        Cost::passes(2. * self.iterations as f64 / self.every as f64)
    }
}
