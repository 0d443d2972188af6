//! Micro-batches displaced together, against one after another.

use crate::shapes::SHAPES;
use crate::{noise, values};
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_ops::{
    Epilogue, FeatureMap, RunningStats, attention, batch_norm, conv2d, cross_entropy, first_token, gelu, group_norm,
    layer_norm, layer_scale, linear, micro_gradients, no_grad, patches, relu, sample_gradients, tokens, weighted_sum,
};
use std::sync::Arc;

type Named<'a> = (&'static str, &'a Var);

/// How far a micro-batch is displaced.
const RHO: f64 = 0.1;

fn var(shape: &[usize], seed: u64, dtype: DType) -> Result<Var> {
    Var::from_tensor(&noise(shape, seed, dtype)?)
}

fn named<'a>(params: &[Named<'a>]) -> Vec<(&'static str, &'a Tensor)> {
    params.iter().map(|(name, var)| (*name, var.as_tensor())).collect()
}

/// A loss of each sample that depends on every element of `y` `[b, ..]`.
fn losses_of(y: &Tensor) -> Result<Tensor> {
    let y = if y.rank() > 2 { y.flatten_from(1)? } else { y.clone() };
    let factors = noise(&y.dims()[1..], 77, y.dtype())?;
    (y.broadcast_mul(&factors)?.sqr()? + y.broadcast_mul(&factors)?)?.sum(1)
}

/// Gradients of the parameters, as f64.
type Grads = Vec<Vec<f64>>;

fn gradients(params: &[Named], loss: &Tensor) -> Result<Grads> {
    let grads = loss.backward()?;
    params.iter().map(|(name, var)| values(grads.get(var).expect(name))).collect()
}

fn squares(grads: &Grads) -> Vec<f64> {
    grads.iter().map(|grad| grad.iter().map(|g| g * g).sum()).collect()
}

/// The descent gradient of m-SAM, the displaced losses, and the squared norms of the ascent gradients, by definition:
/// one micro-batch after another, with weights that move.
fn one_by_one(
    params: &[Named],
    x: &Tensor,
    size: usize,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<(Grads, Vec<f64>, Grads)> {
    let b = x.dim(0)?;
    let (mut sum, mut losses, mut norms) = (vec![vec![]; params.len()], vec![], vec![]);
    for start in (0..b).step_by(size) {
        let part = x.narrow(0, start, size.min(b - start))?;
        let share = part.dim(0)? as f64 / b as f64;
        let g = gradients(params, &f(&part)?.mean_all()?)?;
        let scale = RHO / squares(&g).iter().sum::<f64>().sqrt();
        let before: Vec<Tensor> = params.iter().map(|(_, var)| var.copy()).collect::<Result<_>>()?;
        for ((_, var), g) in params.iter().zip(&g) {
            let epsilon = Tensor::from_slice(g, var.shape(), &Device::Cpu)?.affine(scale, 0.)?;
            var.set(&(var.to_dtype(DType::F64)? + epsilon)?.to_dtype(var.dtype())?.detach())?;
        }
        let displaced = f(&part)?;
        let sharp = gradients(params, &displaced.mean_all()?)?;
        for ((_, var), before) in params.iter().zip(&before) {
            var.set(before)?;
        }
        losses.extend(values(&displaced)?);
        norms.push(squares(&g));
        for (sum, sharp) in sum.iter_mut().zip(sharp) {
            sum.resize(sharp.len(), 0.);
            sum.iter_mut().zip(sharp).for_each(|(sum, g)| *sum += share * g);
        }
    }
    Ok((sum, losses, norms))
}

fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    off / norm(&mut expected.iter().copied()).max(1e-300)
}

