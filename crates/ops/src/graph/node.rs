//! One node of candle's graph whose forward is already computed.
//!
//! candle lets a custom op compute on raw storages. Our ops work on whole tensors instead: a function computes the
//! result and, if a gradient is needed, [`Recorded::record`] wraps it as a node with its backward.

use super::backward::taken;
use super::grad_enabled;
use crate::cpu::Compiled;
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail,
};
use std::sync::Mutex;

/// The activations of a network: a [`Tensor`], or a [`FeatureMap`](crate::FeatureMap), which is the same with less in
/// candle's graph. Every op takes either type and returns the same.
pub trait Activation: Clone + Recorded + Compiled {}

impl Activation for Tensor {}

/// The methods of activations that ops use; private to this crate.
pub trait Recorded: Sized {
    /// The values.
    fn values(&self) -> &Tensor;

    /// The same, contiguous, and without a graph inside `no_grad`.
    fn input(&self) -> Result<Self>;

    /// `result` as an op of some activations and some parameters, three together at most: with a node of the graph if
    /// one of them is tracked and gradients are enabled, else as a constant.
    #[doc(hidden)]
    fn record<const N: usize>(
        op: &'static str,
        activations: &[&Self],
        params: &[&Tensor],
        result: Storage,
        shape: impl Into<Shape>,
        backward: impl Fn(Pass<N>) -> Result<[Option<Tensor>; N]> + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::record_op(Op { name: op, activations, params, result, shape: shape.into() }, Box::new(backward))
    }

    /// [`record`](Self::record), compiled once for all ops.
    #[doc(hidden)]
    fn record_op<const N: usize>(op: Op<Self>, backward: Backward<N>) -> Result<Self>;
}

/// An op that has computed its result.
pub struct Op<'a, X> {
    /// For errors.
    pub name: &'static str,
    /// The first of its inputs.
    pub activations: &'a [&'a X],
    /// The others.
    pub params: &'a [&'a Tensor],
    /// What it has computed.
    pub result: Storage,
    /// The shape of that.
    pub shape: Shape,
}

/// The gradients of an op's inputs.
pub type Backward<const N: usize> = Box<dyn Fn(Pass<N>) -> Result<[Option<Tensor>; N]> + Send + Sync>;

/// The arguments of a backward: activations first, then parameters.
///
/// It may run several times, gets a contiguous gradient, and must return one for every input that is `wanted`.
pub struct Pass<'a, const N: usize> {
    /// The inputs of the op.
    pub inputs: [&'a Tensor; N],
    /// Which of them need a gradient.
    pub wanted: [bool; N],
    /// The result of the op.
    pub y: &'a Tensor,
    /// The gradient of the result.
    pub dy: &'a Tensor,
}

impl Recorded for Tensor {
    fn values(&self) -> &Tensor {
        self
    }

    fn input(&self) -> Result<Self> {
        if grad_enabled() { self.contiguous() } else { self.detach().contiguous() }
    }

    fn record_op<const N: usize>(op: Op<Self>, backward: Backward<N>) -> Result<Self> {
        let Op { name, activations, params, result, shape } = op;
        let inputs: Vec<&Tensor> = activations.iter().chain(params).copied().collect();
        if !(grad_enabled() && inputs.iter().any(|input| input.track_op())) {
            return Ok(stored(result, shape));
        }
        apply(
            Node::new(name, result, shape, move |inputs: [&Tensor; N], y, dy| {
                backward(Pass { inputs, wanted: inputs.map(|input| input.track_op()), y, dy: &dy.contiguous()? })
            }),
            &inputs,
        )
    }
}

/// A tensor without a graph, which `storage` fills.
pub(crate) fn stored(storage: Storage, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(storage, shape, BackpropOp::none(), false)
}

/// Gradients from inputs, result and gradient of the result.
type Back<const N: usize> = Box<dyn Fn([&Tensor; N], &Tensor, &Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync>;

/// The result of an op on `N` inputs, and how to go back.
pub(crate) struct Node<const N: usize> {
    name: &'static str,
    result: Mutex<Option<(Storage, Shape)>>,
    backward: Back<N>,
}

impl<const N: usize> Node<N> {
    pub(crate) fn new(
        name: &'static str,
        result: Storage,
        shape: Shape,
        backward: impl Fn([&Tensor; N], &Tensor, &Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync + 'static,
    ) -> Self {
        Self { name, result: Mutex::new(Some((result, shape))), backward: Box::new(backward) }
    }

    fn take(&self) -> Result<(Storage, Shape)> {
        match self.result.lock().map(|mut result| result.take()) {
            Ok(Some(result)) => Ok(result),
            _ => bail!("{}: the result of a node can be taken only once", self.name),
        }
    }

    fn take_cpu(&self) -> Result<(CpuStorage, Shape)> {
        match self.take()? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            (other, _) => bail!("{}: the inputs are on the CPU, and the result on {:?}", self.name, other.device()),
        }
    }

    fn take_cuda(&self) -> Result<(CudaStorage, Shape)> {
        match self.take()? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            (other, _) => bail!("{}: the inputs are on a GPU, and the result on {:?}", self.name, other.device()),
        }
    }
}

/// The node in the graph, after its `N` inputs.
pub(crate) fn apply<const N: usize>(node: Node<N>, inputs: &[&Tensor]) -> Result<Tensor> {
    match inputs {
        [x] => x.apply_op1(node),
        [x1, x2] => x1.apply_op2(x2, node),
        [x1, x2, x3] => x1.apply_op3(x2, x3, node),
        _ => bail!("{}: candle's nodes have one to three inputs, not {}", node.name, inputs.len()),
    }
}

impl<const N: usize> Node<N> {
    /// The gradients of as many inputs as candle has, which are `N`, but for those that were [taken].
    fn gradients<const M: usize>(
        &self,
        inputs: [&Tensor; M],
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; M]> {
        let Ok(inputs) = <[&Tensor; N]>::try_from(inputs.as_slice()) else {
            bail!("{}: a node of {N} inputs got {M}", self.name)
        };
        let gradients = (self.backward)(inputs, result, grad)?;
        let mut left = [const { None }; M];
        for ((left, gradient), input) in left.iter_mut().zip(gradients).zip(inputs) {
            *left = taken(input, gradient)?;
        }
        Ok(left)
    }
}

impl<const N: usize> CustomOp1 for Node<N> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.take_cuda()
    }

    fn bwd(&self, x: &Tensor, result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [g] = self.gradients([x], result, grad)?;
        Ok(g)
    }
}

impl<const N: usize> CustomOp2 for Node<N> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.take_cuda()
    }

    fn bwd(
        &self,
        x1: &Tensor,
        x2: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [g1, g2] = self.gradients([x1, x2], result, grad)?;
        Ok((g1, g2))
    }
}

impl<const N: usize> CustomOp3 for Node<N> {
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
        self.take_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.take_cuda()
    }

    fn bwd(
        &self,
        x1: &Tensor,
        x2: &Tensor,
        x3: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [g1, g2, g3] = self.gradients([x1, x2, x3], result, grad)?;
        Ok((g1, g2, g3))
    }
}
