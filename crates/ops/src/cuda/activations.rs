//! Passes over activations, element by element.

use super::gpu::Gpu;
use super::launch::{Grid, Pointer, THREADS, arguments, in_grid};
use super::memory::Fresh;
use super::micro::Values;
use super::{by_dtype, device_of};
use crate::graph::{Activation, Pass, stored};
use candle_core::{DType, Result, Storage, Tensor, bail};

/// `kernel(x, y, n, aligned)`
fn map(gpu: &Gpu, kernel: &'static str, x: &Tensor) -> Result<Storage> {
    let n = x.elem_count();
    let y = gpu.empty(x.dtype(), n)?;
    let (from, to) = (Pointer::of(x)?, y.pointer()?);
    let aligned = from.is_aligned() && to.is_aligned();
    gpu.launch(kernel, Grid::over(n.div_ceil(4)), arguments![from, to, n, aligned])?;
    Ok(y.into_storage())
}

/// `kernel(a, b, y, n, aligned)`
fn map2(gpu: &Gpu, kernel: &'static str, a: &Tensor, b: &Tensor) -> Result<Storage> {
    if a.dtype() != b.dtype() || a.dims() != b.dims() {
        bail!("{kernel}: {:?} {:?} and {:?} {:?} do not fit", a.dtype(), a.dims(), b.dtype(), b.dims());
    }
    let n = a.elem_count();
    let y = gpu.empty(a.dtype(), n)?;
    let (left, right, to) = (Pointer::of(a)?, Pointer::of(b)?, y.pointer()?);
    let aligned = left.is_aligned() && right.is_aligned() && to.is_aligned();
    gpu.launch(kernel, Grid::over(n.div_ceil(4)), arguments![left, right, to, n, aligned])?;
    Ok(y.into_storage())
}

/// a + b
pub(crate) fn sum(gpu: &Gpu, a: &Tensor, b: &Tensor) -> Result<Storage> {
    map2(gpu, by_dtype!("add", a), a, b)
}

/// `x` in another element type.
pub(crate) fn cast(gpu: &Gpu, x: &Tensor, dtype: DType) -> Result<Tensor> {
    Ok(copied_as(gpu, x, dtype)?.into_tensor(x.shape()))
}

/// The elements of `x` in a storage of their own.
pub(crate) fn copied(gpu: &Gpu, x: &Tensor) -> Result<Storage> {
    Ok(copied_as(gpu, x, x.dtype())?.into_storage())
}

fn copied_as(gpu: &Gpu, x: &Tensor, dtype: DType) -> Result<Fresh> {
    let kernel = match (x.dtype(), dtype) {
        (DType::F32, DType::F32) => "cast_f32_f32",
        (DType::F32, DType::BF16) => "cast_f32_bf16",
        (DType::BF16, DType::F32) => "cast_bf16_f32",
        (DType::BF16, DType::BF16) => "cast_bf16_bf16",
        (from, to) => bail!("activations on a GPU are f32 or bf16, not {from:?} that become {to:?}"),
    };
    let n = x.elem_count();
    let y = gpu.empty(dtype, n)?;
    gpu.launch(kernel, Grid::over(n), arguments![Pointer::of(x)?, y.pointer()?, n])?;
    Ok(y)
}

/// A storage of one number of arbitrary value.
pub(crate) fn number(gpu: &Gpu) -> Result<Storage> {
    Ok(gpu.empty(DType::F32, 1)?.into_storage())
}

/// The number 0.
pub(crate) fn zero(gpu: &Gpu) -> Result<Tensor> {
    Ok(gpu.zero().clone())
}

/// [`relu`](crate::relu)
pub(crate) fn relu<X: Activation>(gpu: &Gpu, x: &X) -> Result<X> {
    let y = map(gpu, by_dtype!("relu", x.values()), x.values())?;
    X::record("relu", &[x], &[], y, x.values().shape(), |Pass { y, dy, .. }| {
        let dx = map2(&*device_of(y)?, by_dtype!("masked", y), y, dy)?;
        Ok([Some(stored(dx, y.shape()))])
    })
}

/// [`gelu`](crate::gelu)
pub(crate) fn gelu<X: Activation>(gpu: &Gpu, x: &X) -> Result<X> {
    let y = map(gpu, by_dtype!("gelu", x.values()), x.values())?;
    X::record("gelu", &[x], &[], y, x.values().shape(), |Pass { inputs: [x], dy, .. }| {
        let dx = map2(&*device_of(x)?, by_dtype!("gelu_gradient", x), x, dy)?;
        Ok([Some(stored(dx, x.shape()))])
    })
}

/// y\[i, j\] += bias\[j\] for rows of as many elements as `bias` has.
pub(super) fn add_bias(gpu: &Gpu, y: Pointer, dtype: DType, len: usize, bias: &Values) -> Result<()> {
    let kernel = match dtype {
        DType::BF16 => "add_bias_bf16",
        _ => "add_bias_f32",
    };
    gpu.launch(kernel, Grid::over(len), arguments![y, bias.pointer()?, len, bias.len, bias.rows])
}

/// The sum over rows of `c` elements, f32 `[c]`.
pub(super) fn column_sums(gpu: &Gpu, x: &Tensor, c: usize) -> Result<Tensor> {
    sums_of_chunks(gpu, x, c, x.elem_count() / c)?.reshape(c)
}

/// The sum over every `each` rows of `c` elements, f32 `[chunks, c]`; the last chunk may have fewer.
pub(super) fn sums_of_chunks(gpu: &Gpu, x: &Tensor, c: usize, each: usize) -> Result<Tensor> {
    let rows = x.elem_count() / c;
    let chunks = rows.div_ceil(each);
    let sums = gpu.empty(DType::F32, chunks * c)?;
    let grid =
        Grid { blocks: (c.div_ceil(32) as u32, in_grid(chunks, "micro-batches")?, 1), threads: (32, THREADS / 32) };
    gpu.launch(by_dtype!("column_sums", x), grid, arguments![Pointer::of(x)?, sums.pointer()?, rows, c, each])?;
    Ok(sums.into_tensor((chunks, c)))
}