/// That all micro-batches together are what one after another is, for sizes that divide the batch and that do not.
fn assert_same(what: &str, params: &[Named], x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
    let b = x.dim(0)?;
    let tolerance = if x.dtype() == DType::F64 { 1e-10 } else { 2e-4 };
    for size in [1, 2, 3, b - 1, b] {
        let (expected, expected_losses, expected_squares) = one_by_one(params, x, size, &f)?;
        let clean = micro_gradients(&named(params), b, size, || f(x))?;
        for (p, (name, _)) in params.iter().enumerate() {
            let of_one: Vec<f64> = expected_squares.iter().map(|squares| squares[p]).collect();
            let off = distance(&clean.squares[p], &of_one);
            assert!(off < tolerance, "{what}, m = {size}: ‖g‖² of {name} is off by {off:e}");
        }
        let norm = |j: usize| clean.squares.iter().map(|squares| squares[j]).sum::<f64>().sqrt();
        let scales: Vec<f64> = (0..clean.count()).map(|j| RHO / norm(j)).collect();
        let scales = vec![scales; params.len()];
        let losses = clean.displaced(&scales, || {
            assert_eq!(values(&no_grad(|| f(x))?)?, values(&f(x)?)?, "{what}: without a graph");
            f(x)
        })?;
        let found = gradients(params, &losses.mean_all()?)?;
        for (((name, _), found), expected) in params.iter().zip(&found).zip(&expected) {
            let off = distance(found, expected);
            assert!(off < tolerance, "{what}, m = {size}: the gradient of {name} is off by {off:e}");
        }
        let off = distance(&values(&losses)?, &expected_losses);
        assert!(off < tolerance, "{what}, m = {size}: the displaced losses are off by {off:e}");
        // and afterwards nothing is displaced
        let zero = vec![vec![0.; clean.count()]; params.len()];
        let plain = clean.displaced(&zero, || f(x))?;
        assert!(distance(&values(&plain)?, &values(&clean.losses)?) < 1e-12, "{what}");
        // the sums of the micro-batches' gradients are those of weighted losses
        let weights: Vec<f64> = (0..clean.count()).map(|j| 0.3 + j as f64).collect();
        let of_samples = weights.iter().zip(clean.sizes()).flat_map(|(w, m)| vec![w / m as f64; m]);
        let of_samples = Tensor::from_iter(of_samples, &Device::Cpu)?;
        let weighted = gradients(params, &weighted_sum(&clean.losses, Some(&of_samples))?)?;
        for ((found, expected), (name, _)) in clean.weighted(&weights)?.iter().zip(&weighted).zip(params) {
            let off = distance(&values(found)?, expected);
            assert!(off < tolerance, "{what}, m = {size}: the weighted gradient of {name} is off by {off:e}");
        }
    }
    Ok(())
}

#[test]
fn linear_maps_of_rows_and_of_sequences() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        // One row a sample; few positions and many channels; the reverse; positions in two dimensions.
        for (shape, outputs) in
            [(vec![5, 7], 3), (vec![5, 6, 40], 33), (vec![4, 50, 3], 4), (vec![6, 2, 3, 9], 17), (vec![5, 60, 30], 40)]
        {
            let (x, inputs) = (noise(&shape, 1, dtype)?, shape[shape.len() - 1]);
            let (weight, bias) = (var(&[outputs, inputs], 2, dtype)?, var(&[outputs], 3, dtype)?);
            let (before, scale) = (var(&[inputs, inputs], 4, dtype)?, 1. / inputs as f64);
            let net =
                |x: &Tensor| losses_of(&linear(&linear(&x.affine(scale, 0.)?, &before, None)?, &weight, Some(&bias))?);
            let all: [Named; 3] = [("before", &before), ("weight", &weight), ("bias", &bias)];
            assert_same(&format!("{shape:?}"), &all, &x, net)?;
            assert_same(&format!("{shape:?}, weights"), &all[..2], &x, net)?;
            assert_same(&format!("{shape:?}, the bias"), &all[2..], &x, net)?;
        }
    }
    Ok(())
}

#[test]
fn convolutions_of_any_geometry() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        for shape in SHAPES {
            let (kernel, stride, padding, image, c_in, c_out) = shape;
            let x = noise(&[5, image.0, image.1, c_in], 1, dtype)?;
            // A layer before it, so that the gradient of its input counts.
            let (before, scale) = (var(&[c_in, c_in], 4, dtype)?, 1. / (c_in as f64));
            let weight = var(&[c_out, c_in, kernel.0, kernel.1], 2, dtype)?;
            let bias = var(&[c_out], 3, dtype)?;
            let net = |x: &Tensor| {
                let h = linear(&FeatureMap::enter(&x.affine(scale, 0.)?)?, &before, None)?;
                losses_of(&conv2d(&h, &weight, Some(&bias), stride, padding)?.leave()?)
            };
            let all: [Named; 3] = [("before", &before), ("weight", &weight), ("bias", &bias)];
            assert_same(&format!("{shape:?}"), &all, &x, net)?;
        }
    }
    Ok(())
}

