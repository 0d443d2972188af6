//! The ends of a vision transformer: patches become tokens with a class token before them, which is read in the end.

use crate::float::{Float, same_dtype, with_float, with_slice};
use crate::ghost::{squares_of_rows, take_part};
use crate::node::{Activation, Pass, Recorded, constant, on_cpu};
use crate::parallel::{build, column_sums};
use crate::vector::Lanes;
use candle_core::{Result, Tensor, bail};

/// `class_token` `[1, 1, d]` before the patches `x` `[b, n, d]` of every sample, plus `positions` `[1, n + 1, d]`:
/// `[b, n + 1, d]`. What timm's ViT does with `cls_token` and `pos_embed` before its first block.
///
/// The parameters' gradients are sums over the batch. `Err` if the shapes or element types do not fit.
pub fn tokens<X: Activation>(x: &X, class_token: &Tensor, positions: &Tensor) -> Result<X> {
    let &[b, n, d] = x.values().dims() else { bail!("tokens: expected x [b, n, d], got {:?}", x.values().dims()) };
    for (name, tensor, expected) in
        [("class token", class_token, [1, 1, d]), ("table of positions", positions, [1, n + 1, d])]
    {
        if tensor.dims() != expected {
            bail!("tokens: x {:?} needs a {name} {expected:?}, got {:?}", x.values().dims(), tensor.dims());
        }
    }
    same_dtype("tokens", &[class_token, positions])?;
    let (x, class_token, positions) = (&x.input()?, &class_token.input()?, &positions.input()?);
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(x.values())? {
        return crate::cuda::tokens(&gpu, x, class_token, positions);
    }
    same_dtype("tokens", &[x.values(), class_token])?;
    with_float!("tokens", x.values(), T => {
        let y = with_slice::<T, _>(x.values(), |x| {
            with_slice(class_token, |class| with_slice(positions, |positions| Ok(forward(x, class, positions))))
        })?;
        let ghost = take_part("tokens", [class_token, positions]);
        X::record("tokens", &[x], &[class_token, positions], on_cpu(y), [b, n + 1, d].as_slice(), move |Pass { inputs, wanted, dy, .. }| {
            let sample = (n + 1) * d;
            let sums = if wanted[1] || wanted[2] { with_slice::<T, _>(dy, |dy| Ok(column_sums(dy, sample)))? } else { vec![] };
            // A sample's part of dy, from its beginning, is its term of the gradient.
            let parameter = |k: usize, len: usize| {
                let sums = || constant(sums[..len].iter().map(|sum| T::narrow(*sum)).collect(), inputs[1 + k].shape());
                let squares = || with_slice::<T, _>(dy, |dy| Ok(squares_of_rows(&cut(dy, sample, 0..len), b)));
                ghost.gradient(k, wanted[1 + k], sums, squares)
            };
            let dx = || with_slice::<T, _>(dy, |dy| constant(cut(dy, sample, d..sample), inputs[0].shape()));
            Ok([wanted[0].then(dx).transpose()?, parameter(0, d)?, parameter(1, sample)?])
        })
    })
}

/// The first token of every sample of `x` `[b, n, d]`, giving `[b, d]`: the class token, which a classifier reads.
///
/// `Err` for another rank or samples without tokens.
pub fn first_token<X: Activation>(x: &X) -> Result<X> {
    let &[b, n, d] = x.values().dims() else { bail!("first_token: expected x [b, n, d], got {:?}", x.values().dims()) };
    if n == 0 {
        bail!("first_token: samples of x {:?} have no tokens", x.values().dims());
    }
    let x = &x.input()?;
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(x.values())? {
        return crate::cuda::first_token(&gpu, x);
    }
    with_float!("first_token", x.values(), T => {
        let y = with_slice::<T, _>(x.values(), |x| Ok(cut(x, n * d, 0..d)))?;
        X::record("first_token", &[x], &[], on_cpu(y), [b, d].as_slice(), move |Pass { inputs: [x], dy, .. }| {
            let mut dx = vec![<T as Lanes>::ZERO; x.elem_count()];
            with_slice::<T, _>(dy, |dy| {
                dx.chunks_exact_mut((n * d).max(1)).zip(dy.chunks_exact(d.max(1))).for_each(|(dx, dy)| dx[..d].copy_from_slice(dy));
                Ok(())
            })?;
            Ok([Some(constant(dx, x.shape())?)])
        })
    })
}

fn forward<T: Float>(x: &[T], class: &[T], positions: &[T]) -> Vec<T> {
    let (d, sample) = (class.len(), positions.len());
    let patches = sample - d;
    // SAFETY: a chunk is a sample: the first `d` elements are written by the one loop, the others by the other.
    unsafe {
        build(x.len() / patches.max(1) * sample, sample, |i, out| {
            let (first, others) = out.split_at_mut(d);
            let (at, after) = positions.split_at(d);
            for ((out, class), at) in first.iter_mut().zip(class).zip(at) {
                out.write(*class + *at);
            }
            for ((out, x), at) in others.iter_mut().zip(&x[i * patches..]).zip(after) {
                out.write(*x + *at);
            }
        })
    }
}

/// The elements `part` of every `sample` elements.
fn cut<T: Float>(x: &[T], sample: usize, part: std::ops::Range<usize>) -> Vec<T> {
    // SAFETY: a chunk is as long as `part`.
    unsafe {
        build(x.len() / sample.max(1) * part.len(), part.len(), |i, out| {
            out.write_copy_of_slice(&x[i * sample + part.start..i * sample + part.end]);
        })
    }
}
