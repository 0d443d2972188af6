//! Images cut into patches, and the class token.

use super::activations::column_sums;
use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments};
use super::{by_dtype, device_of};
use crate::graph::{Activation, Pass};
use crate::layers::Cut;
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
    let y = gpu.empty(values.dtype(), b * sample)?;
    let arguments = arguments![
        Pointer::of(values)?,
        Pointer::of(class_token)?,
        Pointer::of(positions)?,
        y.pointer()?,
        b * sample,
        sample,
        d
    ];
    gpu.launch(by_dtype!("tokens", values), Grid::over(b * sample), arguments)?;
    let back = move |Pass::<3> { inputs: [x, class_token, positions], wanted, dy, .. }: Pass<3>| {
        let gpu = device_of(dy)?;
        let dx = || -> Result<Tensor> { part(&gpu, dy, (sample, d, sample - d), x.shape()) };
        let dx = wanted[0].then(dx).transpose()?;
        if !wanted[1] && !wanted[2] {
            return Ok([dx, None, None]);
        }
        let sums = column_sums(&gpu, dy, sample)?.reshape(positions.shape())?;
        // The class token's are those of the first position.
        let first = || part(&gpu, &sums, (sample, 0, d), class_token.shape());
        let first = wanted[1].then(first).transpose()?;
        Ok([dx, first, wanted[2].then_some(sums)])
    };
    X::record("tokens", &[x], &[class_token, positions], y.into_storage(), (b, sample / d, d), back)
}

/// The elements from `first` on, `count` of them, of every `sample`.
fn part(
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
