//! The gradients of all micro-batches of a batch at once, and the gradient at x + εⱼ of each.

use crate::{BatchLoss, Gradient, Key, Measures, ParamVec, Params, backward, uncounted};
use candle_core::{DType, Result, Tensor, bail};
use rand::Rng;
use std::cell::Cell;

/// How far a squared norm that was measured may be from that of the gradient, relative to itself.
const RELATIVE: f64 = 2e-2;
/// And relative to the square over all parameters, which is rounding where a gradient cancels.
const OF_ALL: f64 = 1e-5;

/// ∇f_j(x) of every micro-batch j, f_j the mean loss of its samples: as the factors that a backward pass has, or
/// formed where that is less. See [`BatchLoss::micro_gradients`].
pub struct MicroGradients<'a> {
    loss: BatchLoss<'a>,
    /// `[b]`: ℓᵢ at x, detached.
    losses: Tensor,
    gradients: msharp_ops::MicroGradients,
}

impl<'a> BatchLoss<'a> {
    /// The gradients of all micro-batches of `size` samples, of which the last one may be shorter. One forward pass,
    /// and one backward that computes no gradient of a parameter.
    ///
    /// Each micro-batch is computed as if it were alone, also in batch normalisation. The batch goes through in one
    /// piece. On a GPU the squared norms are read back, once.
    ///
    /// # Errors
    /// A parameter is used by an op that is not of msharp-ops, by two ops, or by none; samples are not the first
    /// dimension of every activation.
    pub fn micro_gradients(&self, size: usize) -> Result<MicroGradients<'a>> {
        let mut gradients = self.recorded(size, || self.losses())?;
        gradients.losses = gradients.losses.detach();
        Ok(MicroGradients { loss: *self, losses: gradients.losses.clone(), gradients })
    }

    /// Why [`micro_gradients`](Self::micro_gradients) does not hold for these losses, if it does not: two micro-batches
    /// are compared with their own gradients, parameter by parameter. Rows that are no samples, and losses that depend
    /// on each other, are found by it. Buffers are put back, and passes are not [counted](crate::Counted).
    ///
    /// # Errors
    /// Those of the objective.
    pub fn fault_of_micro_gradients(&self, size: usize) -> Result<Option<String>> {
        let failed = Cell::new(false);
        let losses = || self.losses().inspect_err(|_| failed.set(true));
        let compare = || {
            let recorded = self.recorded(size, losses)?;
            let compared = two_of(&recorded.squares, recorded.count(), self.batch.key);
            compared.into_iter().try_for_each(|j| check(&recorded, self.params, j))
        };
        match uncounted(|| self.params.keeping_buffers(compare)) {
            Err(error) if failed.get() => Err(error),
            compared => Ok(compared.err().map(|error| error.to_string())),
        }
    }

    fn recorded(&self, size: usize, losses: impl FnOnce() -> Result<Tensor>) -> Result<msharp_ops::MicroGradients> {
        self.batch.check()?;
        let named: Vec<(&str, &Tensor)> =
            self.params.iter().map(|param| (param.name.as_str(), param.var.as_tensor())).collect();
        msharp_ops::micro_gradients(&named, self.batch.len(), size, losses)
    }
}

/// The micro-batch with the longest gradient, and one that the key draws.
fn two_of(squares: &[Vec<f64>], count: usize, key: Key) -> Vec<usize> {
    let square = |j: usize| squares.iter().map(|squares| squares[j]).sum::<f64>();
    let finite: Vec<usize> = (0..count).filter(|j| square(*j).is_finite()).collect();
    let Some(longest) = finite.iter().copied().max_by(|a, b| square(*a).total_cmp(&square(*b))) else {
        return Vec::new();
    };
    let drawn = finite[(key.fold_name("compared micro-batch").rng().next_u64() % finite.len() as u64) as usize];
    if drawn == longest { vec![longest] } else { vec![longest, drawn] }
}

