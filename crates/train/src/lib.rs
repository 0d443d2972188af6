//! A training loop short enough to fork.
//!
//! [`fit`] takes gradients from any [`Perturbation`](msharp_core::Perturbation), steps with any
//! [`Optimizer`](msharp_core::Optimizer), and reports to an [`Observer`]; it prints nothing. [`Classifier`] makes an
//! objective of candle's own [`ModuleT`](candle_nn::ModuleT). A [`Checkpoint`] holds all that a run needs to go on as
//! if it had never stopped: a resumed run ends with the same weights, bit for bit.
//!
//! **Invariants.** No rule is named here. A checkpoint is written between two steps, so never at a displaced point.
//!
//! ```
//! use candle_core::{DType, Device, Result, Tensor};
//! use msharp_core::{Batch, BatchLoss, Batches, Component, DataSource, Gradient, Key, Perturbation, Seeded};
//! use msharp_train::{Classifier, Outcome, Progress, Schedule, Sgd, Task, evaluate, fit};
//!
//! struct Two; // two samples, one batch an epoch
//! impl DataSource for Two {
//!     fn steps(&self) -> usize { 1 }
//!     fn samples(&self) -> usize { 2 }
//!     fn epoch_from(&self, epoch: usize, step: usize) -> Batches<'_> {
//!         let batch = move || Ok(Batch::new(
//!             Tensor::new(&[[1f32, 0.], [0., 1.]], &Device::Cpu)?,
//!             Tensor::new(&[0u32, 1], &Device::Cpu)?,
//!             Key::new(0).fold(epoch as u64),
//!         ));
//!         Box::new((step..1).map(move |_| batch()))
//!     }
//! }
//! struct Plain; // any rule goes here; msharp-perturb has them
//! impl Component for Plain {}
//! impl Perturbation for Plain {
//!     fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
//!         loss.gradient()
//!     }
//! }
//!
//! let init = Seeded::new(0, DType::F32, &Device::Cpu);
//! let classifier = Classifier::new(candle_nn::linear(2, 2, init.var_builder())?);
//! let params = init.params()?;
//! let (mut rule, mut sgd) = (Plain, Sgd { momentum: 0.9, ..Sgd::default() });
//! let task = Task::new(&classifier, &params, &mut rule, &mut sgd, &Two, 20, Schedule::cosine(0.5));
//! let (outcome, progress) = fit(task, Progress::default(), &mut ())?;
//! assert_eq!((outcome, progress.epoch), (Outcome::Finished, 20));
//! assert_eq!(evaluate(&classifier, &Two)?.accuracy, 1.);
//! # Ok::<(), candle_core::Error>(())
//! ```

mod adamw;
mod adapter;
mod checkpoint;
mod classifier;
mod error;
mod evaluate;
mod fit;
mod observer;
mod over_ranks;
mod param_groups;
mod progress;
mod schedule;
mod sgd;

pub use adamw::AdamW;
pub use adapter::CandleNn;
pub use checkpoint::{Checkpoint, CheckpointPolicy};
pub use classifier::Classifier;
pub use error::Error;
pub use evaluate::{ClassTally, Evaluation, evaluate, evaluate_logits, evaluate_over, finite_rows};
pub use fit::{Outcome, Task, fit};
pub use observer::{Control, Observer};
pub use param_groups::ParamGroups;
pub use progress::{Extent, Progress, StepReport, Sum, Tally};
pub use schedule::{Decay, Schedule};
pub use sgd::Sgd;
