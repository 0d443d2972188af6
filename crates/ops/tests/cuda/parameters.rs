//! Passes over all parameters.

use super::*;
use msharp_ops::{
    AdamWStep, Rescale, SgdStep, adamw_step, add_scaled, displace, displace_by_signs, dot, save, scale, sgd_step,
    sum_of_squares,
};

/// Shapes of parameters: scalars, one that fills a block of a launch exactly and one that does not, and more of them
/// than one launch takes.
fn shapes() -> Vec<Vec<usize>> {
    let mut shapes = vec![vec![1], vec![16384], vec![40_001], vec![64, 3, 3, 3], vec![10, 512]];
    shapes.extend((1..90).map(|n| vec![n]));
    shapes
}

/// The same vectors on the CPU and on the GPU, as variables.
fn vectors(seed: u64) -> Result<[Vec<Var>; 2]> {
    let (mut cpu, mut cuda) = (Vec::new(), Vec::new());
    for (i, shape) in shapes().iter().enumerate() {
        let x = noise(shape, seed + i as u64)?;
        cpu.push(Var::from_tensor(&x)?);
        cuda.push(Var::from_tensor(&x.to_device(gpu())?)?);
    }
    Ok([cpu, cuda])
}

fn each(vars: &[Var]) -> Vec<&Tensor> {
    vars.iter().map(|var| var.as_tensor()).collect()
}

fn all(tensors: &[&Tensor]) -> Result<Vec<f64>> {
    Ok(tensors.iter().map(|tensor| values(tensor)).collect::<Result<Vec<_>>>()?.concat())
}

/// The largest difference of two vectors.
fn difference(a: &[&Tensor], b: &[&Tensor]) -> Result<f64> {
    let (a, b) = (all(a)?, all(b)?);
    assert_eq!(a.len(), b.len());
    Ok(a.iter().zip(&b).map(|(a, b)| if (a - b).is_nan() { f64::INFINITY } else { (a - b).abs() }).fold(0., f64::max))
}

#[test]
fn inner_products() -> Result<()> {
    let ([a, a_gpu], [b, b_gpu]) = (vectors(1)?, vectors(1000)?);
    let number = |x: Tensor| x.to_scalar::<f64>();
    let expected = number(dot(&each(&a), &each(&b))?)?;
    let found = number(dot(&each(&a_gpu), &each(&b_gpu))?)?;
    let size = number(sum_of_squares(&each(&a))?)?;
    assert!((found - expected).abs() < 1e-12 * size, "{found} for {expected}");
    assert!((number(sum_of_squares(&each(&a_gpu))?)? / size - 1.).abs() < 1e-12);
    assert_eq!(number(dot(&each(&a_gpu), &each(&b_gpu))?)?.to_bits(), found.to_bits());
    Ok(())
}

#[test]
fn multiples_and_sums() -> Result<()> {
    let ([x, x_gpu], [y, y_gpu]) = (vectors(1)?, vectors(1000)?);
    let (around, around_gpu) = (each(&x), each(&x_gpu));
    let given = Tensor::new(-0.7f64, &candle_core::Device::Cpu)?;
    let given_gpu = given.to_device(gpu())?;
    let lengths = [
        (Rescale::Times(-0.3), Rescale::Times(-0.3)),
        (Rescale::Of(0.1), Rescale::Of(0.1)),
        (Rescale::Relative(3e-4, &around), Rescale::Relative(3e-4, &around_gpu)),
        (Rescale::Given(&given), Rescale::Given(&given_gpu)),
    ];
    for (length, length_gpu) in lengths {
        let ((expected, f), (found, f_gpu)) = (scale(&each(&y), length)?, scale(&each(&y_gpu), length_gpu)?);
        let (f, f_gpu) = (f.to_scalar::<f64>()?, f_gpu.to_scalar::<f64>()?);
        assert!((f_gpu / f - 1.).abs() < 1e-12, "{f_gpu} for {f}");
        let (expected, found): (Vec<&Tensor>, Vec<&Tensor>) = (expected.iter().collect(), found.iter().collect());
        assert!(difference(&found, &expected)? <= 2e-7 * f.abs(), "{length:?}");
    }
    let zero = Var::zeros(5, DType::F32, gpu())?;
    assert_eq!(values(&scale(&[&zero], Rescale::Of(0.1))?.0[0])?, [0.; 5]);
    assert_eq!(values(&scale(&[&zero], Rescale::Relative(0.1, &around_gpu))?.0[0])?, [0.; 5]);
    let (expected, found) = (add_scaled(&each(&x), 0.7, &each(&y))?, add_scaled(&each(&x_gpu), 0.7, &each(&y_gpu))?);
    let (expected, found): (Vec<&Tensor>, Vec<&Tensor>) = (expected.iter().collect(), found.iter().collect());
    assert!(difference(&found, &expected)? < 2e-7);
    Ok(())
}

