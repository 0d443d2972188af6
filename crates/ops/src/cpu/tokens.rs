//! The tokens of a vision transformer.

use super::displaced::Values;
use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::{build, column_sums};
use super::squares::sums_of_samples;
use super::vector::Lanes;
use crate::graph::{Activation, Pass};
use crate::layers::same_dtype;
use crate::per_sample::groups::Groups;
use crate::per_sample::recorder::{Terms, take_part};
use candle_core::{Result, Tensor};

/// [`tokens`](crate::tokens), whose shapes are checked.
pub(crate) fn tokens<X: Activation>(x: &X, class_token: &Tensor, positions: &Tensor) -> Result<X> {
    let (b, n, d) = (x.values().dims()[0], positions.dims()[1], class_token.elem_count());
    let sample = n * d;
    same_dtype("tokens", &[x.values(), class_token])?;
    with_float!("tokens", x.values(), T => {
        let part = take_part("tokens", [class_token, positions]);
        let y = with_slice::<T, _>(x.values(), |x| {
            with_slice(class_token, |class| with_slice(positions, |positions| {
                let values = |k: usize, param| Values::of("tokens", param, part.displaced(k), (b, 1));
                Ok(forward(x, &values(0, class)?, &values(1, positions)?, (sample, d)))
            }))
        })?;
        X::record("tokens", &[x], &[class_token, positions], on_cpu(y), (b, n, d), move |Pass { inputs, wanted, dy, .. }| {
            let sums = if part.computes(0, wanted[1]) || part.computes(1, wanted[2]) { with_slice::<T, _>(dy, |dy| Ok(column_sums(dy, sample)))? } else { vec![] };
            // A sample's part of dy, from its beginning, is its term of the gradient.
            let parameter = |k: usize, len: usize| {
                let sums = || constant(sums[..len].iter().map(|sum| T::narrow(*sum)).collect(), inputs[1 + k].shape());
                let terms = |size, keeps| {
                    let of_samples = with_slice::<T, _>(dy, |dy| Ok(sums_of_samples(&cut(dy, sample, 0..len), b, len)))?;
                    let groups = Groups { samples: b, size };
                    Terms::of_sums(groups, &groups.sums(&of_samples), keeps, dy)
                };
                part.gradient(k, wanted[1 + k], sums, terms)
            };
            let dx = || with_slice::<T, _>(dy, |dy| constant(cut(dy, sample, d..sample), inputs[0].shape()));
            Ok([wanted[0].then(dx).transpose()?, parameter(0, d)?, parameter(1, sample)?])
        })
    })
}

/// [`first_token`](crate::first_token)
pub(crate) fn first_token<X: Activation>(x: &X, [b, n, d]: [usize; 3]) -> Result<X> {
    with_float!("first_token", x.values(), T => {
        let y = with_slice::<T, _>(x.values(), |x| Ok(cut(x, n * d, 0..d)))?;
        X::record("first_token", &[x], &[], on_cpu(y), (b, d), move |Pass { inputs: [x], dy, .. }| {
            let mut dx = vec![<T as Lanes>::ZERO; x.elem_count()];
            with_slice::<T, _>(dy, |dy| {
                dx.chunks_exact_mut((n * d).max(1)).zip(dy.chunks_exact(d.max(1))).for_each(|(dx, dy)| dx[..d].copy_from_slice(dy));
                Ok(())
            })?;
            Ok([Some(constant(dx, x.shape())?)])
        })
    })
}

/// For samples of `sample` elements of y and `d` of a token.
fn forward<T: Float>(x: &[T], class: &Values<T>, positions: &Values<T>, (sample, d): (usize, usize)) -> Vec<T> {
    let patches = sample - d;
    // SAFETY: a chunk is a sample: the first `d` elements are written by the one loop, the others by the other.
    unsafe {
        build(x.len() / patches.max(1) * sample, sample, |i, out| {
            let (first, others) = out.split_at_mut(d);
            let (at, after) = positions.of_row(i).split_at(d);
            for ((out, class), at) in first.iter_mut().zip(class.of_row(i)).zip(at) {
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
