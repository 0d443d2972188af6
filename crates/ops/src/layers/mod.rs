//! The ops that networks are made of: what each computes, and which arguments it accepts.
//!
//! An op here checks its arguments and leaves the rest to the backend of its device.

mod activations;
mod arguments;
mod attention;
mod conv;
mod cross_entropy;
mod dropout;
mod geometry;
mod layer_scale;
mod norm;
mod pool;
mod processes;
mod softmax;
mod tokens;

pub use activations::{add, gelu, relu};
pub use arguments::{Epilogue, RunningStats, Window2d};
pub use attention::attention;
pub use conv::{conv2d, linear};
pub use cross_entropy::cross_entropy;
pub(crate) use cross_entropy::smoothed;
pub use dropout::dropout;
pub(crate) use geometry::{AttentionSize, Cut, Geometry, Mask, Pooling};
pub use layer_scale::layer_scale;
pub use norm::{batch_norm, group_norm, layer_norm};
pub use pool::{avg_pool2d, global_avg_pool2d, max_pool2d};
pub use processes::{GatherNumbers, batch_statistics_over};
pub(crate) use processes::{is_over_processes, over_processes};
pub use softmax::softmax;
pub use tokens::{first_token, patches, tokens};

use candle_core::{Result, Tensor, bail};

/// An `Err` naming the op unless the tensors have one element type.
pub(crate) fn same_dtype(op: &str, tensors: &[&Tensor]) -> Result<()> {
    for pair in tensors.windows(2) {
        if pair[0].dtype() != pair[1].dtype() {
            bail!("{op}: element types differ: {:?} and {:?}", pair[0].dtype(), pair[1].dtype());
        }
    }
    Ok(())
}
