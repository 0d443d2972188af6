//! What the ops record, when, and what they refuse.

use crate::{bits, noise, values};
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_ops::{
    Epilogue, RunningStats, Window2d, batch_norm, conv2d, cross_entropy, dot, global_avg_pool2d, group_norm, linear,
    max_pool2d, no_grad, relu,
};

struct Net {
    weight: Var,
    gamma: Var,
    beta: Var,
    head: Var,
    mean: Var,
    var: Var,
    batches: Var,
}

impl Net {
    fn new() -> Result<Self> {
        let var = |shape: &[usize], seed| Var::from_tensor(&noise(shape, seed, DType::F32)?);
        Ok(Self {
            weight: var(&[5, 3, 3, 3], 1)?,
            gamma: var(&[5], 2)?,
            beta: var(&[5], 3)?,
            head: var(&[4, 5], 4)?,
            mean: Var::zeros(5, DType::F32, &Device::Cpu)?,
            var: Var::ones(5, DType::F32, &Device::Cpu)?,
            batches: Var::new(0i64, &Device::Cpu)?,
        })
    }

    /// Per-sample losses `[3]` of images `[3, 8, 7, 3]`.
    fn losses(&self, x: &Tensor) -> Result<Tensor> {
        let stats = RunningStats { mean: &self.mean, var: &self.var, batches: Some(&self.batches), momentum: 0.1 };
        let y = conv2d(x, &self.weight, None, (1, 1), (1, 1))?;
        let y =
            batch_norm(&y, &self.gamma, &self.beta, &stats, true, 1e-5, Epilogue { residual: Some(&y), relu: true })?;
        let y = group_norm(
            &max_pool2d(&y, Window2d::square(2, 2, 0))?,
            5,
            &self.gamma,
            &self.beta,
            1e-5,
            Epilogue::default(),
        )?;
        let logits = linear(&relu(&global_avg_pool2d(&y)?)?, &self.head, None)?;
        cross_entropy(&logits, &Tensor::new(&[0u32, 3, 1], &Device::Cpu)?, 0.1)
    }

    fn parameters(&self) -> [&Var; 4] {
        [&self.weight, &self.gamma, &self.beta, &self.head]
    }
}

#[test]
fn no_grad_records_nothing() -> Result<()> {
    let net = Net::new()?;
    let x = noise(&[3, 8, 7, 3], 9, DType::F32)?;
    let recorded = net.losses(&x)?;
    let losses = no_grad(|| net.losses(&x))?;
    assert_eq!(bits(&losses)?, bits(&recorded)?);
    assert!(recorded.track_op() && !losses.track_op());
    let grads = losses.backward()?;
    assert!(net.parameters().iter().all(|var| grads.get(var).is_none()));
    // A strided view of a variable would record its copy.
    let strided = Var::from_tensor(&noise(&[3, 3, 8, 7], 9, DType::F32)?)?;
    assert!(!no_grad(|| net.losses(&strided.permute((0, 2, 3, 1))?))?.track_op());

    let panicked = std::panic::catch_unwind(|| no_grad(|| panic!("in the scope")));
    assert!(panicked.is_err());
    let grads = net.losses(&x)?.backward()?;
    assert!(net.parameters().iter().all(|var| grads.get(var).is_some()));
    Ok(())
}

/// The exact estimator runs a backward for every sample on one graph: each must see what the forward saved, and none
/// may move the running statistics.
#[test]
fn several_backwards_over_one_graph() -> Result<()> {
    let net = Net::new()?;
    let x = noise(&[3, 8, 7, 3], 9, DType::F32)?;
    let losses = net.losses(&x)?;
    let state = (bits(&net.mean)?, bits(&net.var)?);
    let (first, second) = (losses.backward()?, losses.backward()?);
    let samples: Vec<_> = (0..3).map(|i| losses.get(i)?.backward()).collect::<Result<_>>()?;
    for var in net.parameters() {
        let gradient = |grads: &candle_core::backprop::GradStore| grads.get(var).expect("a gradient").clone();
        assert_eq!(bits(&gradient(&first))?, bits(&gradient(&second))?);
        let total = values(&gradient(&first))?;
        let mut sum = vec![0.0; total.len()];
        for sample in &samples {
            sum.iter_mut().zip(values(&gradient(sample))?).for_each(|(sum, g)| *sum += g);
        }
        let scale = total.iter().fold(0.0f64, |scale, g| scale.max(g.abs()));
        assert!(sum.iter().zip(&total).all(|(sum, total)| (sum - total).abs() < 1e-5 * scale), "{sum:?} {total:?}");
    }
    assert_eq!(state, (bits(&net.mean)?, bits(&net.var)?));
    assert_eq!(net.batches.to_scalar::<i64>()?, 1);
    Ok(())
}

/// An untracked image or weight costs no product: it has no entry in the gradients.
#[test]
fn untracked_inputs_get_no_gradient() -> Result<()> {
    let x = noise(&[2, 5, 6, 3], 1, DType::F32)?;
    let weight = noise(&[4, 3, 3, 3], 2, DType::F32)?;
    let (x_var, weight_var) = (Var::from_tensor(&x)?, Var::from_tensor(&weight)?);
    let grads = conv2d(&x, &weight_var, None, (1, 1), (1, 1))?.backward()?;
    assert!(grads.get(&x).is_none() && grads.get(&weight_var).is_some());
    let grads = conv2d(x_var.as_tensor(), &weight, None, (1, 1), (1, 1))?.backward()?;
    assert!(grads.get(&x_var).is_some() && grads.get(&weight).is_none());
    assert!(!conv2d(&x, &weight, None, (1, 1), (1, 1))?.track_op());

    let stats = (Var::zeros(3, DType::F32, &Device::Cpu)?, Var::ones(3, DType::F32, &Device::Cpu)?);
    let stats = RunningStats { mean: &stats.0, var: &stats.1, batches: None, momentum: 0.1 };
    let (gamma, beta) = (Var::ones(3, DType::F32, &Device::Cpu)?, Tensor::zeros(3, DType::F32, &Device::Cpu)?);
    let epilogue = Epilogue { residual: Some(&x), relu: true };
    let grads = batch_norm(&x, &gamma, &beta, &stats, true, 1e-5, epilogue)?.backward()?;
    assert!(grads.get(&x).is_none() && grads.get(&gamma).is_some());
    Ok(())
}

