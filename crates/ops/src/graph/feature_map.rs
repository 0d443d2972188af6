//! Activations that are not in candle's graph, only a token of each.

use crate::float::{with_float, with_slice};
use crate::grad::grad_enabled;
use crate::node::{Node, Pass, Recorded, apply, constant, on_cpu, stored};
use crate::parallel::zip_map;
use crate::precision::{Precision, precision};
use candle_core::{DType, Device, Result, Shape, Storage, Tensor, bail};
use std::sync::{Arc, Mutex};

/// A tensor on its way through a network of our ops.
///
/// candle fills a tensor of zeros and adds to it for every edge of its graph, which for the activations of a network is
/// a good part of a step. A feature map keeps its numbers and its gradient for itself and is in the graph as a single
/// number: candle still decides what is differentiated, and in which order, but moves no activations.
///
/// [`enter`](Self::enter) and [`leave`](Self::leave) are the way in and out; every op of this crate takes feature maps
/// as it takes tensors. Gradients are the same as those of tensors, bit for bit.
///
/// ```
/// use candle_core::{Device, Result, Tensor, Var};
/// use msharp_ops::{FeatureMap, conv2d, relu};
///
/// # fn main() -> Result<()> {
/// let images = Tensor::ones((1, 4, 4, 2), candle_core::DType::F32, &Device::Cpu)?;
/// let weight = Var::randn(0f32, 1., (3, 2, 3, 3), &Device::Cpu)?;
/// let h = FeatureMap::enter(&images)?;
/// let h = relu(&conv2d(&h, &weight, None, (1, 1), (1, 1))?)?;
/// let grads = h.leave()?.sum_all()?.backward()?;
/// assert!(grads.get(&weight).is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FeatureMap {
    /// Contiguous, without a graph.
    values: Tensor,
    /// A number in candle's graph; not tracked where nothing before it is.
    token: Tensor,
    /// The gradient that later ops have added up in a backward pass.
    grad: Grad,
}

/// Filled by the ops after a feature map, emptied by the one before.
type Grad = Arc<Mutex<Option<Tensor>>>;

fn add(grad: &Grad, part: Tensor) -> Result<()> {
    let Ok(mut grad) = grad.lock() else { bail!("a backward pass panicked, and another one goes on with its graph") };
    *grad = Some(match grad.take() {
        None => part,
        Some(sum) => sum_of(&sum, &part)?,
    });
    Ok(())
}

fn sum_of(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(a)? {
        return crate::cuda::add(&gpu, a, b).map(|sum| stored(sum, a.shape()));
    }
    with_float!("backward", a, T => with_slice(a, |x| with_slice(b, |y| {
        constant(zip_map(x, y, |x: T, y| x + y), a.shape())
    })))
}

fn take(grad: &Grad) -> Result<Tensor> {
    match grad.lock().map(|mut grad| grad.take()) {
        Ok(Some(grad)) => Ok(grad),
        _ => bail!("a feature map got no gradient in this backward pass"),
    }
}

/// `x` in the element type in which a network computes where it is.
fn inside(x: &Tensor) -> Result<Tensor> {
    match x.device() {
        Device::Cuda(_) if precision() == Precision::Bf16 => outside(x, DType::BF16),
        _ => Ok(x.clone()),
    }
}

/// `x`, contiguous, in the element type `dtype`.
fn outside(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(x)? {
        return crate::cuda::cast(&gpu, x, dtype).map(|values| stored(values, x.shape()));
    }
    x.to_dtype(dtype)
}

/// The numbers of `x` once more, for a node of their own.
fn copied(x: &Tensor) -> Result<Storage> {
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(x)? {
        return crate::cuda::cast(&gpu, x, x.dtype());
    }
    with_float!("leave", x, T => with_slice::<T, _>(x, |values| Ok(on_cpu(values.to_vec()))))
}

/// What stands for a feature map in the graph: a number beside `values`. Nobody reads it.
fn number(values: &Tensor) -> Result<Storage> {
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(values)? {
        return Ok(gpu.empty(candle_core::DType::F32, 1)?.into_storage());
    }
    let _ = values;
    Ok(on_cpu(vec![0f32]))
}

/// The number of a feature map that is not tracked, and the gradient of one that is.
fn untracked(values: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(values)? {
        return Ok(gpu.zero().clone());
    }
    let _ = values;
    Tensor::new(0f32, &Device::Cpu)
}

impl FeatureMap {
    /// A tensor on its way in. On a GPU it becomes bfloat16 inside [`with_precision`](crate::with_precision)`(Bf16,
    /// …)`.
    pub fn enter(x: &Tensor) -> Result<Self> {
        let values = inside(&x.detach().contiguous()?)?;
        let grad = Grad::default();
        let token = if grad_enabled() && x.track_op() {
            let entering = grad.clone();
            let back =
                move |[x]: [&Tensor; 1], _: &Tensor, _: &Tensor| Ok([Some(outside(&take(&entering)?, x.dtype())?)]);
            apply(Node::new("enter", number(&values)?, ().into(), back), &[x])?
        } else {
            untracked(&values)?
        };
        Ok(Self { values, token, grad })
    }

