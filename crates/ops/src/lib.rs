//! Training ops for candle: channels-last, differentiable, with per-sample losses and gradient norms, reproducible to
//! the bit.
//!
//! candle's own ops can evaluate a network. For training, some are slow (the backward of a convolution), some are wrong
//! (that of a max pool), and some have no gradient (`layer_norm`, `softmax_last_dim`). The ops of this crate take
//! candle tensors, record themselves in candle's graph, and work with its `backward`: for f32 and f64 on the CPU, and,
//! with the feature `cuda`, for f32 and bfloat16 on an NVIDIA GPU.
//!
//! | | |
//! | --- | --- |
//! | layers | [`conv2d`], [`linear`], [`attention`], [`batch_norm`], [`group_norm`], [`layer_norm`], [`layer_scale`], [`max_pool2d`], [`avg_pool2d`], [`global_avg_pool2d`], [`relu`], [`gelu`], [`softmax`], [`dropout`], [`add`], [`patches`], [`tokens`], [`first_token`]; [`cross_entropy`] of each sample |
//! | their arguments | [`Activation`], [`FeatureMap`], [`Epilogue`], [`RunningStats`], [`Window2d`] |
//! | samples of a batch | [`weighted_sum`], [`rms_slopes`], [`reweight`], [`gibbs`], [`effective_size`], [`quantile`]; norms of the gradient of each sample: [`ghost_norms`], [`last_layer_norms`] |
//! | micro-batches of a batch | [`micro_gradients`], [`MicroGradients`], [`in_micro_batches`], [`sample_gradients`] |
//! | all parameters at once | [`sgd_step`], [`adamw_step`], [`displace`], [`displace_by_signs`], [`save`], [`scale`], [`add_scaled`], [`dot`], [`sum_of_squares`] |
//! | scopes | [`no_grad`], [`with_precision`], [`batch_statistics_over`], [`direct_convolutions`], [`profile`] |
//! | images on a GPU | `place_images`: crops, flips and normalises a batch, with the feature `cuda` |
//! | ranks that have a GPU each | `sum_of_ranks`, with the feature `cuda`; `NcclRank`, `nccl_id`, with the feature `nccl` |
//! | and | [`has_amx`]; [`KeepBlocks`], an allocator; [`backward`], candle's without a sum for each parameter; [`Range`], for checks of arguments; [`on_backward`], a callback |
//!
//! A layer computes what its counterpart in PyTorch or timm does. Tests compare values with PyTorch's, and gradients
//! with central differences. Activations are channels-last, `[b, h, w, c]`, so the channels of a pixel are contiguous;
//! weights have PyTorch's layout, `[c_out, c_in, kh, kw]` and `[out, in]`.
//!
//! **What is not here.** Models, objectives, data sets, and the state and schedules of optimizers are in other crates;
//! this one has the functions that they call: a forward, a loss, one step over a list of tensors.
//!
//! ```
//! use candle_core::{DType, Device, Result, Tensor, Var};
//! use msharp_ops::{conv2d, cross_entropy, global_avg_pool2d, no_grad, relu};
//!
//! fn main() -> Result<()> {
//!     // Four images of 6 × 6: horizontal stripes (class 0) and vertical stripes (class 1).
//!     let pixel = |i: usize| if i < 72 { (i / 6 % 2) as f32 } else { (i % 2) as f32 };
//!     let images = Tensor::from_vec((0..144).map(pixel).collect(), (4, 6, 6, 1), &Device::Cpu)?;
//!     let targets = Tensor::new(&[0u32, 0, 1, 1], &Device::Cpu)?;
//!
//!     let filters = [[0.2f32, 0.1, -0.1, -0.2], [0.1, -0.2, 0.2, -0.1]];
//!     let weight = Var::from_tensor(&Tensor::new(&filters, &Device::Cpu)?.reshape((2, 1, 2, 2))?)?;
//!     let losses = || -> Result<Tensor> {
//!         let y = relu(&conv2d(&images, &weight, None, (1, 1), (0, 0))?)?; // [4, 5, 5, 2]
//!         cross_entropy(&global_avg_pool2d(&y)?, &targets, 0.0) // [4]
//!     };
//!     let mean = |losses: Tensor| losses.mean_all()?.to_scalar::<f32>();
//!
//!     let before = mean(no_grad(losses)?)?; // nothing recorded
//!     for _ in 0..100 {
//!         let grads = losses()?.mean_all()?.backward()?;
//!         let grad = grads.get(&weight).expect("a gradient of the weight");
//!         weight.set(&(weight.as_tensor() - (grad * 2.0)?)?.detach())?;
//!     }
//!     let after = mean(no_grad(losses)?)?;
//!     assert!(after < 0.1 * before, "{before} to {after}");
//!     Ok(())
//! }
//! ```
//!
//! # How it is built
//!
//! - `layers`, `per_sample`, `parameters`: the functions of this crate. Each checks its arguments.
//! - `cpu` and `cuda`: the two backends. Both have the same functions, one for each op; `dispatch` chooses between them
//!   by the device of a tensor.
//! - `graph`: how an op is recorded. A backend computes the result and hands it, with a closure for the backward, to
//!   the one node type of candle's graph (`graph::node`), which is also the only place that decides whether to record.
//!
//! Gradients are plain tensors without a graph, and are computed only for inputs that are tracked. A backward consumes
//! nothing, so `losses.get(i)?.backward()` can run for every sample of one graph.
//!
//! **Reproducibility.** Parallel loops run over chunks whose size depends on the shape alone (`cpu::parallel`), and
//! sums add the chunks in order. So every result has the same bits for any number of threads; those of a convolution
//! are also the same with AVX2 and with AVX-512. Those of a large linear map or 1 × 1 convolution are others where
//! [`has_amx`] holds, unless the environment variable `MSHARP_NO_AMX` is set; what is large depends on all sizes, that
//! of the batch too. Random masks and signs are functions of a seed.
//!
//! **Convolutions** are products of matrices, computed by kernels of our own (`cpu::conv`): Winograd's F(4 × 4, 3 × 3)
//! where it fits, which has a quarter of the multiplications, products in blocks that stay in cache for linear maps and
//! 1 × 1 kernels (`cpu::product`), and a direct one elsewhere. The vector instructions are chosen at run time: AVX-512,
//! AVX2, NEON or none (`cpu::vector`). On a processor with AMX the second kind is faster, with the error of f32: each
//! number is split in three of 8 significant bits (`cpu::amx`). [`direct_convolutions`] is a scope without Winograd,
//! for comparisons.
//!
//! # On a GPU
//!
//! The same functions take tensors of a device from `cuda_device`. Activations are f32 or bfloat16
//! ([`with_precision`]), parameters f32. Convolutions are cuDNN's, products cuBLASLt's, the rest are kernels of our own
//! (`kernels/`). No op has a host-device synchronisation: only reading a value has one, such as `to_scalar`.
//! [`micro_gradients`] reads its norms.
//!
//! Without a GPU, the tests run on a software GPU (`tests/software-gpu` of the workspace), which runs the same kernels
//! and calls on the CPU and checks each of them.
//!
//! # How to be fast
//!
//! - Pass activations as [`FeatureMap`]s: candle's graph then moves none of them.
//! - Use [`KeepBlocks`] as the allocator of the binary: one line.
//! - Fuse what follows a norm into it ([`Epilogue`]), and use [`no_grad`] where no gradient is needed.
//! - Update parameters in one pass: [`sgd_step`], [`displace`], [`add_scaled`].
//! - [`profile`] measures the time of each op.
//!
//! `examples/stripes.rs` trains a small convolutional network with candle-nn's own optimizer.

