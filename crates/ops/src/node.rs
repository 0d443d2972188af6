//! One node of candle's graph whose forward is already computed.
//!
//! candle lets a custom op compute on raw storages. Our ops work on whole tensors instead: a function computes the
//! result and, if somebody needs the gradient, one of the `record` functions wraps it as a node with its backward.

use crate::float::Float;
use crate::grad::grad_enabled;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::sync::Mutex;

/// The result of an op on `N` inputs, and `backward(inputs, result, gradient of the result)`.
///
/// `backward` may run several times, gets a contiguous gradient, and must return a gradient for every tracked input.
struct Node<B, const N: usize> {
    name: &'static str,
    result: Mutex<Option<(CpuStorage, Shape)>>,
    backward: B,
}

impl<B, const N: usize> Node<B, N> {
    fn new<T: Float>(name: &'static str, result: Vec<T>, shape: Shape, backward: B) -> Self {
        Self { name, result: Mutex::new(Some((T::to_cpu_storage_owned(result), shape))), backward }
    }

    fn take(&self) -> Result<(CpuStorage, Shape)> {
        match self.result.lock().map(|mut result| result.take()) {
            Ok(Some(result)) => Ok(result),
            _ => bail!("{}: the result of a node can be taken only once", self.name),
        }
    }
}

/// Whether an op on these inputs has to be recorded.
pub(crate) fn tracked(inputs: &[&Tensor]) -> bool {
    grad_enabled() && inputs.iter().any(|input| input.track_op())
}

/// `x`, contiguous, and without a graph inside `no_grad`.
pub(crate) fn input(x: &Tensor) -> Result<Tensor> {
    if grad_enabled() { x.contiguous() } else { x.detach().contiguous() }
}

/// A tensor without a graph.
pub(crate) fn constant<T: Float>(values: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &candle_core::Device::Cpu)
}

/// `result` as an op of one input.
pub(crate) fn record1<T: Float>(
    name: &'static str,
    x: &Tensor,
    result: Vec<T>,
    shape: impl Into<Shape>,
    backward: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
) -> Result<Tensor> {
    if tracked(&[x]) {
        x.apply_op1(Node::<_, 1>::new(name, result, shape.into(), backward))
    } else {
        constant(result, shape)
    }
}

/// `result` as an op of two inputs.
pub(crate) fn record2<T: Float>(
    name: &'static str,
    (x1, x2): (&Tensor, &Tensor),
    result: Vec<T>,
    shape: impl Into<Shape>,
    backward: impl Fn([&Tensor; 2], &Tensor, &Tensor) -> Result<[Option<Tensor>; 2]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if tracked(&[x1, x2]) {
        x1.apply_op2(x2, Node::<_, 2>::new(name, result, shape.into(), backward))
    } else {
        constant(result, shape)
    }
}

/// `result` as an op of three inputs, the most that candle allows.
pub(crate) fn record3<T: Float>(
    name: &'static str,
    (x1, x2, x3): (&Tensor, &Tensor, &Tensor),
    result: Vec<T>,
    shape: impl Into<Shape>,
    backward: impl Fn([&Tensor; 3], &Tensor, &Tensor) -> Result<[Option<Tensor>; 3]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if tracked(&[x1, x2, x3]) {
        x1.apply_op3(x2, x3, Node::<_, 3>::new(name, result, shape.into(), backward))
    } else {
        constant(result, shape)
    }
}

impl<B: Fn(&Tensor, &Tensor, &Tensor) -> Result<Option<Tensor>>> CustomOp1 for Node<B, 1> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take()
    }

    fn bwd(&self, x: &Tensor, result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        (self.backward)(x, result, &grad.contiguous()?)
    }
}

impl<B: Fn([&Tensor; 2], &Tensor, &Tensor) -> Result<[Option<Tensor>; 2]>> CustomOp2 for Node<B, 2> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take()
    }

    fn bwd(
        &self,
        x1: &Tensor,
        x2: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [g1, g2] = (self.backward)([x1, x2], result, &grad.contiguous()?)?;
        Ok((g1, g2))
    }
}

impl<B: Fn([&Tensor; 3], &Tensor, &Tensor) -> Result<[Option<Tensor>; 3]>> CustomOp3 for Node<B, 3> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.take()
    }

    fn bwd(
        &self,
        x1: &Tensor,
        x2: &Tensor,
        x3: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [g1, g2, g3] = (self.backward)([x1, x2, x3], result, &grad.contiguous()?)?;
        Ok((g1, g2, g3))
    }
}