    /// The tensor on its way out: a node of candle's graph like any other, in f32 if it was bfloat16 inside.
    pub fn leave(&self) -> Result<Tensor> {
        let dtype = self.values.dtype();
        let out = match dtype {
            DType::BF16 => outside(&self.values, DType::F32)?,
            _ => self.values.clone(),
        };
        if !self.token.track_op() || !grad_enabled() {
            return Ok(out);
        }
        let grad = self.grad.clone();
        let values = self.values.clone();
        let back = move |_: [&Tensor; 1], _: &Tensor, dy: &Tensor| {
            add(&grad, outside(&dy.detach().contiguous()?, dtype)?)?;
            Ok([Some(untracked(&values)?)])
        };
        apply(Node::new("leave", copied(&out)?, out.shape().clone(), back), &[&self.token])
    }

    /// Where the numbers are.
    pub fn device(&self) -> &Device {
        self.values.device()
    }

    /// The sizes of all dimensions.
    pub fn dims(&self) -> &[usize] {
        self.values.dims()
    }
}

impl Recorded for FeatureMap {
    fn values(&self) -> &Tensor {
        &self.values
    }

    fn input(&self) -> Result<Self> {
        Ok(if grad_enabled() { self.clone() } else { Self { token: untracked(&self.values)?, ..self.clone() } })
    }

    fn record<const N: usize>(
        op: &'static str,
        activations: &[&Self],
        params: &[&Tensor],
        result: Storage,
        shape: impl Into<Shape>,
        backward: impl Fn(Pass<N>) -> Result<[Option<Tensor>; N]> + Send + Sync + 'static,
    ) -> Result<Self> {
        let values = stored(result, shape);
        let inputs: Vec<&Tensor> = activations.iter().map(|map| &map.token).chain(params.iter().copied()).collect();
        if !(grad_enabled() && inputs.iter().any(|input| input.track_op())) {
            return Ok(Self { token: untracked(&values)?, values, grad: Grad::default() });
        }
        let (maps, y, out) =
            (activations.iter().copied().cloned().collect::<Vec<_>>(), values.clone(), Grad::default());
        let grad = out.clone();
        let back = move |inputs: [&Tensor; N], _: &Tensor, _: &Tensor| {
            let wanted = inputs.map(|input| input.track_op());
            let mut seen = inputs;
            for (seen, map) in seen.iter_mut().zip(&maps) {
                *seen = &map.values;
            }
            let dy = take(&out)?;
            let mut gradients = backward(Pass { inputs: seen, wanted, y: &y, dy: &dy })?;
            for (gradient, map) in gradients.iter_mut().zip(&maps) {
                if let Some(part) = gradient.take() {
                    add(&map.grad, part)?;
                    *gradient = Some(untracked(&map.values)?);
                }
            }
            Ok(gradients)
        };
        let token = apply(Node::new(op, number(&values)?, ().into(), back), &inputs)?;
        Ok(Self { values, token, grad })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{add as sum, conv2d, relu};
    use candle_core::Var;

    /// A map that is used twice, through ops, as tensors and as feature maps: the same gradients, twice in a row.
    #[test]
    fn gradients_are_those_of_tensors() -> Result<()> {
        let x = Var::randn(0f32, 1., (2, 5, 4, 3), &Device::Cpu)?;
        let w = Var::randn(0f32, 1., (3, 3, 3, 3), &Device::Cpu)?;
        fn network<X: crate::Activation>(x: &X, w: &Tensor) -> Result<X> {
            let h = relu(&conv2d(x, w, None, (1, 1), (1, 1))?)?;
            let g = conv2d(&h, w, None, (1, 1), (1, 1))?;
            sum(&sum(&g, &h)?, x)
        }
        let tensors = network(x.as_tensor(), &w)?;
        let maps = network(&FeatureMap::enter(&x)?, &w)?.leave()?;
        assert_eq!(tensors.flatten_all()?.to_vec1::<f32>()?, maps.flatten_all()?.to_vec1::<f32>()?);
        let expected = tensors.sqr()?.backward()?;
        for _ in 0..2 {
            let grads = maps.sqr()?.backward()?;
            for var in [&x, &w] {
                let of = |grads: &candle_core::backprop::GradStore| {
                    grads.get(var).expect("a gradient").flatten_all().and_then(|grad| grad.to_vec1::<f32>())
                };
                assert_eq!(of(&grads)?, of(&expected)?);
            }
        }
        Ok(())
    }

    #[test]
    fn nothing_is_recorded_where_nothing_is_tracked() -> Result<()> {
        let x = Tensor::ones((1, 2, 2, 1), candle_core::DType::F32, &Device::Cpu)?;
        assert!(!relu(&FeatureMap::enter(&x)?)?.leave()?.track_op());
        let x = Var::from_tensor(&x)?;
        assert!(relu(&FeatureMap::enter(&x)?)?.leave()?.track_op());
        assert!(!crate::no_grad(|| relu(&FeatureMap::enter(&x)?)?.leave())?.track_op());
        Ok(())
    }
}
