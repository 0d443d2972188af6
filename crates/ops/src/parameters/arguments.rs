//! Types of the arguments of passes over parameters.

use candle_core::Tensor;

/// A step of SGD as PyTorch defines it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep<'a> {
    /// The step size η.
    pub lr: f64,
    /// μ
    pub momentum: f64,
    /// λ of each tensor, an L2 penalty of λ/2·‖x‖².
    pub weight_decay: &'a [f64],
    /// Nesterov's form.
    pub nesterov: bool,
}

/// A step of AdamW as PyTorch defines it (Loshchilov, Hutter 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep<'a> {
    /// The step size η.
    pub lr: f64,
    /// β₁, of the mean of the gradients.
    pub beta1: f64,
    /// β₂, of the mean of their squares.
    pub beta2: f64,
    /// ε
    pub eps: f64,
    /// λ of each tensor.
    pub weight_decay: &'a [f64],
    /// t, the number of this step, from 1.
    pub t: u64,
}

/// How long a multiple of y is to be.
#[derive(Clone, Copy, Debug)]
pub enum Rescale<'a> {
    /// c ‖y‖
    Times(f64),
    /// ρ for every y: f = ρ / (‖y‖ + 10⁻¹²), so that 0 stays 0.
    Of(f64),
    /// r ‖x‖ for another vector x: f = r ‖x‖ / (‖y‖ + 10⁻³⁰), so that 0 stays 0.
    Relative(f64, &'a [&'a Tensor]),
    /// |f| ‖y‖ for an f that was computed, f64 `[]` on the device of y; it may be negative.
    Given(&'a Tensor),
}

impl Rescale<'_> {
    /// The term that is added to ‖y‖ in the denominator.
    pub(crate) fn guard(&self) -> f64 {
        match self {
            Rescale::Of(_) => 1e-12,
            Rescale::Relative(..) => 1e-30,
            Rescale::Times(_) | Rescale::Given(_) => 0.,
        }
    }
}
