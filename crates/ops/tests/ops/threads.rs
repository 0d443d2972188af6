//! The same bits with any number of threads.

use crate::{bits, noise};
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_ops::{
    Epilogue, RunningStats, Window2d, avg_pool2d, batch_norm, conv2d, cross_entropy, dot, global_avg_pool2d,
    group_norm, linear, max_pool2d,
};

/// The results and all gradients of a small network that uses every op, big enough to be split into many tasks.
fn network() -> Result<Vec<Vec<u32>>> {
    let var = |shape: &[usize], seed| Var::from_tensor(&noise(shape, seed, DType::F32)?);
    let x = var(&[9, 33, 31, 13], 1)?;
    let w3 = var(&[24, 13, 3, 3], 2)?;
    let b3 = var(&[24], 3)?;
    let w_down = var(&[40, 24, 3, 3], 4)?;
    let w1 = var(&[40, 40, 1, 1], 5)?;
    let (gamma, beta) = (var(&[24], 6)?, var(&[24], 7)?);
    let (gamma2, beta2) = (var(&[40], 8)?, var(&[40], 9)?);
    let w_large = var(&[300, 40, 7, 7], 10)?;
    let head = var(&[11, 300], 11)?;
    let (mean, variance) = (Var::zeros(24, DType::F32, &Device::Cpu)?, Var::ones(24, DType::F32, &Device::Cpu)?);
    let stats = RunningStats { mean: &mean, var: &variance, batches: None, momentum: 0.1 };
    let targets = Tensor::new(&[0u32, 1, 2, 3, 4, 5, 6, 7, 8], &Device::Cpu)?;

    let y = conv2d(x.as_tensor(), &w3, Some(&b3), (1, 1), (1, 1))?; // [9, 33, 31, 24]
    let y = batch_norm(&y, &gamma, &beta, &stats, true, 1e-5, Epilogue { residual: Some(&y), relu: true })?;
    let y = conv2d(&y, &w_down, None, (2, 2), (1, 1))?; // [9, 17, 16, 40]
    let y = group_norm(&y, 4, &gamma2, &beta2, 1e-5, Epilogue { residual: None, relu: true })?;
    let y = conv2d(&y, &w1, None, (1, 1), (0, 0))?;
    let y = max_pool2d(&y, Window2d::square(3, 2, 1))?; // [9, 9, 8, 40]
    let y = conv2d(&y, &w_large, None, (1, 1), (3, 3))?; // [9, 9, 8, 300]
    let y = global_avg_pool2d(&avg_pool2d(&y, Window2d::square(2, 2, 0))?)?;
    let losses = cross_entropy(&linear(&y, &head, None)?, &targets, 0.1)?;
    let grads = losses.backward()?;
    let norm = dot(&[&x], &[&x])?.to_scalar::<f64>()?;
    let mut results = vec![vec![(norm.to_bits() >> 32) as u32, norm.to_bits() as u32], bits(&losses)?];
    results.extend([bits(&mean)?, bits(&variance)?]);
    for var in [&x, &w3, &b3, &w_down, &w1, &gamma, &beta, &gamma2, &beta2, &w_large, &head] {
        results.push(bits(grads.get(var).expect("a gradient for every variable"))?);
    }
    Ok(results)
}

#[test]
fn any_number_of_threads_gives_the_same_bits() -> Result<()> {
    let with_threads = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool").install(network)
    };
    let one = with_threads(1)?;
    for threads in [2, 3] {
        for (i, (expected, result)) in one.iter().zip(with_threads(threads)?).enumerate() {
            assert!(*expected == result, "result {i} differs with {threads} threads");
        }
    }
    Ok(())
}
