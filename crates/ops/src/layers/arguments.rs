//! Types of the arguments of layers.

use candle_core::{Tensor, Var};

/// A sliding window over an image: sizes as (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window2d {
    /// Height and width of the window.
    pub kernel: (usize, usize),
    /// Distance of neighbouring windows.
    pub stride: (usize, usize),
    /// Rows and columns added on each side; at most half the kernel.
    pub padding: (usize, usize),
}

impl Window2d {
    /// A square window.
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel: (kernel, kernel), stride: (stride, stride), padding: (padding, padding) }
    }
}

/// What follows a normalisation in the same pass over memory; the default is nothing.
#[derive(Debug)]
pub struct Epilogue<'a, X = Tensor> {
    /// Added to the normalised tensor; of its shape.
    pub residual: Option<&'a X>,
    /// Whether a ReLU comes last.
    pub relu: bool,
}

impl<X> Clone for Epilogue<'_, X> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<X> Copy for Epilogue<'_, X> {}

impl<X> Default for Epilogue<'_, X> {
    fn default() -> Self {
        Self { residual: None, relu: false }
    }
}

/// The running statistics of a batch normalisation; read in evaluation, updated by a forward in training.
#[derive(Clone, Copy, Debug)]
pub struct RunningStats<'a> {
    /// Mean of each channel, `[c]`.
    pub mean: &'a Var,
    /// Unbiased variance of each channel, `[c]`.
    pub var: &'a Var,
    /// Number of batches seen, i64 `[]`, if it is counted.
    pub batches: Option<&'a Var>,
    /// Weight of the new batch: running = (1 − momentum) running + momentum batch. PyTorch's default is 0.1.
    pub momentum: f64,
}
