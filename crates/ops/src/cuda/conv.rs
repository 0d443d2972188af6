//! Convolutions and linear maps: cuDNN's, and products of matrices where a convolution is one.

use super::activations::{add_bias, cast, column_sums, copied};
use super::convolution::Direction;
use super::device_of;
use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments};
use super::memory::Fresh;
use super::product::Product;
use crate::graph::{Activation, Pass, stored};
use crate::graph::{Precision, precision};
use crate::layers::Geometry;
use candle_core::{DType, Result, Tensor, bail};

/// A convolution as it runs.
#[derive(Clone, Copy)]
struct Layer {
    g: Geometry,
    precision: Precision,
    dtype: DType,
}

/// [`conv2d`](crate::conv2d) and [`linear`](crate::linear), whose shapes are checked: activations are f32
/// or bfloat16, parameters and their gradients f32.
pub(crate) fn convolution<X: Activation>(
    gpu: &Gpu,
    op: &'static str,
    x: &X,
    weight: &Tensor,
    bias: Option<&Tensor>,
    g: Geometry,
    shape: Vec<usize>,
) -> Result<X> {
    let dtype = x.values().dtype();
    for parameter in bias.into_iter().chain([weight]) {
        if parameter.dtype() != DType::F32 {
            bail!("{op}: parameters on a GPU are f32, not {:?}", parameter.dtype());
        }
    }
    let precision = match (dtype, precision()) {
        (DType::BF16, _) => Precision::Bf16,
        (DType::F32, Precision::F32) => Precision::F32,
        (DType::F32, _) => Precision::Tf32,
        (other, _) => bail!("{op}: activations on a GPU are f32 or bf16, not {other:?}"),
    };
    let layer = Layer { g, precision, dtype };
    // Kept for the backward: the weights are the same there, and this is half their size or their own memory.
    let filters = layer.filters(gpu, weight)?;
    let y = layer.forward(gpu, x.values(), &filters)?;
    if let Some(bias) = bias {
        add_bias(gpu, y.pointer()?, dtype, g.pixels() * g.c_out, bias)?;
    }
    let y = y.into_storage();
    match bias {
        None => X::record(op, &[x], &[weight], y, shape, move |Pass { inputs: [x, _], wanted, dy, .. }| {
            let gpu = device_of(dy)?;
            Ok([
                wanted[0].then(|| layer.grad_input(&gpu, x, &filters, dy)).transpose()?,
                wanted[1].then(|| layer.grad_weight(&gpu, x, dy, filters.dims())).transpose()?,
            ])
        }),
        Some(bias) => {
            X::record(op, &[x], &[weight, bias], y, shape, move |Pass { inputs: [x, _, _], wanted, dy, .. }| {
                let gpu = device_of(dy)?;
                Ok([
                    wanted[0].then(|| layer.grad_input(&gpu, x, &filters, dy)).transpose()?,
                    wanted[1].then(|| layer.grad_weight(&gpu, x, dy, filters.dims())).transpose()?,
                    wanted[2].then(|| column_sums(&gpu, dy, layer.g.c_out)).transpose()?,
                ])
            })
        }
    }
}

impl Layer {
    /// Whether it is a product of pixels and a matrix.
    fn is_product(&self) -> bool {
        let Geometry { kernel, stride, padding, .. } = self.g;
        (kernel, stride, padding) == ((1, 1), (1, 1), (0, 0))
    }

    fn product(&self, rows: usize, inner: usize, columns: usize, transposed: (bool, bool)) -> Product {
        Product { rows, inner, columns, transposed, precision: self.precision, wide: false, batch: None }
    }

    /// The weights as the activations are, channels last; under the shape of the parameter, which they leave.
    fn filters(&self, gpu: &Gpu, weight: &Tensor) -> Result<Tensor> {
        let (inputs, taps) = (self.g.c_in, self.g.taps());
        if taps == 1 {
            return match self.dtype {
                DType::F32 => Ok(weight.detach()),
                dtype => cast(gpu, weight, dtype),
            };
        }
        let filters = gpu.empty(self.dtype, weight.elem_count())?;
        let kernel = match self.dtype {
            DType::BF16 => "filters_bf16",
            _ => "filters_f32",
        };
        let arguments = arguments![Pointer::of(weight)?, filters.pointer()?, inputs, taps];
        gpu.launch(kernel, self.turning(), arguments)?;
        Ok(filters.into_tensor(weight.shape()))
    }

    /// A block for each output and 32 inputs.
    fn turning(&self) -> Grid {
        Grid { blocks: (self.g.c_in.div_ceil(32) as u32, self.g.c_out as u32, 1), threads: (256, 1) }
    }

    fn forward(&self, gpu: &Gpu, x: &Tensor, filters: &Tensor) -> Result<Fresh> {
        let g = &self.g;
        let y = gpu.empty(self.dtype, g.pixels() * g.c_out)?;
        let (x, filters) = (aligned(gpu, x)?, aligned(gpu, filters)?);
        let [from, w, to] = [Pointer::of(&x)?, Pointer::of(&filters)?, y.pointer()?];
        if self.is_product() {
            gpu.multiply(self.product(g.pixels(), g.c_in, g.c_out, (false, true)), from, w, to)?;
        } else {
            gpu.convolve(Direction::Forward, g, self.precision, [from, w, to])?;
        }
        Ok(y)
    }

    fn grad_input(&self, gpu: &Gpu, x: &Tensor, filters: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let g = &self.g;
        let dx = gpu.empty(self.dtype, x.elem_count())?;
        let (filters, dy) = (aligned(gpu, filters)?, aligned(gpu, dy)?);
        let [to, w, from] = [dx.pointer()?, Pointer::of(&filters)?, Pointer::of(&dy)?];
        if self.is_product() {
            gpu.multiply(self.product(g.pixels(), g.c_out, g.c_in, (false, false)), from, w, to)?;
        } else {
            gpu.convolve(Direction::Input, g, self.precision, [to, w, from])?;
        }
        Ok(dx.into_tensor(x.shape()))
    }

    /// f32, in the layout of the parameter.
    fn grad_weight(&self, gpu: &Gpu, x: &Tensor, dy: &Tensor, shape: &[usize]) -> Result<Tensor> {
        let g = &self.g;
        let (x, dy) = (aligned(gpu, x)?, aligned(gpu, dy)?);
        let (from, by) = (Pointer::of(&x)?, Pointer::of(&dy)?);
        let len = g.c_out * g.window();
        if self.is_product() {
            let dw = gpu.empty(DType::F32, len)?;
            let product = self.product(g.c_out, g.pixels(), g.c_in, (true, false));
            gpu.multiply(Product { wide: true, ..product }, by, from, dw.pointer()?)?;
            return Ok(dw.into_tensor(shape));
        }
        let dw = gpu.empty(self.dtype, len)?;
        gpu.convolve(Direction::Weight, g, self.precision, [from, dw.pointer()?, by])?;
        let turned = gpu.empty(DType::F32, len)?;
        let kernel = match self.dtype {
            DType::BF16 => "filter_gradients_bf16",
            _ => "filter_gradients_f32",
        };
        let arguments = arguments![dw.pointer()?, turned.pointer()?, g.c_in, g.taps()];
        gpu.launch(kernel, self.turning(), arguments)?;
        Ok(turned.into_tensor(shape))
    }
}

/// `x` where the libraries expect it, which is where a tensor of its own begins; a view into one may have to move.
fn aligned(gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
    match Pointer::of(x)?.0.is_multiple_of(256) {
        true => Ok(x.clone()),
        false => Ok(stored(copied(gpu, x)?, x.shape())),
    }
}
