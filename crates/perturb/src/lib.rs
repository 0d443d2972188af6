//! Sharpness-aware rules as sentences.
//!
//! A rule says *where the ascent gradient comes from* × *how it becomes an offset* × *how the two gradients combine*:
//!
//! | rule | ascent | offset | combine |
//! |---|---|---|---|
//! | [`sam`] | [`Mean`] | [`L2`] | [`Descend`] |
//! | [`usam`] | [`Mean`] | [`Raw`] | [`Descend`] |
//! | [`rw_sam`] | [`Gibbs`] | [`L2`] | [`Descend`] |
//! | [`n_sam`] | [`FullBatch`] | [`L2`] | [`Descend`] |
//! | [`Plain`] | – | – | – |
//!
//! [`Sharp`] is that sentence, the two passes written once; [`Micro`] wraps any rule and makes it its m-variant. A word of
//! your own is one trait of `msharp-core`: [`Ascent`], [`Offset`] or [`Combine`], and it works with all the others.
//!
//! **Invariants.** This crate names no estimator: [`rw_sam`] takes any [`GradNormEstimator`]. A rule never steps, and never
//! leaves the weights displaced.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use msharp_core::{Batch, Key, Perturbation, Seeded};
//! use msharp_perturb::{Micro, sam};
//!
//! let init = Seeded::new(0, DType::F32, &Device::Cpu);
//! let w = init.var_builder().get((3, 1), "w")?;
//! let params = init.params()?;
//! let squares = |batch: &Batch, _train: bool| (batch.inputs.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr();
//! let inputs = Tensor::ones((4, 3), DType::F32, &Device::Cpu)?;
//! let batch = Batch::new(inputs, Tensor::ones(4, DType::F32, &Device::Cpu)?, Key::new(0));
//!
//! let mut rule = Micro { inner: sam(0.1), size: 2 }; // m-SAM with m = 2
//! let step = rule.gradient(&squares, &params, &batch)?;
//! assert!(step.grads.norm()? > 12f64.sqrt()); // steeper at x + ε than at x
//! # Ok::<(), candle_core::Error>(())
//! ```

mod ascent;
mod clipped;
mod combine;
mod during;
mod every;
mod micro;
mod named;
mod offset;
mod plain;
mod scale;
mod select;
mod sharp;

pub use ascent::{FullBatch, Gibbs, Mean, Momentum, Random, Smoothed};
pub use clipped::Clipped;
pub use combine::{Blend, Descend, Gsam, Look, Selected, Stable, Steep};
pub use during::During;
pub use every::Every;
pub use micro::Micro;
pub use msharp_core::{Ascent, Combine, GradNormEstimator, Offset, Perturbation, Temperature};
pub use named::{
    ae_sam, asam, asam_weights, eigen_sam, esam, friendly_sam, gsam, layer_sam, linf_sam, look_sam, m_sam, m_usam,
    msam, multi_step_sam, n_sam, n_usam, pgn, r_sam, rw_sam, rw_usam, rwp, sam, sam_on, stable_sam, unified_sam, usam,
    vasso, within, wsam,
};
pub use offset::{
    Adaptive, Averaged, Decayed, Eigen, Friendly, Grouped, L2, Linf, Raw, RhoSchedule, Scheduled, Sparse, Steps,
    Unified,
};
pub use plain::Plain;
pub use scale::Scale;
pub use select::Select;
pub use sharp::Sharp;
