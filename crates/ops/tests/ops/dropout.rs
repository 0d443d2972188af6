//! Dropout: what the mask is a function of, what it does on average, and its gradient.

use crate::{bits, noise, values};
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_ops::{FeatureMap, dropout, no_grad};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const SEED: [u8; 32] = [5; 32];

fn ones(n: usize, dtype: DType) -> Result<Tensor> {
    Tensor::ones(n, dtype, &Device::Cpu)
}

/// Of n factors m, each 1/(1 − p) with probability 1 − p: their mean is 1, with a variance of p/(1 − p)/n, and the
/// mean of (m − 1)² is p/(1 − p). Five standard deviations are allowed.
#[test]
fn mean_and_variance_are_those_of_the_formula() -> Result<()> {
    let n = 200_000;
    for dtype in [DType::F32, DType::F64] {
        for p in [0.1, 0.5, 0.9] {
            let factors = values(&dropout(&ones(n, dtype)?, p, SEED, true)?)?;
            assert!(factors.iter().all(|m| *m == 0. || (m * (1. - p) - 1.).abs() < 1e-6));
            let variance = p / (1. - p);
            let mean = factors.iter().sum::<f64>() / n as f64;
            assert!((mean - 1.).abs() < 5. * (variance / n as f64).sqrt(), "p = {p}: mean {mean}");
            // m takes two values, so the spread of (m − 1)² follows from that of the share of zeros.
            let share = factors.iter().filter(|m| **m == 0.).count() as f64 / n as f64;
            let found = factors.iter().map(|m| (m - 1.).powi(2)).sum::<f64>() / n as f64;
            let slope = (1. - (p / (1. - p)).powi(2)).abs();
            let allowed = 5. * slope * (p * (1. - p) / n as f64).sqrt() + 1e-6;
            assert!((found - variance).abs() < allowed, "p = {p}: variance {found} with a share {share}");
        }
    }
    Ok(())
}

#[test]
fn element_i_is_dropped_by_word_i_of_the_stream() -> Result<()> {
    let y = values(&dropout(&ones(40_000, DType::F32)?, 0.3, SEED, true)?)?;
    let mut stream = ChaCha8Rng::from_seed(SEED);
    for (i, y) in y.into_iter().enumerate() {
        let dropped = f64::from(stream.next_u32()) < 0.3 * 2f64.powi(32);
        assert_eq!(y == 0., dropped, "element {i}");
    }
    Ok(())
}

#[test]
fn the_mask_is_a_function_of_seed_and_index() -> Result<()> {
    let x = noise(&[3, 17, 1001], 1, DType::F32)?;
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        pool.install(|| bits(&dropout(&x, 0.4, SEED, true)?))
    };
    let expected = with_threads(1)?;
    for threads in [1, 2, 3] {
        assert_eq!(with_threads(threads)?, expected, "{threads} threads");
    }
    let map = dropout(&FeatureMap::enter(&x)?, 0.4, SEED, true)?.leave()?;
    assert_eq!(bits(&map)?, expected, "a feature map");
    assert_eq!(bits(&dropout(&x.flatten_all()?, 0.4, SEED, true)?)?, expected, "another shape of as many elements");
    assert_eq!(
        bits(&dropout(&x, 0.4, SEED, true)?.narrow(0, 0, 2)?)?,
        bits(&dropout(&x.narrow(0, 0, 2)?, 0.4, SEED, true)?)?
    );
    assert_ne!(bits(&dropout(&x, 0.4, [6; 32], true)?)?, expected, "another seed");
    Ok(())
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    crate::gradients::check("dropout", &[&[7, 30]], |t| dropout(&t[0], 0.4, SEED, true))?;
    // Of a sum of y, it is the mask itself, in every backward through the graph.
    let x = Var::from_tensor(&noise(&[500], 1, DType::F64)?)?;
    let mask = values(&dropout(&ones(500, DType::F64)?, 0.2, SEED, true)?)?;
    let sum = dropout(x.as_tensor(), 0.2, SEED, true)?.sum_all()?;
    for _ in 0..2 {
        assert_eq!(values(sum.backward()?.get(&x).expect("a gradient"))?, mask);
    }
    assert!(!no_grad(|| dropout(x.as_tensor(), 0.2, SEED, true))?.track_op());
    Ok(())
}

#[test]
fn without_training_or_with_p_0_it_is_the_identity() -> Result<()> {
    let x = Var::from_tensor(&noise(&[20], 1, DType::F32)?)?;
    for (p, train) in [(0.5, false), (0., true)] {
        let y = dropout(x.as_tensor(), p, SEED, train)?;
        assert_eq!(bits(&y)?, bits(&x)?);
        assert_eq!(values(y.sum_all()?.backward()?.get(&x).expect("a gradient"))?, [1.; 20]);
    }
    Ok(())
}

#[test]
fn a_p_that_is_no_probability_below_1_is_refused() -> Result<()> {
    let x = ones(3, DType::F32)?;
    for p in [1., -0.1, f64::NAN, 2.] {
        for train in [true, false] {
            let error = dropout(&x, p, SEED, train).unwrap_err().to_string();
            assert!(error.contains(&format!("dropout: p is {p}; expected a number from 0 to below 1")), "{error}");
        }
    }
    let error = dropout(&Tensor::ones(3, DType::U32, &Device::Cpu)?, 0.5, SEED, true).unwrap_err().to_string();
    assert!(error.contains("dropout: expected f32 or f64"), "{error}");
    Ok(())
}
