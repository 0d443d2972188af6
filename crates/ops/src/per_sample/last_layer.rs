//! Norms of the last layer's part of each sample's gradient, without an additional pass.

use crate::dispatch::on_device;
use crate::graph::grad_enabled;
use candle_core::{Result, Tensor, TensorId, bail};
use std::cell::RefCell;

/// What [`last_layer_norms`] returns.
#[derive(Clone, Debug)]
pub struct LastLayerNorms {
    /// `[b]`: the losses, their graph still open.
    pub losses: Tensor,
    /// f64 `[b]`: the norms.
    pub norms: Tensor,
    /// The parameters that they are of: the last map's weight and bias, those that are trained.
    pub of: Vec<TensorId>,
}

/// What ops record for [`last_layer_norms`] while it runs.
#[derive(Default)]
struct Notes {
    /// Every linear map of rows.
    linears: Vec<Linear>,
    /// Every cross-entropy.
    losses: Vec<CrossEntropy>,
    /// The tensors that ops have as parameters, once for each op.
    uses: Vec<TensorId>,
}

#[derive(Clone)]
struct Linear {
    y: TensorId,
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
}

struct CrossEntropy {
    id: TensorId,
    logits: Tensor,
    targets: Tensor,
    label_smoothing: f64,
    /// The map that yields the logits.
    of: Option<Linear>,
}

thread_local! {
    static NOTES: RefCell<Option<Notes>> = const { RefCell::new(None) };
}

/// Runs `f`, which returns the [`cross_entropy`](crate::cross_entropy) of what a [`linear`](crate::linear) map yields,
/// and returns with these losses the norm of the gradient of each with respect to that map's weight and bias, f64
/// `[b]`: ‖pᵢ − yᵢ‖ √(‖hᵢ‖² + 1) for features h `[b, in]`, probabilities p and targets y, since the gradient is their
/// product. The 1 is left out if there is no bias or it is not one of the variables `trained`, and ‖hᵢ‖² if the weight
/// is not one of them. There is no additional pass.
///
/// # Errors
/// `f` returns anything else: another function of a cross-entropy, a cross-entropy of logits that are no linear map's
/// result; the map's weight is computed from variables, or another op uses it, too; nothing of the map is trained.
pub fn last_layer_norms(trained: &[&Tensor], f: impl FnOnce() -> Result<Tensor>) -> Result<LastLayerNorms> {
    struct Leave(Option<Notes>);
    impl Drop for Leave {
        fn drop(&mut self) {
            NOTES.set(self.0.take());
        }
    }
    let (losses, notes) = {
        let _leave = Leave(NOTES.replace(Some(Notes::default())));
        let losses = f()?;
        (losses, NOTES.take().unwrap_or_default())
    };
    let Some(CrossEntropy { logits, targets, label_smoothing, of, .. }) =
        notes.losses.iter().find(|cross_entropy| cross_entropy.id == losses.id())
    else {
        bail!(
            "last_layer_norms: expected losses that are the cross_entropy of a linear map's result as it is; these are \
             something else: scaled, added to, of another element type, or of other ops"
        )
    };
    let Some(Linear { x, weight, bias, .. }) = of else {
        bail!("last_layer_norms: expected the cross_entropy of a linear map's result; its logits are no such result")
    };
    let trains = |name: &str, tensor: &Tensor| -> Result<bool> {
        let is_trained = trained.iter().any(|other| other.id() == tensor.id());
        let uses = notes.uses.iter().filter(|id| **id == tensor.id()).count();
        if is_trained && uses > 1 {
            bail!("last_layer_norms: the last linear map's {name} is used by {uses} ops; expected that map alone")
        }
        if !is_trained && tensor.track_op() && !tensor.is_variable() {
            bail!("last_layer_norms: the last linear map's {name} is computed from variables; expected a variable")
        }
        Ok(is_trained)
    };
    let has_weight = trains("weight", weight)?;
    let bias = match bias {
        Some(bias) if trains("bias", bias)? => Some(bias),
        _ => None,
    };
    let of: Vec<TensorId> = has_weight.then(|| weight.id()).into_iter().chain(bias.map(Tensor::id)).collect();
    if of.is_empty() {
        bail!("last_layer_norms: neither the weight nor the bias of the last linear map is trained")
    }
    if losses.elem_count() == 0 || x.elem_count() == 0 {
        bail!("last_layer_norms: features {:?} are empty; expected at least one sample and one feature", x.dims())
    }
    let features = if has_weight { x.contiguous()? } else { x.zeros_like()? };
    let (logits, has_bias) = (&logits.contiguous()?, bias.is_some());
    let norms = on_device!(logits, last_layer_norms(logits, targets, *label_smoothing, &features, has_bias))?;
    Ok(LastLayerNorms { losses, norms, of })
}

