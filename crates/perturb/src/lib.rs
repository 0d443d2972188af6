//! Sharpness-aware rules as sentences.
//!
//! A rule says *where the ascent gradient comes from* × *how it becomes an offset* × *how the two gradients combine*:
//!
//! | ascent: the direction uphill | offset: ε | combine: the direction to descend |
//! |---|---|---|
//! | [`Mean`]: the batch's gradient g | [`L2`]: ρg/‖g‖ | [`Descend`]: s, the gradient at x + ε |
//! | [`Gibbs`]: reweighted, RW-SAM | [`Raw`]: ρg, USAM | [`Gsam`]: s less the part of g across it |
//! | [`FullBatch`]: the whole set's, n-SAM | [`Linf`]: ρ sign g | [`Blend`]: (1 − α)g + αs, PGN and WSAM |
//! | [`Momentum`]: of what was descended, MSAM | [`Unified`]: between raw and L2 | [`Stable`]: s at the length of g |
//! | [`Random`]: noise, RWP | [`Eigen`]: towards the top of the Hessian | [`Look`]: s every k-th step, LookSAM |
//! | [`Smoothed`]: at x + noise, R-SAM | | [`Steep`]: s where g is long, AE-SAM |
//! | | | [`Selected`]: s of some samples, ESAM |
//!
//! Around an offset: [`Adaptive`] (ASAM), [`Friendly`] (F-SAM), [`Averaged`] (VaSSO), [`Sparse`] (ESAM), [`Steps`],
//! [`Grouped`] (masks, SAM-ON, ρ by groups), [`Decayed`], [`Clipped`], [`Scheduled`]. Around a rule: [`Micro`] (m-SAM),
//! [`Every`], [`During`], [`Clipped`]. Each is a struct with public fields, and all of them nest.
//!
//! [`Sharp`] is the sentence, its passes written once. The published rules have constructors: [`sam`], [`usam`],
//! [`m_sam`], [`n_sam`], [`rw_sam`], [`asam`], [`gsam`] and the others. A word of your own is one trait of
//! `msharp-core`, [`Ascent`], [`Offset`] or [`Combine`], and works with all the others: `examples/own_word.rs`.
//!
//! Gradient accumulation is no rule: wrap the objective in [`Accumulated`](msharp_core::Accumulated), and the pieces
//! are independent of m.
//!
//! **Invariants.** This crate names no estimator: [`rw_sam`] takes any [`GradNormEstimator`]. A rule never steps, and
//! never leaves the weights displaced. A constant that its formula does not allow, and a selection that selects
//! nothing, is an error of [`check`](Perturbation::check), which a trainer asks before its first step, and of the first
//! gradient.
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
