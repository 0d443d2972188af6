//! Stochastic gradient descent with momentum.

use super::SgdStep;
use super::lists::{borrowed, check, plain};
use crate::dispatch::on_device;
use candle_core::{Result, Tensor, bail};

/// d = g + λx; v ← μv + d (v = d at first); x ← x − η v, or x − η (d + μv) with Nesterov. Changes `x` in place, and
/// `velocity`, which without momentum stays as it is. One pass. `Err` if shapes or element types differ, or one of `x`
/// is a view of a larger tensor.
pub fn sgd_step(x: &[&Tensor], g: &[&Tensor], velocity: &mut Option<Vec<Tensor>>, step: SgdStep) -> Result<()> {
    check("sgd_step", x, g)?;
    if step.weight_decay.len() != x.len() {
        bail!("sgd_step: {} tensors need as many weight decays, not {}", x.len(), step.weight_decay.len());
    }
    let old = velocity.as_deref().filter(|_| step.momentum != 0.);
    if let Some(old) = old {
        check("sgd_step", x, &borrowed(old))?;
    }
    let g = plain(g)?;
    let new = on_device!(g.first(), sgd_step(x, &g, old, step))?;
    if step.momentum != 0. {
        *velocity = Some(new);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// On ½‖x‖² from 1, so that g = x, by hand.
    #[test]
    fn steps_follow_the_formula() -> Result<()> {
        for (momentum, nesterov) in [(0., false), (0.9, false), (0.9, true)] {
            let x = Var::ones(20_000, candle_core::DType::F64, &Device::Cpu)?;
            let (mut by_hand, mut v, mut velocity) = (1f64, 0., None);
            for k in 0..3 {
                let step = SgdStep { lr: 0.1, momentum, weight_decay: &[0.01], nesterov };
                let g = x.as_detached_tensor().copy()?;
                sgd_step(&[&x], &[&g], &mut velocity, step)?;
                let d = by_hand + 0.01 * by_hand;
                v = if k == 0 { d } else { momentum * v + d };
                by_hand -= 0.1 * if nesterov { d + momentum * v } else { v };
                for x in x.to_vec1::<f64>()? {
                    assert!((x - by_hand).abs() < 1e-14);
                }
            }
            assert_eq!(velocity.is_some(), momentum != 0.);
        }
        Ok(())
    }
}
