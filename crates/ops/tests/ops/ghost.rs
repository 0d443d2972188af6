//! Ghost norms against one backward pass for each sample.

use crate::shapes::SHAPES;
use crate::{noise, values};
use candle_core::{DType, Result, Tensor, Var};
use msharp_ops::{
    Epilogue, FeatureMap, GhostNorms, RunningStats, attention, batch_norm, conv2d, cross_entropy, first_token, gelu,
    ghost_norms, group_norm, layer_norm, layer_scale, linear, patches, profile, relu, tokens,
};

type Named<'a> = (&'static str, &'a Var);

fn var(shape: &[usize], seed: u64, dtype: DType) -> Result<Var> {
    Var::from_tensor(&noise(shape, seed, dtype)?)
}

/// A loss of each sample that depends on every element of `y` `[b, ..]`.
fn losses_of(y: &Tensor) -> Result<Tensor> {
    let y = if y.rank() > 2 { y.flatten_from(1)? } else { y.clone() };
    let factors = noise(&y.dims()[1..], 77, y.dtype())?;
    (y.broadcast_mul(&factors)?.sqr()? + y.broadcast_mul(&factors)?)?.sum(1)
}

fn named<'a>(params: &[Named<'a>]) -> Vec<(&'static str, &'a Tensor)> {
    params.iter().map(|(name, var)| (*name, var.as_tensor())).collect()
}

/// ‖∂ℓᵢ/∂param‖ of every parameter and sample, `[p][b]`, by as many backward passes as there are samples.
fn exact(params: &[Named], losses: &Tensor) -> Result<Vec<Vec<f64>>> {
    let mut norms = vec![vec![]; params.len()];
    for i in 0..losses.dim(0)? {
        let grads = losses.get(i)?.backward()?;
        for (norms, (name, var)) in norms.iter_mut().zip(params) {
            let grad = values(grads.get(var).expect(name))?;
            norms.push(grad.iter().map(|g| g * g).sum::<f64>().sqrt());
        }
    }
    Ok(norms)
}

/// That the ghost norms of `losses` are the exact ones, for each parameter, and that a second backward gives gradients.
fn assert_exact(what: &str, params: &[Named], losses: impl Fn() -> Result<Tensor>) -> Result<()> {
    let GhostNorms { losses: open, norms, squares, coupled, uncoupled } = ghost_norms(&named(params), &losses)?;
    assert!(!coupled && uncoupled.iter().all(|apart| *apart));
    let expected = exact(params, &losses()?)?;
    let tolerance = if open.dtype() == DType::F64 { 1e-10 } else { 1e-4 };
    let b = open.dim(0)?;
    let squares = values(&squares)?;
    for (p, (name, _)) in params.iter().enumerate() {
        for i in 0..b {
            let (found, expected) = (squares[p * b + i].sqrt(), expected[p][i]);
            assert!((found / expected - 1.).abs() < tolerance, "{what}, {name}, sample {i}: {found} for {expected}");
        }
    }
    for (i, norm) in values(&norms)?.into_iter().enumerate() {
        let expected = expected.iter().map(|norms| norms[i].powi(2)).sum::<f64>().sqrt();
        assert!((norm / expected - 1.).abs() < tolerance, "{what}: {norm} for {expected}");
    }
    let (again, fresh) = (open.sum_all()?.backward()?, losses()?.sum_all()?.backward()?);
    for (name, var) in params {
        let of = |grads: &candle_core::backprop::GradStore| values(grads.get(var).expect(name));
        assert_eq!(of(&again)?, of(&fresh)?, "{what}: the gradient of {name} after the norms");
    }
    Ok(())
}

