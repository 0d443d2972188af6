//! What a vision transformer is made of: attention, layer normalisation, softmax, GELU, patches and tokens.

use crate::gradients::check;
use crate::{bits, noise, values};
use candle_core::{D, DType, Device, Result, Tensor, Var};
use msharp_ops::{
    FeatureMap, attention, conv2d, first_token, gelu, layer_norm, layer_scale, linear, no_grad, patches, profile,
    softmax, tokens,
};

/// The largest difference, where both are numbers.
fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    assert_eq!(a.dims(), b.dims());
    let pairs = values(a)?.into_iter().zip(values(b)?);
    Ok(pairs.fold(0.0, |most, (a, b)| if (a - b).abs() <= most { most } else { (a - b).abs() }))
}

/// Attention from candle's own ops, the way it is written in timm.
fn slow_attention(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, n, packed) = qkv.dims3()?;
    let (d, features) = (packed / 3, packed / 3 / heads);
    let qkv = qkv.reshape((b, n, 3, heads, features))?.permute((2, 0, 3, 1, 4))?.contiguous()?; // [3, b, heads, n, features]
    let (q, k, v) = (qkv.get(0)?, qkv.get(1)?, qkv.get(2)?);
    let scores = (q.matmul(&k.t()?)? / (features as f64).sqrt())?;
    let y = candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v)?; // [b, heads, n, features]
    y.transpose(1, 2)?.reshape((b, n, d))
}

/// (b, n, d, heads): odd numbers of tokens and of features, more of either than a vector has lanes, one of each; more
/// tokens than a block of queries has, in blocks that are equal and in others.
const ATTENTIONS: [(usize, usize, usize, usize); 10] = [
    (2, 5, 6, 2),
    (1, 1, 3, 1),
    (3, 7, 15, 3),
    (1, 17, 33, 1),
    (2, 35, 40, 2),
    (1, 2, 4, 4),
    (2, 33, 64, 1),
    (1, 65, 24, 3),
    (2, 73, 18, 2),
    (1, 150, 9, 1),
];

#[test]
fn attention_is_that_of_its_definition() -> Result<()> {
    for (b, n, d, heads) in ATTENTIONS {
        // Large scores, too: the softmax is far from uniform.
        for size in [1.0, 6.0] {
            let qkv = (noise(&[b, n, 3 * d], 1, DType::F64)? * size)?;
            let expected = slow_attention(&qkv, heads)?;
            for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 2e-6)] {
                let error = distance(&attention(&qkv.to_dtype(dtype)?, heads)?, &expected)?;
                assert!(error < tolerance * size, "{b} {n} {d} {heads} in {dtype:?}: off by {error:e}");
            }
        }
    }
    Ok(())
}

#[test]
fn attentions_gradient_is_the_slow_ones_in_both_types() -> Result<()> {
    for (b, n, d, heads) in ATTENTIONS {
        let qkv = Var::from_tensor(&(noise(&[b, n, 3 * d], 1, DType::F64)? * 2.0)?)?;
        let r = noise(&[b, n, d], 2, DType::F64)?;
        let expected = (slow_attention(&qkv, heads)? * &r)?.sum_all()?.backward()?;
        let expected = expected.get(&qkv).expect("a gradient");
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let x = Var::from_tensor(&qkv.to_dtype(dtype)?)?;
            let grads = (attention(x.as_tensor(), heads)? * r.to_dtype(dtype)?)?.sum_all()?.backward()?;
            let error = distance(grads.get(&x).expect("a gradient"), expected)?;
            assert!(error < tolerance, "{b} {n} {d} {heads} in {dtype:?}: off by {error:e}");
        }
    }
    Ok(())
}

#[test]
fn central_differences() -> Result<()> {
    for (b, n, d, heads) in [(2, 3, 6, 2), (1, 5, 3, 1), (1, 1, 4, 2), (2, 4, 9, 3)] {
        check(&format!("attention {n} {d} {heads}"), &[&[b, n, 3 * d]], |t| {
            // Scaled up, for a single token's queries and keys have no gradient and few tokens' a small one.
            attention(&(&t[0] * 3.0)?, heads)
        })?;
    }
    for shape in [vec![3, 7], vec![2, 3, 5], vec![1, 17], vec![6]] {
        check(&format!("softmax {shape:?}"), &[&shape], |t| softmax(&(&t[0] * 2.0)?))?;
        check(&format!("gelu {shape:?}"), &[&shape], |t| gelu(&(&t[0] * 3.0)?))?;
        let c = shape[shape.len() - 1];
        check(&format!("layer_norm {shape:?}"), &[&shape, &[c], &[c]], |t| layer_norm(&t[0], &t[1], &t[2], 1e-3))?;
        check(&format!("layer_scale {shape:?}"), &[&shape, &shape, &[c]], |t| layer_scale(&t[0], &t[1], &t[2]))?;
    }
    check("patches", &[&[2, 4, 6, 3]], |t| patches(&t[0], 2))?;
    check("a patch of one pixel", &[&[1, 2, 3, 2]], |t| patches(&t[0], 1))?;
    check("linear of patches", &[&[2, 4, 6, 3], &[5, 3, 2, 2], &[5]], |t| {
        linear(&patches(&t[0], 2)?, &t[1], Some(&t[2]))
    })?;
    check("tokens", &[&[3, 4, 5], &[1, 1, 5], &[1, 5, 5]], |t| tokens(&t[0], &t[1], &t[2]))?;
    check("first_token", &[&[3, 4, 5]], |t| first_token(&t[0]))
}

