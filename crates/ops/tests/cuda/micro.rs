//! Micro-batches together on a GPU: what each contributes to the gradient, and the pass in which each sees parameters
//! of its own, against the same on the CPU in f64, which is tested against one micro-batch after another.

use crate::{ALL, error, gpu, noise, tolerance, values};
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_ops::{
    Epilogue, FeatureMap, Precision, RunningStats, attention, batch_norm, conv2d, cross_entropy, first_token, gelu,
    ghost_norms, group_norm, layer_norm, layer_scale, linear, micro_gradients, no_grad, patches, relu,
    sample_gradients, tokens, with_precision,
};

/// How far a micro-batch is displaced.
const RHO: f64 = 0.1;

/// Samples and parameters to one loss for each sample.
trait Network: Fn(&FeatureMap, &[Tensor]) -> Result<Tensor> {}
impl<F: Fn(&FeatureMap, &[Tensor]) -> Result<Tensor>> Network for F {}

/// A loss of each sample that depends on every element of `y`.
fn losses_of(y: FeatureMap) -> Result<Tensor> {
    let y = y.leave()?.flatten_from(1)?;
    let n = y.dims()[1];
    let head = (noise(&[3, n], 77)? * (2. / (n as f64).sqrt()))?.to_dtype(y.dtype())?.to_device(y.device())?;
    cross_entropy(&linear(&y, &head, None)?, &Tensor::new(vec![1u32; y.dims()[0]], y.device())?, 0.1)
}

/// A network with its parameters on a device.
struct Built<'a, N> {
    x: FeatureMap,
    vars: Vec<Var>,
    net: &'a N,
}

impl<'a, N: Network> Built<'a, N> {
    fn new(device: &Device, (x, params): (&Tensor, &[Tensor]), net: &'a N) -> Result<Self> {
        let dtype = if device.is_cpu() { DType::F64 } else { DType::F32 };
        let on_device = |x: &Tensor| x.to_dtype(dtype)?.to_device(device);
        let vars = params.iter().map(|x| Var::from_tensor(&on_device(x)?)).collect::<Result<_>>()?;
        Ok(Self { x: FeatureMap::enter(&on_device(x)?)?, vars, net })
    }

    fn losses(&self) -> Result<Tensor> {
        let params: Vec<Tensor> = self.vars.iter().map(|var| var.as_tensor().clone()).collect();
        (self.net)(&self.x, &params)
    }

    fn named(&self) -> Vec<(&'static str, &Tensor)> {
        self.vars.iter().map(|var| ("a parameter", var.as_tensor())).collect()
    }

    /// Squared norms, and the displaced losses and their gradients, and weighted sums of the micro-batches' gradients.
    /// Displaced by RHO in all parameters, of micro-batches of these norms, or the own ones.
    fn run(&self, size: usize, norms: Option<&[f64]>) -> Result<(Vec<Tensor>, Vec<f64>)> {
        let samples = self.x_samples()?;
        let clean = micro_gradients(&self.named(), samples, size, || self.losses())?;
        let norms = norms.map_or_else(|| clean.norms(), <[f64]>::to_vec);
        let scales: Vec<f64> = norms.iter().map(|norm| RHO / norm).collect();
        let weights: Vec<f64> = (0..clean.count()).map(|j| 0.3 + j as f64).collect();
        let losses = clean.displaced(&vec![scales; self.vars.len()], || {
            let (plain, recorded) = (no_grad(|| self.losses())?, self.losses()?);
            assert_eq!(values(&plain)?, values(&recorded)?, "without a graph");
            Ok(recorded)
        })?;
        let grads = losses.mean_all()?.backward()?;
        let mut found = vec![losses.detach()];
        for var in &self.vars {
            found.push(grads.get(var).expect("a gradient").flatten_all()?);
        }
        found.extend(clean.weighted(&weights)?);
        for squares in &clean.squares {
            found.push(Tensor::new(squares.as_slice(), &Device::Cpu)?);
        }
        // and afterwards nothing is displaced
        let plain = clean.displaced(&vec![vec![0.; clean.count()]; self.vars.len()], || self.losses())?;
        assert!(error(&plain, &clean.losses)? < 1e-6);
        Ok((found, norms))
    }

    fn x_samples(&self) -> Result<usize> {
        Ok(self.x.leave()?.dims()[0])
    }
}

