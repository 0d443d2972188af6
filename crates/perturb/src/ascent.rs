//! Where the ascent gradient comes from: one file a source.

mod full_batch;
mod gibbs;
mod mean;
mod momentum;
mod random;
mod smoothed;

pub use full_batch::FullBatch;
pub use gibbs::Gibbs;
pub use mean::Mean;
pub use momentum::Momentum;
pub use random::Random;
pub use smoothed::Smoothed;
