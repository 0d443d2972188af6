//! Cross-entropy where a log-softmax in f32 has no digits left: nearly memorised samples, and huge logits.

use crate::values;
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_ops::cross_entropy;

/// One logit of `lead` against two at 0: the loss is log1p(2 e^{-lead}), its gradient -expm1(-loss) for the target.
#[test]
fn is_accurate_relative_to_a_tiny_loss() -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-7)] {
        for lead in [2.0, 9.875, 19.125, 40.0, 80.0] {
            let logits = Var::from_tensor(&Tensor::new(&[[0.0, lead, 0.0]], &Device::Cpu)?.to_dtype(dtype)?)?;
            let loss = cross_entropy(&logits, &Tensor::new(&[1u32], &Device::Cpu)?, 0.0)?;
            let expected = (2.0 * f64::exp(-lead)).ln_1p();
            assert!((values(&loss)?[0] / expected - 1.0).abs() < tolerance, "{dtype:?} {lead}: {loss}");
            let grad = values(loss.backward()?.get(&logits).expect("a gradient"))?;
            let p = (-lead - expected).exp();
            for (grad, expected) in grad.iter().zip([p, (-expected).exp_m1(), p]) {
                assert!((grad / expected - 1.0).abs() < tolerance, "{dtype:?} {lead}: {grad} for {expected}");
            }
        }
    }
    Ok(())
}

#[test]
fn huge_logits_give_numbers() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for smoothing in [0.0, 0.1] {
            let logits = [[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [1e4, 1e4, 1e4]];
            let logits = Var::from_tensor(&Tensor::new(&logits, &Device::Cpu)?.to_dtype(dtype)?)?;
            let losses = cross_entropy(&logits, &Tensor::new(&[0u32, 1, 2], &Device::Cpu)?, smoothing)?;
            let expected = [smoothing * 1e4, 2e4 - smoothing * 1e4, 3f64.ln()];
            for (loss, expected) in values(&losses)?.iter().zip(expected) {
                assert!((loss - expected).abs() <= 1e-7 * expected, "{loss} for {expected}");
            }
            assert!(values(losses.backward()?.get(&logits).expect("a gradient"))?.iter().all(|g| g.abs() <= 1.0));
        }
    }
    Ok(())
}

/// The cross-entropy is linear in the target: against a mixture it is the mixture of those against the classes.
#[test]
fn a_distribution_is_a_mixture_of_classes() -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 2e-6)] {
        for smoothing in [0.0, 0.1] {
            let logits = Tensor::new(&[[1.5, -2.0, 0.3], [40.0, 0.0, -40.0]], &Device::Cpu)?.to_dtype(dtype)?;
            let logits = Var::from_tensor(&logits)?;
            let of = |targets: &Tensor| -> Result<(Vec<f64>, Vec<f64>)> {
                let losses = cross_entropy(&logits, targets, smoothing)?;
                Ok((values(&losses)?, values(losses.backward()?.get(&logits).expect("a gradient"))?))
            };
            let class = |y: u32| of(&Tensor::new(&[y, y], &Device::Cpu)?);
            let (first, last) = (class(0)?, class(2)?);
            let (mixed, mixed_gradient) =
                of(&Tensor::new(&[[0.25, 0., 0.75], [0.25, 0., 0.75]], &Device::Cpu)?.to_dtype(dtype)?)?;
            for (mixed, first, last) in [(mixed, first.0, last.0), (mixed_gradient, first.1, last.1)] {
                for (mixed, (first, last)) in mixed.iter().zip(first.iter().zip(last)) {
                    let expected = 0.25 * first + 0.75 * last;
                    assert!((mixed - expected).abs() <= tolerance * (1. + expected.abs()), "{mixed} for {expected}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn wrong_distributions_are_errors() -> Result<()> {
    let logits = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
    let error = |targets: Tensor| cross_entropy(&logits, &targets, 0.).expect_err("an error").to_string();
    for wrong in [[0.5f32, 0.4, 0.], [1.5, -0.5, 0.], [f32::NAN, 0., 1.], [0.; 3]] {
        let message = error(Tensor::new(&[[0f32, 1., 0.], wrong], &Device::Cpu)?);
        assert!(message.contains("sample 1") && message.contains("sum 1"), "{message}");
    }
    assert!(error(Tensor::zeros((2, 3), DType::F64, &Device::Cpu)?).contains("F32"));
    assert!(error(Tensor::zeros((2, 4), DType::F32, &Device::Cpu)?).contains("[2, 4]"));
    assert!(error(Tensor::zeros((2, 3), DType::U32, &Device::Cpu)?).contains("U32"));
    Ok(())
}

#[test]
fn wrong_targets_are_errors() -> Result<()> {
    let logits = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
    let error = |targets: &[u32], smoothing: f64| -> Result<String> {
        let targets = Tensor::new(targets, &Device::Cpu)?;
        Ok(cross_entropy(&logits, &targets, smoothing).expect_err("an error").to_string())
    };
    let message = error(&[0, 3], 0.0)?;
    assert!(message.contains("target 3 of sample 1") && message.contains("number of classes, 3"), "{message}");
    assert!(error(&[0, 1, 2], 0.0)?.contains("[2, 3] and [3]"));
    assert!(error(&[0, 1], 1.5)?.contains("1.5"));
    let signed = cross_entropy(&logits, &Tensor::new(&[0i64, 1], &Device::Cpu)?, 0.0);
    assert!(signed.expect_err("an error").to_string().contains("u32"));
    Ok(())
}