#[test]
fn closed_forms() -> Result<()> {
    let row = |values: &[f64]| Tensor::new(values, &Device::Cpu);
    // Φ(1) = 0.841344746068543 and so on, to 15 digits.
    let x = [-3.0, -1.0, 0.0, 1.0, 2.0, 40.0, -40.0];
    let cdf = [
        0.001_349_898_031_630_1,
        0.158_655_253_931_457_05,
        0.5,
        0.841_344_746_068_542_9,
        0.977_249_868_051_820_8,
        1.0,
        0.0,
    ];
    let expected: Vec<f64> = x.iter().zip(cdf).map(|(x, cdf)| x * cdf).collect();
    for (dtype, tolerance) in [(DType::F64, 1e-15), (DType::F32, 5e-7)] {
        assert!(distance(&gelu(&row(&x)?.to_dtype(dtype)?)?, &row(&expected)?)? <= tolerance, "{dtype:?}");
        let odds = row(&[1.0f64.ln(), 2.0f64.ln(), 5.0f64.ln(), f64::NEG_INFINITY])?;
        for shift in [0.0, 700.0, -700.0] {
            let y = softmax(&(&odds + shift)?.to_dtype(dtype)?)?;
            let limit = if shift == 0.0 { 2e-7 } else { 1e-4 }; // what f32 leaves of ln 2 beside 700
            assert!(distance(&y, &row(&[0.125, 0.25, 0.625, 0.0])?)? < limit, "{dtype:?} {shift}");
        }
        // Mean 3, variance 2; far from zero, where a variance from squares alone would be wrong.
        for shift in [0.0, 10_000.0] {
            let x = (row(&[1.0, 2.0, 3.0, 4.0, 5.0])? + shift)?.to_dtype(dtype)?;
            let y = layer_norm(&x, &row(&[2.0; 5])?.to_dtype(dtype)?, &row(&[1.0; 5])?.to_dtype(dtype)?, 0.0)?;
            let expected: Vec<f64> = (0..5).map(|i| 1.0 + 2.0 * (i as f64 - 2.0) / 2.0f64.sqrt()).collect();
            assert!(distance(&y, &row(&expected)?)? < 1e-6, "{dtype:?} {shift}");
        }
    }
    let (h, x) =
        (Tensor::new(&[[1.0f64, 2.0], [3.0, 4.0]], &Device::Cpu)?, row(&[5.0, 6.0, 7.0, 8.0])?.reshape((2, 2))?);
    assert_eq!(values(&layer_scale(&h, &x, &row(&[10.0, -1.0])?)?)?, [51.0, -4.0, 73.0, -4.0]);
    // Equal keys weigh all values the same.
    let (q, k, v) = (
        noise(&[1, 4, 2], 1, DType::F64)?,
        Tensor::ones((1, 4, 2), DType::F64, &Device::Cpu)?,
        noise(&[1, 4, 2], 2, DType::F64)?,
    );
    let y = attention(&Tensor::cat(&[&q, &k, &v], 2)?, 1)?;
    assert!(distance(&y, &v.mean_keepdim(1)?.broadcast_as((1, 4, 2))?.contiguous()?)? < 1e-15);
    Ok(())
}

