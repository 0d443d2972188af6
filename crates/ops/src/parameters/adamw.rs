//! Adam with decoupled weight decay.

use super::{Saved, borrowed, check, plain};
use crate::float::{Float, with_float, with_slice};
use crate::node::on_cpu;
use candle_core::{Result, Storage, Tensor, bail};

/// A step of AdamW as PyTorch defines it (Loshchilov, Hutter 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep<'a> {
    /// The step size η.
    pub lr: f64,
    /// β₁, of the mean of the gradients.
    pub beta1: f64,
    /// β₂, of the mean of their squares.
    pub beta2: f64,
    /// ε
    pub eps: f64,
    /// λ of each tensor.
    pub weight_decay: &'a [f64],
    /// t, the number of this step, from 1.
    pub t: u64,
}

/// x ← x − ηλx; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; x ← x − η m̂ / (√v̂ + ε), where m̂ = m/(1 − β₁ᵗ) and
/// v̂ = v/(1 − β₂ᵗ). Changes `x`, and `moments`, m and v of each tensor, in place: 0 if there are none yet. One pass.
///
/// `Err` if shapes or element types differ, or one of `x` is a view of a larger tensor.
pub fn adamw_step(x: &[&Tensor], g: &[&Tensor], moments: &mut Option<[Vec<Tensor>; 2]>, step: AdamWStep) -> Result<()> {
    check("adamw_step", x, g)?;
    if step.weight_decay.len() != x.len() || step.t == 0 {
        bail!("adamw_step: {} tensors need as many weight decays, and t ≥ 1, not {step:?}", x.len());
    }
    let (from, g) = (plain(x)?, plain(g)?);
    let zeros = || from.iter().map(Tensor::zeros_like).collect::<Result<Vec<Tensor>>>();
    let [m, v] = match moments.take() {
        Some(moments) => moments,
        None => [zeros()?, zeros()?],
    };
    check("adamw_step", x, &borrowed(&m))?;
    check("adamw_step", x, &borrowed(&v))?;
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::gpu_of_all(&from)? {
        crate::cuda::parameters::adamw_step(&gpu, &from, &g, [&m, &v], step)?;
        *moments = Some([m, v]);
        return Ok(());
    }
    let (mut x_new, mut m_new, mut v_new) = (Vec::<Storage>::new(), Vec::new(), Vec::new());
    for (i, (((from, g), m), v)) in from.iter().zip(&g).zip(&m).zip(&v).enumerate() {
        with_float!("adamw_step", from, T => {
            let after = with_slice::<T, _>(from, |x| with_slice(g, |g| with_slice(m, |m| with_slice(v, |v| {
                Ok(stepped::<T>([x, g, m, v], &step, step.weight_decay[i]))
            }))))?;
            let [x, m, v] = after.map(on_cpu);
            x_new.push(x);
            m_new.push(crate::node::stored(m, from.shape()));
            v_new.push(crate::node::stored(v, from.shape()));
        });
    }
    drop(Saved::exchange(x, x_new)?);
    *moments = Some([m_new, v_new]);
    Ok(())
}

/// x, m and v after a step.
fn stepped<T: Float>([x, g, m, v]: [&[T]; 4], step: &AdamWStep, decay: f64) -> [Vec<T>; 3] {
    let AdamWStep { lr, beta1, beta2, eps, t, .. } = *step;
    let (m_share, v_share) = (1. - beta1.powf(t as f64), 1. - beta2.powf(t as f64));
    let m: Vec<T> = m.iter().zip(g).map(|(m, g)| T::narrow(beta1 * m.wide() + (1. - beta1) * g.wide())).collect();
    let v: Vec<T> =
        v.iter().zip(g).map(|(v, g)| T::narrow(beta2 * v.wide() + (1. - beta2) * g.wide().powi(2))).collect();
    let x = x.iter().zip(m.iter().zip(&v)).map(|(x, (m, v))| {
        let x = x.wide() * (1. - lr * decay);
        T::narrow(x - lr * (m.wide() / m_share) / ((v.wide() / v_share).sqrt() + eps))
    });
    [x.collect(), m, v]
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