#[test]
fn linear_maps_of_rows_and_of_sequences() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        // One row a sample; few positions and many channels; the reverse; positions in two dimensions.
        for (shape, outputs) in
            [(vec![5, 7], 3), (vec![3, 6, 40], 33), (vec![3, 50, 3], 4), (vec![2, 3, 4, 9], 17), (vec![1, 20, 8], 1)]
        {
            let (x, inputs) = (noise(&shape, 1, dtype)?, shape[shape.len() - 1]);
            let (weight, bias) = (var(&[outputs, inputs], 2, dtype)?, var(&[outputs], 3, dtype)?);
            let with = || losses_of(&linear(&x, &weight, Some(&bias))?);
            assert_exact(&format!("{shape:?}"), &[("weight", &weight), ("bias", &bias)], with)?;
            assert_exact(&format!("{shape:?}"), &[("weight", &weight)], || losses_of(&linear(&x, &weight, None)?))?;
        }
    }
    Ok(())
}

#[test]
fn convolutions_of_any_geometry() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        for shape in SHAPES {
            let (kernel, stride, padding, image, c_in, c_out) = shape;
            let x = noise(&[3, image.0, image.1, c_in], 1, dtype)?;
            let weight = var(&[c_out, c_in, kernel.0, kernel.1], 2, dtype)?;
            let bias = var(&[c_out], 3, dtype)?;
            let tensors = || losses_of(&conv2d(&x, &weight, Some(&bias), stride, padding)?);
            assert_exact(&format!("{shape:?}"), &[("weight", &weight), ("bias", &bias)], tensors)?;
            let maps = || losses_of(&conv2d(&FeatureMap::enter(&x)?, &weight, None, stride, padding)?.leave()?);
            assert_exact(&format!("{shape:?}, map"), &[("weight", &weight)], maps)?;
        }
    }
    Ok(())
}

#[test]
fn norms_with_everything_that_follows_them() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let (x, residual) = (noise(&[3, 5, 4, 12], 1, dtype)?, noise(&[3, 5, 4, 12], 2, dtype)?);
        let (weight, bias) = (var(&[12], 3, dtype)?, var(&[12], 4, dtype)?);
        let params: [Named; 2] = [("weight", &weight), ("bias", &bias)];
        for (residual, relu) in [(None, false), (None, true), (Some(&residual), false), (Some(&residual), true)] {
            let epilogue = Epilogue { residual, relu };
            let group = || losses_of(&group_norm(&x, 3, &weight, &bias, 1e-5, epilogue)?);
            assert_exact("group norm", &params, group)?;
            assert_exact("the weight of a group norm", &params[..1], group)?;
            assert_exact("the bias of a group norm", &params[1..], group)?;
            // in evaluation the statistics are constants
            let (mean, var) = (var(&[12], 5, dtype)?, Var::from_tensor(&noise(&[12], 6, dtype)?.sqr()?)?);
            let stats = RunningStats { mean: &mean, var: &var, batches: None, momentum: 0.1 };
            let evaluated = || losses_of(&batch_norm(&x, &weight, &bias, &stats, false, 1e-2, epilogue)?);
            assert_exact("batch norm in evaluation", &params, evaluated)?;
        }
    }
    Ok(())
}

