//! Whole passes over parameters: displacing them and putting them back, and a step of SGD.

use crate::float::{Float, same_dtype, with_float, with_slice};
use crate::parallel::{CHUNK, Region, map, zip_map};
use crate::vector::vectorised;
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, WithDType, bail};
use rayon::prelude::*;
use std::sync::Mutex;

/// The numbers that a tensor had before it was changed in place.
#[derive(Debug)]
#[must_use = "the tensor stays displaced until it is put back"]
pub struct Saved {
    tensor: Tensor,
    values: CpuStorage,
}

impl Saved {
    /// Gives the tensor its numbers back, bit for bit; nothing is copied.
    pub fn put_back(self) -> Result<()> {
        exchange(&self.tensor, self.values).map(drop)
    }
}

/// x ← x + c y in place, where everybody who shares the storage of `x` sees it; returns what x was. One pass.
///
/// `Err` if shapes or element types differ, or `x` is a view of a larger tensor.
pub fn displace(x: &Tensor, c: f64, y: &Tensor) -> Result<Saved> {
    let moved = sum_scaled(x, c, y)?;
    Ok(Saved { tensor: x.detach(), values: exchange(x, moved)? })
}

/// x + c y, not differentiable. One pass. `Err` if shapes or element types differ.
pub fn add_scaled(x: &Tensor, c: f64, y: &Tensor) -> Result<Tensor> {
    let sum = sum_scaled(x, c, y)?;
    with_float!("add_scaled", x, T => crate::node::constant(T::cpu_storage_data(sum)?, x.shape()))
}

/// c x, not differentiable. One pass.
pub fn scale(c: f64, x: &Tensor) -> Result<Tensor> {
    let x = &x.detach().contiguous()?;
    with_float!("scale", x, T => {
        let c = T::narrow(c);
        crate::node::constant(with_slice(x, |x| Ok(map(x, |x: T| c * x)))?, x.shape())
    })
}

fn sum_scaled(x: &Tensor, c: f64, y: &Tensor) -> Result<CpuStorage> {
    same_size("add_scaled", &[x, y])?;
    let (x, y) = (&x.detach().contiguous()?, &y.detach().contiguous()?);
    with_float!("add_scaled", x, T => {
        let c = T::narrow(c);
        let sum = with_slice(x, |x| with_slice(y, |y| Ok(zip_map(x, y, |x: T, y| x + c * y))))?;
        Ok(T::to_cpu_storage_owned(sum))
    })
}

/// A step of SGD as PyTorch defines it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// The step size η.
    pub lr: f64,
    /// μ
    pub momentum: f64,
    /// λ, an L2 penalty of λ/2·‖x‖².
    pub weight_decay: f64,
    /// Nesterov's form.
    pub nesterov: bool,
}

/// d = g + λx; v ← μv + d (v = d without a velocity); x ← x − η v, or x − η (d + μv) with Nesterov. Changes `x` in
/// place and returns v. One pass. `Err` if shapes or element types differ, or `x` is a view of a larger tensor.
pub fn sgd_step(x: &Tensor, g: &Tensor, velocity: Option<&Tensor>, step: SgdStep) -> Result<Tensor> {
    let first = velocity.is_none();
    let velocity = velocity.unwrap_or(g);
    same_size("sgd_step", &[x, g, velocity])?;
    let (from, g, v) = (&x.detach().contiguous()?, &g.detach().contiguous()?, &velocity.detach().contiguous()?);
    with_float!("sgd_step", from, T => {
        let scales = [step.lr, step.momentum, step.weight_decay].map(T::narrow);
        let (x_new, v_new) = with_slice::<T, _>(from, |x| with_slice(g, |g| with_slice(v, |v| {
            Ok(stepped(x, g, (!first).then_some(v), scales, step.nesterov))
        })))?;
        exchange(x, T::to_cpu_storage_owned(x_new))?;
        crate::node::constant(v_new, from.shape())
    })
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

fn same_size(op: &str, tensors: &[&Tensor]) -> Result<()> {
    same_dtype(op, tensors)?;
    match tensors.windows(2).find(|pair| pair[0].dims() != pair[1].dims()) {
        Some(pair) => bail!("{op}: shapes differ: {:?} and {:?}", pair[0].dims(), pair[1].dims()),
        None => Ok(()),
    }
}

/// Puts `values` into the place of a tensor's storage, and returns that.
fn exchange(tensor: &Tensor, values: CpuStorage) -> Result<CpuStorage> {
    struct Exchange(Mutex<Option<CpuStorage>>);
    impl InplaceOp1 for Exchange {
        fn name(&self) -> &'static str {
            "exchange"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let len = match storage {
                CpuStorage::F32(values) => values.len(),
                CpuStorage::F64(values) => values.len(),
                _ => bail!("expected f32 or f64"),
            };
            if layout.contiguous_offsets() != Some((0, len)) {
                bail!("a view of a larger tensor cannot be changed in place");
            }
            if let Ok(mut values) = self.0.lock()
                && let Some(values) = values.as_mut()
            {
                std::mem::swap(storage, values);
            }
            Ok(())
        }
    }
    let exchange = Exchange(Mutex::new(Some(values)));
    tensor.detach().inplace_op1(&exchange)?;
    match exchange.0.into_inner() {
        Ok(Some(values)) => Ok(values),
        _ => bail!("the storage of a tensor was lost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn what_is_displaced_comes_back_bit_for_bit() -> Result<()> {
        let x = Var::randn(0f32, 1., (70, 301), &Device::Cpu)?;
        let y = Tensor::randn(0f32, 1., (70, 301), &Device::Cpu)?;
        let values = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
        let (before, y_values) = (values(&x)?, values(&y)?);
        let saved = displace(&x, -0.3, &y)?;
        let expected: Vec<f32> = before.iter().zip(&y_values).map(|(x, y)| x + -0.3 * y).collect();
        assert_eq!(values(&x)?, expected);
        assert_eq!(values(&add_scaled(&x, 2., &y)?)?.len(), expected.len());
        saved.put_back()?;
        assert_eq!(values(&x)?, before);
        let error = displace(&x.narrow(0, 0, 3)?, 1., &y.narrow(0, 0, 3)?).map(drop).unwrap_err().to_string();
        assert!(error.contains("view"), "{error}");
        assert_eq!(values(&x)?, before);
        Ok(())
    }

    /// On ½‖x‖² from 1, so that g = x, by hand.
    #[test]
    fn steps_follow_the_formula() -> Result<()> {
        for nesterov in [false, true] {
            let x = Var::ones(20_000, candle_core::DType::F64, &Device::Cpu)?;
            let (mut by_hand, mut v, mut velocity) = (1f64, 0., None);
            for k in 0..3 {
                let step = SgdStep { lr: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov };
                let g = x.as_detached_tensor().copy()?;
                velocity = Some(sgd_step(&x, &g, velocity.as_ref(), step)?);
                let d = by_hand + 0.01 * by_hand;
                v = if k == 0 { d } else { 0.9 * v + d };
                by_hand -= 0.1 * if nesterov { d + 0.9 * v } else { v };
                for x in x.to_vec1::<f64>()? {
                    assert!((x - by_hand).abs() < 1e-14);
                }
            }
        }
        Ok(())
    }
}
