//! The gradients of all samples of a batch, and what follows from them.

use super::figures::Gram;
use anyhow::Result;
use candle_core::{DType, Tensor};
use msharp_core::{Batch, Objective, ParamVec, Params};
use std::time::Instant;

/// What an estimate is held against.
pub struct Truth {
    /// ‖gᵢ‖.
    pub norms: Vec<f64>,
    /// ℓᵢ.
    pub losses: Vec<f64>,
    pub gram: Gram,
    /// Of one forward and b backwards, without what is computed of them.
    pub seconds: f64,
    gradients: Vec<ParamVec>,
}

impl Truth {
    /// One forward, b backwards, and memory for b gradients.
    pub fn of(f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Self> {
        let started = Instant::now();
        let (losses, gradients) = params.keeping_buffers(|| {
            let losses = f.losses(batch, true)?;
            let one = |i| ParamVec::collect(params, &losses.get(i)?.backward()?);
            let gradients = (0..batch.len()).map(one).collect::<candle_core::Result<Vec<_>>>()?;
            Ok((losses.detach().to_dtype(DType::F64)?.to_vec1()?, gradients))
        })?;
        let norms = gradients.iter().map(ParamVec::norm).collect::<candle_core::Result<_>>()?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Self { norms, losses, gram: gram(&gradients)?, seconds, gradients })
    }

    /// ⟨z, gᵢ⟩.
    pub fn along(&self, z: &ParamVec) -> Result<Vec<f64>> {
        Ok(self.gradients.iter().map(|g| z.dot(g)).collect::<candle_core::Result<_>>()?)
    }
}

/// ⟨gᵢ, gⱼ⟩, parameter after parameter: a copy of all gradients at once would double their memory.
fn gram(gradients: &[ParamVec]) -> Result<Gram> {
    let b = gradients.len();
    let mut sum = vec![vec![0.; b]; b];
    let parameters = gradients.first().map_or(0, |g| g.tensors().len());
    for k in 0..parameters {
        let flat = |g: &ParamVec| g.tensors()[k].flatten_all();
        let rows = Tensor::stack(&gradients.iter().map(flat).collect::<candle_core::Result<Vec<_>>>()?, 0)?; // [b, n]
        let products = rows.matmul(&rows.t()?)?.to_dtype(DType::F64)?.to_vec2::<f64>()?; // [b, b]
        for (sum, products) in sum.iter_mut().zip(products) {
            sum.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        }
    }
    Ok(Gram(sum))
}

/// ‖Σ gᵢ/b‖ from the products.
pub fn mean_norm(gram: &Gram) -> f64 {
    let b = gram.0.len() as f64;
    (gram.0.iter().flatten().sum::<f64>().max(0.) / (b * b)).sqrt()
}