mod allocator;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "without_cuda.rs"]
mod cuda;
mod dispatch;
mod graph;
mod layers;
mod parameters;
mod per_sample;
mod profile;
mod range;
mod threads;

// Layers.
pub use layers::{
    Epilogue, GatherNumbers, RunningStats, Window2d, add, attention, avg_pool2d, batch_norm, batch_statistics_over,
    conv2d, cross_entropy, dropout, first_token, gelu, global_avg_pool2d, group_norm, layer_norm, layer_scale, linear,
    max_pool2d, patches, relu, softmax, tokens,
};
// The samples of a batch.
pub use per_sample::{
    GhostNorms, LastLayerNorms, MicroGradients, Reweighted, Slope, Temperature, effective_size, ghost_norms, gibbs,
    in_micro_batches, last_layer_norms, micro_gradients, quantile, reweight, rms_slopes, sample_gradients,
    weighted_sum,
};
// All parameters at once.
pub use parameters::{
    AdamWStep, Rescale, Saved, SgdStep, adamw_step, add_scaled, displace, displace_by_signs, dot, save, scale,
    sgd_step, sum_of_squares,
};
// The graph.
pub use graph::{Activation, FeatureMap, Precision, backward, no_grad, on_backward, with_precision};
// NVIDIA GPUs.
#[cfg(feature = "cuda")]
pub use cuda::{
    ImagePlacement, convolution_plans, convolution_plans_for, cuda_device, gpu_count, gpu_memory_peak, gpu_name,
    place_images, sum_of_ranks,
};
#[cfg(feature = "nccl")]
pub use cuda::{NCCL_ID, NcclRank, exit_at_once, nccl_id, nccl_version};
// Numbers, time, memory.
pub use allocator::KeepBlocks;
pub use cpu::{direct_convolutions, has_amx};
pub use profile::{Timing, profile};
pub use range::{Range, at_least_1, share_of};
pub use threads::on_threads;
