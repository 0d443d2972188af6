//! Activations of which candle's graph has a single number each.

use super::node::{Activation, Backward, Node, Op, Pass, Recorded, apply, stored};
use super::{Precision, grad_enabled, precision};
use crate::dispatch::on_device;
use candle_core::{DType, Device, Result, Storage, Tensor, bail};
use std::sync::{Arc, Mutex};

/// The activations inside a network of our ops.
///
/// candle fills a tensor of zeros and adds to it for every edge of its graph, which for the activations of a network is
/// a good part of a step. A feature map holds its values and its gradient itself and is a single number in the
/// graph: candle still decides what is differentiated, and in which order, but moves no activations.
///
/// [`enter`](Self::enter) and [`leave`](Self::leave) convert from and to a tensor; every op of this crate takes feature
/// maps as it takes tensors. Gradients are the same as those of tensors, bit for bit.
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
    /// The gradient so far in a backward pass: the sum of the terms of later ops.
    grad: Grad,
}

/// Filled by the ops after a feature map, emptied by the one before.
type Grad = Arc<Mutex<Option<Tensor>>>;

fn add(grad: &Grad, part: Tensor) -> Result<()> {
    let Ok(mut grad) = grad.lock() else { bail!("a backward pass panicked, and another one goes on with its graph") };
    *grad = Some(match grad.take() {
        None => part,
        Some(sum) => stored(on_device!(&sum, sum(&sum, &part))?, sum.shape()),
    });
    Ok(())
}

fn take(grad: &Grad) -> Result<Tensor> {
    match grad.lock().map(|mut grad| grad.take()) {
        Ok(Some(grad)) => Ok(grad),
        _ => bail!("a feature map got no gradient in this backward pass"),
    }
}

/// `x` in the element type in which a network computes on its device.
fn inside(x: &Tensor) -> Result<Tensor> {
    match x.device() {
        Device::Cuda(_) if precision() == Precision::Bf16 => cast(x, DType::BF16),
        _ => Ok(x.clone()),
    }
}

/// `x`, contiguous, in the element type `dtype`.
fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype { Ok(x.clone()) } else { on_device!(x, cast(x, dtype)) }
}

/// What stands for a feature map in the graph: one number of arbitrary value, on the device of `values`.
fn number(values: &Tensor) -> Result<Storage> {
    on_device!(values, number())
}

/// The number of a feature map that is not tracked, and the gradient of one that is.
fn untracked(values: &Tensor) -> Result<Tensor> {
    on_device!(values, zero())
}

impl Activation for FeatureMap {}

impl FeatureMap {
    /// The feature map of a tensor. On a GPU it becomes bfloat16 inside
    /// [`with_precision`](crate::with_precision)`(Bf16, …)`.
    pub fn enter(x: &Tensor) -> Result<Self> {
        let values = inside(&x.detach().contiguous()?)?;
        let grad = Grad::default();
        let token = if grad_enabled() && x.track_op() {
            let entering = grad.clone();
            let back = move |[x]: [&Tensor; 1], _: &Tensor, _: &Tensor| Ok([Some(cast(&take(&entering)?, x.dtype())?)]);
            apply(Node::new("enter", number(&values)?, ().into(), back), &[x])?
        } else {
            untracked(&values)?
        };
        Ok(Self { values, token, grad })
    }

    /// The tensor of a feature map: a node of candle's graph like any other, in f32 if it was bfloat16 inside.
    pub fn leave(&self) -> Result<Tensor> {
        let dtype = self.values.dtype();
        let out = match dtype {
            DType::BF16 => cast(&self.values, DType::F32)?,
            _ => self.values.clone(),
        };
        if !self.token.track_op() || !grad_enabled() {
            return Ok(out);
        }
        let grad = self.grad.clone();
        let values = self.values.clone();
        let back = move |_: [&Tensor; 1], _: &Tensor, dy: &Tensor| {
            add(&grad, cast(&dy.detach().contiguous()?, dtype)?)?;
            Ok([Some(untracked(&values)?)])
        };
        apply(Node::new("leave", on_device!(&out, copied(&out))?, out.shape().clone(), back), &[&self.token])
    }

    /// The device of the values.
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

    fn record_op<const N: usize>(op: Op<Self>, backward: Backward<N>) -> Result<Self> {
        let Op { name, activations, params, result, shape } = op;
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
        let token = apply(Node::new(name, number(&values)?, ().into(), back), &inputs)?;
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
