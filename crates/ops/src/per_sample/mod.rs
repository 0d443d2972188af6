//! What is computed for each sample of a batch: weights and sums of losses, slopes, norms of gradients.

mod ghost;
pub(crate) mod gibbs;
pub(crate) mod groups;
pub(crate) mod last_layer;
pub(crate) mod micro;
pub(crate) mod recorder;
mod reweight;
pub(crate) mod slopes;
mod weighted_sum;

pub use ghost::{GhostNorms, ghost_norms};
pub use gibbs::{Reweighted, Temperature, effective_size, gibbs, quantile};
pub use last_layer::{LastLayerNorms, last_layer_norms};
pub use micro::{MicroGradients, in_micro_batches, micro_gradients, sample_gradients};
pub use reweight::reweight;
pub use slopes::{Slope, rms_slopes};
pub use weighted_sum::weighted_sum;
