//! Where the ascent gradient comes from: one file a source.

mod full_batch;
mod gibbs;
mod mean;

pub use full_batch::FullBatch;
pub use gibbs::Gibbs;
pub use mean::Mean;
