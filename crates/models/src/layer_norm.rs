//! Layer normalisation, which a transformer applies to each token.

use candle_core::{Result, Tensor};
use candle_nn::{Init, Module, VarBuilder};
use msharp_ops::Activation;

/// Added to the variance, as in ViT and timm (PyTorch's default is 1e-5).
const EPS: f64 = 1e-6;

/// A layer normalisation with scale and shift for every feature (Ba, Kiros, Hinton 2016,
/// <https://arxiv.org/abs/1607.06450>). ε is 1e-6, as in ViT and timm; PyTorch's default is 1e-5.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor, // [c]
    bias: Tensor,   // [c]
}

impl LayerNorm {
    /// Reads `weight` and `bias`, `[features]`, or initialises them to 1 and 0.
    ///
    /// # Errors
    /// If `vb` has no tensor of a name and shape.
    pub fn new(features: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            weight: vb.get_with_hints(features, "weight", Init::Const(1.))?,
            bias: vb.get_with_hints(features, "bias", Init::Const(0.))?,
        })
    }

    /// norm(x) over the last dimension of x, `[.., features]`, for each position by itself.
    pub fn apply<X: Activation>(&self, xs: &X) -> Result<X> {
        msharp_ops::layer_norm(xs, &self.weight, &self.bias, EPS)
    }
}

impl Module for LayerNorm {
    /// As [`apply`](LayerNorm::apply).
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.apply(xs)
    }
}
