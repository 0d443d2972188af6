//! The gradient norm ‖∇ℓᵢ(x)‖ of every sample of a batch, and the weights that RW-SAM makes of it.
//!
//! | estimator | cost | bias | variance |
//! |---|---|---|---|
//! | [`Exact`] | 1 forward, b backwards | none; the truth that the others are tested against | none |
//! | [`Ghost`] | 1 forward, 1 backward | none, for networks of msharp-ops; under batch normalisation another quantity, which it defines | none |
//! | [`FiniteDifference`] | K + 1 forwards (central: 2K + 1) | none in the square, up to O(δ) of curvature and rounding/δ | of the square, relative: about 2/K ([`Probe`] has each form) |
//! | [`LastLayer`] | nothing beyond the ascent's own forward | downwards: the other layers are missing | none |
//! | [`NormLayers`] | 1 forward, 1 backward | downwards: layers that are no norms are missing | none |
//!
//! [`Shuffled`] and [`RandomNorms`] are controls and estimate nothing: with them a rule's weights have the same m_eff,
//! and no information.
//!
//! Under batch normalisation samples are coupled: each norm is that of ∇ℓᵢ through the statistics which the batch
//! shares, for `Exact` and `FiniteDifference`; the last layer's own gradient depends on the others through its features
//! alone. Of the same norms [`Noise`] makes tr V, the noise scale, m_eff and the histogram. An estimator whose noise,
//! where it is measured, exceeds its signal returns an error and no norms. Which one to take, with how many probes and
//! which δ: `results/estimators-laptop/README.md`, which `cargo xtask reproduce estimators` makes.
//!
//! All that is needed, but by [`Ghost`], [`LastLayer`] and [`NormLayers`], is the loss of every sample: a closure will
//! do. This crate stands alone, without a trainer:
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use msharp_core::{Batch, BatchLoss, GradNormEstimator, Key, Seeded, Temperature, gibbs};
//! use msharp_gradnorm::{Exact, FiniteDifference};
//!
//! let init = Seeded::new(0, DType::F32, &Device::Cpu);
//! let w = init.var_builder().get_with_hints((3, 1), "w", candle_nn::init::ONE)?;
//! let params = init.params()?;
//! let loss = |batch: &Batch, _train: bool| (batch.inputs.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr(); // [b]
//! let inputs = Tensor::new(&[[1f32, 0., 0.], [0., 2., 0.]], &Device::Cpu)?;
//! let batch = Batch::new(inputs, Tensor::zeros(2, DType::F32, &Device::Cpu)?, Key::new(0));
//!
//! let loss = BatchLoss::new(&loss, &params, &batch);
//! let norms = FiniteDifference::default().norms(loss)?.to_vec1::<f64>()?; // [b]
//! let exact = Exact.norms(loss)?.to_vec1::<f64>()?;
//! assert_eq!(exact, [2., 8.]); // ‖2⟨a, w⟩a‖
//! assert!((norms[1] / 8. - 1.).abs() < 0.01); // one coordinate only, so that one probe is enough
//! let weights = gibbs(&norms, Temperature::Relative(1.));
//! assert!(weights[1] > weights[0]);
//! # Ok::<(), candle_core::Error>(())
//! ```

mod against_exact;
mod error;
mod exact;
mod finite_difference;
mod ghost;
mod last_layer;
mod noise_scale;
mod norm_layers;
mod probe_noise;
mod random_norms;
mod shuffled;

pub use error::Error;
pub use exact::Exact;
pub use finite_difference::{Delta, FiniteDifference, Probe, Tuned};
pub use ghost::Ghost;
pub use last_layer::LastLayer;
pub use noise_scale::{Histogram, Noise, PooledNoise, TwoSizes};
pub use norm_layers::NormLayers;
pub use probe_noise::ProbeNoise;
pub use random_norms::RandomNorms;
pub use shuffled::Shuffled;
