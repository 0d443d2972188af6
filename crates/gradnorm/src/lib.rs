//! The gradient norm ‖∇ℓᵢ(x)‖ of every sample of a batch, and the weights that RW-SAM makes of it.
//!
//! | estimator | cost | bias and variance |
//! |---|---|---|
//! | [`Exact`] | 1 forward, b backwards | exact; the truth that the others are tested against |
//! | [`Ghost`] | 1 forward, 1 backward | exact, for networks of msharp-ops; under batch normalisation it is another quantity |
//! | [`FiniteDifference`] | K + 1 forwards (central: 2K + 1) | unbiased in the square up to O(δ); coefficient of variation of the square ≈ √(2/K) |
//! | [`LastLayer`] | nothing beyond the ascent's own forward | exact for the last layer's parameters alone |
//!
//! All that is needed, but by [`Ghost`] and [`LastLayer`], is the loss of every sample: a closure will do. This crate stands alone, without a trainer:
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use msharp_core::{Batch, GradNormEstimator, Key, Seeded};
//! use msharp_gradnorm::{Exact, FiniteDifference, Temperature, gibbs};
//!
//! let init = Seeded::new(0, DType::F32, &Device::Cpu);
//! let w = init.var_builder().get_with_hints((3, 1), "w", candle_nn::init::ONE)?;
//! let params = init.params()?;
//! let loss = |batch: &Batch, _train: bool| (batch.inputs.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr(); // [b]
//! let inputs = Tensor::new(&[[1f32, 0., 0.], [0., 2., 0.]], &Device::Cpu)?;
//! let batch = Batch::new(inputs, Tensor::zeros(2, DType::F32, &Device::Cpu)?, Key::new(0));
//!
//! let norms = FiniteDifference::default().norms(&loss, &params, &batch)?.to_vec1::<f64>()?; // [b]
//! let exact = Exact.norms(&loss, &params, &batch)?.to_vec1::<f64>()?;
//! assert_eq!(exact, [2., 8.]); // ‖2⟨a, w⟩a‖
//! assert!((norms[1] / 8. - 1.).abs() < 0.01); // one coordinate only, so that one probe is enough
//! let weights = gibbs(&norms, Temperature::Relative(1.));
//! assert!(weights[1] > weights[0]);
//! # Ok::<(), candle_core::Error>(())
//! ```

mod exact;
mod finite_difference;
mod ghost;
mod last_layer;

pub use exact::Exact;
pub use finite_difference::{Delta, FiniteDifference, Probe};
pub use ghost::Ghost;
pub use last_layer::LastLayer;
pub use msharp_core::{GradNormEstimator, Temperature, effective_size, gibbs};
