//! Convolutions, linear maps, normalisations, pooling and what is done element by element.

use super::*;
use msharp_ops::{
    Epilogue, RunningStats, Window2d, add, avg_pool2d, batch_norm, conv2d, dropout, global_avg_pool2d, group_norm,
    linear, max_pool2d, no_grad, relu,
};

#[test]
fn convolutions() -> Result<()> {
    // (x, weight, stride, padding): odd and asymmetric images, batch 1, kernels 1 to 7, channels that fit no vector
    type Case = ([usize; 4], [usize; 4], (usize, usize), (usize, usize));
    let cases: [Case; 12] = [
        ([2, 8, 8, 16], [24, 16, 3, 3], (1, 1), (1, 1)),
        ([1, 5, 7, 3], [2, 3, 3, 3], (1, 1), (1, 1)),
        ([2, 5, 4, 3], [5, 3, 3, 3], (2, 2), (1, 1)),
        ([3, 8, 6, 40], [36, 40, 3, 3], (2, 2), (1, 1)),
        ([2, 3, 5, 7], [3, 7, 1, 1], (1, 1), (0, 0)),
        ([2, 4, 4, 64], [32, 64, 1, 1], (1, 1), (0, 0)),
        ([1, 5, 6, 3], [4, 3, 1, 1], (2, 2), (0, 0)),
        ([1, 3, 4, 2], [3, 2, 1, 1], (1, 1), (1, 2)),
        ([1, 9, 8, 2], [3, 2, 7, 7], (2, 2), (3, 3)),
        ([1, 5, 7, 2], [2, 2, 2, 3], (2, 1), (1, 0)),
        ([1, 11, 12, 35], [3, 35, 9, 9], (1, 1), (4, 4)),
        ([1, 7, 6, 2], [2, 2, 3, 2], (3, 2), (0, 1)),
    ];
    for (x, w, stride, padding) in cases {
        let name = format!("conv2d {x:?} {w:?} {stride:?} {padding:?}");
        let inputs = [noise(&x, 1)?, noise(&w, 2)?, noise(&[w[0]], 3)?];
        check(&name, &inputs, 1, 1., |x, p| conv2d(&x[0], &p[0], Some(&p[1]), stride, padding))?;
        check(&name, &inputs[..2], 1, 1., |x, p| conv2d(&x[0], &p[0], None, stride, padding))?;
    }
    Ok(())
}

#[test]
fn linear_maps() -> Result<()> {
    for (x, out) in [(vec![5, 7], 3), (vec![2, 3, 40], 10), (vec![1, 64], 64)] {
        let inputs = [noise(&x, 1)?, noise(&[out, x[x.len() - 1]], 2)?, noise(&[out], 3)?];
        check(&format!("linear {x:?} {out}"), &inputs, 1, 1., |x, p| linear(&x[0], &p[0], Some(&p[1])))?;
    }
    Ok(())
}

/// The mask is the CPU's, so the zeros are at the same places, also of a view.
#[test]
fn dropouts() -> Result<()> {
    for shape in [vec![3, 5, 7], vec![4, 64], vec![1], vec![100_003]] {
        let inputs = [noise(&shape, 1)?];
        check(&format!("dropout {shape:?}"), &inputs, 1, 1., |x, _| dropout(&x[0], 0.3, [9; 32], true))?;
    }
    let ones = |device: &Device| Tensor::ones(5000, DType::F32, device);
    let on = |device: &Device| dropout(&ones(device)?.narrow(0, 3, 4001)?, 0.3, [9; 32], true);
    assert_eq!(values(&on(gpu())?)?, values(&on(&Device::Cpu)?)?);
    Ok(())
}

#[test]
fn element_by_element() -> Result<()> {
    // Sizes with and without a rest after vectors of 16 bytes.
    for shape in [vec![3, 5, 7], vec![4, 64], vec![1], vec![1031]] {
        let inputs = [noise(&shape, 1)?, noise(&shape, 2)?];
        check(&format!("relu {shape:?}"), &inputs[..1], 1, 1., |x, _| relu(&x[0]))?;
        check(&format!("add {shape:?}"), &inputs, 2, 1., |x, _| add(&x[0], &x[1]))?;
        check(&format!("add of the same {shape:?}"), &inputs[..1], 1, 1., |x, _| add(&add(&x[0], &x[0])?, &x[0]))?;
    }
    let nan = Tensor::new(&[f32::NAN, -1., 2.], gpu())?;
    let y = relu(&FeatureMap::enter(&nan)?)?.leave()?.to_vec1::<f32>()?;
    assert!(y[0].is_nan() && y[1..] == [0., 2.], "{y:?}");
    Ok(())
}