/// Every op of a vision transformer that has parameters, alone and together.
#[test]
fn layers_of_a_transformer() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let x = noise(&[3, 5, 12], 1, dtype)?;
        let (weight, bias) = (var(&[12], 3, dtype)?, var(&[12], 4, dtype)?);
        for x in [&x, &x.narrow(1, 0, 1)?.squeeze(1)?] {
            let norm = || losses_of(&layer_norm(x, &weight, &bias, 1e-5)?);
            assert_exact("layer norm", &[("weight", &weight), ("bias", &bias)], norm)?;
            assert_exact("the bias of a layer norm", &[("bias", &bias)], norm)?;
        }
        let (branch, gamma) = (noise(&[3, 5, 12], 12, dtype)?, var(&[12], 13, dtype)?);
        let row = branch.narrow(1, 0, 1)?.squeeze(1)?;
        for (h, branch) in [(&x, &branch), (&row, &row)] {
            assert_exact("layer scale", &[("gamma", &gamma)], || losses_of(&layer_scale(h, branch, &gamma)?))?;
        }
        let (class, positions) = (var(&[1, 1, 12], 5, dtype)?, var(&[1, 6, 12], 6, dtype)?);
        let embedded = || losses_of(&tokens(&x, &class, &positions)?);
        assert_exact("tokens", &[("class", &class), ("positions", &positions)], embedded)?;

        let images = noise(&[3, 4, 4, 3], 7, dtype)?;
        let (filters, positions) = (var(&[12, 3, 2, 2], 8, dtype)?, var(&[1, 5, 12], 9, dtype)?);
        let (qkv, shift) = (var(&[36, 12], 10, dtype)?, var(&[36], 11, dtype)?);
        let params: [Named; 8] = [
            ("filters", &filters),
            ("class", &class),
            ("positions", &positions),
            ("weight", &weight),
            ("bias", &bias),
            ("qkv", &qkv),
            ("shift", &shift),
            ("gamma", &gamma),
        ];
        assert_exact("a transformer", &params, || {
            let h = linear(&patches(&FeatureMap::enter(&images)?, 2)?, &filters, None)?;
            let h = layer_norm(&tokens(&h, &class, &positions)?, &weight, &bias, 1e-5)?;
            let y = gelu(&attention(&linear(&h, &qkv, Some(&shift))?, 3)?)?;
            let h = layer_scale(&h, &y, &gamma)?;
            losses_of(&first_token(&h)?.leave()?)
        })?;
    }
    Ok(())
}

/// Two layers, batch normalisation between them, in which sample i has parameters of its own.
struct Coupled {
    x: Tensor,
    targets: Tensor,
    stats: [Var; 2],
}

impl Coupled {
    /// Losses where `of(layer, x, i)` is a layer's result for sample `i`'s input.
    fn losses(&self, normalised: &[Tensor; 2], of: impl Fn(&str, &Tensor, usize) -> Result<Tensor>) -> Result<Tensor> {
        let each = |layer: &str, x: &Tensor| {
            Tensor::cat(&(0..x.dim(0)?).map(|i| of(layer, &x.narrow(0, i, 1)?, i)).collect::<Result<Vec<_>>>()?, 0)
        };
        let stats = RunningStats { mean: &self.stats[0], var: &self.stats[1], batches: None, momentum: 0.1 };
        let [one, zero] = normalised;
        let h = each("first", &self.x)?;
        let h = batch_norm(&h, one, zero, &stats, true, 1e-5, Epilogue::default())?;
        cross_entropy(&each("second", &relu(&each("norm", &h)?)?)?, &self.targets, 0.)
    }
}

