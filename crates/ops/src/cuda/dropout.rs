//! Dropout, whose mask a kernel draws as the CPU does.

use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments};
use super::memory::Fresh;
use super::{by_dtype, device_of};
use crate::graph::{Activation, Pass};
use crate::layers::Mask;
use candle_core::{Result, Tensor};

/// [`dropout`](crate::dropout) with a mask.
pub(crate) fn dropout<X: Activation>(gpu: &Gpu, x: &X, mask: Mask) -> Result<X> {
    let y = masked(gpu, x.values(), mask)?.into_storage();
    X::record("dropout", &[x], &[], y, x.values().shape(), move |Pass { dy, .. }| {
        Ok([Some(masked(&*device_of(dy)?, dy, mask)?.into_tensor(dy.shape()))])
    })
}

/// xᵢ times its factor.
fn masked(gpu: &Gpu, x: &Tensor, Mask { seed, drop_below, scale }: Mask) -> Result<Fresh> {
    let n = x.elem_count();
    let y = gpu.empty(x.dtype(), n)?;
    let word = |i: usize| u64::from_le_bytes(std::array::from_fn(|byte| seed[8 * i + byte]));
    let [a, b, c, d] = [0, 1, 2, 3].map(word);
    let arguments = arguments![Pointer::of(x)?, y.pointer()?, n, a, b, c, d, drop_below, scale as f32];
    gpu.launch(by_dtype!("dropout", x), Grid::over(n.div_ceil(16)), arguments)?;
    Ok(y)
}