#[test]
fn pooling() -> Result<()> {
    for shape in [[2, 7, 5, 3], [1, 8, 8, 16], [3, 4, 9, 1]] {
        let input = [noise(&shape, 1)?];
        for window in [Window2d::square(2, 2, 0), Window2d::square(3, 2, 1), Window2d::square(3, 1, 1)] {
            check(&format!("max_pool2d {shape:?} {window:?}"), &input, 1, 1., |x, _| max_pool2d(&x[0], window))?;
            check(&format!("avg_pool2d {shape:?} {window:?}"), &input, 1, 1., |x, _| avg_pool2d(&x[0], window))?;
        }
        check(&format!("global_avg_pool2d {shape:?}"), &input, 1, 1., |x, _| global_avg_pool2d(&x[0]))?;
    }
    // The gradient of a tie goes to the first, and NaN counts as the largest, as on the CPU.
    let x = Var::from_tensor(&Tensor::new(&[[[[1f32], [1.]], [[f32::NAN], [3.]]]], gpu())?)?;
    let y = max_pool2d(x.as_tensor(), Window2d { kernel: (1, 2), stride: (1, 2), padding: (0, 0) })?;
    let values = y.flatten_all()?.to_vec1::<f32>()?;
    assert!(values[0] == 1. && values[1].is_nan());
    let grad = y.narrow(1, 0, 1)?.sum_all()?.backward()?;
    let grad = grad.get(&x).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
    assert_eq!(grad, [1., 0., 0., 0.]);
    Ok(())
}

/// Running statistics on a device.
fn statistics(c: usize, device: &Device, dtype: DType) -> Result<[Var; 3]> {
    Ok([
        Var::from_tensor(&noise(&[c], 8)?.to_dtype(dtype)?.to_device(device)?)?,
        Var::from_tensor(&(noise(&[c], 9)?.sqr()? + 0.5)?.to_dtype(dtype)?.to_device(device)?)?,
        Var::new(3i64, device)?,
    ])
}

#[test]
fn batch_normalisation() -> Result<()> {
    for shape in [vec![3, 5, 4, 3], vec![2, 4, 4, 16], vec![6, 40], vec![70, 9, 8, 24], vec![2, 1, 1, 264]] {
        let c = shape[shape.len() - 1];
        // Far from zero, so that a variance from squares alone would be wrong.
        let inputs = [(noise(&shape, 1)? + 3.)?, noise(&shape, 2)?, noise(&[c], 3)?, noise(&[c], 4)?];
        for train in [true, false] {
            for with_relu in [false, true] {
                let name = format!("batch_norm {shape:?} train {train} relu {with_relu}");
                let stats = |x: &FeatureMap| {
                    statistics(c, x.device(), if x.device().is_cpu() { DType::F64 } else { DType::F32 })
                };
                let apply = |x: &FeatureMap, residual: Option<&FeatureMap>, weight: &Tensor, bias: &Tensor| {
                    let [mean, var, batches] = stats(x)?;
                    let stats = RunningStats { mean: &mean, var: &var, batches: Some(&batches), momentum: 0.1 };
                    batch_norm(x, weight, bias, &stats, train, 1e-5, Epilogue { residual, relu: with_relu })
                };
                // Two values have a gradient that is a difference of equal numbers.
                let slack = if shape[..shape.len() - 1].iter().product::<usize>() < 10 { 60. } else { 6. };
                check(&format!("{name}, residual"), &inputs, 2, slack, |x, p| apply(&x[0], Some(&x[1]), &p[0], &p[1]))?;
                let without = [inputs[0].clone(), inputs[2].clone(), inputs[3].clone()];
                check(&name, &without, 1, slack, |x, p| apply(&x[0], None, &p[0], &p[1]))?;
            }
        }
    }
    Ok(())
}

