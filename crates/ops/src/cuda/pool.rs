//! Pooling over windows.

use super::gpu::Gpu;
use super::launch::{Argument, Grid, Pointer};
use super::{by_width, device_of};
use crate::graph::{Activation, Pass};
use crate::layers::Pooling;
use candle_core::{DType, Result, Tensor, bail};

impl Pooling {
    fn sizes(&self) -> [Argument<'static>; 11] {
        let crate::Window2d { kernel, stride, padding } = self.window;
        let sizes = [self.h, self.w, self.c, self.oh, self.ow];
        let window = [kernel.0, kernel.1, stride.0, stride.1, padding.0, padding.1];
        let [h, w, c, oh, ow] = sizes.map(Argument::from);
        let [kh, kw, sy, sx, py, px] = window.map(Argument::from);
        [h, w, c, oh, ow, kh, kw, sy, sx, py, px]
    }

    /// Whether several channels are one vector, which every tensor of this pooling begins with.
    fn wide(&self, x: &Tensor) -> Result<bool> {
        Ok(self.c.is_multiple_of(16 / x.dtype().size_in_bytes()) && Pointer::of(x)?.is_aligned())
    }
}

/// `kernel(pointers.., n, sizes..)` for `n` elements.
fn launch(gpu: &Gpu, kernel: &'static str, p: &Pooling, pointers: &[Pointer], n: usize) -> Result<()> {
    if n > i32::MAX as usize {
        bail!("pooling on a GPU has fewer than 2³¹ elements, not {n}");
    }
    let pointers = pointers.iter().map(|pointer| Argument::from(*pointer));
    let arguments: Vec<Argument> = pointers.chain([n.into()]).chain(p.sizes()).collect();
    gpu.launch(kernel, Grid::over(n), &arguments)
}

/// [`max_pool2d`](crate::max_pool2d)
pub(crate) fn max_pool2d<X: Activation>(gpu: &Gpu, x: &X, p: Pooling, shape: &[usize]) -> Result<X> {
    let window = p.window.kernel.0 * p.window.kernel.1;
    if window > 255 {
        bail!("max_pool2d: a window on a GPU has at most 255 elements, not {window}");
    }
    let (dtype, n) = (x.values().dtype(), shape.iter().product());
    let (y, winner) = (gpu.empty(dtype, n)?, gpu.empty(DType::U8, n)?);
    let pointers = [Pointer::of(x.values())?, y.pointer()?, winner.pointer()?];
    launch(gpu, by_width!("max_pool", dtype, p.wide(x.values())?), &p, &pointers, n)?;
    let winner = winner.into_tensor(n);
    X::record("max_pool2d", &[x], &[], y.into_storage(), shape, move |Pass { inputs: [x], dy, .. }| {
        let gpu = device_of(dy)?;
        let dx = gpu.empty(dtype, x.elem_count())?;
        let pointers = [Pointer::of(dy)?, Pointer::of(&winner)?, dx.pointer()?];
        launch(&gpu, by_width!("max_pool_gradient", dtype, p.wide(dy)?), &p, &pointers, x.elem_count())?;
        Ok([Some(dx.into_tensor(x.shape()))])
    })
}

/// [`avg_pool2d`](crate::avg_pool2d)
pub(crate) fn averages<X: Activation>(gpu: &Gpu, x: &X, p: Pooling, shape: &[usize]) -> Result<X> {
    let (dtype, n) = (x.values().dtype(), shape.iter().product());
    let y = gpu.empty(dtype, n)?;
    let pointers = [Pointer::of(x.values())?, y.pointer()?];
    launch(gpu, by_width!("average_pool", dtype, p.wide(x.values())?), &p, &pointers, n)?;
    X::record("avg_pool2d", &[x], &[], y.into_storage(), shape, move |Pass { inputs: [x], dy, .. }| {
        let gpu = device_of(dy)?;
        let dx = gpu.empty(dtype, x.elem_count())?;
        let pointers = [Pointer::of(dy)?, dx.pointer()?];
        launch(&gpu, by_width!("average_pool_gradient", dtype, p.wide(dy)?), &p, &pointers, x.elem_count())?;
        Ok([Some(dx.into_tensor(x.shape()))])
    })
}