/// A patch embedding is the convolution whose stride is its kernel, with the same weight; the class token comes first.
#[test]
fn patches_and_tokens_are_what_a_convolution_and_cat_give() -> Result<()> {
    let (x, w, bias) =
        (noise(&[2, 8, 12, 3], 1, DType::F64)?, noise(&[7, 3, 4, 4], 2, DType::F64)?, noise(&[7], 3, DType::F64)?);
    let y = linear(&patches(&x, 4)?, &w, Some(&bias))?;
    let expected = conv2d(&x, &w, Some(&bias), (4, 4), (0, 0))?.reshape((2, 6, 7))?;
    assert!(distance(&y, &expected)? < 1e-13);
    let (class, positions) = (noise(&[1, 1, 7], 4, DType::F64)?, noise(&[1, 7, 7], 5, DType::F64)?);
    let all = tokens(&y, &class, &positions)?;
    let expected = Tensor::cat(&[&class.repeat((2, 1, 1))?, &y], 1)?.broadcast_add(&positions)?;
    assert_eq!(values(&all)?, values(&expected)?);
    assert_eq!(values(&first_token(&all)?)?, values(&expected.narrow(1, 0, 1)?)?);
    Ok(())
}

/// A small transformer: all of them, big enough to be split into tasks.
fn network(inputs: &[Var], maps: bool) -> Result<(Tensor, Vec<Tensor>)> {
    let [x, w, class, positions, scale, shift, qkv, gamma, head] = inputs else { panic!("nine inputs") };
    fn body<X: msharp_ops::Activation>(x: &X, p: [&Tensor; 8]) -> Result<X> {
        let [w, class, positions, scale, shift, qkv, gamma, head] = p;
        let h = tokens(&linear(&patches(x, 4)?, w, None)?, class, positions)?;
        let y = attention(&linear(&layer_norm(&h, scale, shift, 1e-6)?, qkv, None)?, 3)?;
        let h = layer_scale(&h, &y, gamma)?;
        linear(&first_token(&softmax(&gelu(&h)?)?)?, head, None)
    }
    let p = [w, class, positions, scale, shift, qkv, gamma, head].map(|var| var.as_tensor());
    let y = match maps {
        true => body(&FeatureMap::enter(x)?, p)?.leave()?,
        false => body(x.as_tensor(), p)?,
    };
    let r = noise(y.dims(), 9, y.dtype())?;
    let sum = (&y * &r)?.sum_all()?;
    let (first, second) = (sum.backward()?, sum.backward()?);
    let mut grads = Vec::new();
    for input in inputs {
        let grad = first.get(input).expect("a gradient for every input");
        assert!(!grad.track_op(), "a gradient without a graph");
        assert_eq!(bits(grad)?, bits(second.get(input).expect("a gradient"))?, "two backwards of one graph differ");
        grads.push(grad.clone());
    }
    Ok((y, grads))
}

fn inputs() -> Result<Vec<Var>> {
    let shapes: [&[usize]; 9] =
        [&[5, 28, 24, 3], &[36, 3, 4, 4], &[1, 1, 36], &[1, 43, 36], &[36], &[36], &[108, 36], &[36], &[11, 36]];
    (1..).zip(shapes).map(|(seed, shape)| Var::from_tensor(&noise(shape, seed, DType::F32)?)).collect()
}

#[test]
fn any_number_of_threads_and_either_kind_of_activation_gives_the_same_bits() -> Result<()> {
    let inputs = inputs()?;
    let with_threads = |threads: usize, maps: bool| -> Result<Vec<Vec<u32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        let (y, grads) = pool.install(|| network(&inputs, maps))?;
        [y].iter().chain(&grads).map(bits).collect()
    };
    let one = with_threads(1, false)?;
    for (threads, maps) in [(2, false), (3, false), (2, true)] {
        assert!(one == with_threads(threads, maps)?, "{threads} threads, maps {maps}");
    }
    Ok(())
}

#[test]
fn nothing_is_recorded_without_gradients_and_a_profile_names_all() -> Result<()> {
    let x = Var::from_tensor(&noise(&[2, 3, 12], 1, DType::F32)?)?;
    let ones = Var::ones(12, DType::F32, &Device::Cpu)?;
    let (class, positions) = (noise(&[1, 1, 12], 2, DType::F32)?, noise(&[1, 4, 12], 3, DType::F32)?);
    let image = Var::from_tensor(&noise(&[1, 4, 4, 3], 1, DType::F32)?)?;
    let all = || -> Result<Vec<Tensor>> {
        Ok(vec![
            attention(x.as_tensor(), 2)?,
            softmax(x.as_tensor())?,
            gelu(x.as_tensor())?,
            layer_norm(x.as_tensor(), &ones, &ones, 1e-6)?,
            layer_scale(x.as_tensor(), x.as_tensor(), &ones)?,
            tokens(x.as_tensor(), &class, &positions)?,
            first_token(x.as_tensor())?,
            patches(image.as_tensor(), 2)?,
        ])
    };
    assert!(all()?.iter().all(|y| y.track_op()));
    assert!(no_grad(all)?.iter().all(|y| !y.track_op()));
    let (result, timings) = profile(|| all()?.into_iter().try_for_each(|y| y.sum_all()?.backward().map(drop)));
    result?;
    for name in [
        "attention [2, 3, 4] of 2 heads forward",
        "attention [2, 3, 4] of 2 heads backward",
        "softmax",
        "gelu",
        "layer_norm",
        "layer_scale [2, 3, 12] backward",
        "patches",
    ] {
        assert!(timings.keys().any(|key| key.starts_with(name)), "{name} is not among {:?}", timings.keys());
    }
    assert_eq!(timings["attention [2, 3, 4] of 2 heads forward"].flop, (4 * 2 * 3 * 3 * 4) as f64);
    Ok(())
}