/// Called by `linear`.
pub(crate) fn note_linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, y: &Tensor) {
    NOTES.with_borrow_mut(|notes| {
        let Some(notes) = notes.as_mut().filter(|_| grad_enabled()) else { return };
        notes.uses.extend([Some(weight), bias].into_iter().flatten().map(Tensor::id));
        if x.rank() == 2 {
            let (weight, bias) = (weight.clone(), bias.cloned());
            notes.linears.push(Linear { y: y.id(), x: x.detach(), weight, bias });
        }
    });
}

/// Called by every other op with the tensors that it has as parameters.
pub(crate) fn note_parameters(params: &[&Tensor]) {
    NOTES.with_borrow_mut(|notes| {
        if let Some(notes) = notes.as_mut().filter(|_| grad_enabled()) {
            notes.uses.extend(params.iter().map(|param| param.id()));
        }
    });
}

/// Called by `cross_entropy`.
pub(crate) fn note_cross_entropy(losses: &Tensor, logits: &Tensor, targets: &Tensor, label_smoothing: f64) {
    NOTES.with_borrow_mut(|notes| {
        let Some(notes) = notes else { return };
        let of = notes.linears.iter().find(|linear| linear.y == logits.id()).cloned();
        let (logits, targets) = (logits.detach(), targets.clone());
        notes.losses.push(CrossEntropy { id: losses.id(), logits, targets, label_smoothing, of });
    });
}

