//! Convolutions and linear maps: cuDNN's, and products of matrices where a convolution is one.

use super::activations::{add_bias, cast, column_sums, copied};
use super::convolution::Direction;
use super::device_of;
use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments, in_grid};
use super::memory::Fresh;
use super::micro::{Values, terms_of_sums};
use super::micro_conv::MicroBatches;
use super::product::Product;
use crate::graph::{Activation, Pass, stored};
use crate::graph::{Precision, precision};
use crate::layers::Geometry;
use crate::per_sample::groups::{Groups, samples};
use crate::per_sample::micro::Displacement;
use crate::per_sample::recorder::take_part;
use candle_core::{DType, Result, Shape, Tensor, bail};

/// A convolution as it runs.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub g: Geometry,
    pub precision: Precision,
    pub dtype: DType,
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
    let values = x.values();
    for parameter in bias.into_iter().chain([weight]) {
        if parameter.dtype() != DType::F32 {
            bail!("{op}: parameters on a GPU are f32, not {:?}", parameter.dtype());
        }
    }
    let layer = Layer::of(op, g, values.dtype())?;
    let samples = samples(values);
    let groups = move |size| Groups { samples, size };
    let terms = move |[x, dy]: [&Tensor; 2], size, keeps| {
        MicroBatches::new(layer, groups(size)).weight_terms(&*device_of(dy)?, keeps, [x, dy])
    };
    let filters_of = |moved: Option<&Displacement>| {
        layer.filters(gpu, weight, if moved.is_some() { DType::F32 } else { layer.dtype })
    };
    match bias {
        None => {
            let part = take_part(op, [weight]);
            let filters = filters_of(part.displaced(0))?;
            let y = forward(gpu, layer, values, (&filters, part.displaced(0)))?.into_storage();
            X::record(op, &[x], &[weight], y, shape, move |Pass { inputs: [x, weight], wanted, dy, .. }| {
                let gpu = &*device_of(dy)?;
                let dw = || layer.grad_weight(gpu, x, dy, weight.dims());
                Ok([
                    wanted[0].then(|| grad_input(gpu, layer, x, (&filters, part.displaced(0)), dy)).transpose()?,
                    part.gradient(0, wanted[1], dw, |size, keeps| terms([x, dy], size, keeps))?,
                ])
            })
        }
        Some(bias) => {
            let part = take_part(op, [weight, bias]);
            let filters = filters_of(part.displaced(0))?;
            let y = forward(gpu, layer, values, (&filters, part.displaced(0)))?;
            let shift = Values::of(gpu, op, bias, part.displaced(1), (samples, g.pixels() / samples.max(1)))?;
            add_bias(gpu, y.pointer()?, layer.dtype, g.pixels() * g.c_out, &shift)?;
            let y = y.into_storage();
            X::record(
                op,
                &[x],
                &[weight, bias],
                y,
                shape,
                move |Pass { inputs: [x, weight, _], wanted, dy, .. }| {
                    let gpu = &*device_of(dy)?;
                    let dw = || layer.grad_weight(gpu, x, dy, weight.dims());
                    let of_bias = |size, keeps| terms_of_sums(dy, g.c_out, groups(size), keeps);
                    Ok([
                        wanted[0].then(|| grad_input(gpu, layer, x, (&filters, part.displaced(0)), dy)).transpose()?,
                        part.gradient(0, wanted[1], dw, |size, keeps| terms([x, dy], size, keeps))?,
                        part.gradient(1, wanted[2], || column_sums(gpu, dy, g.c_out), of_bias)?,
                    ])
                },
            )
        }
    }
}

/// The filters of a layer, and what they are displaced by: then they are f32. They are kept for the backward: the
/// weight is the same there, and they are half its size or its own memory.
type Displaced<'a> = (&'a Tensor, Option<&'a Displacement>);

fn forward(gpu: &Gpu, layer: Layer, x: &Tensor, (filters, moved): Displaced) -> Result<Fresh> {
    match moved {
        None => layer.forward(gpu, x, filters),
        Some(moved) => MicroBatches::of(layer, x, moved)?.forward(gpu, x, filters, moved),
    }
}