#[test]
fn untracked_inputs_get_no_gradient() -> Result<()> {
    let x = noise(&[2, 3, 4], 1, DType::F32)?;
    let (scale, shift) = (Var::ones(4, DType::F32, &Device::Cpu)?, Tensor::zeros(4, DType::F32, &Device::Cpu)?);
    let grads = layer_norm(&x, &scale, &shift, 1e-6)?.backward()?;
    assert!(grads.get(&scale).is_some() && grads.get(&shift).is_none() && grads.get(&x).is_none());
    let (class, positions) = (noise(&[1, 1, 4], 2, DType::F32)?, Var::from_tensor(&noise(&[1, 4, 4], 3, DType::F32)?)?);
    let grads = tokens(&x, &class, &positions)?.backward()?;
    assert!(grads.get(&positions).is_some() && grads.get(&class).is_none() && grads.get(&x).is_none());
    Ok(())
}

#[test]
fn mismatches_are_errors_that_name_the_op_and_what_it_expects() -> Result<()> {
    let t = |shape: &[usize]| noise(shape, 1, DType::F32);
    let fails = |result: Result<Tensor>, parts: &[&str]| {
        let message = result.expect_err("an error").to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message:?} lacks one of {parts:?}");
    };
    let double = |shape: &[usize]| noise(shape, 1, DType::F64);
    fails(attention(&t(&[2, 12])?, 2), &["attention", "[b, n, 3 d]", "[2, 12]"]);
    fails(attention(&t(&[2, 3, 12])?, 3), &["attention", "3 heads", "[2, 3, 12]"]);
    fails(attention(&t(&[2, 3, 12])?, 0), &["attention", "0 heads"]);
    fails(softmax(&t(&[])?), &["softmax", "scalar"]);
    fails(gelu(&Tensor::new(&[1u32], &Device::Cpu)?), &["gelu", "U32"]);
    fails(layer_norm(&t(&[2, 3])?, &t(&[4])?, &t(&[3])?, 1e-6), &["layer_norm", "[2, 3]", "weight [3]", "[4]"]);
    fails(layer_norm(&t(&[2, 3])?, &t(&[3])?, &t(&[4])?, 1e-6), &["layer_norm", "bias [3]", "[4]"]);
    fails(layer_norm(&t(&[2, 3])?, &double(&[3])?, &double(&[3])?, 1e-6), &["layer_norm", "F32", "F64"]);
    fails(layer_scale(&t(&[2, 3])?, &t(&[3, 2])?, &t(&[2])?), &["layer_scale", "[2, 3]", "[3, 2]"]);
    fails(layer_scale(&t(&[2, 3])?, &t(&[2, 3])?, &t(&[2])?), &["layer_scale", "gamma [3]", "[2]"]);
    fails(layer_scale(&t(&[2, 3])?, &t(&[2, 3])?, &double(&[3])?), &["layer_scale", "F32", "F64"]);
    fails(patches(&t(&[1, 4, 6, 3])?, 4), &["patches", "size of 4", "[1, 4, 6, 3]"]);
    fails(patches(&t(&[4, 6, 3])?, 2), &["patches", "[b, h, w, c]", "[4, 6, 3]"]);
    fails(tokens(&t(&[2, 3, 4])?, &t(&[1, 1, 4])?, &t(&[1, 3, 4])?), &["tokens", "positions [1, 4, 4]", "[1, 3, 4]"]);
    fails(tokens(&t(&[2, 3, 4])?, &t(&[4])?, &t(&[1, 4, 4])?), &["tokens", "class token [1, 1, 4]", "[4]"]);
    fails(first_token(&t(&[2, 4])?), &["first_token", "[b, n, d]", "[2, 4]"]);
    fails(linear(&t(&[2, 5])?, &t(&[3, 2, 2])?, None), &["linear", "[2, 5]", "[3, 2, 2]"]);
    Ok(())
}
