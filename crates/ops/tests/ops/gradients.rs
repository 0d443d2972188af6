//! Every op against central differences in f64.

use crate::{noise, values};
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_ops::{
    Epilogue, RunningStats, Window2d, avg_pool2d, batch_norm, conv2d, cross_entropy, global_avg_pool2d, group_norm,
    linear, max_pool2d, relu,
};

/// Checks the gradient of Σ r·op(inputs), r random, for every element of every input.
///
/// The error of a central difference with step h is about h² f''' / 6 + 1e-16 |f| / h; at h = 1e-5 and |f| up to a few
/// dozen both are below 1e-9, and 1e-7 of the largest gradient leaves a margin for curvature.
/// No ReLU or maximum may change sides within h: the seeds are such that none does.
pub(crate) fn check(name: &str, shapes: &[&[usize]], op: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let vars: Vec<Var> = (0..)
        .zip(shapes)
        .map(|(i, shape)| Var::from_tensor(&noise(shape, i + 11, DType::F64)?))
        .collect::<Result<_>>()?;
    let inputs = || vars.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>();
    let y = op(&inputs())?;
    let r = noise(y.dims(), 77, DType::F64)?;
    let f = |inputs: &[Tensor]| -> Result<f64> { (op(inputs)? * &r)?.sum_all()?.to_scalar() };
    let grads = (&y * &r)?.sum_all()?.backward()?;
    let h = 1e-5;
    for (i, var) in vars.iter().enumerate() {
        let grad = values(grads.get(var).expect("a gradient for every input"))?;
        let largest = grad.iter().fold(0.0f64, |largest, g| largest.max(g.abs()));
        assert!(largest > 1e-3, "{name}: the gradient of input {i} vanishes");
        let x = values(var)?;
        for j in 0..x.len() {
            let at = |step: f64| -> Result<f64> {
                let mut moved = x.clone();
                moved[j] += step;
                let mut inputs = inputs();
                inputs[i] = Tensor::from_vec(moved, var.dims(), &Device::Cpu)?;
                f(&inputs)
            };
            let difference = (at(h)? - at(-h)?) / (2.0 * h);
            let error = (grad[j] - difference).abs();
            assert!(
                error < 1e-7 * largest.max(1.0),
                "{name}: input {i} element {j}: gradient {} but difference {difference}",
                grad[j]
            );
        }
    }
    Ok(())
}

#[test]
fn convolution() -> Result<()> {
    // (x, weight, stride, padding): odd and asymmetric images, batch 1, kernels 1 to 7, padding beyond the kernel
    type Case = ([usize; 4], [usize; 4], (usize, usize), (usize, usize));
    let cases: [Case; 11] = [
        ([1, 5, 7, 3], [2, 3, 3, 3], (1, 1), (1, 1)),
        ([2, 5, 4, 3], [5, 3, 3, 3], (2, 2), (1, 1)),
        ([2, 3, 5, 7], [3, 7, 1, 1], (1, 1), (0, 0)),
        ([1, 5, 6, 3], [4, 3, 1, 1], (2, 2), (0, 0)),
        ([1, 3, 4, 2], [3, 2, 1, 1], (1, 1), (1, 2)),
        ([2, 4, 5, 2], [3, 2, 2, 2], (1, 1), (0, 1)),
        ([1, 6, 5, 1], [2, 1, 5, 5], (1, 1), (2, 2)),
        ([1, 9, 8, 2], [3, 2, 7, 7], (2, 2), (3, 3)),
        ([1, 5, 7, 2], [2, 2, 2, 3], (2, 1), (1, 0)),
        ([1, 3, 3, 2], [2, 2, 2, 2], (1, 1), (3, 2)),
        ([1, 7, 6, 2], [2, 2, 3, 2], (3, 2), (0, 1)),
    ];
    for (x, w, stride, padding) in cases {
        let name = format!("conv2d {x:?} {w:?} {stride:?} {padding:?}");
        check(&name, &[&x, &w, &[w[0]]], |t| conv2d(&t[0], &t[1], Some(&t[2]), stride, padding))?;
        check(&name, &[&x, &w], |t| conv2d(&t[0], &t[1], None, stride, padding))?;
    }
    Ok(())
}