#[test]
fn running_statistics_move() -> Result<()> {
    for shape in [vec![3, 5, 4, 3], vec![200, 4, 4, 16], vec![2, 40]] {
        let c = shape[shape.len() - 1];
        let mut moved = Vec::new();
        for (device, dtype) in [(&Device::Cpu, DType::F64), (gpu(), DType::F32)] {
            let place = |x: Tensor| x.to_dtype(dtype)?.to_device(device);
            let [mean, var, batches] = statistics(c, device, dtype)?;
            let stats = RunningStats { mean: &mean, var: &var, batches: Some(&batches), momentum: 0.1 };
            let x = FeatureMap::enter(&place((noise(&shape, 1)? + 3.)?)?)?;
            let (weight, bias) = (place(noise(&[c], 3)?)?, place(noise(&[c], 4)?)?);
            for _ in 0..2 {
                no_grad(|| batch_norm(&x, &weight, &bias, &stats, true, 1e-5, Epilogue::default()))?;
            }
            assert_eq!(batches.to_scalar::<i64>()?, 5);
            moved.push([mean, var]);
        }
        for (found, expected) in moved[1].iter().zip(&moved[0]) {
            assert!(error(found, expected)? < 5e-6, "{shape:?}");
        }
    }
    Ok(())
}

#[test]
fn group_normalisation() -> Result<()> {
    for (shape, groups) in
        [(vec![3, 5, 4, 6], 3), (vec![2, 4, 4, 64], 32), (vec![2, 6, 5, 8], 1), (vec![33, 3, 3, 12], 12)]
    {
        let c = shape[shape.len() - 1];
        let inputs = [(noise(&shape, 1)? + 3.)?, noise(&shape, 2)?, noise(&[c], 3)?, noise(&[c], 4)?];
        for relu in [false, true] {
            let name = format!("group_norm {shape:?} {groups} relu {relu}");
            check(&format!("{name}, residual"), &inputs, 2, 6., |x, p| {
                group_norm(&x[0], groups, &p[0], &p[1], 1e-5, Epilogue { residual: Some(&x[1]), relu })
            })?;
            let without = [inputs[0].clone(), inputs[2].clone(), inputs[3].clone()];
            check(&name, &without, 1, 6., |x, p| {
                group_norm(&x[0], groups, &p[0], &p[1], 1e-5, Epilogue { residual: None, relu })
            })?;
        }
    }
    Ok(())
}

/// A block in which activations fork and join, as tensors and as feature maps; and a view into a larger tensor.
#[test]
fn graphs_and_views() -> Result<()> {
    let inputs = [noise(&[2, 5, 4, 3], 1)?, noise(&[3, 3, 3, 3], 2)?];
    check("a block", &inputs, 1, 3., |x, p| {
        let h = relu(&conv2d(&x[0], &p[0], None, (1, 1), (1, 1))?)?;
        add(&add(&conv2d(&h, &p[0], None, (1, 1), (1, 1))?, &h)?, &x[0])
    })?;
    let (x, w) = (noise(&[3, 5, 3, 3], 1)?, noise(&[2, 3, 3, 3], 2)?);
    let part = |device: &Device| -> Result<Tensor> {
        let x = x.to_device(device)?.narrow(0, 1, 1)?; // begins at no multiple of 16 bytes
        conv2d(&relu(&x)?, &w.to_device(device)?, None, (1, 1), (1, 1))
    };
    assert!(error(&part(gpu())?, &part(&Device::Cpu)?)? < 5e-6);
    let x = Var::from_tensor(&x.to_device(gpu())?)?;
    assert!(!no_grad(|| relu(x.as_tensor()))?.track_op());
    assert!(relu(x.as_tensor())?.track_op());
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error() -> Result<()> {
    let x = noise(&[1, 4, 4, 2], 1)?.to_device(gpu())?;
    let wide = noise(&[2, 2, 3, 3], 2)?.to_dtype(DType::F64)?.to_device(gpu())?;
    let message = conv2d(&x, &wide, None, (1, 1), (1, 1)).unwrap_err().to_string();
    assert!(message.contains("conv2d") && message.contains("F64"), "{message}");
    assert!(relu(&wide).is_err());
    Ok(())
}
