//! Sharpness-aware rules, composed of parts.
//!
//! A rule has three parts: an *ascent*, which computes the direction uphill; an *offset*, which makes the perturbation
//! ε of it; and a *combination* of the gradients at x and at x + ε, which is the direction to descend.
//!
//! | ascent: the direction uphill | offset: ε | combination: the direction to descend |
//! |---|---|---|
//! | [`Mean`]: the batch's gradient g | [`L2`]: ρg/‖g‖ | [`Descend`]: s, the gradient at x + ε |
//! | [`Gibbs`]: softmax-weighted, RW-SAM | [`Raw`]: ρg, USAM | [`Gsam`]: s less the part of g orthogonal to it |
//! | [`Proportional`]: norm-weighted, δ-SAM | [`Linf`]: ρ sign g | [`Blend`]: (1 − α)g + αs, PGN and WSAM |
//! | [`FullBatch`]: the whole set's, n-SAM | [`Unified`]: between raw and L2 | [`Stable`]: s at the length of g |
//! | [`Momentum`]: of past directions, MSAM | [`Eigen`]: towards the top of the Hessian | [`LookSam`]: s every k-th step |
//! | [`Random`]: noise, RWP | | [`AeSam`]: s where g is long |
//! | [`Smoothed`]: at x + noise, R-SAM | | [`EsamSelect`]: s of some samples |
//! | | | [`Weighted`]: s of the loss that the ascent weighs |
//!
//! Around an offset: [`Adaptive`] (ASAM), [`Friendly`] (F-SAM), [`Averaged`] (VaSSO), [`Sparse`] (ESAM), [`Steps`],
//! [`Grouped`] (masks, SAM-ON, ρ by groups), [`Decayed`], [`Clipped`], [`Scheduled`]. Around a rule: [`Micro`] (m-SAM),
//! [`Every`], [`During`] (late-phase SAM), [`Clipped`]. All of them nest. Controls, which take one thing from a rule:
//! [`Weighted`] and [`MicroAscent`].
//!
//! [`Sharp`] composes the three parts, its passes written once. The published rules have constructors, as [`sam`],
//! [`m_sam`], [`rw_sam`] and [`gsam`], and entries in the [`catalogue`], so that
//! `"esam:beta=0.6".parse::<Rule>()` names one. A part of your own is one trait of msharp-core,
//! [`Ascent`](msharp_core::Ascent),
//! [`Offset`](msharp_core::Offset) or [`Combine`](msharp_core::Combine), and works with all the others:
//! `examples/own_offset.rs`.
//!
//! Gradient accumulation is no rule: wrap the objective in [`Accumulated`](msharp_core::Accumulated), and the pieces
//! are independent of m.
//!
//! **Invariants.** This crate names no estimator: [`rw_sam`] takes any
//! [`GradNormEstimator`](msharp_core::GradNormEstimator). A rule never steps, and never leaves the weights displaced. A
//! constant that its formula does not allow, and a selection that selects nothing, is an error of
//! [`check`](msharp_core::Component::check), which a trainer calls before its first step, and of the first gradient.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use msharp_core::{Batch, BatchLoss, Key, Perturbation, Seeded};
//! use msharp_perturb::m_sam;
//!
//! let init = Seeded::new(0, DType::F32, &Device::Cpu);
//! let w = init.var_builder().get((3, 1), "w")?;
//! let params = init.params()?;
//! let squares = |batch: &Batch, _train: bool| (batch.inputs.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr();
//! let inputs = Tensor::ones((4, 3), DType::F32, &Device::Cpu)?;
//! let batch = Batch::new(inputs, Tensor::ones(4, DType::F32, &Device::Cpu)?, Key::new(0));
//!
//! let mut rule = m_sam(0.1, 2); // micro-batches of 2 samples
//! let step = rule.gradient(BatchLoss::new(&squares, &params, &batch))?;
//! assert!(step.grads.norm()? > 12f64.sqrt()); // steeper at x + ε than at x
//! # Ok::<(), candle_core::Error>(())
//! ```

mod ascent;
pub mod catalogue;
mod clipped;
mod combine;
mod constructors;
mod during;
mod error;
mod every;
mod micro;
mod micro_ascent;
mod offset;
mod plain;
mod sampa;
mod scale;
mod sharp;

pub use ascent::{FullBatch, Gibbs, Mean, Momentum, Proportional, Random, Smoothed};
pub use catalogue::Rule;
pub use clipped::Clipped;
pub use combine::{AeSam, Blend, Descend, EsamSelect, Gsam, LookSam, Stable, Weighted};
pub use constructors::{
    ae_sam, asam, asam_weights, delta_sam, eigen_sam, esam, friendly_sam, gsam, late_phase_sam, layer_sam, linf_sam,
    look_sam, m_ascent_sam, m_sam, m_usam, msam, multi_step_sam, n_sam, n_usam, pgn, r_sam, rw_sam, rw_usam, rwp, sam,
    sam_on, sampa, stable_sam, unified_sam, usam, vasso, with_combine, with_offset, wsam,
};
pub use during::During;
pub use error::Error;
pub use every::Every;
pub use micro::{Micro, Path};
pub use micro_ascent::MicroAscent;
pub use offset::{
    Adaptive, Averaged, Decayed, Eigen, Friendly, Grouped, L2, Linf, Raw, RhoSchedule, Scheduled, Sparse, Steps,
    Unified,
};
pub use plain::Plain;
pub use sampa::Sampa;
pub use scale::Scale;
pub use sharp::Sharp;
