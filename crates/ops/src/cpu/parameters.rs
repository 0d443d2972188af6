//! Passes over all parameters.

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::{CHUNK, Region, map, results, tasks, zip_map};
use super::vector::vectorised;
use crate::graph::stored;
use crate::parameters::{AdamWStep, Rescale, Saved, SgdStep, plain};
use candle_core::{Device, Result, Storage, Tensor, bail};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Σ a b, f64 `[]`.
pub(crate) fn dot(a: &[Tensor], b: &[Tensor]) -> Result<Tensor> {
    Tensor::new(inner_product(a, b)?, &Device::Cpu)
}

fn inner_product(a: &[Tensor], b: &[Tensor]) -> Result<f64> {
    let part = |(a, b): (&Tensor, &Tensor)| with_float!("dot", a, T => with_slice::<T, _>(a, |a| with_slice(b, |b| Ok(sum_of_products(a, b)))));
    Ok(a.iter().zip(b).map(part).collect::<Result<Vec<f64>>>()?.iter().sum())
}

fn sum_of_products<T: Float>(a: &[T], b: &[T]) -> f64 {
    let len = a.len().min(b.len());
    let blocks = results(len.div_ceil(CHUNK), |i| {
        let chunk = i * CHUNK..len.min((i + 1) * CHUNK);
        vectorised(
            #[inline(always)]
            || block(&a[chunk.clone()], &b[chunk]),
        )
    });
    blocks.iter().sum()
}

/// One block in eight independent sums, which the compiler turns into vectors.
#[inline(always)]
fn block<T: Float>(a: &[T], b: &[T]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for j in 0..8 {
            sums[j] += a[j].wide() * b[j].wide();
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a.wide() * b.wide()).sum();
    sums.iter().sum::<f64>() + rest
}

/// f such that f y has the requested length, where ‖y‖² = `squares`.
fn factor(length: Rescale, squares: impl FnOnce() -> Result<f64>) -> Result<f64> {
    Ok(match length {
        Rescale::Times(c) => c,
        Rescale::Of(rho) => rho / (squares()?.sqrt() + length.guard()),
        Rescale::Relative(r, x) => {
            let x = plain(x)?;
            r * inner_product(&x, &x)?.sqrt() / (squares()?.sqrt() + length.guard())
        }
        Rescale::Given(f) => f.to_scalar()?,
    })
}

/// [`scale`](crate::scale)
pub(crate) fn scale(y: &[Tensor], length: Rescale) -> Result<(Vec<Tensor>, Tensor)> {
    let f = factor(length, || inner_product(y, y))?;
    let one = |y: &Tensor| {
        with_float!("scale", y, T => {
            let f = T::narrow(f);
            constant(with_slice(y, |y| Ok(map(y, |y: T| f * y)))?, y.shape())
        })
    };
    Ok((y.iter().map(one).collect::<Result<_>>()?, Tensor::new(f, &Device::Cpu)?))
}

/// x + c y
pub(crate) fn add_scaled(x: &[Tensor], c: f64, y: &[Tensor]) -> Result<Vec<Tensor>> {
    Ok(displaced(x, c, y)?.into_iter().zip(x).map(|(sum, x)| stored(sum, x.shape())).collect())
}

/// x + c y, to take the place of x.
pub(crate) fn displaced(x: &[Tensor], c: f64, y: &[Tensor]) -> Result<Vec<Storage>> {
    let one = |(x, y): (&Tensor, &Tensor)| {
        with_float!("add_scaled", x, T => {
            let c = T::narrow(c);
            Ok(on_cpu(with_slice(x, |x| with_slice(y, |y| Ok(zip_map(x, y, |x: T, y| x + c * y))))?))
        })
    };
    x.iter().zip(y).map(one).collect()
}

/// x + f z, to take the place of x, and f; `count` is ‖z‖².
pub(crate) fn displaced_by_signs(
    x: &[Tensor],
    seeds: &[[u8; 32]],
    length: Rescale,
    count: f64,
) -> Result<(Vec<Storage>, Tensor)> {
    let f = factor(length, || Ok(count))?;
    let one = |i: usize| {
        let x = &x[i];
        with_float!("displace_by_signs", x, T => with_slice::<T, _>(x, |values| {
            let signs: Vec<T> = signs(values.len(), seeds[i], T::narrow(f));
            Ok(on_cpu(zip_map(values, &signs, |x: T, z| x + z)))
        }))
    };
    Ok((results(x.len(), one).into_iter().collect::<Result<_>>()?, Tensor::new(f, &Device::Cpu)?))
}

/// ±f
fn signs<T: Float>(len: usize, seed: [u8; 32], f: T) -> Vec<T> {
    let (mut rng, mut signs) = (ChaCha8Rng::from_seed(seed), Vec::with_capacity(len));
    while signs.len() < len {
        let bits = rng.next_u32();
        let some = (len - signs.len()).min(32);
        signs.extend((0..some).map(|i| if bits >> i & 1 == 1 { f } else { -f }));
    }
    signs
}

/// The values of tensors of any element type, to take their place.
pub(crate) fn saved(from: &[Tensor]) -> Result<Vec<Storage>> {
    let one = |tensor: &Tensor| match &*tensor.storage_and_layout().0 {
        Storage::Cpu(storage) => Ok(Storage::Cpu(storage.clone())),
        other => bail!("expected a tensor on the CPU, got {:?}", other.device()),
    };
    from.iter().map(one).collect()
}