/// Called by an op whose result `y` is `x` as it is.
pub(crate) fn note_identity(x: &Tensor, y: &Tensor) {
    NOTES.with_borrow_mut(|notes| {
        let losses = notes.iter_mut().flat_map(|notes| &mut notes.losses);
        losses.filter(|losses| losses.id == x.id()).for_each(|losses| losses.id = y.id());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cross_entropy, linear, relu};
    use candle_core::{DType, Device, Var};

    #[test]
    fn norms_are_those_of_the_samples_gradients() -> Result<()> {
        let wave = |rows: usize, columns: usize, phase: f64| {
            let values = (0..rows * columns).map(|i| (2.3 * i as f64 + phase).sin()).collect::<Vec<f64>>();
            Var::from_tensor(&Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)
        };
        let (x, inner, weight) = (wave(5, 4, 0.)?, wave(6, 4, 1.)?, wave(3, 6, 2.)?);
        let bias = Var::from_tensor(&wave(1, 3, 3.)?.squeeze(0)?)?;
        let classes = Tensor::new(&[0u32, 1, 2, 2, 0], &Device::Cpu)?;
        let mixed = [[0.3, 0.7, 0.], [0., 1., 0.], [0.2, 0.2, 0.6], [0.5, 0., 0.5], [1., 0., 0.]];
        let mixed = Tensor::new(&mixed, &Device::Cpu)?;
        for (has_bias, smoothing, targets) in
            [(true, 0., &classes), (false, 0.1, &classes), (true, 0.1, &mixed), (false, 0., &mixed)]
        {
            let losses = || {
                let h = relu(&linear(x.as_tensor(), &inner, None)?)?;
                let bias = has_bias.then_some(bias.as_tensor());
                cross_entropy(&linear(&h, &weight, bias)?, targets, smoothing)
            };
            let trained = [weight.as_tensor(), bias.as_tensor()];
            let LastLayerNorms { losses, norms, .. } = last_layer_norms(&trained, losses)?;
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

    /// Each is another function than one cross-entropy of one linear map of trained parameters.
    #[test]
    fn other_losses_are_an_error_and_leave_nothing() -> Result<()> {
        let var = |rows: usize, columns: usize| Var::rand(0.5f64, 1., (rows, columns), &Device::Cpu);
        let (x, weight, square) = (var(2, 3)?, var(3, 3)?, var(3, 3)?);
        let bias = Var::zeros(3, DType::F64, &Device::Cpu)?;
        let targets = Tensor::new(&[0u32, 1], &Device::Cpu)?;
        let x = x.as_tensor();
        let ce = |x: &Tensor, weight: &Tensor| cross_entropy(&linear(x, weight, Some(&bias))?, &targets, 0.);
        let twice = || linear(&linear(x, &weight, Some(&bias))?, &weight, Some(&bias));
        type Losses<'a> = &'a dyn Fn() -> Result<Tensor>;
        let cases: [(&str, Losses, &str); 8] = [
            ("scaled", &|| ce(x, &weight)?.affine(10., 0.), "something else"),
            ("two tasks", &|| ce(x, &weight)? + ce(x, &square)?, "something else"),
            ("another type", &|| ce(x, &weight)?.to_dtype(DType::F32), "something else"),
            ("moved logits", &|| cross_entropy(&(linear(x, &weight, None)? + 1.)?, &targets, 0.), "no such result"),
            ("a weight that is computed", &|| ce(x, &(weight.as_tensor() * 2.)?), "weight is computed"),
            ("a weight of two maps", &|| cross_entropy(&twice()?, &targets, 0.), "weight is used by 2 ops"),
            ("nothing is trained", &|| cross_entropy(&linear(x, &square, None)?, &targets, 0.), "neither"),
            ("an error", &|| bail!("inside"), "inside"),
        ];
        let trained = [weight.as_tensor(), bias.as_tensor()];
        for (name, losses, part) in cases {
            let error = last_layer_norms(&trained, losses).unwrap_err().to_string();
            assert!(error.contains(part), "{name}: {error}");
        }
        let (x, none) = (x.narrow(0, 0, 0)?, targets.narrow(0, 0, 0)?);
        let empty = || cross_entropy(&linear(&x, &weight, Some(&bias))?, &none, 0.);
        assert!(last_layer_norms(&trained, empty).is_err());
        Ok(())
    }

    /// Of a frozen parameter there is no part: the norms are of those that are trained.
    #[test]
    fn a_frozen_weight_or_bias_is_left_out() -> Result<()> {
        let x = Tensor::new(&[[3f64, 4.], [0., 2.]], &Device::Cpu)?;
        let weight = Var::zeros((2, 2), DType::F64, &Device::Cpu)?;
        let bias = Var::zeros(2, DType::F64, &Device::Cpu)?;
        let targets = Tensor::new(&[0u32, 1], &Device::Cpu)?;
        let losses = || cross_entropy(&linear(&x, &weight, Some(&bias))?, &targets, 0.);
        let squares = |trained: &[&Tensor]| -> Result<Vec<f64>> {
            last_layer_norms(trained, losses)?.norms.sqr()?.to_vec1() // ‖p − y‖² = ½
        };
        let near = |found: Vec<f64>, expected: [f64; 2]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near(squares(&[&weight, &bias])?, [13., 2.5]));
        assert!(near(squares(&[&weight])?, [12.5, 2.]));
        assert!(near(squares(&[&bias])?, [0.5, 0.5]));
        Ok(())
    }

    /// A count of backward passes lies between the cross-entropy and the result.
    #[test]
    fn losses_under_a_count_are_still_the_losses() -> Result<()> {
        let (x, weight) =
            (Tensor::ones((1, 2), DType::F64, &Device::Cpu)?, Var::zeros((2, 2), DType::F64, &Device::Cpu)?);
        let targets = Tensor::new(&[0u32], &Device::Cpu)?;
        let losses = || crate::on_backward(&cross_entropy(&linear(&x, &weight, None)?, &targets, 0.)?, || ());
        let norms = last_layer_norms(&[&weight], losses)?.norms.to_vec1::<f64>()?; // √½ · √2
        assert!((norms[0] - 1.).abs() < 1e-12, "{norms:?}");
        Ok(())
    }
}
