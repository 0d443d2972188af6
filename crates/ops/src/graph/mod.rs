//! How ops are recorded in candle's graph, and the scopes that decide what is recorded and how.

mod backward;
mod feature_map;
mod grad;
mod node;
mod on_backward;
mod precision;
mod scope;

pub use backward::backward;
pub use feature_map::FeatureMap;
pub(crate) use grad::grad_enabled;
pub use grad::no_grad;
pub use node::Activation;
pub(crate) use node::{Pass, Recorded, stored};
pub use on_backward::on_backward;
pub(crate) use precision::precision;
pub use precision::{Precision, with_precision};
pub(crate) use scope::within;
