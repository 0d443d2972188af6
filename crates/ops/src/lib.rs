//! Differentiable training ops for candle: channels-last, per sample, reproducible to the bit.
//!
//! candle's own ops can evaluate a network; training one with them is slow (the backward of a convolution), wrong (that
//! of a max pool), or silently without gradient (`layer_norm`, `softmax_last_dim`). These ops take candle tensors,
//! record themselves in candle's graph, and work with its `backward`, for f32 and f64 on the CPU, and, with the feature
//! `cuda`, for f32 and bfloat16 on an NVIDIA GPU:
//!
//! - [`conv2d`], [`linear`]; [`max_pool2d`], [`avg_pool2d`], [`global_avg_pool2d`]; [`relu`], [`gelu`];
//! - [`attention`] of several heads as one op, [`softmax`], [`layer_norm`]; [`patches`], [`tokens`], [`first_token`];
//! - [`batch_norm`], [`group_norm`] with the residual and the ReLU that follow fused into them ([`Epilogue`]);
//! - [`cross_entropy`] of each sample, with as many digits for a loss of 1e-8 as for a loss of 1;
//! - [`weighted_sum`] of them, [`rms_slopes`], [`reweight`], [`last_layer_norms`] and [`ghost_norms`]: what rules ask
//!   of a batch;
//! - [`add`], [`FeatureMap`], [`KeepBlocks`], and passes over all parameters: [`sgd_step`], [`adamw_step`],
//!   [`displace`], …;
//! - [`no_grad`], a scope in which none of them records; [`dot`], an inner product accumulated in f64.
//!
//! Each means what it means in PyTorch and is tested against PyTorch's numbers and against central differences.
//! Activations are channels-last, `[b, h, w, c]`, so that a pixel is a run of memory; weights keep PyTorch's layout,
//! `[c_out, c_in, kh, kw]` and `[out, in]`. Nothing here knows about models, optimizers or data.
//!
//! ```
//! use candle_core::{DType, Device, Result, Tensor, Var};
//! use msharp_ops::{conv2d, cross_entropy, global_avg_pool2d, no_grad, relu};
//!
//! fn main() -> Result<()> {
//!     // Four images of 6 × 6: stripes that lie (class 0) and stripes that stand (class 1).
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
//! An op is a function that computes its result from slices and hands it, with a closure for the backward, to one node
//! type of candle's graph (`node`); this is also the only place that asks whether to record. Gradients come back as
//! plain tensors without a graph, are computed only for inputs that are tracked, and what a backward needs survives
//! for the next one, so `losses.get(i)?.backward()` for every sample of one graph is fine.
//!
//! Loops are parallel over chunks whose size depends on the shape alone (`parallel`); sums go chunk by chunk, in order.
//! So the bits of every result are the same for any number of threads; those of a convolution are also the same with
//! AVX2 and with AVX-512.
//!
//! Convolutions are products of matrices, computed by kernels of our own (`vector`, `conv`): Winograd's F(4 × 4, 3 × 3)
//! where it fits, which has a quarter of the multiplications, and the direct one elsewhere. The vectors are chosen at
//! run time: AVX-512, AVX2, NEON or none. [`direct_convolutions`] is a scope without Winograd, for comparisons.
//!
//! # On a GPU
//!
//! The same functions, on tensors of a device from `cuda_device`. Activations are f32 or bfloat16 ([`with_precision`]),
//! parameters f32. Convolutions are cuDNN's, products cuBLASLt's, the rest are kernels of our own (`kernels/`). Nothing
//! waits for the GPU but a read that is asked for. Where there is no GPU, a software GPU (`software-gpu/`) runs the
//! same kernels and calls on the CPU, slowly, and checks every one: that is what the tests run on.
//!
//! # How to be fast
//!
//! - Let the activations of a network flow as [`FeatureMap`]s: candle's graph then moves none of them.
//! - Let the binary keep its memory: [`KeepBlocks`] is one line.
//! - Fuse what follows a norm into it ([`Epilogue`]), and use [`no_grad`] where nothing is differentiated.
//! - Update parameters in one pass: [`sgd_step`], [`displace`], [`add_scaled`].
//! - [`profile`] tells where the time goes.
//!
//! `examples/stripes.rs` trains a small convolutional network with candle-nn's own optimizer.

mod allocator;
mod attention;
mod conv;
mod cross_entropy;
#[cfg(feature = "cuda")]
mod cuda;
mod curve;
mod feature_map;
mod float;
mod gelu;
mod ghost;
mod gibbs;
mod grad;
mod last_layer;
mod linear;
mod node;
mod norm;
mod on_backward;
mod parallel;
mod parameters;
mod patches;
mod pool;
mod precision;
mod profile;
mod range;
mod relu;
mod rows;
mod scope;
mod slopes;
mod softmax;
mod tokens;
mod vector;
mod weighted_sum;

pub use allocator::KeepBlocks;
pub use attention::attention;
pub use conv::{conv2d, direct_convolutions};
pub use cross_entropy::cross_entropy;
#[cfg(feature = "cuda")]
pub use cuda::{
    ImagePlacement, convolution_plans, convolution_plans_for, cuda_device, gpu_memory_peak, gpu_name, place_images,
};
pub use feature_map::FeatureMap;
pub use gelu::gelu;
pub use ghost::{GhostNorms, ghost_norms};
pub use gibbs::{Reweighted, Temperature, effective_size, gibbs, quantile, reweight};
pub use grad::{grad_enabled, no_grad};
pub use last_layer::{LastLayerNorms, last_layer_norms};
pub use linear::linear;
pub use node::Activation;
pub use norm::{Epilogue, RunningStats, batch_norm, group_norm, layer_norm};
pub use on_backward::on_backward;
pub use parameters::{
    AdamWStep, Length, Saved, SgdStep, adamw_step, add_scaled, displace, displace_by_signs, dot, save, scale, sgd_step,
    sum_of_squares,
};
pub use patches::patches;
pub use pool::{Window2d, avg_pool2d, global_avg_pool2d, max_pool2d};
pub use precision::{Precision, with_precision};
pub use profile::{Timing, profile};
pub use range::{Range, at_least_1, share_of};
pub use relu::{add, relu};
pub use slopes::{Slope, rms_slopes};
pub use softmax::softmax;
pub use tokens::{first_token, tokens};
pub use weighted_sum::weighted_sum;