#[test]
fn norms_with_everything_that_follows_them() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let (x, w) = (noise(&[5, 3, 4, 12], 1, dtype)?, var(&[12, 12], 2, dtype)?);
        let (weight, bias) = (var(&[12], 3, dtype)?, var(&[12], 4, dtype)?);
        let (mean, variance) = (var(&[12], 5, dtype)?, Var::from_tensor(&noise(&[12], 6, dtype)?.sqr()?)?);
        let params: [Named; 3] = [("w", &w), ("weight", &weight), ("bias", &bias)];
        for (residual, relu) in [(false, false), (false, true), (true, false), (true, true)] {
            let through = |x: &Tensor, norm: &dyn Fn(&Tensor, Epilogue) -> Result<Tensor>| {
                let h = linear(x, &w, None)?;
                losses_of(&norm(&h, Epilogue { residual: residual.then_some(x), relu })?)
            };
            let group = |x: &Tensor| through(x, &|h, epilogue| group_norm(h, 3, &weight, &bias, 1e-5, epilogue));
            assert_same("group norm", &params, &x, group)?;
            assert_same("the affine part of a group norm", &params[1..], &x, group)?;
            for train in [true, false] {
                let stats = RunningStats { mean: &mean, var: &variance, batches: None, momentum: 0. };
                let batch = |x: &Tensor| {
                    through(x, &|h, epilogue| batch_norm(h, &weight, &bias, &stats, train, 1e-2, epilogue))
                };
                assert_same(&format!("batch norm, training {train}"), &params, &x, batch)?;
            }
        }
    }
    Ok(())
}

/// Running statistics move once for each micro-batch, in order.
#[test]
fn running_statistics_are_those_of_one_micro_batch_after_another() -> Result<()> {
    let (x, dtype) = (noise(&[7, 3, 2, 6], 1, DType::F64)?, DType::F64);
    let (weight, bias) = (var(&[6], 3, dtype)?, var(&[6], 4, dtype)?);
    let fresh = || -> Result<_> { Ok((var(&[6], 5, dtype)?, var(&[6], 6, dtype)?, Var::new(3i64, &Device::Cpu)?)) };
    let run = |x: &Tensor, (mean, var, batches): &(Var, Var, Var)| {
        let stats = RunningStats { mean, var, batches: Some(batches), momentum: 0.1 };
        losses_of(&batch_norm(x, &weight, &bias, &stats, true, 1e-5, Epilogue::default())?)
    };
    let (together, apart) = (fresh()?, fresh()?);
    micro_gradients(&[("weight", &weight), ("bias", &bias)], 7, 3, || run(&x, &together))?;
    for (start, len) in [(0, 3), (3, 3), (6, 1)] {
        run(&x.narrow(0, start, len)?, &apart)?;
    }
    assert!(distance(&values(&together.0)?, &values(&apart.0)?) < 1e-13);
    assert!(distance(&values(&together.1)?, &values(&apart.1)?) < 1e-13);
    assert_eq!((together.2.to_scalar::<i64>()?, apart.2.to_scalar::<i64>()?), (6, 6));
    let rows = x.narrow(1, 0, 1)?.narrow(2, 0, 1)?.contiguous()?;
    let params: [(&str, &Tensor); 2] = [("weight", &weight), ("bias", &bias)];
    let error = micro_gradients(&params, 7, 3, || run(&rows, &together)).unwrap_err().to_string();
    assert!(error.contains("more than 1 value per channel"), "{error}");
    Ok(())
}

