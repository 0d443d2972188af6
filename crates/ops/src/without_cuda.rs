//! The module `cuda` of a build without the feature of that name: its functions, none of which can be called, since
//! there is no `Gpu`.

use crate::graph::Activation;
use crate::layers::{AttentionSize, Cut, Epilogue, Geometry, Mask, Pooling, RunningStats};
use crate::parameters::{AdamWStep, Rescale, SgdStep};
use crate::per_sample::groups::Groups;
use crate::per_sample::recorder::Gradients;
use crate::per_sample::{Reweighted, Slope, Temperature};
use candle_core::{CudaStorage, DType, Device, Result, Storage, Tensor, bail};

/// A GPU, of which there is none.
pub(crate) enum Gpu {}

impl Gpu {
    /// `None`, or an `Err` if `x` is on a GPU.
    pub(crate) fn of<'a>(x: impl Into<Option<&'a Tensor>>) -> Result<Option<Self>> {
        match x.into().map(Tensor::device) {
            Some(device @ Device::Cuda(_)) => bail!("a tensor is on {device:?}, and {BUILT_WITHOUT}"),
            _ => Ok(None),
        }
    }
}

const BUILT_WITHOUT: &str = "this program was built without the feature `cuda`";

/// Elements in a storage.
pub(crate) fn len(storage: &CudaStorage) -> Result<usize> {
    bail!("{storage:?} is on a GPU, and {BUILT_WITHOUT}")
}

macro_rules! never_called {
    ($($name:ident$(<$X:ident>)?($($argument:ty),*) -> $result:ty;)+) => {
        $(pub(crate) fn $name$(<$X: Activation>)?(gpu: &Gpu, $(_: $argument),*) -> Result<$result> {
            match *gpu {}
        })+
    };
}

never_called! {
    sum(&Tensor, &Tensor) -> Storage;
    cast(&Tensor, DType) -> Tensor;
    copied(&Tensor) -> Storage;
    number() -> Storage;
    zero() -> Tensor;

    relu<X>(&X) -> X;
    gelu<X>(&X) -> X;
    softmax<X>(&X, usize) -> X;
    dropout<X>(&X, Mask) -> X;
    attention<X>(&X, AttentionSize) -> X;
    convolution<X>(&'static str, &X, &Tensor, Option<&Tensor>, Geometry, Vec<usize>) -> X;
    batch_norm<X>(&X, (&Tensor, &Tensor), &RunningStats, bool, f64, Epilogue<X>) -> X;
    group_norm<X>(&X, usize, (&Tensor, &Tensor), f64, Epilogue<X>) -> X;
    layer_norm<X>(&X, (&Tensor, &Tensor), f64) -> X;
    layer_scale<X>(&X, &X, &Tensor) -> X;
    max_pool2d<X>(&X, Pooling, &[usize]) -> X;
    averages<X>(&X, Pooling, &[usize]) -> X;
    patches<X>(&X, Cut, &[usize]) -> X;
    tokens<X>(&X, &Tensor, &Tensor) -> X;
    first_token<X>(&X, [usize; 3]) -> X;

    cross_entropy(&Tensor, &Tensor, f64, [usize; 2]) -> Tensor;
    cross_entropy_of_distributions(&Tensor, &Tensor, f64, [usize; 2]) -> Tensor;
    last_layer_norms(&Tensor, &Tensor, f64, &Tensor, bool) -> Tensor;
    weighted_sum(&Tensor, Option<Tensor>) -> Tensor;
    rms_slopes(&[Slope]) -> Tensor;
    norms_of_columns(&Tensor) -> Tensor;
    weighted_gradient(&Gradients, Groups, &Tensor) -> Tensor;
    reweight(&Tensor, Temperature) -> Reweighted;

    dot(&[Tensor], &[Tensor]) -> Tensor;
    scale(&[Tensor], Rescale) -> (Vec<Tensor>, Tensor);
    add_scaled(&[Tensor], f64, &[Tensor]) -> Vec<Tensor>;
    displaced(&[Tensor], f64, &[Tensor]) -> Vec<Storage>;
    displaced_by_signs(&[Tensor], &[[u8; 32]], Rescale, f64) -> (Vec<Storage>, Tensor);
    saved(&[Tensor]) -> Vec<Storage>;
    sgd_step(&[&Tensor], &[Tensor], Option<&[Tensor]>, SgdStep) -> Vec<Tensor>;
    adamw_step(&[&Tensor], &[Tensor], [&[Tensor]; 2], AdamWStep) -> [Vec<Tensor>; 2];
}
