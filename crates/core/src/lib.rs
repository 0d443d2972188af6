//! The shared types and traits of msharp.
//!
//! A problem is an [`Objective`]: a loss for every sample of a [`Batch`]. Its variables are [`Params`]; gradients,
//! perturbations and velocities are [`ParamVec`]s. Objective, parameters and batch together are a [`BatchLoss`], f_γ,
//! of which a sharpness-aware rule, a [`Perturbation`], computes a [`Gradient`], and with which any [`Optimizer`]
//! steps. **`BatchLoss` is the one place that moves the weights, and it puts them back bit for bit**, buffers included,
//! also on an error and on a panic.
//!
//! Rules, their parts, estimators and optimizers are [`Component`]s: they have state, settings that are checked before
//! the first step, and a name.
//!
//! Where several processes train one network, each has its part of every batch: the [`Communicator`] of a `BatchLoss`
//! makes each gradient that of all parts, and a rule does not know the difference. msharp-dist has communicators.
//!
//! **Invariants.** Order is that of names, never that of a hash map. Randomness is a [`Key`], never a global generator.
//! [`Optimizer::step`], [`Params::assign`], [`Params::assign_partial`] and this crate's `displaced` are all that writes
//! parameters; what restores
//! several things restores all of them or none. Two evaluations at one point yield one loss ([`BatchLoss::check`]), and
//! constants lie in their [`Range`]s. What a program may react to is an [`Error`].
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use msharp_core::{Batch, BatchLoss, Key, Seeded};
//!
//! let init = Seeded::new(0, DType::F32, &Device::Cpu);
//! let w = init.var_builder().get((3, 1), "w")?;
//! let params = init.params()?;
//! let squares = |batch: &Batch, _train: bool| (batch.inputs.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr();
//!
//! let inputs = Tensor::ones((4, 3), DType::F32, &Device::Cpu)?;
//! let batch = Batch::new(inputs, Tensor::ones(4, DType::F32, &Device::Cpu)?, Key::new(0));
//! let step = BatchLoss::new(&squares, &params, &batch).gradient()?;
//! assert_eq!(step.grads.to_vec()?, [-2., -2., -2.]);
//! # Ok::<(), candle_core::Error>(())
//! ```

mod assign;
mod batch;
mod batch_loss;
mod checks;
mod communicator;
mod component;
mod counted;
mod error;
mod estimator;
mod gradient;
mod key;
mod micro_batches;
mod objective;
mod optimizer;
mod param_vec;
mod params;
mod partial;
mod passes;
mod pieces;
mod role;
mod rule;
mod seeded;
mod select;
mod source;
mod state;
mod sync_batch_norm;
pub mod testing;
mod training_point;
mod weights;
mod write_aside;

pub use batch::{Batch, Part};
pub use batch_loss::{BatchLoss, backward};
pub use communicator::{Alone, Communicator, Gathered, Share};
pub use component::Component;
pub use counted::{Counted, uncounted};
pub use error::{Error, find, hold};
pub use estimator::{Estimate, GradNormEstimator, Weigh};
pub use gradient::{Gradient, Measures};
pub use key::Key;
pub use micro_batches::MicroGradients;
pub use msharp_ops::{
    Precision, Range, Rescale, Reweighted, Temperature, at_least_1, effective_size, gibbs, quantile, reweight,
    share_of, with_precision,
};
pub use objective::{Accumulated, Objective};
pub use optimizer::Optimizer;
pub use param_vec::ParamVec;
pub use params::{Param, Params};
pub use partial::Fit;
pub use passes::Passes;
pub use role::{Role, role_by_name};
pub use rule::{Ascent, Combine, Cost, Direction, Offset, Perturbation, Uphill};
pub use seeded::Seeded;
pub use select::Select;
pub use source::{Batches, DataSource};
pub use state::State;
pub use sync_batch_norm::SyncBatchNorm;
pub use training_point::TrainingPoint;
pub use weights::{metadata, to_safetensors};
pub use write_aside::{check_writable, write_aside, write_once};