fn grad_input(gpu: &Gpu, layer: Layer, x: &Tensor, (filters, moved): Displaced, dy: &Tensor) -> Result<Tensor> {
    match moved {
        None => layer.grad_input(gpu, x, filters, dy),
        Some(moved) => MicroBatches::of(layer, x, moved)?.grad_input(gpu, x, filters, dy, moved),
    }
}

impl Layer {
    /// That of activations of an element type, in the precision of the scope.
    pub(super) fn of(op: &str, g: Geometry, dtype: DType) -> Result<Self> {
        let precision = match (dtype, precision()) {
            (DType::BF16, _) => Precision::Bf16,
            (DType::F32, Precision::F32) => Precision::F32,
            (DType::F32, _) => Precision::Tf32,
            (other, _) => bail!("{op}: activations on a GPU are f32 or bf16, not {other:?}"),
        };
        Ok(Self { g, precision, dtype })
    }

    /// Whether it is a product of pixels and a matrix.
    pub(super) fn is_product(&self) -> bool {
        let Geometry { kernel, stride, padding, .. } = self.g;
        (kernel, stride, padding) == ((1, 1), (1, 1), (0, 0))
    }

    fn product(&self, rows: usize, inner: usize, columns: usize, transposed: (bool, bool)) -> Product {
        Product { rows, inner, columns, transposed, precision: self.precision, wide: false, batch: None }
    }

    /// The weights channels last, in an element type; under the shape of the parameter, which they leave.
    fn filters(&self, gpu: &Gpu, weight: &Tensor, dtype: DType) -> Result<Tensor> {
        let (inputs, taps) = (self.g.c_in, self.g.taps());
        if taps == 1 {
            return match dtype {
                DType::F32 => Ok(weight.detach()),
                dtype => cast(gpu, weight, dtype),
            };
        }
        let filters = gpu.empty(dtype, weight.elem_count())?;
        let kernel = if dtype == DType::BF16 { "filters_bf16" } else { "filters_f32" };
        let arguments = arguments![Pointer::of(weight)?, filters.pointer()?, inputs, taps];
        gpu.launch(kernel, turning(inputs, self.g.c_out)?, arguments)?;
        Ok(filters.into_tensor(weight.shape()))
    }

    /// Filters in f32 as the activations are.
    pub(super) fn narrow(&self, gpu: &Gpu, filters: &Tensor) -> Result<Tensor> {
        if self.dtype == DType::F32 { Ok(filters.clone()) } else { cast(gpu, filters, self.dtype) }
    }

    pub(super) fn forward(&self, gpu: &Gpu, x: &Tensor, filters: &Tensor) -> Result<Fresh> {
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

    pub(super) fn grad_input(&self, gpu: &Gpu, x: &Tensor, filters: &Tensor, dy: &Tensor) -> Result<Tensor> {
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
    pub(super) fn grad_weight(&self, gpu: &Gpu, x: &Tensor, dy: &Tensor, shape: &[usize]) -> Result<Tensor> {
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
        turned(gpu, self.dtype, dw.pointer()?, [g.c_out, g.taps(), g.c_in], shape)
    }
}

/// A block for each output and 32 inputs.
fn turning(inputs: usize, outputs: usize) -> Result<Grid> {
    Ok(Grid {
        blocks: (inputs.div_ceil(32) as u32, in_grid(outputs, "outputs of a convolution")?, 1),
        threads: (256, 1),
    })
}

/// The gradient of filters, `[c_out, taps, c_in]`, in the layout of the parameter, f32.
pub(super) fn turned(
    gpu: &Gpu,
    dtype: DType,
    filters: Pointer,
    [outputs, taps, inputs]: [usize; 3],
    shape: impl Into<Shape>,
) -> Result<Tensor> {
    let turned = gpu.empty(DType::F32, outputs * taps * inputs)?;
    let kernel = if dtype == DType::BF16 { "filter_gradients_bf16" } else { "filter_gradients_f32" };
    gpu.launch(kernel, turning(inputs, outputs)?, arguments![filters, turned.pointer()?, inputs, taps])?;
    Ok(turned.into_tensor(shape))
}

/// `x` where the libraries expect it, which is where a tensor of its own begins; a view into one may have to move.
fn aligned(gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
    match Pointer::of(x)?.0.is_multiple_of(256) {
        true => Ok(x.clone()),
        false => Ok(stored(copied(gpu, x)?, x.shape())),
    }
}