#[test]
fn what_is_displaced_comes_back_bit_for_bit() -> Result<()> {
    let ([x, x_gpu], [y, y_gpu]) = (vectors(1)?, vectors(1000)?);
    let before = all(&each(&x_gpu))?;
    let saved = [displace(&each(&x), 0.3, &each(&y))?, displace(&each(&x_gpu), 0.3, &each(&y_gpu))?];
    assert!(difference(&each(&x_gpu), &each(&x))? < 2e-7);
    for saved in saved {
        saved.put_back()?;
    }
    assert_eq!(all(&each(&x_gpu))?, before);

    // Random signs are the same bits on both.
    let seeds: Vec<[u8; 32]> = (0..x.len()).map(|i| [i as u8 + 1; 32]).collect();
    let (around, around_gpu) = (each(&y), each(&y_gpu));
    let lengths = [
        (Rescale::Times(0.25), Rescale::Times(0.25)),
        (Rescale::Of(4.), Rescale::Of(4.)),
        (Rescale::Relative(0.1, &around), Rescale::Relative(0.1, &around_gpu)),
    ];
    for (length, length_gpu) in lengths {
        let (saved, f) = displace_by_signs(&each(&x), &seeds, length)?;
        let (saved_gpu, f_gpu) = displace_by_signs(&each(&x_gpu), &seeds, length_gpu)?;
        assert!((f_gpu.to_scalar::<f64>()? / f.to_scalar::<f64>()? - 1.).abs() < 1e-12);
        assert!(difference(&each(&x_gpu), &each(&x))? < 2e-7, "{length:?}");
        saved.put_back()?;
        saved_gpu.put_back()?;
        assert_eq!(all(&each(&x_gpu))?, before);
    }
    let part = x_gpu[3].narrow(0, 0, 3)?;
    assert!(displace(&[&part], 1., &[&part]).map(drop).unwrap_err().to_string().contains("view"));
    Ok(())
}

#[test]
fn what_is_saved_may_change() -> Result<()> {
    let (x, n) = (Var::from_tensor(&noise(&[5, 7], 1)?.to_device(gpu())?)?, Var::new(7i64, gpu())?);
    let before = values(&x)?;
    let saved = save(&[&x, &n])?;
    assert_eq!((values(&x)?, n.to_scalar::<i64>()?), (before.clone(), 7));
    x.set(&Tensor::zeros((5, 7), DType::F32, gpu())?)?;
    n.set(&Tensor::new(8i64, gpu())?)?;
    saved.put_back()?;
    assert_eq!((values(&x)?, n.to_scalar::<i64>()?), (before, 7));
    Ok(())
}

#[test]
fn three_steps_of_sgd() -> Result<()> {
    for (momentum, nesterov) in [(0., false), (0.9, false), (0.9, true)] {
        let [x, x_gpu] = vectors(1)?;
        let decay: Vec<f64> = (0..x.len()).map(|i| if i % 2 == 0 { 5e-4 } else { 0. }).collect();
        let (mut v, mut v_gpu) = (None, None);
        for k in 0..3 {
            let [g, g_gpu] = vectors(1000 * (k + 1))?;
            let step = SgdStep { lr: 0.1, momentum, weight_decay: &decay, nesterov };
            sgd_step(&each(&x), &each(&g), &mut v, step)?;
            sgd_step(&each(&x_gpu), &each(&g_gpu), &mut v_gpu, step)?;
        }
        assert!(difference(&each(&x_gpu), &each(&x))? < 1e-6);
        assert_eq!(v_gpu.is_some(), momentum != 0.);
    }
    Ok(())
}

#[test]
fn three_steps_of_adamw() -> Result<()> {
    let [x, x_gpu] = vectors(1)?;
    let decay: Vec<f64> = (0..x.len()).map(|i| if i % 2 == 0 { 0.05 } else { 0. }).collect();
    let (mut m, mut m_gpu) = (None, None);
    for k in 0..3 {
        let [g, g_gpu] = vectors(1000 * (k + 1))?;
        let step = AdamWStep { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: &decay, t: k + 1 };
        adamw_step(&each(&x), &each(&g), &mut m, step)?;
        adamw_step(&each(&x_gpu), &each(&g_gpu), &mut m_gpu, step)?;
    }
    assert!(difference(&each(&x_gpu), &each(&x))? < 1e-6);
    Ok(())
}
