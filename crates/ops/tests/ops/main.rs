//! Tests of the ops: against central differences, against PyTorch, and about the graph and the threads.

mod convolution;
mod dropout;
mod ghost;
mod gradients;
mod graph;
mod loss;
mod micro;
mod pytorch;
mod shapes;
mod threads;
mod transformer;

use candle_core::{DType, Device, Result, Tensor};

/// Numbers in (-1, 1) without structure, the same on every machine.
fn noise(shape: &[usize], seed: u64, dtype: DType) -> Result<Tensor> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)
}

/// All elements, as f64.
fn values(x: &Tensor) -> Result<Vec<f64>> {
    x.detach().flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

/// The bits of all elements of an f32 tensor.
fn bits(x: &Tensor) -> Result<Vec<u32>> {
    Ok(x.detach().flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
}
