//! How an ascent gradient becomes an offset: one file a ball.

mod l2;
mod raw;

pub use l2::L2;
pub use raw::Raw;