/// What is documented: a share is the gradient of Σⱼℓⱼ in a copy of the parameters that sample i alone uses. Here the
/// copies are variables, and batch normalisation's scale and shift are products with them.
#[test]
fn under_batch_normalisation_a_share_is_the_gradient_in_a_copy_of_ones_own() -> Result<()> {
    let (b, dtype) = (5, DType::F64);
    let coupled = Coupled {
        x: noise(&[b, 4], 1, dtype)?,
        targets: Tensor::new(&[0u32, 1, 2, 0, 1], &candle_core::Device::Cpu)?,
        stats: [var(&[6], 8, dtype)?, Var::from_tensor(&noise(&[6], 9, dtype)?.sqr()?)?],
    };
    let (w1, w2) = (var(&[6, 4], 2, dtype)?, var(&[3, 6], 3, dtype)?);
    let (gamma, beta) = (var(&[6], 4, dtype)?, var(&[6], 5, dtype)?);
    let params: [Named; 4] = [("w1", &w1), ("w2", &w2), ("gamma", &gamma), ("beta", &beta)];
    let together = || {
        let stats = RunningStats { mean: &coupled.stats[0], var: &coupled.stats[1], batches: None, momentum: 0.1 };
        let epilogue = Epilogue { residual: None, relu: true };
        let h = batch_norm(&linear(&coupled.x, &w1, None)?, &gamma, &beta, &stats, true, 1e-5, epilogue)?;
        cross_entropy(&linear(&h, &w2, None)?, &coupled.targets, 0.)
    };
    let found = ghost_norms(&named(&params), together)?;
    assert!(found.coupled, "batch normalisation in training couples samples");

    let copies = |var: &Var| (0..b).map(|_| Var::from_tensor(&var.as_detached_tensor())).collect::<Result<Vec<_>>>();
    let (w1s, w2s, gammas, betas) = (copies(&w1)?, copies(&w2)?, copies(&gamma)?, copies(&beta)?);
    let (one, zero) = (gamma.ones_like()?, gamma.zeros_like()?);
    let losses = coupled.losses(&[one, zero], |layer, x, i| match layer {
        "first" => x.matmul(&w1s[i].t()?),
        "norm" => x.broadcast_mul(&gammas[i])?.broadcast_add(&betas[i]),
        _ => x.matmul(&w2s[i].t()?),
    })?;
    let (same, open) = (values(&losses)?, values(&found.losses)?);
    assert!(same.iter().zip(open).all(|(a, b)| (a - b).abs() < 1e-12));
    let grads = losses.sum_all()?.backward()?;
    let whole = found.losses.sum_all()?.backward()?;
    let squares = values(&found.squares)?;
    for (p, ((name, var), copies)) in params.iter().zip([&w1s, &w2s, &gammas, &betas]).enumerate() {
        let mut sum = vec![0.; var.elem_count()];
        for (i, copy) in copies.iter().enumerate() {
            let share = values(grads.get(copy).expect(name))?;
            let expected: f64 = share.iter().map(|g| g * g).sum();
            let found = squares[p * b + i];
            assert!((found - expected).abs() <= 1e-10 * expected, "{name}, sample {i}: {found} for {expected}");
            sum.iter_mut().zip(share).for_each(|(sum, share)| *sum += share);
        }
        for (sum, whole) in sum.iter().zip(values(whole.get(var).expect(name))?) {
            assert!((sum - whole).abs() < 1e-12, "{name}: shares add up to {sum}, the gradient is {whole}");
        }
    }
    // and that is not the gradient of the sample's own loss
    let own = exact(&params, &together()?)?;
    let own = (0..b).map(|i| own.iter().map(|norms| norms[i].powi(2)).sum::<f64>().sqrt());
    let off = values(&found.norms)?.iter().zip(own).map(|(share, own)| (share / own - 1.).abs()).fold(0., f64::max);
    assert!(off > 0.05, "shares and gradients differ by {off} at most: the flag would be needless");
    Ok(())
}

#[test]
fn what_cannot_be_measured_is_named() -> Result<()> {
    let x = noise(&[4, 3], 1, DType::F64)?;
    let (w, v) = (var(&[3, 3], 2, DType::F64)?, var(&[3, 3], 3, DType::F64)?);
    let params = named(&[("the-one", &w), ("the-other", &v)]);
    let message = |losses: &dyn Fn() -> Result<Tensor>| ghost_norms(&params, losses).unwrap_err().to_string();
    let second = |h: &Tensor| linear(h, &w, None)?.sum(1);
    for (case, losses, expected) in [
        ("candle's own op", &(|| second(&x.matmul(&v)?)) as &dyn Fn() -> Result<Tensor>, "is used by no op"),
        ("a weight that is computed", &|| second(&linear(&x, &v.affine(2., 0.)?, None)?), "is used by no op"),
        ("not at all", &|| second(&x), "is used by no op"),
        ("twice", &|| second(&linear(&linear(&x, &v, None)?, &v, None)?), "is shared by 2 ops (linear, linear)"),
        ("cut off", &|| second(&linear(&x, &v, None)?.detach()), "received no gradient"),
        ("beside", &|| second(&linear(&x, &v, None)?)? + v.sum_all()?.broadcast_as(4)?, "by another op"),
    ] {
        let found = message(losses);
        assert!(found.contains(expected) && found.contains("\"the-other\""), "{case}: {found}");
    }
    let folded = || second(&linear(&x.reshape((1, 12))?.reshape((2, 2, 3))?, &v, None)?.reshape((4, 3))?);
    let found = message(&folded);
    assert!(found.contains("has 2 as its first dimension") && found.contains("4 losses"), "{found}");
    let untouched = || second(&linear(&x, &v, None)?);
    assert!(msharp_ops::no_grad(|| ghost_norms(&params, untouched)).is_err());
    let constant = ghost_norms(&[("x", &x)], untouched).unwrap_err().to_string();
    assert!(constant.contains("\"x\" is not a variable"), "{constant}");
    // and an error leaves nothing behind
    assert!(ghost_norms(&params, || candle_core::bail!("inside")).unwrap_err().to_string().contains("inside"));
    ghost_norms(&params, untouched)?;
    Ok(())
}