#[test]
fn layers_of_a_transformer() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let images = noise(&[5, 4, 4, 3], 7, dtype)?;
        let v = |shape: &[usize], seed| var(shape, seed, dtype);
        let (weight, bias, gamma) = (v(&[12], 3)?, v(&[12], 4)?, v(&[12], 13)?);
        let (class, positions) = (v(&[1, 1, 12], 5)?, v(&[1, 5, 12], 9)?);
        let (filters, qkv, shift) = (v(&[12, 3, 2, 2], 8)?, v(&[36, 12], 10)?, v(&[36], 11)?);
        let (w1, w2, head) = (v(&[40, 12], 14)?, v(&[12, 40], 15)?, v(&[3, 12], 16)?);
        let params: [Named; 11] = [
            ("filters", &filters),
            ("class", &class),
            ("positions", &positions),
            ("weight", &weight),
            ("bias", &bias),
            ("qkv", &qkv),
            ("shift", &shift),
            ("gamma", &gamma),
            ("w1", &w1),
            ("w2", &w2),
            ("head", &head),
        ];
        assert_same("a transformer", &params, &images, |images| {
            let h = linear(&patches(&FeatureMap::enter(images)?, 2)?, &filters, None)?;
            let h = layer_norm(&tokens(&h, &class, &positions)?, &weight, &bias, 1e-5)?;
            let y = attention(&linear(&h, &qkv, Some(&shift))?, 3)?;
            let h = layer_scale(&h, &y, &gamma)?;
            let h = linear(&gelu(&linear(&h, &w1, None)?)?, &w2, None)?;
            let logits = linear(&first_token(&h)?, &head, None)?.leave()?;
            cross_entropy(&logits, &Tensor::new(vec![1u32; images.dim(0)?], &Device::Cpu)?, 0.1)
        })?;
    }
    Ok(())
}

/// A parameter with scale 0 does not move, and one that is not in the list has its ordinary gradient.
#[test]
fn some_parameters_move_and_others_do_not() -> Result<()> {
    let dtype = DType::F64;
    let (x, w1, w2) = (noise(&[4, 6], 1, dtype)?, var(&[8, 6], 2, dtype)?, var(&[3, 8], 3, dtype)?);
    let f = |x: &Tensor| losses_of(&linear(&relu(&linear(x, &w1, None)?)?, &w2, None)?);
    let all: [Named; 2] = [("w1", &w1), ("w2", &w2)];
    let both = micro_gradients(&named(&all), 4, 1, || f(&x))?;
    let alone = micro_gradients(&named(&all[1..]), 4, 1, || f(&x))?;
    let c = vec![0.01, 0.02, 0.03, 0.04];
    let masked = gradients(&all, &both.displaced(&[vec![0.; 4], c.clone()], || f(&x))?.mean_all()?)?;
    let listed = gradients(&all, &alone.displaced(&[c], || f(&x))?.mean_all()?)?;
    assert_eq!(masked, listed);
    Ok(())
}

#[test]
fn what_cannot_be_displaced_is_named_and_nothing_stays_displaced() -> Result<()> {
    let dtype = DType::F64;
    let (x, w, v) = (noise(&[4, 3], 1, dtype)?, var(&[3, 3], 2, dtype)?, var(&[3, 3], 3, dtype)?);
    let all: [Named; 2] = [("w", &w), ("v", &v)];
    let f = |x: &Tensor| losses_of(&linear(&linear(x, &w, None)?, &v, None)?);
    let says = |result: Result<()>, part: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    let twice = || losses_of(&linear(&linear(&x, &w, None)?, &w, None)?);
    says(micro_gradients(&named(&all[..1]), 4, 2, twice).map(drop), "micro_gradients: parameter \"w\" is shared by 2");
    says(micro_gradients(&named(&all), 4, 2, || losses_of(&x.matmul(&w)?)).map(drop), "is used by no op");
    says(micro_gradients(&named(&all), 4, 0, || f(&x)).map(drop), "is 0");
    says(micro_gradients(&named(&all), 5, 2, || f(&x)).map(drop), "5 samples have 4 losses");
    says(sample_gradients(&named(&all), 5, || f(&x)).map(drop), "5 samples have 4 losses");
    let clean = micro_gradients(&named(&all), 4, 2, || f(&x))?;
    let c = vec![vec![0.1, 0.2]; 2];
    says(clean.displaced(&c[..1], || f(&x)).map(drop), "expected 2 scales for each of 2 parameters");
    says(clean.displaced(&c, || f(&x.narrow(0, 0, 3)?)).map(drop), "3 samples are displaced by the gradients of 4");
    says(clean.weighted(&[1.]).map(drop), "2 micro-batches have 1 weights");
    let before = values(&f(&x)?)?;
    says(clean.displaced(&c, || -> Result<()> { candle_core::bail!("inside") }), "inside");
    let panics = || clean.displaced(&c, || -> Result<()> { panic!("inside") });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert_eq!(values(&f(&x)?)?, before);
    assert_ne!(values(&clean.displaced(&c, || f(&x))?)?, before);
    Ok(())
}