/// # Errors
/// If the gradient of micro-batch j has other norms than were measured.
fn check(recorded: &msharp_ops::MicroGradients, params: &Params, j: usize) -> Result<()> {
    let sizes = recorded.sizes();
    let weight = |i: usize| if i == j { 1. / sizes[j] as f64 } else { 0. };
    let weights = sizes.iter().enumerate().flat_map(|(i, size)| vec![weight(i); *size]);
    let weights = Tensor::from_iter(weights, recorded.losses.device())?;
    let gradient = backward(&recorded.losses, Some(&weights), params)?;
    let squares = gradient.tensors().iter().map(|g| msharp_ops::sum_of_squares(&[g])?.to_scalar::<f64>());
    let squares = squares.collect::<Result<Vec<_>>>()?;
    let of_all: f64 = squares.iter().sum();
    for ((param, exact), measured) in params.iter().zip(&squares).zip(&recorded.squares) {
        let measured = measured[j];
        if of_all.is_finite() && (measured - exact).abs() > RELATIVE * measured.max(*exact) + OF_ALL * of_all + 1e-30 {
            bail!(
                "the gradient of micro-batch {j} with respect to {:?} has the norm {:.4e}, and {:.4e} was measured: rows \
                 of an op's input are not of one sample each, or the losses of samples depend on each other",
                param.name,
                exact.sqrt(),
                measured.sqrt()
            )
        }
    }
    Ok(())
}

impl MicroGradients<'_> {
    /// ℓᵢ at x, `[b]`, detached.
    pub fn losses(&self) -> &Tensor {
        &self.losses
    }

    /// The share of the batch that each micro-batch is.
    pub fn shares(&self) -> Vec<f64> {
        let b = self.loss.batch.len() as f64;
        self.gradients.sizes().iter().map(|size| *size as f64 / b).collect()
    }

    /// ‖∂f_j/∂xₖ‖² of every parameter k, for micro-batch j.
    pub fn squares(&self, j: usize) -> Vec<f64> {
        self.gradients.squares.iter().map(|squares| squares[j]).collect()
    }

    /// Σ wⱼ ∇f_j(x). The cost of the weights' gradients in a backward pass.
    pub fn weighted(&self, weights: &[f64]) -> Result<ParamVec> {
        let tensors = self.gradients.weighted(weights)?;
        let shaped = self.loss.params.iter().zip(tensors).map(|(param, tensor)| tensor.reshape(param.var.shape()));
        Ok(ParamVec::new(self.loss.params, shaped.collect::<Result<_>>()?))
    }

    /// The mean over the samples of ∇ℓᵢ at x + εⱼ, for the micro-batch j of sample i and εⱼ the gradient of j with the
    /// factor `factors[j][k]` on parameter k; and the losses there. One forward and one backward pass. Parameters do
    /// not move; buffers are put back, also on an error or a panic.
    ///
    /// # Errors
    /// If factors are not one for each parameter and micro-batch; those of [`BatchLoss::gradient`].
    pub fn gradient_at(&self, factors: &[Vec<f64>]) -> Result<Gradient> {
        let params = self.loss.params;
        if factors.iter().any(|factors| factors.len() != params.len()) {
            bail!("expected a factor for each of {} parameters", params.len())
        }
        let by_parameter: Vec<Vec<f64>> =
            (0..params.len()).map(|k| factors.iter().map(|factors| factors[k]).collect()).collect();
        params.keeping_buffers(|| {
            self.gradients.displaced(&by_parameter, || {
                let losses = self.loss.losses()?;
                let grads = backward(&losses, None, params)?;
                Ok(Gradient { losses: Some(losses.detach()), grads, measures: Measures::new(), weights: None })
            })
        })
    }

    /// A number of each micro-batch, as one of the batch: their mean, weighted by their length; f64 `[]`.
    pub fn mean(&self, values: &[f64]) -> Result<Tensor> {
        let mean: f64 = self.shares().iter().zip(values).map(|(share, value)| share * value).sum();
        Tensor::new(mean, self.loss.params.device())?.to_dtype(DType::F64)
    }
}
