//! The part of a sample's gradient that belongs to the last layer, which is there for nothing.

use crate::cross_entropy::gradient;
use crate::float::{Float, with_float, with_slice};
use candle_core::{Device, Result, Tensor, TensorId, bail};
use std::cell::RefCell;

/// What ops leave for [`last_layer_norms`] while it runs.
#[derive(Default)]
struct Seen {
    /// The result of the last linear map, its input, and whether it has a bias.
    linear: Option<(TensorId, Tensor, bool)>,
    norms: Option<Tensor>,
}

thread_local! {
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// Runs `f`, whose losses are the [`cross_entropy`](crate::cross_entropy) of what a [`linear`](crate::linear) map
/// yields, and returns with its result the norm of the gradient of each sample's loss with respect to that map's weight
/// and bias, f64 `[b]`: ‖pᵢ − yᵢ‖ √(‖hᵢ‖² + 1) for features h `[b, in]`, probabilities p and targets y, since the
/// gradient is their product; without the 1 if there is no bias. No pass is added.
///
/// `Err` if no cross-entropy of a linear map's result was computed in `f`, on this thread.
pub fn last_layer_norms<R>(f: impl FnOnce() -> Result<R>) -> Result<(R, Tensor)> {
    struct Leave(Option<Seen>);
    impl Drop for Leave {
        fn drop(&mut self) {
            SEEN.set(self.0.take());
        }
    }
    let _leave = Leave(SEEN.replace(Some(Seen::default())));
    let result = f()?;
    match SEEN.take().and_then(|seen| seen.norms) {
        Some(norms) => Ok((result, norms)),
        None => bail!("last_layer_norms: expected losses that are the cross_entropy of a linear map's result"),
    }
}

/// Told by `linear`.
pub(crate) fn saw_linear(x: &Tensor, y: &Tensor, has_bias: bool) {
    SEEN.with_borrow_mut(|seen| {
        if let Some(seen) = seen
            && x.rank() == 2
        {
            seen.linear = Some((y.id(), x.detach(), has_bias));
        }
    });
}

/// Told by `cross_entropy`.
pub(crate) fn saw_cross_entropy(logits: &Tensor, targets: &Tensor, label_smoothing: f64) -> Result<()> {
    let found = SEEN.with_borrow(|seen| seen.as_ref().and_then(|seen| seen.linear.clone()));
    let Some((_, features, has_bias)) = found.filter(|(y, ..)| *y == logits.id()) else { return Ok(()) };
    let norms = norms(&logits.detach(), targets, label_smoothing, &features.contiguous()?, has_bias)?;
    SEEN.with_borrow_mut(|seen| {
        if let Some(seen) = seen {
            seen.norms = Some(norms);
        }
    });
    Ok(())
}

fn norms(logits: &Tensor, targets: &Tensor, smoothing: f64, features: &Tensor, has_bias: bool) -> Result<Tensor> {
    let logits = &logits.contiguous()?;
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(logits)? {
        return crate::cuda::loss::last_layer_norms(&gpu, logits, targets, smoothing, features, has_bias);
    }
    let (b, k) = logits.dims2()?;
    let targets = targets.to_vec1::<u32>()?;
    let lengths = with_float!("last_layer_norms", features, T => with_slice::<T, _>(features, |h| {
        let square = |h: &[T]| h.iter().map(|h| h.wide().powi(2)).sum::<f64>();
        Ok(h.chunks_exact(h.len() / b).map(|h| square(h) + f64::from(u8::from(has_bias))).collect::<Vec<f64>>())
    }))?;
    let norms = with_float!("last_layer_norms", logits, T => with_slice::<T, _>(logits, |x| {
        let one = |((x, target), length): ((&[T], &u32), &f64)| {
            let mut square = 0.;
            gradient(x, *target as usize, smoothing, 1., |_, g| square += g * g);
            (square * length).sqrt()
        };
        Ok(x.chunks_exact(k).zip(&targets).zip(&lengths).map(one).collect::<Vec<f64>>())
    }))?;
    Tensor::from_vec(norms, b, &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cross_entropy, linear, relu};
    use candle_core::{DType, Var};

    #[test]
    fn norms_are_those_of_the_samples_gradients() -> Result<()> {
        let wave = |rows: usize, columns: usize, phase: f64| {
            let values = (0..rows * columns).map(|i| (2.3 * i as f64 + phase).sin()).collect::<Vec<f64>>();
            Var::from_tensor(&Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)
        };
        let (x, inner, weight) = (wave(5, 4, 0.)?, wave(6, 4, 1.)?, wave(3, 6, 2.)?);
        let bias = Var::from_tensor(&wave(1, 3, 3.)?.squeeze(0)?)?;
        let targets = Tensor::new(&[0u32, 1, 2, 2, 0], &Device::Cpu)?;
        for (has_bias, smoothing) in [(true, 0.), (false, 0.1)] {
            let losses = || {
                let h = relu(&linear(x.as_tensor(), &inner, None)?)?;
                let bias = has_bias.then_some(bias.as_tensor());
                cross_entropy(&linear(&h, &weight, bias)?, &targets, smoothing)
            };
            let (losses, norms) = last_layer_norms(losses)?;
            for (i, norm) in norms.to_vec1::<f64>()?.into_iter().enumerate() {
                let grads = losses.get(i)?.backward()?;
                let mut square = 0.;
                for var in [&weight, &bias].into_iter().take(1 + usize::from(has_bias)) {
                    square += grads.get(var).expect("a gradient").sqr()?.sum_all()?.to_scalar::<f64>()?;
                }
                assert!(square > 1e-3 && (norm / square.sqrt() - 1.).abs() < 1e-12, "{norm} for {}", square.sqrt());
            }
        }
        Ok(())
    }

    #[test]
    fn other_losses_are_an_error_and_leave_nothing() -> Result<()> {
        let x = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
        let targets = Tensor::new(&[0u32, 1], &Device::Cpu)?;
        let moved = || {
            cross_entropy(&(linear(&x, &Tensor::ones((3, 3), DType::F32, &Device::Cpu)?, None)? + 1.)?, &targets, 0.)
        };
        for _ in 0..2 {
            assert!(last_layer_norms(moved).unwrap_err().to_string().contains("cross_entropy"));
        }
        assert!(last_layer_norms(|| -> Result<()> { bail!("inside") }).unwrap_err().to_string().contains("inside"));
        Ok(())
    }
}