/// Compares a network in all precisions, for every size of a micro-batch; and two runs on the GPU, to the bit. Where a
/// network has kinks, one of a thousand ReLUs may be on here and off there in reduced precision: 3 % of a gradient.
fn check(name: &str, x: &Tensor, params: &[Tensor], (slack, kinks): (f64, bool), net: impl Network) -> Result<()> {
    let b = x.dims()[0];
    for precision in ALL {
        // What bfloat16 cannot hold is no error of the op.
        let round = |x: &Tensor| match precision {
            Precision::Bf16 => x.to_dtype(DType::BF16)?.to_dtype(DType::F32),
            _ => Ok(x.clone()),
        };
        let (x, params) = (round(x)?, params.iter().map(round).collect::<Result<Vec<_>>>()?);
        let on_cpu = Built::new(&Device::Cpu, (&x, &params), &net)?;
        let on_gpu = with_precision(precision, || Built::new(gpu(), (&x, &params), &net))?;
        let kinks = if kinks && precision != Precision::F32 { 0.2 } else { 0. };
        let limit = slack * tolerance(precision) + kinks;
        for size in [1, 2, 3, b - 1, b] {
            let (expected, norms) = on_cpu.run(size, None)?;
            let run = || with_precision(precision, || on_gpu.run(size, Some(&norms)));
            let (found, again) = (run()?.0, run()?.0);
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let kind = match i {
                    0 => "the displaced losses".to_owned(),
                    i if i <= params.len() => format!("the gradient of parameter {}", i - 1),
                    i if i <= 2 * params.len() => format!("the weighted sum of parameter {}", i - 1 - params.len()),
                    i => format!("the squared norms of parameter {}", i - 1 - 2 * params.len()),
                };
                let error = error(&found.reshape(expected.shape())?, expected)?;
                assert!(error < limit, "{name}, m = {size} in {precision:?}: {kind} off by {error:e}, not {limit:e}");
            }
            for (a, b) in found.iter().zip(&again) {
                assert_eq!(values(a)?, values(b)?, "{name}, m = {size} in {precision:?}: two runs differ");
            }
        }
        let share = |built: &Built<_>| -> Result<[Tensor; 3]> {
            let ghost = ghost_norms(&built.named(), || built.losses())?;
            let shares = sample_gradients(&built.named(), b, || built.losses())?;
            let squares = Tensor::new(shares.squares.clone(), &Device::Cpu)?;
            assert_eq!(values(&ghost.squares)?.len(), b * params.len());
            assert!(error(&squares, &ghost.squares)? < limit);
            Ok([ghost.norms, ghost.squares, shares.weighted(&vec![0.5; b])?[0].flatten_all()?])
        };
        let found = with_precision(precision, || share(&on_gpu))?;
        for (found, expected) in found.iter().zip(share(&on_cpu)?) {
            let error = error(found, &expected)?;
            assert!(error < limit, "{name} in {precision:?}: what samples contribute is off by {error:e}");
        }
    }
    Ok(())
}

#[test]
fn linear_maps_of_rows_and_of_sequences() -> Result<()> {
    // One row a sample; few positions and many channels; the reverse.
    for (shape, outputs) in [(vec![5, 7], 3), (vec![5, 6, 40], 33), (vec![4, 50, 3], 4), (vec![5, 60, 30], 40)] {
        let (x, inputs) = (noise(&shape, 1)?, shape[shape.len() - 1]);
        let before = (noise(&[inputs, inputs], 4)? * (1. / inputs as f64))?;
        let params = [before, noise(&[outputs, inputs], 2)?, noise(&[outputs], 3)?];
        check(&format!("{shape:?}"), &x, &params, (3., false), |x, p| {
            losses_of(linear(&linear(x, &p[0], None)?, &p[1], Some(&p[2]))?)
        })?;
    }
    Ok(())
}

#[test]
fn convolutions_of_any_geometry() -> Result<()> {
    for (kernel, stride, padding, image, c_in, c_out) in [
        ((3, 3), (1, 1), (1, 1), (6, 5), 4, 6),
        ((3, 3), (1, 1), (1, 1), (3, 2), 40, 24),
        ((3, 3), (2, 2), (1, 1), (5, 6), 3, 20),
        ((1, 1), (2, 2), (0, 0), (5, 4), 20, 9),
        ((2, 3), (1, 2), (0, 1), (4, 5), 8, 8),
    ] {
        let x = noise(&[5, image.0, image.1, c_in], 1)?;
        let before = (noise(&[c_in, c_in], 4)? * (1. / c_in as f64))?;
        let weight = noise(&[c_out, c_in, kernel.0, kernel.1], 2)?;
        let name = format!("{kernel:?}/{stride:?} of {image:?} {c_in}→{c_out}");
        check(&name, &x, &[before, weight, noise(&[c_out], 3)?], (3., false), |x, p| {
            losses_of(conv2d(&linear(x, &p[0], None)?, &p[1], Some(&p[2]), stride, padding)?)
        })?;
    }
    Ok(())
}

