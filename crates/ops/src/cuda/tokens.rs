//! Images cut into patches, and the class token.

use super::activations::{column_sums, sums_of_chunks};
use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments};
use super::micro::{Values, terms_of, terms_of_sums};
use super::{by_dtype, device_of};
use crate::graph::{Activation, Pass};
use crate::layers::Cut;
use crate::per_sample::groups::Groups;
use crate::per_sample::recorder::take_part;
use candle_core::{DType, Result, Shape, Tensor, bail};

/// [`patches`](crate::patches)
pub(crate) fn patches<X: Activation>(gpu: &Gpu, x: &X, cut: Cut, shape: &[usize]) -> Result<X> {
    let y = placed(gpu, x.values(), cut, false, shape)?;
    let back = move |Pass::<1> { inputs: [x], dy, .. }: Pass<1>| {
        Ok([Some(placed(&*device_of(dy)?, dy, cut, true, x.dims())?.into_tensor(x.shape()))])
    };
    X::record("patches", &[x], &[], y.into_storage(), shape, back)
}

/// Images as patches, or `back`.
fn placed(gpu: &Gpu, x: &Tensor, cut: Cut, back: bool, shape: &[usize]) -> Result<super::memory::Fresh> {
    let n = shape.iter().product::<usize>();
    let y = gpu.empty(x.dtype(), n)?;
    let arguments = arguments![Pointer::of(x)?, y.pointer()?, n, cut.h, cut.w, cut.c, cut.size, back];
    gpu.launch(by_dtype!("patches", x), Grid::over(n), arguments)?;
    Ok(y)
}

/// [`tokens`](crate::tokens), whose shapes are checked.
pub(crate) fn tokens<X: Activation>(gpu: &Gpu, x: &X, class_token: &Tensor, positions: &Tensor) -> Result<X> {
    for parameter in [class_token, positions] {
        if parameter.dtype() != DType::F32 {
            bail!("tokens: parameters on a GPU are f32, not {:?}", parameter.dtype());
        }
    }
    let (values, sample, d) = (x.values(), positions.elem_count(), class_token.elem_count());
    let b = values.dims()[0];
    let part = take_part("tokens", [class_token, positions]);
    let values_of = |k: usize, param| Values::of(gpu, "tokens", param, part.displaced(k), (b, 1));
    let (class, place) = (values_of(0, class_token)?, values_of(1, positions)?);
    let y = gpu.empty(values.dtype(), b * sample)?;
    let arguments = arguments![
        Pointer::of(values)?,
        class.pointer()?,
        place.pointer()?,
        y.pointer()?,
        b * sample,
        sample,
        d,
        class.rows,
        place.rows
    ];
    gpu.launch(by_dtype!("tokens", values), Grid::over(b * sample), arguments)?;
    let back = move |Pass::<3> { inputs: [x, class_token, positions], wanted, dy, .. }: Pass<3>| {
        let gpu = device_of(dy)?;
        let dx = || -> Result<Tensor> { cut(&gpu, dy, (sample, d, sample - d), x.shape()) };
        let dx = wanted[0].then(dx).transpose()?;
        // The class token's are those of the first position.
        let first = |sums: &Tensor, count: usize| cut(&gpu, sums, (sample, 0, d), (count, d));
        part.measure(0, |size, keeps| {
            let groups = Groups { samples: b, size };
            let sums = sums_of_chunks(&gpu, dy, sample, size)?;
            terms_of(&gpu, groups, first(&sums, groups.count())?, keeps)
        })?;
        part.measure(1, |size, keeps| terms_of_sums(dy, sample, Groups { samples: b, size }, keeps))?;
        let computes = [0, 1].map(|k| part.computes(k, wanted[1 + k]));
        if !computes[0] && !computes[1] {
            return Ok([dx, None, None]);
        }
        let sums = column_sums(&gpu, dy, sample)?.reshape(positions.shape())?;
        let first = computes[0].then(|| first(&sums, 1)?.reshape(class_token.shape())).transpose()?;
        Ok([dx, first, computes[1].then_some(sums)])
    };
    X::record("tokens", &[x], &[class_token, positions], y.into_storage(), (b, sample / d, d), back)
}

/// The elements from `first` on, `count` of them, of every `sample`.
pub(super) fn cut(
    gpu: &Gpu,
    x: &Tensor,
    (sample, first, count): (usize, usize, usize),
    shape: impl Into<Shape>,
) -> Result<Tensor> {
    let n = x.elem_count() / sample * count;
    let y = gpu.empty(x.dtype(), n)?;
    let arguments = arguments![Pointer::of(x)?, y.pointer()?, n, sample, first, count];
    gpu.launch(by_dtype!("cut", x), Grid::over(n), arguments)?;
    Ok(y.into_tensor(shape))
}

/// [`first_token`](crate::first_token)
pub(crate) fn first_token<X: Activation>(gpu: &Gpu, x: &X, [b, n, d]: [usize; 3]) -> Result<X> {
    let y = gpu.empty(x.values().dtype(), b * d)?;
    let arguments = arguments![Pointer::of(x.values())?, y.pointer()?, b * d, n * d, 0usize, d];
    gpu.launch(by_dtype!("cut", x.values()), Grid::over(b * d), arguments)?;
    let back = move |Pass::<1> { inputs: [x], dy, .. }: Pass<1>| {
        let gpu = device_of(dy)?;
        let dx = gpu.empty(x.dtype(), x.elem_count())?;
        let arguments = arguments![Pointer::of(dy)?, dx.pointer()?, x.elem_count(), n * d, d];
        gpu.launch(by_dtype!("first_token_gradient", x), Grid::over(x.elem_count()), arguments)?;
        Ok([Some(dx.into_tensor(x.shape()))])
    };
    X::record("first_token", &[x], &[], y.into_storage(), (b, d), back)
}
