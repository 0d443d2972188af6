//! Losses, and what a rule computes for the samples of a batch.

use super::*;
use msharp_ops::{Slope, Temperature, cross_entropy, last_layer_norms, linear, reweight, rms_slopes, weighted_sum};

#[test]
fn cross_entropies() -> Result<()> {
    for (b, k) in [(1, 2), (7, 10), (33, 100), (5, 1000)] {
        // From sure to hopeless: losses from 1e-9 to 60.
        let logits = (noise(&[b, k], 1)? * 30.)?;
        let targets = Tensor::from_iter((0..b as u32).map(|i| i * 7 % k as u32), &Device::Cpu)?;
        for smoothing in [0., 0.1] {
            let mut found = Vec::new();
            for (device, dtype) in [(&Device::Cpu, DType::F64), (gpu(), DType::F32)] {
                let x = Var::from_tensor(&logits.to_dtype(dtype)?.to_device(device)?)?;
                let losses = cross_entropy(&x, &targets.to_device(device)?, smoothing)?;
                let grads = weighted_sum(&losses, None)?.backward()?;
                found.push((values(&losses)?, values(grads.get(&x).expect("a gradient"))?));
            }
            let near = |a: &f64, b: &f64| (a - b).abs() <= 1e-6 * b.abs() + 1e-30;
            assert!(found[1].0.iter().zip(&found[0].0).all(|(a, b)| near(a, b)), "losses {b} {k} {smoothing}");
            assert!(found[1].1.iter().zip(&found[0].1).all(|(a, b)| near(a, b)), "gradients {b} {k} {smoothing}");
        }
    }
    let wrong = Tensor::new(&[1u32, 2], gpu())?;
    let losses = cross_entropy(&Tensor::zeros((2, 2), DType::F32, gpu())?, &wrong, 0.)?.to_vec1::<f32>()?;
    assert!((losses[0] - 2f32.ln()).abs() < 1e-6 && losses[1].is_nan(), "{losses:?}");
    Ok(())
}

#[test]
fn cross_entropies_against_distributions() -> Result<()> {
    let (logits, weights) = ((noise(&[7, 10], 1)? * 30.)?, noise(&[7, 10], 2)?.abs()?);
    let targets = weights.broadcast_div(&weights.sum_keepdim(1)?)?;
    for smoothing in [0., 0.1] {
        let mut found = Vec::new();
        for (device, dtype) in [(&Device::Cpu, DType::F64), (gpu(), DType::F32)] {
            let x = Var::from_tensor(&logits.to_dtype(dtype)?.to_device(device)?)?;
            let losses = cross_entropy(&x, &targets.to_dtype(dtype)?.to_device(device)?, smoothing)?;
            let grads = weighted_sum(&losses, None)?.backward()?;
            found.push([values(&losses)?, values(grads.get(&x).expect("a gradient"))?].concat());
        }
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-5 * b.abs() + 1e-6;
        assert!(found[1].iter().zip(&found[0]).all(near), "{smoothing}: {found:?}");
    }
    let nowhere = Tensor::zeros((7, 10), DType::F32, gpu())?;
    let losses = cross_entropy(&logits.to_dtype(DType::F32)?.to_device(gpu())?, &nowhere, 0.1)?;
    assert!(values(&losses)?.iter().all(|loss| loss.is_nan()), "shares with the sum 0");
    Ok(())
}

#[test]
fn weighted_sums() -> Result<()> {
    for b in [1, 5, 300, 2000] {
        let (losses, weights) = (noise(&[b], 1)?, noise(&[b], 2)?.to_dtype(DType::F64)?);
        for weights in [None, Some(&weights)] {
            let mut found = Vec::new();
            for (device, dtype) in [(&Device::Cpu, DType::F64), (gpu(), DType::F32)] {
                let x = Var::from_tensor(&losses.to_dtype(dtype)?.to_device(device)?)?;
                let weights = weights.map(|weights| weights.to_device(device)).transpose()?;
                let sum = weighted_sum(&x, weights.as_ref())?;
                let grads = sum.backward()?;
                found.push([sum.detach(), grads.get(&x).expect("a gradient").clone()]);
            }
            for (found, expected) in found[1].iter().zip(&found[0]) {
                assert!(error(found, expected)? < 1e-6, "{b}");
            }
        }
    }
    Ok(())
}

#[test]
fn slopes() -> Result<()> {
    for b in [1, 7, 513] {
        let on = |device: &Device| -> Result<Tensor> {
            let slope = |k: u64, sides: f64| -> Result<Slope> {
                Ok(Slope {
                    ahead: noise(&[b], k)?.to_device(device)?,
                    behind: noise(&[b], k + 10)?.to_device(device)?,
                    delta: Tensor::new(0.01 * (k + 1) as f64, device)?,
                    sides,
                })
            };
            rms_slopes(&[slope(0, 1.)?, slope(1, 2.)?, slope(2, 1.)?])
        };
        assert!(error(&on(gpu())?, &on(&Device::Cpu)?)? < 1e-12);
    }
    Ok(())
}

#[test]
fn gibbs_weights() -> Result<()> {
    let temperatures = [
        Temperature::Raw(0.),
        Temperature::Raw(3.),
        Temperature::Relative(2.),
        Temperature::EffectiveSize(1.),
        Temperature::EffectiveSize(3.5),
        Temperature::EffectiveSize(1000.),
    ];
    let mut cases: Vec<Vec<f64>> =
        [1, 8, 300].iter().map(|&b| values(&noise(&[b], 5)?.sqr()?)).collect::<Result<_>>()?;
    cases.extend([vec![0.; 4], vec![3., 3., 1., 0.], vec![1e308, 1., 0.]]);
    for norms in cases {
        for temperature in temperatures {
            let on = |device: &Device| reweight(&Tensor::new(norms.as_slice(), device)?, temperature);
            let (found, expected) = (on(gpu())?, on(&Device::Cpu)?);
            let name = format!("{temperature:?} of {} norms", norms.len());
            assert!(error(&found.weights, &expected.weights)? < 1e-9, "{name}");
            assert!(error(&found.effective_size, &expected.effective_size)? < 1e-9, "{name}");
            for (a, b) in found.quantiles.iter().zip(&expected.quantiles) {
                assert_eq!(values(a)?, values(b)?, "{name}");
            }
        }
    }
    let bad = reweight(&Tensor::new(&[1., f64::NAN], gpu())?, Temperature::Raw(1.))?;
    assert!(values(&bad.weights)?.iter().all(|weight| weight.is_nan()));
    Ok(())
}

#[test]
fn norms_of_the_last_layer() -> Result<()> {
    for (b, c, k) in [(5, 7, 3), (33, 64, 10), (2, 300, 100)] {
        let targets = Tensor::from_iter((0..b as u32).map(|i| i % k as u32), &Device::Cpu)?;
        for has_bias in [false, true] {
            let on = |device: &Device, dtype: DType| -> Result<Tensor> {
                let place = |x: Tensor| x.to_dtype(dtype)?.to_device(device);
                let h = place(noise(&[b, c], 1)?)?;
                let (weight, bias) = (place(noise(&[k, c], 2)?)?, place(noise(&[k], 3)?)?);
                let targets = targets.to_device(device)?;
                let losses = || cross_entropy(&linear(&h, &weight, has_bias.then_some(&bias))?, &targets, 0.1);
                Ok(last_layer_norms(&[&weight, &bias], losses)?.norms)
            };
            assert!(error(&on(gpu(), DType::F32)?, &on(&Device::Cpu, DType::F64)?)? < 1e-6, "{b} {c} {k}");
        }
    }
    Ok(())
}
