//! Attention, layer normalisation, softmax, GELU, patches and tokens.

use super::*;
use msharp_ops::{attention, first_token, gelu, layer_norm, layer_scale, linear, patches, softmax, tokens};

#[test]
fn attentions() -> Result<()> {
    // (b, n, d, heads): rows that fill no vector, one token, more tokens than features, and the reverse
    for (b, n, d, heads) in [(2, 5, 6, 2), (1, 1, 3, 1), (3, 7, 15, 3), (2, 17, 32, 4), (1, 9, 64, 1), (2, 33, 24, 3)] {
        let inputs = [(noise(&[b, n, 3 * d], 1)? * 2.)?];
        // A single token's weight is 1, for every query and key.
        let slack = if n == 1 { 1. } else { 3. };
        check(&format!("attention {b} {n} {d} {heads}"), &inputs, 1, slack, |x, _| attention(&x[0], heads))?;
    }
    Ok(())
}

#[test]
fn rows() -> Result<()> {
    for shape in [vec![3, 5, 7], vec![4, 64], vec![6, 33], vec![2, 200, 40], vec![1, 1031]] {
        let c = shape[shape.len() - 1];
        let input = (noise(&shape, 1)? * 3.)?;
        check(&format!("softmax {shape:?}"), std::slice::from_ref(&input), 1, 3., |x, _| softmax(&x[0]))?;
        check(&format!("gelu {shape:?}"), std::slice::from_ref(&input), 1, 1., |x, _| gelu(&x[0]))?;
        // Far from zero, so that a variance from squares alone would be wrong.
        let inputs = [(input + 5.)?, noise(&[c], 2)?, noise(&[c], 3)?];
        check(&format!("layer_norm {shape:?}"), &inputs, 1, 6., |x, p| layer_norm(&x[0], &p[0], &p[1], 1e-6))?;
        let inputs = [noise(&shape, 4)?, noise(&shape, 5)?, noise(&[c], 6)?];
        check(&format!("layer_scale {shape:?}"), &inputs, 2, 1., |x, p| layer_scale(&x[0], &x[1], &p[0]))?;
    }
    Ok(())
}

#[test]
fn patches_and_tokens() -> Result<()> {
    for (shape, size) in [([2, 8, 12, 3], 4), ([1, 6, 3, 5], 3), ([3, 4, 4, 1], 1)] {
        check(&format!("patches {shape:?} {size}"), &[noise(&shape, 1)?], 1, 1., |x, _| patches(&x[0], size))?;
    }
    let inputs = [noise(&[2, 8, 12, 3], 1)?, noise(&[16, 3, 4, 4], 2)?, noise(&[16], 3)?];
    check("patch embedding", &inputs, 1, 1., |x, p| linear(&patches(&x[0], 4)?, &p[0], Some(&p[1])))?;
    for (b, n, d) in [(3, 4, 5), (1, 1, 8), (2, 16, 24)] {
        let inputs = [noise(&[b, n, d], 1)?, noise(&[1, 1, d], 2)?, noise(&[1, n + 1, d], 3)?];
        check(&format!("tokens {b} {n} {d}"), &inputs, 1, 1., |x, p| tokens(&x[0], &p[0], &p[1]))?;
        check(&format!("first_token {b} {n} {d}"), &inputs[..1], 1, 1., |x, _| first_token(&x[0]))?;
    }
    Ok(())
}
