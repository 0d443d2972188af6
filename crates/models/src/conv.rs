//! A convolution without bias, as before or after a normalisation.

use candle_core::{Result, Tensor};
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use candle_nn::{Init, Module, VarBuilder};
use msharp_ops::Activation;

/// Normal with variance 2 / fan-out, which keeps the scale of the gradients through a ReLU
/// (He et al. 2015, <https://arxiv.org/abs/1502.01852>), as in torchvision and in the authors' code.
const INIT: Init =
    Init::Kaiming { dist: NormalOrUniform::Normal, fan: FanInOut::FanOut, non_linearity: NonLinearity::ReLU };

/// A square convolution without bias on `[b, h, w, c]`, padded so that stride 1 keeps height and width (odd kernels).
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor, // [c_out, c_in, k, k]
    stride: usize,
}

impl Conv2d {
    /// Reads `weight`, `[c_out, c_in, kernel, kernel]`, or initialises it normal with variance 2/(c_out·kernel²)
    /// (He et al. 2015, <https://arxiv.org/abs/1502.01852>, fan-out). The padding is ⌊kernel/2⌋ on every side.
    ///
    /// # Errors
    /// If `vb` has no tensor of this name and shape.
    pub fn new(c_in: usize, c_out: usize, kernel: usize, stride: usize, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints((c_out, c_in, kernel, kernel), "weight", INIT)?;
        Ok(Self { weight, stride })
    }

    /// With a weight that is never trained.
    pub(crate) fn constant(weight: Tensor, stride: usize) -> Self {
        Self { weight, stride }
    }
}

impl Conv2d {
    /// `[b, h, w, c_in]` to `[b, ⌈h/stride⌉, ⌈w/stride⌉, c_out]`, for odd kernels.
    pub fn apply<X: Activation>(&self, xs: &X) -> Result<X> {
        let padding = self.weight.dim(3)? / 2;
        msharp_ops::conv2d(xs, &self.weight, None, (self.stride, self.stride), (padding, padding))
    }
}

impl Module for Conv2d {
    /// As [`apply`](Conv2d::apply).
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.apply(xs)
    }
}
