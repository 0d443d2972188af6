//! Adam with decoupled weight decay.

use super::AdamWStep;
use super::lists::{borrowed, check, plain};
use crate::dispatch::on_device;
use candle_core::{Result, Tensor, bail};

/// x ← x − ηλx; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; x ← x − η m̂ / (√v̂ + ε), where m̂ = m/(1 − β₁ᵗ) and
/// v̂ = v/(1 − β₂ᵗ). Changes `x`, and `moments`, m and v of each tensor, in place: 0 if there are none yet. One pass.
///
/// `Err` if shapes or element types differ, or one of `x` is a view of a larger tensor.
pub fn adamw_step(x: &[&Tensor], g: &[&Tensor], moments: &mut Option<[Vec<Tensor>; 2]>, step: AdamWStep) -> Result<()> {
    check("adamw_step", x, g)?;
    if step.weight_decay.len() != x.len() || step.t == 0 {
        bail!("adamw_step: {} tensors need as many weight decays, and t ≥ 1, not {step:?}", x.len());
    }
    let zeros = || x.iter().map(|x| x.detach().zeros_like()).collect::<Result<Vec<Tensor>>>();
    let [m, v] = match moments.as_ref() {
        Some(moments) => moments.clone(),
        None => [zeros()?, zeros()?],
    };
    check("adamw_step", x, &borrowed(&m))?;
    check("adamw_step", x, &borrowed(&v))?;
    let g = plain(g)?;
    *moments = Some(on_device!(g.first(), adamw_step(x, &g, [&m, &v], step))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    /// On ½‖x‖² from 1 and −2, so that g = x, by hand.
    #[test]
    fn steps_follow_the_formula() -> Result<()> {
        let x = Var::new(&[1f64, -2.], &Device::Cpu)?;
        let (mut by_hand, mut m, mut v, mut moments) = ([1f64, -2.], [0f64; 2], [0f64; 2], None);
        for t in 1..=3 {
            let g = x.as_detached_tensor().copy()?;
            let step = AdamWStep { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: &[0.01], t };
            adamw_step(&[&x], &[&g], &mut moments, step)?;
            for i in 0..2 {
                let g = by_hand[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (first, second) = (m[i] / (1. - 0.9f64.powi(t as i32)), v[i] / (1. - 0.999f64.powi(t as i32)));
                by_hand[i] -= 0.1 * 0.01 * by_hand[i];
                by_hand[i] -= 0.1 * first / (second.sqrt() + 1e-8);
            }
            for (found, expected) in x.to_vec1::<f64>()?.iter().zip(by_hand) {
                assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
            }
        }
        assert!(x.dtype() == DType::F64 && moments.is_some());
        Ok(())
    }
}