#[test]
fn layouts_and_linear() -> Result<()> {
    check("conv2d of strided x and weight", &[&[2, 3, 5, 4], &[3, 3, 2, 4]], |t| {
        let x = t[0].permute((0, 2, 3, 1))?; // NCHW to channels last
        let weight = t[1].permute((3, 0, 1, 2))?;
        conv2d(&x, &weight, None, (1, 1), (1, 1))
    })?;
    check("linear", &[&[5, 7], &[3, 7], &[3]], |t| linear(&t[0], &t[1], Some(&t[2])))?;
    check("linear without bias, of a batch of rows", &[&[2, 3, 5], &[4, 5]], |t| linear(&t[0], &t[1], None))?;
    check("linear of strided x", &[&[5, 4], &[3, 5]], |t| linear(&t[0].t()?, &t[1], None))
}

#[test]
fn pools_and_relu() -> Result<()> {
    for window in [Window2d::square(2, 2, 0), Window2d::square(3, 2, 1), Window2d::square(3, 1, 0)] {
        check("max_pool2d", &[&[2, 5, 6, 3]], |t| max_pool2d(&t[0], window))?;
        check("avg_pool2d", &[&[2, 5, 6, 3]], |t| avg_pool2d(&t[0], window))?;
    }
    let uneven = Window2d { kernel: (2, 3), stride: (3, 1), padding: (1, 0) };
    check("max_pool2d", &[&[1, 7, 5, 2]], |t| max_pool2d(&t[0], uneven))?;
    check("avg_pool2d", &[&[1, 7, 5, 2]], |t| avg_pool2d(&t[0], uneven))?;
    check("global_avg_pool2d", &[&[2, 3, 5, 3]], |t| global_avg_pool2d(&t[0]))?;
    check("relu", &[&[3, 7]], |t| relu(&t[0]))
}

#[test]
fn normalisations() -> Result<()> {
    let (mean, var) =
        (Var::new(&[0.1, -0.2, 0.3, 0.0, 0.1, 0.2], &Device::Cpu)?, Var::ones(6, DType::F64, &Device::Cpu)?);
    let shape: &[usize] = &[3, 3, 2, 6];
    for with_residual in [false, true] {
        for relu in [false, true] {
            let shapes: &[&[usize]] = if with_residual { &[shape, &[6], &[6], shape] } else { &[shape, &[6], &[6]] };
            for train in [true, false] {
                check(&format!("batch_norm train {train} relu {relu}"), shapes, |t| {
                    // Momentum 0 keeps the statistics of the evaluation where they are.
                    let stats = RunningStats { mean: &mean, var: &var, batches: None, momentum: 0.0 };
                    batch_norm(&t[0], &t[1], &t[2], &stats, train, 1e-5, Epilogue { residual: t.get(3), relu })
                })?;
            }
            for groups in [1, 2, 3, 6] {
                check(&format!("group_norm {groups} relu {relu}"), shapes, |t| {
                    group_norm(&t[0], groups, &t[1], &t[2], 1e-5, Epilogue { residual: t.get(3), relu })
                })?;
            }
        }
    }
    check("group_norm [b, c]", &[&[3, 6], &[6], &[6]], |t| {
        group_norm(&t[0], 2, &t[1], &t[2], 1e-5, Epilogue::default())
    })
}

#[test]
fn losses() -> Result<()> {
    let targets = Tensor::new(&[2u32, 0, 4], &Device::Cpu)?;
    let mixed = Tensor::new(&[[0., 0.3, 0.7, 0., 0.], [1., 0., 0., 0., 0.], [0.2; 5]], &Device::Cpu)?;
    for smoothing in [0.0, 0.1, 1.0] {
        check("cross_entropy", &[&[3, 5]], |t| cross_entropy(&t[0], &targets, smoothing))?;
        check("cross_entropy of distributions", &[&[3, 5]], |t| cross_entropy(&t[0], &mixed, smoothing))?;
    }
    Ok(())
}