/// Weighted sums of the samples' gradients, under batch normalisation the shares of the gradient.
#[test]
fn sample_gradients_are_those_of_ghost_norms() -> Result<()> {
    let dtype = DType::F64;
    let (x, w) = (noise(&[5, 3, 2, 4], 1, dtype)?, var(&[6, 4], 2, dtype)?);
    let (weight, bias) = (var(&[6], 3, dtype)?, var(&[6], 4, dtype)?);
    let (mean, variance) = (var(&[6], 5, dtype)?, var(&[6], 6, dtype)?);
    let stats = RunningStats { mean: &mean, var: &variance, batches: None, momentum: 0.1 };
    let params: [Named; 3] = [("w", &w), ("weight", &weight), ("bias", &bias)];
    let f = || losses_of(&batch_norm(&linear(&x, &w, None)?, &weight, &bias, &stats, true, 1e-2, Epilogue::default())?);
    let (found, ghost) = (sample_gradients(&named(&params), 5, f)?, msharp_ops::ghost_norms(&named(&params), f)?);
    assert!(found.coupled && ghost.coupled);
    assert!(distance(&found.squares.concat(), &values(&ghost.squares)?) < 1e-12);
    let sum = gradients(&params, &found.losses.sum_all()?)?;
    for (found, expected) in found.weighted(&[1.; 5])?.iter().zip(&sum) {
        assert!(distance(&values(found)?, expected) < 1e-12);
    }
    Ok(())
}

/// What is kept of a clean pass is inputs and gradients of layers, and not the graph between them.
#[test]
fn no_graph_outlives_its_losses() -> Result<()> {
    let dtype = DType::F64;
    let (x, w1, w2) = (noise(&[4, 6], 1, dtype)?, var(&[8, 6], 2, dtype)?, var(&[30, 8], 3, dtype)?);
    let params: [Named; 2] = [("w1", &w1), ("w2", &w2)];
    let traced = Arc::new(());
    let f = || {
        let held = traced.clone();
        let h = msharp_ops::on_backward(&linear(&x, &w1, None)?, move || drop(held.clone()))?;
        losses_of(&linear(&h, &w2, None)?)
    };
    for size in [1, 2] {
        let mut clean = micro_gradients(&named(&params), 4, size, f)?;
        assert_eq!(Arc::strong_count(&traced), 2, "the losses have their graph");
        clean.losses = clean.losses.detach();
        assert_eq!(Arc::strong_count(&traced), 1, "m = {size}");
    }
    Ok(())
}

/// Where no parameter is displaced, each micro-batch is still computed as if it were alone.
#[test]
fn micro_batches_without_parameters_are_still_alone() -> Result<()> {
    let (x, dtype) = (noise(&[6, 3], 1, DType::F64)?, DType::F64);
    let (weight, bias, mean, variance) =
        (var(&[3], 2, dtype)?, var(&[3], 3, dtype)?, var(&[3], 4, dtype)?, var(&[3], 5, dtype)?);
    let f = || {
        let stats = RunningStats { mean: &mean, var: &variance, batches: None, momentum: 0. };
        losses_of(&batch_norm(&x, &weight, &bias, &stats, true, 1e-2, Epilogue::default())?)
    };
    let clean = micro_gradients(&[], 6, 2, f)?;
    assert_eq!(values(&clean.displaced(&[], f)?)?, values(&clean.losses)?);
    assert_ne!(values(&f()?)?, values(&clean.losses)?);
    let error = msharp_ops::ghost_norms(&[], f).unwrap_err().to_string();
    assert!(error.contains("there are no parameters"), "{error}");
    Ok(())
}
