//! Dropout: a pass over memory that draws its mask.

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::{CHUNK, build};
use crate::graph::{Activation, Pass};
use crate::layers::Mask;
use crate::profile::timed;
use candle_core::Result;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// [`dropout`](crate::dropout) with a mask.
pub(crate) fn dropout<X: Activation>(x: &X, mask: Mask) -> Result<X> {
    let named = |pass: &str, x: &[usize]| (format!("dropout {x:?} {pass}"), 0.0);
    with_float!("dropout", x.values(), T => {
        let forward = || with_slice::<T, _>(x.values(), |x| Ok(masked(x, mask)));
        let y = timed(|| named("forward", x.values().dims()), forward)?;
        X::record("dropout", &[x], &[], on_cpu(y), x.values().shape(), move |Pass { dy, .. }| {
            let dx = || with_slice::<T, _>(dy, |dy| Ok(masked(dy, mask)));
            Ok([Some(constant(timed(|| named("dx", dy.dims()), dx)?, dy.shape())?)])
        })
    })
}

/// xᵢ times its factor.
fn masked<T: Float>(x: &[T], Mask { seed, drop_below, scale }: Mask) -> Vec<T> {
    let scale = T::narrow(scale);
    // SAFETY: a chunk of the output is as long as its chunk of `x`, so the zip writes all of it.
    unsafe {
        build(x.len(), CHUNK, |i, out| {
            let mut stream = ChaCha8Rng::from_seed(seed);
            stream.set_word_pos((i * CHUNK) as u128);
            for (out, &x) in out.iter_mut().zip(&x[i * CHUNK..]) {
                let factor = if u64::from(stream.next_u32()) < drop_below { T::zero() } else { scale };
                out.write(x * factor);
            }
        })
    }
}
