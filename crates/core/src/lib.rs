//! The waist of msharp: what every other crate meets at, and nothing clever.
//!
//! A problem is an [`Objective`]: a loss for every sample of a [`Batch`]. Its variables are [`Params`]; gradients,
//! offsets and velocities are [`ParamVec`]s. A sharpness-aware rule is a [`Perturbation`], a way to compute a
//! [`Gradient`], and everything it is made of goes through [`gradient_at`]: **the one place that moves the weights, and
//! puts them back bit for bit**, buffers included, also on an error and on a panic.
//!
//! **Invariants.** Order is that of names, never that of a hash map. Randomness is a [`Key`], never a global generator.
//! [`Optimizer::step`], [`Params::assign`] and this crate's `displaced` are all that writes parameters; what restores
//! several things restores all of them or none. Two evaluations at one point yield one loss ([`check_repeatable`]), and
//! constants lie in their [`Range`]s.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use msharp_core::{Batch, Key, Seeded, gradient_at};
//!
//! let init = Seeded::new(0, DType::F32, &Device::Cpu);
//! let w = init.var_builder().get((3, 1), "w")?;
//! let params = init.params()?;
//! let squares = |batch: &Batch, _train: bool| (batch.inputs.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr();
//!
//! let inputs = Tensor::ones((4, 3), DType::F32, &Device::Cpu)?;
//! let batch = Batch::new(inputs, Tensor::ones(4, DType::F32, &Device::Cpu)?, Key::new(0));
//! let step = gradient_at(&squares, &params, &batch, None, None)?;
//! assert_eq!(step.grads.to_vec()?, [-2., -2., -2.]);
//! # Ok::<(), candle_core::Error>(())
//! ```

mod batch;
mod counted;
mod gradient;
mod key;
mod moment;
mod objective;
mod param_vec;
mod params;
mod passes;
mod repeatable;
mod role;
mod rule;
mod seeded;
mod source;
mod state;
mod weights;
mod write_aside;

pub use batch::{Batch, Part};
pub use counted::{Counted, uncounted};
pub use gradient::{
    Gradient, Measures, backward, gradient_at, keeping_buffers, losses_at, losses_at_signs, losses_of, only_gradient_at,
};
pub use key::Key;
pub use moment::Moment;
pub use msharp_ops::{
    Length, Precision, Range, Reweighted, Temperature, at_least_1, effective_size, gibbs, quantile, reweight, share_of,
    with_precision,
};
pub use objective::{Accumulated, Objective};
pub use param_vec::ParamVec;
pub use params::{Param, Params};
pub use passes::Passes;
pub use repeatable::check_repeatable;
pub use role::{Role, role_by_name};
pub use rule::{Ascent, Combine, Estimate, GradNormEstimator, Offset, Optimizer, Perturbation};
pub use seeded::Seeded;
pub use source::{Batches, DataSource};
pub use state::State;
pub use weights::{metadata, to_safetensors};
pub use write_aside::{check_writable, write_aside};