/// A variable that is not in the list is not measured and causes no error.
#[test]
fn others_are_left_alone() -> Result<()> {
    let x = noise(&[4, 3], 1, DType::F64)?;
    let (w, frozen) = (var(&[3, 3], 2, DType::F64)?, var(&[3, 3], 3, DType::F64)?);
    assert_exact("a head", &[("head", &w)], || losses_of(&linear(&linear(&x, &frozen, None)?, &w, None)?))?;
    Ok(())
}

/// The affine parameters of the norm layers alone, in a network whose other parameters are variables, too (Gray et al.
/// 2024, arXiv 2411.00999). The backward that measures computes no gradient of the others; later ones do.
#[test]
fn norm_layers_alone() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let x = noise(&[4, 7, 6, 3], 1, dtype)?;
        let (w1, b1) = (var(&[12, 3, 3, 3], 2, dtype)?, var(&[12], 3, dtype)?);
        let (w2, head) = (var(&[12, 12, 3, 3], 4, dtype)?, var(&[5, 12], 5, dtype)?);
        let norms = (0..6).map(|i| var(&[12], 6 + i, dtype)).collect::<Result<Vec<_>>>()?;
        let [g1, c1, g2, c2, g3, c3] = norms.as_slice() else { unreachable!("six of them") };
        let losses = || {
            let h = conv2d(&FeatureMap::enter(&x)?, &w1, Some(&b1), (1, 1), (1, 1))?;
            let h = group_norm(&h, 3, g1, c1, 1e-5, Epilogue { residual: None, relu: true })?;
            let y = conv2d(&h, &w2, None, (1, 1), (1, 1))?;
            let y = group_norm(&y, 4, g2, c2, 1e-5, Epilogue { residual: Some(&h), relu: true })?.leave()?;
            losses_of(&linear(&layer_norm(&y.reshape((4, 42, 12))?, g3, c3, 1e-5)?, &head, None)?)
        };
        let names = ["gn1.weight", "gn1.bias", "gn2.weight", "gn2.bias", "ln.weight", "ln.bias"];
        let params: Vec<Named> = names.into_iter().zip(&norms).collect();
        assert_exact("norm layers", &params, losses)?;

        let (measured, timings) = profile(|| ghost_norms(&named(&params), losses));
        let passes =
            |pass: &str| timings.keys().filter(|name| name.contains("12 at 7×6") && name.ends_with(pass)).count();
        assert_eq!((passes("forward"), passes("dx"), passes("dw")), (2, 1, 0), "{timings:?}");
        let (later, fresh) = (measured?.losses.sum_all()?.backward()?, losses()?.sum_all()?.backward()?);
        for other in [&w1, &b1, &w2, &head] {
            let of = |grads: &candle_core::backprop::GradStore| values(grads.get(other).expect("a gradient"));
            assert_eq!(of(&later)?, of(&fresh)?);
        }
    }
    Ok(())
}
