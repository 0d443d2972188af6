//! Stochastic gradient descent with momentum.

use super::{Saved, check, plain};
use crate::float::{Float, with_float, with_slice};
use crate::node::{constant, on_cpu};
use crate::parallel::{CHUNK, Region};
use crate::vector::vectorised;
use candle_core::{Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// A step of SGD as PyTorch defines it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep<'a> {
    /// The step size η.
    pub lr: f64,
    /// μ
    pub momentum: f64,
    /// λ of each tensor, an L2 penalty of λ/2·‖x‖².
    pub weight_decay: &'a [f64],
    /// Nesterov's form.
    pub nesterov: bool,
}

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
        check("sgd_step", x, &super::borrowed(old))?;
    }
    let (from, g) = (plain(x)?, plain(g)?);
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::gpu_of_all(&from)? {
        let new = crate::cuda::parameters::sgd_step(&gpu, &from, &g, old, step)?;
        if step.momentum != 0. {
            *velocity = Some(new);
        }
        return Ok(());
    }
    let (mut moved, mut new) = (Vec::<Storage>::new(), Vec::new());
    for (i, (from, g)) in from.iter().zip(&g).enumerate() {
        let v = old.map(|old| &old[i]).unwrap_or(g);
        with_float!("sgd_step", from, T => {
            let scales = [step.lr, step.momentum, step.weight_decay[i]].map(T::narrow);
            let (x_new, v_new) = with_slice::<T, _>(from, |x| with_slice(g, |g| with_slice(v, |v| {
                Ok(stepped(x, g, old.is_some().then_some(v), scales, step.nesterov))
            })))?;
            moved.push(on_cpu(x_new));
            new.push(constant(v_new, from.shape())?);
        });
    }
    drop(Saved::exchange(x, moved)?);
    if step.momentum != 0. {
        *velocity = Some(new);
    }
    Ok(())
}

fn stepped<T: Float>(x: &[T], g: &[T], v: Option<&[T]>, scales: [T; 3], nesterov: bool) -> (Vec<T>, Vec<T>) {
    let [lr, momentum, decay] = scales;
    let (len, first, v) = (x.len(), v.is_none(), v.unwrap_or(g));
    let (mut x_new, mut v_new) = (Vec::<T>::with_capacity(len), Vec::<T>::with_capacity(len));
    let (to_x, to_v) = (Region::of_capacity(&mut x_new), Region::of_capacity(&mut v_new));
    (0..len.div_ceil(CHUNK)).into_par_iter().for_each(|i| {
        let chunk = i * CHUNK..((i + 1) * CHUNK).min(len);
        vectorised(
            #[inline(always)]
            || {
                for (j, ((x, g), v)) in chunk.clone().zip(x[chunk.clone()].iter().zip(&g[chunk.clone()]).zip(&v[chunk]))
                {
                    let d = *g + decay * *x;
                    let v = if first { d } else { momentum * *v + d };
                    let direction = if nesterov { d + momentum * v } else { v };
                    // SAFETY: j is below the capacity of both, and in this chunk alone.
                    unsafe {
                        to_x.at(j).write(*x - lr * direction);
                        to_v.at(j).write(v);
                    }
                }
            },
        );
    });
    // SAFETY: the chunks cover all elements, and each has been written.
    unsafe {
        x_new.set_len(len);
        v_new.set_len(len);
    }
    (x_new, v_new)
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
