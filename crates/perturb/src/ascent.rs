//! Where the ascent direction comes from: one file for each source.

mod full_batch;
mod gibbs;
mod mean;
mod momentum;
mod proportional;
mod random;
mod reweighted;
mod smoothed;

pub use full_batch::FullBatch;
pub use gibbs::Gibbs;
pub use mean::Mean;
pub use momentum::Momentum;
pub use proportional::Proportional;
pub use random::Random;
pub use smoothed::Smoothed;