/// [`sgd_step`](crate::sgd_step): changes x in place, and returns the velocity.
pub(crate) fn sgd_step(x: &[&Tensor], g: &[Tensor], velocity: Option<&[Tensor]>, step: SgdStep) -> Result<Vec<Tensor>> {
    let (mut moved, mut new) = (Vec::<Storage>::new(), Vec::new());
    for (i, (from, g)) in plain(x)?.iter().zip(g).enumerate() {
        let v = velocity.map_or(g, |velocity| &velocity[i]);
        with_float!("sgd_step", from, T => {
            let scales = [step.lr, step.momentum, step.weight_decay[i]].map(T::narrow);
            let (x_new, v_new) = with_slice::<T, _>(from, |x| with_slice(g, |g| with_slice(v, |v| {
                Ok(sgd_stepped(x, g, velocity.is_some().then_some(v), scales, step.nesterov))
            })))?;
            moved.push(on_cpu(x_new));
            new.push(constant(v_new, from.shape())?);
        });
    }
    drop(Saved::exchange(x, moved)?);
    Ok(new)
}

/// x and v after a step.
fn sgd_stepped<T: Float>(x: &[T], g: &[T], v: Option<&[T]>, scales: [T; 3], nesterov: bool) -> (Vec<T>, Vec<T>) {
    let [lr, momentum, decay] = scales;
    let (len, first, v) = (x.len(), v.is_none(), v.unwrap_or(g));
    let (mut x_new, mut v_new) = (Vec::<T>::with_capacity(len), Vec::<T>::with_capacity(len));
    let (to_x, to_v) = (Region::of_capacity(&mut x_new), Region::of_capacity(&mut v_new));
    tasks(len.div_ceil(CHUNK), |i| {
        let chunk = i * CHUNK..((i + 1) * CHUNK).min(len);
        vectorised(
            #[inline(always)]
            || {
                for (j, ((x, g), v)) in chunk.clone().zip(x[chunk.clone()].iter().zip(&g[chunk.clone()]).zip(&v[chunk]))
                {
                    let d = *g + decay * *x;
                    let v = if first { d } else { momentum * *v + d };
                    let direction = if nesterov { d + momentum * v } else { v };
                    // SAFETY: j is below the capacity of both, and in this chunk alone.
                    unsafe {
                        to_x.at(j).write(*x - lr * direction);
                        to_v.at(j).write(v);
                    }
                }
            },
        );
    });
    // SAFETY: the chunks cover all elements, and each has been written.
    unsafe {
        x_new.set_len(len);
        v_new.set_len(len);
    }
    (x_new, v_new)
}

/// [`adamw_step`](crate::adamw_step): changes x in place, and returns the moments.
pub(crate) fn adamw_step(
    x: &[&Tensor],
    g: &[Tensor],
    [m, v]: [&[Tensor]; 2],
    step: AdamWStep,
) -> Result<[Vec<Tensor>; 2]> {
    let (mut moved, mut m_new, mut v_new) = (Vec::<Storage>::new(), Vec::new(), Vec::new());
    for (i, (((from, g), m), v)) in plain(x)?.iter().zip(g).zip(m).zip(v).enumerate() {
        with_float!("adamw_step", from, T => {
            let after = with_slice::<T, _>(from, |x| with_slice(g, |g| with_slice(m, |m| with_slice(v, |v| {
                Ok(adamw_stepped::<T>([x, g, m, v], &step, step.weight_decay[i]))
            }))))?;
            let [x, m, v] = after.map(on_cpu);
            moved.push(x);
            m_new.push(stored(m, from.shape()));
            v_new.push(stored(v, from.shape()));
        });
    }
    drop(Saved::exchange(x, moved)?);
    Ok([m_new, v_new])
}

/// x, m and v after a step, each element in f64.
fn adamw_stepped<T: Float>([x, g, m, v]: [&[T]; 4], step: &AdamWStep, decay: f64) -> [Vec<T>; 3] {
    let AdamWStep { lr, beta1, beta2, eps, t, .. } = *step;
    let [m_share, v_share] = [beta1, beta2].map(|beta| 1. - beta.powf(t as f64));
    let (rate, v_scale, kept) = (lr / m_share, 1. / v_share, 1. - lr * decay);
    let len = x.len();
    let mut after = [(); 3].map(|()| Vec::<T>::with_capacity(len));
    let [to_x, to_m, to_v] = after.each_mut().map(Region::of_capacity);
    tasks(len.div_ceil(CHUNK), |i| {
        for j in i * CHUNK..((i + 1) * CHUNK).min(len) {
            let (x, g) = (x[j].wide(), g[j].wide());
            let m = T::narrow(beta1 * m[j].wide() + (1. - beta1) * g);
            let v = T::narrow(beta2 * v[j].wide() + (1. - beta2) * (g * g));
            let change = rate * m.wide() / ((v.wide() * v_scale).sqrt() + eps);
            // SAFETY: j is below the capacity of all three, and in this task's chunk alone.
            unsafe {
                to_x.at(j).write(T::narrow(x * kept - change));
                to_m.at(j).write(m);
                to_v.at(j).write(v);
            }
        }
    });
    // SAFETY: the chunks cover all elements, and each has been written.
    after.iter_mut().for_each(|values| unsafe { values.set_len(len) });
    after
}
