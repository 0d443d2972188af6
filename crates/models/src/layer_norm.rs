//! The normalisation of a transformer: each token by itself.

use candle_core::{Result, Tensor};
use candle_nn::{Init, Module, VarBuilder};
use msharp_ops::Activation;

/// Added to the variance; the choice of ViT and of timm (PyTorch's default is 1e-5).
const EPS: f64 = 1e-6;

/// A layer normalisation with scale and shift for every feature.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor, // [c]
    bias: Tensor,   // [c]
}

impl LayerNorm {
    /// Reads `weight` and `bias`, `[features]`, or sets them to 1 and 0.
    pub fn new(features: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            weight: vb.get_with_hints(features, "weight", Init::Const(1.))?,
            bias: vb.get_with_hints(features, "bias", Init::Const(0.))?,
        })
    }

    /// norm(x) over the last dimension of `[.., features]`.
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
