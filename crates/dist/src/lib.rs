//! Several processes, called ranks, that train one network.
//!
//! Each rank has the same weights and a part of every batch. A [`Communicator`] makes each gradient the mean over all
//! parts: [`Ranks`], over an [`Engine`] that moves bytes. [`Tcp`] are processes that torchrun starts, or any launcher
//! that says where they meet; `Mpi`, with the feature `mpi`, those that `mpirun` or `srun` starts; [`Threads`] are
//! ranks in one process. `Nccl`, with the feature `nccl`, is over one of these engines and sends vectors in the memory
//! of GPUs from GPU to GPU. [`Launch`] tells how this process was started.
//!
//! Rules are written for one process. Their gradients are those of the whole batch, so SAM perturbs all ranks by one
//! offset, with two reductions a step; the perturbations of [`Micro`](https://docs.rs/msharp-perturb) are each rank's
//! own, with one reduction. In both cases several ranks compute what one process computes, up to rounding; in a network
//! with batch normalisation they do so on [`SyncBatchNorm`], which takes its statistics over all ranks.
//!
//! **Invariants.** The result of a reduction is the same on every rank, to the bit, and a function of the vectors and
//! the number of ranks alone: each entry is summed in f64 in the order of the ranks, whatever the engine. An engine
//! that has lost a rank fails; it never returns part of a sum.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use msharp_core::{Batch, BatchLoss, Communicator, Key, Seeded};
//! use msharp_dist::{Ranks, Threads};
//!
//! // ‖g‖ of the mean of (w·x − 1)² over four samples, two on each rank.
//! let norm = |ranks: &dyn Communicator| -> candle_core::Result<f64> {
//!     let init = Seeded::new(0, DType::F64, &Device::Cpu);
//!     let w = init.var_builder().get((3, 1), "w")?;
//!     let squares = |batch: &Batch, _train: bool| (batch.inputs.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr();
//!     let inputs = Tensor::arange(0f64, 12., &Device::Cpu)?.reshape((4, 3))?;
//!     let whole = Batch::new(inputs, Tensor::ones(4, DType::F64, &Device::Cpu)?, Key::new(0));
//!     let params = init.params()?;
//!     let own = whole.slice(ranks.share())?;
//!     BatchLoss::new(&squares, &params, &own).over(ranks).gradient()?.grads.norm()
//! };
//! let alone = norm(&msharp_core::Alone)?;
//! std::thread::scope(|scope| {
//!     let ranks: Vec<_> = Threads::new(2).into_iter().map(|rank| scope.spawn(move || norm(&Ranks(rank)))).collect();
//!     for rank in ranks {
//!         let both = rank.join().expect("no panic")?;
//!         assert!((both - alone).abs() < 1e-12 * alone);
//!     }
//!     Ok::<(), candle_core::Error>(())
//! })?;
//! # Ok::<(), candle_core::Error>(())
//! ```

mod engine;
mod launch;
mod metered;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
mod ranks;
mod tcp;
mod threads;

pub use engine::Engine;
pub use launch::{Launch, Place};
pub use metered::{Metered, Traffic};
#[cfg(feature = "mpi")]
pub use mpi::{Mpi, World};
pub use msharp_core::{Alone, Communicator, Share, SyncBatchNorm};
#[cfg(feature = "nccl")]
pub use nccl::Nccl;
pub use ranks::Ranks;
pub use tcp::{Ended, Tcp};
pub use threads::Threads;
