//! Differentiable training ops for candle: channels-last, per sample, reproducible to the bit.

mod conv;
mod cross_entropy;
mod dot;
mod float;
mod grad;
mod node;
mod norm;
mod parallel;
mod pool;
mod product;
mod relu;

pub use conv::{conv2d, linear};
pub use cross_entropy::cross_entropy;
pub use dot::dot;
pub use grad::{grad_enabled, no_grad};
pub use norm::{Epilogue, RunningStats, batch_norm, group_norm};
pub use pool::{Window2d, avg_pool2d, global_avg_pool2d, max_pool2d};
pub use relu::relu;