/// Gradients are plain tensors: they do not keep the graph alive.
#[test]
fn gradients_have_no_graph() -> Result<()> {
    let net = Net::new()?;
    let grads = net.losses(&noise(&[3, 8, 7, 3], 9, DType::F32)?)?.backward()?;
    assert!(!grads.get(&net.weight).expect("a gradient").track_op());
    assert!(!grads.get(&net.head).expect("a gradient").track_op());
    Ok(())
}

#[test]
fn dot_of_any_layout_and_type() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let (a, b) = (noise(&[301, 170], 1, dtype)?, noise(&[301, 170], 2, dtype)?);
        let expected: f64 = values(&a)?.iter().zip(values(&b)?).map(|(a, b)| a * b).sum();
        let dot = |a: &Tensor, b: &Tensor| dot(&[a], &[b])?.to_scalar::<f64>();
        assert!((dot(&a, &b)? - expected).abs() < 1e-10);
        assert!((dot(&a.t()?, &b.t()?)? - expected).abs() < 1e-10);
        let sum = values(&a)?.iter().sum::<f64>();
        let ones = Tensor::ones(1, dtype, &Device::Cpu)?.broadcast_as((301, 170))?;
        assert!((dot(&a, &ones)? - sum).abs() < 1e-10);
    }
    assert!(dot(&[&noise(&[2], 1, DType::F32)?], &[&noise(&[3], 1, DType::F32)?]).is_err());
    assert!(dot(&[&noise(&[2], 1, DType::F32)?], &[&noise(&[2], 1, DType::F64)?]).is_err());
    Ok(())
}

#[test]
fn mismatches_are_errors_that_name_the_op_and_both_shapes() -> Result<()> {
    let t = |shape: &[usize]| noise(shape, 1, DType::F32);
    let fails = |result: Result<Tensor>, parts: &[&str]| {
        let message = result.expect_err("an error").to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message:?} lacks one of {parts:?}");
    };
    let x = t(&[2, 5, 5, 3])?;
    let one = (1, 1);
    fails(conv2d(&x, &t(&[4, 5, 3, 3])?, None, one, one), &["conv2d", "[2, 5, 5, 3]", "[4, 5, 3, 3]"]);
    fails(conv2d(&x, &t(&[4, 3])?, None, one, one), &["conv2d", "[2, 5, 5, 3]", "[4, 3]"]);
    fails(conv2d(&x, &t(&[4, 3, 3, 3])?, Some(&t(&[3])?), one, one), &["conv2d", "[4, 3, 3, 3]", "[3]"]);
    fails(conv2d(&x, &t(&[4, 3, 9, 9])?, None, one, one), &["conv2d", "kernel of 9"]);
    fails(conv2d(&x, &t(&[4, 3, 3, 3])?, None, (0, 1), one), &["conv2d", "stride"]);
    fails(conv2d(&x, &t(&[4, 3, 3, 3])?.to_dtype(DType::F64)?, None, one, one), &["conv2d", "F32", "F64"]);
    fails(linear(&t(&[2, 5])?, &t(&[3, 4])?, None), &["linear", "[2, 5]", "[3, 4]"]);
    fails(max_pool2d(&t(&[2, 5])?, Window2d::square(2, 2, 0)), &["max_pool2d", "[2, 5]"]);
    fails(max_pool2d(&x, Window2d::square(2, 2, 2)), &["max_pool2d", "padding"]);
    fails(relu(&Tensor::new(&[1u32], &Device::Cpu)?), &["relu", "U32"]);
    fails(group_norm(&x, 2, &t(&[3])?, &t(&[3])?, 1e-5, Epilogue::default()), &["group_norm", "2 groups"]);
    fails(group_norm(&x, 3, &t(&[4])?, &t(&[3])?, 1e-5, Epilogue::default()), &["group_norm", "[2, 5, 5, 3]", "[4]"]);
    let (mean, var) = (Var::zeros(3, DType::F32, &Device::Cpu)?, Var::ones(3, DType::F32, &Device::Cpu)?);
    let stats = RunningStats { mean: &mean, var: &var, batches: None, momentum: 0.1 };
    let (one, other) = (t(&[3])?, t(&[2, 5, 5, 4])?);
    let epilogue = Epilogue { residual: Some(&other), relu: false };
    fails(batch_norm(&x, &one, &one, &stats, true, 1e-5, epilogue), &["batch_norm", "[2, 5, 5, 3]", "[2, 5, 5, 4]"]);
    let single = t(&[1, 1, 1, 3])?;
    fails(
        batch_norm(&single, &one, &one, &stats, true, 1e-5, Epilogue::default()),
        &["batch_norm", "more than 1 value per channel", "[1, 1, 1, 3]"],
    );
    assert_eq!(values(&mean)?, [0.0; 3], "a refused batch leaves the statistics alone");
    assert!(batch_norm(&single, &one, &one, &stats, false, 1e-5, Epilogue::default()).is_ok());
    Ok(())
}
