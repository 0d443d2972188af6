//! The loss that a reweighting ascent weighs, also where it is descended.

use candle_core::Result;
use msharp_core::{Combine, Component, ParamVec, Passes};

/// Σ pᵢ ∇ℓᵢ(x + ε), with the weights p of the ascent: of RW-SAM or δ-SAM.
///
/// Where the mean is descended, as RW-SAM does, the noise of a sample meets its own curvature with the weight
/// Σᵢ pᵢ/b = 1/b, that of SAM; here with Σᵢ pᵢ² = 1/m_eff, as in m-SAM with 1/m. It is a control: the direction is not
/// that of the mean loss, even where ε is 0, and has the noise of m_eff samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weighted;

impl Component for Weighted {}

impl Combine for Weighted {
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec> {
        passes.sharp_as_ascended()
    }
}