#[test]
fn norms_with_everything_that_follows_them() -> Result<()> {
    let x = noise(&[5, 3, 4, 16], 1)?;
    let params = [noise(&[16, 16], 2)?, (noise(&[16], 3)? + 1.5)?, noise(&[16], 4)?];
    let (mean, var) = (noise(&[16], 5)?, (noise(&[16], 6)?.sqr()? + 0.5)?);
    for (residual, relu) in [(false, false), (false, true), (true, false), (true, true)] {
        let slack = (4., relu);
        check(&format!("group norm, {residual} {relu}"), &x, &params, slack, |x, p| {
            let h = linear(x, &p[0], None)?;
            losses_of(group_norm(&h, 4, &p[1], &p[2], 1e-5, Epilogue { residual: residual.then_some(x), relu })?)
        })?;
        for train in [true, false] {
            check(&format!("batch norm, {train} {residual} {relu}"), &x, &params, slack, |x, p| {
                let of = |x: &Tensor| Var::from_tensor(&x.to_dtype(p[1].dtype())?.to_device(p[1].device())?);
                let (mean, var) = (of(&mean)?, of(&var)?);
                let stats = RunningStats { mean: &mean, var: &var, batches: None, momentum: 0.1 };
                let epilogue = Epilogue { residual: residual.then_some(x), relu };
                losses_of(batch_norm(&linear(x, &p[0], None)?, &p[1], &p[2], &stats, train, 1e-2, epilogue)?)
            })?;
        }
    }
    Ok(())
}

#[test]
fn layers_of_a_transformer() -> Result<()> {
    let images = noise(&[5, 4, 4, 3], 7)?;
    let params = [
        noise(&[16, 3, 2, 2], 8)?,
        noise(&[1, 1, 16], 5)?,
        noise(&[1, 5, 16], 9)?,
        (noise(&[16], 3)? + 1.5)?,
        noise(&[16], 4)?,
        noise(&[48, 16], 10)?,
        noise(&[48], 11)?,
        noise(&[16], 13)?,
        noise(&[40, 16], 14)?,
        noise(&[16, 40], 15)?,
    ];
    let params: Vec<Tensor> = params.iter().map(|x| x * 0.5).collect::<Result<_>>()?;
    check("a transformer", &images, &params, (10., false), |x, p| {
        let h = linear(&patches(x, 2)?, &p[0], None)?;
        let h = layer_norm(&tokens(&h, &p[1], &p[2])?, &p[3], &p[4], 1e-5)?;
        let y = attention(&linear(&h, &p[5], Some(&p[6]))?, 4)?;
        let h = layer_scale(&h, &y, &p[7])?;
        losses_of(first_token(&linear(&gelu(&linear(&h, &p[8], None)?)?, &p[9], None)?)?)
    })
}

/// Running statistics move once for each micro-batch, in order.
#[test]
fn running_statistics_are_those_of_one_micro_batch_after_another() -> Result<()> {
    let x = noise(&[7, 3, 2, 6], 1)?.to_device(gpu())?;
    let var = |shape: &[usize], seed| Var::from_tensor(&noise(shape, seed)?.to_device(gpu())?);
    let (weight, bias) = (var(&[6], 3)?, var(&[6], 4)?);
    let fresh = || -> Result<_> { Ok((var(&[6], 5)?, var(&[6], 6)?, Var::new(3i64, gpu())?)) };
    let run = |x: &Tensor, (mean, var, batches): &(Var, Var, Var)| {
        let stats = RunningStats { mean, var, batches: Some(batches), momentum: 0.1 };
        let y = batch_norm(&FeatureMap::enter(x)?, &weight, &bias, &stats, true, 1e-5, Epilogue::default())?;
        losses_of(relu(&y)?)
    };
    let (together, apart) = (fresh()?, fresh()?);
    let params: [(&str, &Tensor); 2] = [("weight", &weight), ("bias", &bias)];
    micro_gradients(&params, 7, 3, || run(&x, &together))?;
    for (start, len) in [(0, 3), (3, 3), (6, 1)] {
        run(&x.narrow(0, start, len)?.contiguous()?, &apart)?;
    }
    assert!(error(&together.0, &apart.0)? < 1e-6 && error(&together.1, &apart.1)? < 1e-6);
    assert_eq!((together.2.to_scalar::<i64>()?, apart.2.to_scalar::<i64>()?), (6, 6));
    let rows = x.narrow(1, 0, 1)?.narrow(2, 0, 1)?.contiguous()?;
    let error = micro_gradients(&params, 7, 3, || run(&rows, &together)).unwrap_err().to_string();
    assert!(error.contains("more than 1 value per channel"), "{error}");
    Ok(())
}
