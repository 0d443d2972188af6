//! What is computed for the samples of a batch.

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use crate::graph::{Pass, Recorded};
use crate::per_sample::gibbs::{Reweighted, Temperature, effective_size, gibbs, quantile};
use crate::per_sample::slopes::Slope;
use candle_core::{DType, Device, Result, Tensor};

/// [`rms_slopes`](crate::rms_slopes), whose shapes are checked.
pub(crate) fn rms_slopes(slopes: &[Slope]) -> Result<Tensor> {
    let b = slopes[0].ahead.elem_count();
    let host = |losses: &Tensor| losses.detach().to_dtype(DType::F64)?.to_vec1::<f64>();
    let mut squares = vec![0.; b];
    for slope in slopes {
        let width = slope.delta.reshape(())?.to_scalar::<f64>()? * slope.sides;
        for (square, (ahead, behind)) in squares.iter_mut().zip(host(&slope.ahead)?.iter().zip(host(&slope.behind)?)) {
            *square += ((ahead - behind) / width).powi(2);
        }
    }
    let norms: Vec<f64> = squares.iter().map(|square| (square / slopes.len() as f64).sqrt()).collect();
    Tensor::from_vec(norms, b, &Device::Cpu)
}

/// √Σₖ xₖⱼ of the columns of x, f64 `[rows, columns]`: norms from the squares of their parts.
pub(crate) fn norms_of_columns(squares: &Tensor) -> Result<Tensor> {
    squares.sum(0)?.sqrt()
}

/// [`reweight`](crate::reweight), whose shapes are checked.
pub(crate) fn reweight(norms: &Tensor, temperature: Temperature) -> Result<Reweighted> {
    let norms = norms.to_vec1::<f64>()?;
    let weights = gibbs(&norms, temperature);
    let number = |value: f64| Tensor::new(value, &Device::Cpu);
    let [q10, q50, q90] = [0.1, 0.5, 0.9].map(|q| number(quantile(&norms, q)));
    Ok(Reweighted {
        effective_size: number(effective_size(&weights))?,
        weights: Tensor::from_vec(weights, norms.len(), &Device::Cpu)?,
        quantiles: [q10?, q50?, q90?],
    })
}

/// [`weighted_sum`](crate::weighted_sum), whose shapes are checked.
pub(crate) fn weighted_sum(losses: &Tensor, weights: Option<Tensor>) -> Result<Tensor> {
    let b = losses.elem_count();
    let weights = match weights {
        Some(weights) => weights.to_vec1::<f64>()?,
        None => vec![1. / b as f64; b],
    };
    with_float!("weighted_sum", losses, T => {
        let sum: f64 = with_slice::<T, _>(losses, |losses| {
            Ok(losses.iter().zip(&weights).map(|(loss, w)| loss.wide() * w).sum())
        })?;
        let back = move |Pass { dy, .. }: Pass<1>| {
            let dy = dy.to_scalar::<T>()?.wide();
            Ok([Some(constant(weights.iter().map(|w| T::narrow(w * dy)).collect(), b)?)])
        };
        Tensor::record("weighted_sum", &[losses], &[], on_cpu(vec![T::narrow(sum)]), (), back)
    })
}
