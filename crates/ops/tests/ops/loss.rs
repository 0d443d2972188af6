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
