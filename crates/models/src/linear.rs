//! A linear layer: the classifier, and the layers of a transformer.

use candle_core::{Result, Tensor};
use candle_nn::{Init, Module, VarBuilder};
use msharp_ops::Activation;

/// A linear layer, y = x Wᵀ + b.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor, // [out, in]
    bias: Tensor,   // [out]
}

impl Linear {
    /// Reads `weight`, `[outputs, inputs]`, and `bias`, `[outputs]`, or initialises both uniform within ±1/√inputs,
    /// PyTorch's default.
    ///
    /// # Errors
    /// If `vb` has no tensor of a name and shape.
    pub fn new(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Self> {
        Self::with_bias_init(inputs, outputs, uniform(inputs), vb)
    }

    /// As [`new`](Linear::new), the bias drawn from `bias`.
    pub(crate) fn with_bias_init(inputs: usize, outputs: usize, bias: Init, vb: VarBuilder) -> Result<Self> {
        Self::with_init(inputs, outputs, uniform(inputs), bias, vb)
    }

    /// As [`new`](Linear::new), initialised from `weight` and `bias`.
    ///
    /// # Errors
    /// If `vb` has no tensor of a name and shape.
    pub fn with_init(inputs: usize, outputs: usize, weight: Init, bias: Init, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            weight: vb.get_with_hints((outputs, inputs), "weight", weight)?,
            bias: vb.get_with_hints(outputs, "bias", bias)?,
        })
    }

    /// `[.., inputs]` to `[.., outputs]`.
    pub fn apply<X: Activation>(&self, xs: &X) -> Result<X> {
        msharp_ops::linear(xs, &self.weight, Some(&self.bias))
    }
}

/// Uniform within ±1/√fan-in.
fn uniform(fan_in: usize) -> Init {
    let bound = 1. / (fan_in as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

impl Module for Linear {
    /// As [`apply`](Linear::apply).
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.apply(xs)
    }
}
