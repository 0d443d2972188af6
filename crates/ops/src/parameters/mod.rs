//! Passes over all parameters of a network at once: a tensor for each, in one order. None of them is differentiable.
//!
//! On a GPU each is one or two launches, and a number that it computes is a [`Tensor`](candle_core::Tensor) of one f64
//! there: no host-device synchronisation.

mod adamw;
mod arguments;
mod displace;
mod dot;
mod lists;
mod saved;
mod scale;
mod sgd;

pub use adamw::adamw_step;
pub use arguments::{AdamWStep, Rescale, SgdStep};
pub use displace::{displace, displace_by_signs, save};
pub use dot::{dot, sum_of_squares};
pub(crate) use lists::plain;
pub use saved::Saved;
pub use scale::{add_scaled, scale};
pub use sgd::sgd_step;
