//! Pooling over windows.

use super::by_dtype;
use super::device_of;
use super::gpu::Gpu;
use super::launch::{Argument, Grid, Pointer};
use crate::node::{Activation, Pass};
use crate::pool::Pooling;
use candle_core::{DType, Result, Shape, bail};

impl Pooling {
    fn sizes(&self) -> [Argument<'static>; 11] {
        let crate::Window2d { kernel, stride, padding } = self.window;
        let (input, output) = ([self.h, self.w, self.c], [self.oh, self.ow]);
        let [h, w, c] = input.map(Argument::from);
        let [oh, ow] = output.map(Argument::from);
        let [kh, kw, sy, sx, py, px] =
            [kernel.0, kernel.1, stride.0, stride.1, padding.0, padding.1].map(Argument::from);
        [h, w, c, oh, ow, kh, kw, sy, sx, py, px]
    }
}

/// `kernel(pointers.., n, sizes..)` with a thread for each of `n` elements.
fn launch(gpu: &Gpu, kernel: &'static str, p: &Pooling, pointers: &[Pointer], n: usize) -> Result<()> {
    let pointers = pointers.iter().map(|pointer| Argument::from(*pointer));
    let arguments: Vec<Argument> = pointers.chain([n.into()]).chain(p.sizes()).collect();
    gpu.launch(kernel, Grid::over(n), &arguments)
}

/// [`max_pool2d`](crate::max_pool2d)
pub(crate) fn max_pool2d<X: Activation>(gpu: &Gpu, x: &X, p: Pooling, shape: impl Into<Shape>) -> Result<X> {
    let (window, shape) = (p.window.kernel.0 * p.window.kernel.1, shape.into());
    if window > 255 {
        bail!("max_pool2d: a window on a GPU has at most 255 elements, not {window}");
    }
    let (dtype, n) = (x.values().dtype(), shape.elem_count());
    let (y, winner) = (gpu.empty(dtype, n)?, gpu.empty(DType::U8, n)?);
    let pointers = [Pointer::of(x.values())?, y.pointer()?, winner.pointer()?];
    launch(gpu, by_dtype!("max_pool", x.values()), &p, &pointers, n)?;
    let winner = winner.into_tensor(n);
    X::record("max_pool2d", &[x], &[], y.into_storage(), shape, move |Pass { inputs: [x], dy, .. }| {
        let gpu = device_of(dy)?;
        let dx = gpu.empty(dtype, x.elem_count())?;
        let pointers = [Pointer::of(dy)?, Pointer::of(&winner)?, dx.pointer()?];
        launch(&gpu, by_dtype!("max_pool_gradient", dy), &p, &pointers, x.elem_count())?;
        Ok([Some(dx.into_tensor(x.shape()))])
    })
}

/// [`avg_pool2d`](crate::avg_pool2d)
pub(crate) fn averages<X: Activation>(gpu: &Gpu, x: &X, p: Pooling, shape: &[usize]) -> Result<X> {
    let (dtype, n) = (x.values().dtype(), shape.iter().product());
    let y = gpu.empty(dtype, n)?;
    launch(gpu, by_dtype!("average_pool", x.values()), &p, &[Pointer::of(x.values())?, y.pointer()?], n)?;
    X::record("avg_pool2d", &[x], &[], y.into_storage(), shape, move |Pass { inputs: [x], dy, .. }| {
        let gpu = device_of(dy)?;
        let dx = gpu.empty(dtype, x.elem_count())?;
        launch(&gpu, by_dtype!("average_pool_gradient", dy), &p, &[Pointer::of(dy)?, dx.pointer()?], x.elem_count())?;
        Ok([Some(dx.into_tensor(x.shape()))])
    })
}
