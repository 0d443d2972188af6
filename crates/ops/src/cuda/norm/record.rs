//! A normalisation as a node of the graph: its epilogue, and its backward.

use super::{Rows, Statistics};
use crate::cuda::activations::sums_of_chunks;
use crate::cuda::gpu::Gpu;
use crate::cuda::launch::{Grid, Pointer, arguments};
use crate::cuda::memory::Fresh;
use crate::cuda::micro::{Values, terms_of};
use crate::cuda::tokens::cut;
use crate::cuda::{by_width, device_of, locked};
use crate::graph::{Activation, Pass, Recorded, stored};
use crate::layers::Epilogue;
use crate::per_sample::groups::Groups;
use crate::per_sample::recorder::Part;
use candle_core::{DType, Result, Tensor, bail};
use std::sync::{Arc, Mutex};

/// relu?(norm(x) + residual?), whose statistics are known; `affine` are weight and bias.
#[allow(clippy::too_many_arguments)]
pub(super) fn record<X: Activation>(
    gpu: &Gpu,
    op: &'static str,
    activation: &X,
    (weight, bias): (&Tensor, &Tensor),
    part: Part<2>,
    rows: Rows,
    statistics: Statistics,
    epilogue: Epilogue<X>,
) -> Result<X> {
    let (relu, x) = (epilogue.relu, activation.values());
    let residual = epilogue.residual.map(Recorded::input).transpose()?;
    let beside = residual.as_ref().map(|residual| Pointer::of(residual.values())).transpose()?;
    let rows = Rows { wide: rows.wide && beside.is_none_or(Pointer::is_aligned), ..rows };
    for parameter in [weight, bias] {
        if parameter.dtype() != DType::F32 {
            bail!("{op}: parameters on a GPU are f32, not {:?}", parameter.dtype());
        }
    }
    let affine = [weight.input()?, bias.input()?];
    let samples = x.dims()[0];
    let values = |k: usize| Values::of(gpu, op, &affine[k].detach(), part.displaced(k), (samples, 1));
    let values = [values(0)?, values(1)?];
    let y = gpu.empty(x.dtype(), x.elem_count())?;
    let arguments = arguments![
        Pointer::of(x)?,
        beside.unwrap_or(Pointer::NONE),
        y.pointer()?,
        Pointer::of(&statistics.mean)?,
        Pointer::of(&statistics.rstd)?,
        values[0].pointer()?,
        values[1].pointer()?,
        spans_of(&values[0]),
        spans_of(&values[1]),
        rows.rows,
        rows.c,
        relu
    ];
    gpu.launch(by_width!("apply", x.dtype(), rows.wide), rows.grid(x.dtype(), 4), arguments)?;
    let y = y.into_storage();
    let backward = Backward { rows, statistics, values, part, samples, relu };
    match &residual {
        Some(residual) => {
            // candle's nodes have three inputs at most, so the two affine parameters are one node.
            let pair = Pair::new(gpu, [&affine[0], &affine[1]])?;
            let node = pair.node.clone();
            let maps = [activation, residual];
            X::record(op, &maps, &[&node], y, x.shape(), move |Pass { inputs: [x, _, _], wanted, y, dy }| {
                let (dx, dr, affine) = backward.run(x, Some(y), dy, [wanted[0], wanted[1]], [wanted[2]; 2])?;
                Ok([dx, dr, wanted[2].then(|| pair.deliver(dy, affine)).transpose()?])
            })
        }
        None => {
            let params = [&affine[0], &affine[1]];
            X::record(
                op,
                &[activation],
                &params,
                y,
                x.shape(),
                move |Pass { inputs: [x, _, _], wanted, dy, .. }| {
                    let (dx, _, [weight, bias]) =
                        backward.run(x, None, dy, [wanted[0], false], [wanted[1], wanted[2]])?;
                    Ok([dx, weight, bias])
                },
            )
        }
    }
}

/// Spans that share the values of a parameter, as the kernels count them.
fn spans_of(values: &Values) -> u32 {
    u32::try_from(values.rows).unwrap_or(u32::MAX)
}

/// Scale and shift as one number in candle's graph; their gradients are stored beside it.
struct Pair {
    node: Tensor,
    gradients: Arc<Mutex<Option<[Option<Tensor>; 2]>>>,
}

impl Pair {
    fn new(gpu: &Gpu, affine: [&Tensor; 2]) -> Result<Self> {
        let gradients: Arc<Mutex<Option<[Option<Tensor>; 2]>>> = Arc::default();
        let waiting = gradients.clone();
        let number = gpu.empty(DType::F32, 1)?.into_storage();
        let node = Tensor::record("affine", &[], &affine, number, (), move |Pass::<2> { wanted, .. }| {
            match locked(&waiting).take() {
                Some([weight, bias]) => Ok([weight.filter(|_| wanted[0]), bias.filter(|_| wanted[1])]),
                None => bail!("a normalisation's scale got no gradient in this backward pass"),
            }
        })?;
        Ok(Self { node, gradients })
    }

    /// Leaves the gradients for the node; returns what stands for them in the graph of `dy`.
    fn deliver(&self, dy: &Tensor, gradients: [Option<Tensor>; 2]) -> Result<Tensor> {
        *locked(&self.gradients) = Some(gradients);
        Ok(device_of(dy)?.zero().clone())
    }
}

struct Backward {
    rows: Rows,
    statistics: Statistics,
    /// Of scale and shift.
    values: [Values; 2],
    part: Part<2>,
    samples: usize,
    relu: bool,
}

/// dx, the residual's gradient, and those of scale and shift, as far as they are wanted and computed.
type Gradients = (Option<Tensor>, Option<Tensor>, [Option<Tensor>; 2]);

impl Backward {
    /// `y` is the result if it cannot be recomputed, since the residual is not kept.
    fn run(
        &self,
        x: &Tensor,
        y: Option<&Tensor>,
        dy: &Tensor,
        [input, residual]: [bool; 2],
        wanted: [bool; 2],
    ) -> Result<Gradients> {
        let Self { rows, statistics: Statistics { mean, rstd }, values: [weight, bias], relu, .. } = self;
        let gpu = &*device_of(dy)?;
        let (kept, wide) = (Pointer::of_optional(y.filter(|_| *relu))?, rows.wide && Pointer::of(dy)?.is_aligned());
        let rows = &Rows { wide, ..*rows };
        let len = rows.spans * 2 * rows.c;
        let (sums, terms) = (gpu.empty(DType::F32, len)?, gpu.empty(DType::F32, len)?);
        let (grid, partials) = rows.sums(gpu, x.dtype())?;
        let scale = if rows.own { 1. / rows.rows as f32 } else { 0. };
        let arguments = arguments![
            Pointer::of(x)?,
            kept,
            Pointer::of(dy)?,
            Pointer::of(&partials)?,
            sums.pointer()?,
            terms.pointer()?,
            gpu.counters(),
            Pointer::of(mean)?,
            Pointer::of(rstd)?,
            weight.pointer()?,
            bias.pointer()?,
            spans_of(weight),
            spans_of(bias),
            rows.rows,
            rows.c,
            *relu,
            scale
        ];
        gpu.launch(by_width!("gradient_sums", x.dtype(), rows.wide), grid, arguments)?;
        if rows.group > 1 {
            let groups = rows.spans * 2 * rows.c / rows.group;
            gpu.launch(
                "group_terms",
                Grid::of(groups.div_ceil(256)),
                arguments![terms.pointer()?, groups, rows.group],
            )?;
        }
        if rows.together > 1 {
            let (width, grid) = (2 * rows.c, Grid::of((2 * rows.c).div_ceil(256)));
            gpu.launch("micro_terms", grid, arguments![terms.pointer()?, rows.spans, width, rows.together])?;
        }
        let output = |wanted: bool| wanted.then(|| gpu.empty(x.dtype(), x.elem_count())).transpose();
        let (dx, dr) = (output(input)?, output(residual)?);
        if input || residual {
            let at = |fresh: &Option<Fresh>| fresh.as_ref().map_or(Ok(Pointer::NONE), |f| f.pointer());
            let arguments = arguments![
                Pointer::of(x)?,
                kept,
                Pointer::of(dy)?,
                at(&dx)?,
                at(&dr)?,
                Pointer::of(mean)?,
                Pointer::of(rstd)?,
                weight.pointer()?,
                bias.pointer()?,
                spans_of(weight),
                spans_of(bias),
                terms.pointer()?,
                rows.rows,
                rows.c,
                *relu
            ];
            gpu.launch(by_width!("gradient_input", x.dtype(), rows.wide), rows.grid(x.dtype(), 4), arguments)?;
        }
        let tensor = |fresh: Fresh| stored(fresh.into_storage(), x.shape());
        let sums = sums.into_tensor((rows.spans, 2 * rows.c));
        // Σ g of every span lies before Σ g x̂, which are those of bias and weight.
        for (k, first) in [(0, rows.c), (1, 0)] {
            self.part.measure(k, |size, keeps| {
                let groups = Groups { samples: self.samples, size };
                let of_groups = sums_of_chunks(gpu, &sums, 2 * rows.c, size)?;
                terms_of(
                    gpu,
                    groups,
                    cut(gpu, &of_groups, (2 * rows.c, first, rows.c), (groups.count(), rows.c))?,
                    keeps,
                )
            })?;
        }
        let computes = [0, 1].map(|k| self.part.computes(k, wanted[k]));
        let affine = match computes {
            [false, false] => [None, None],
            _ => {
                let [weight, bias] = rows.affine_gradients(gpu, Pointer::of(&sums)?)?;
                [Some(weight).filter(|_| computes[0]), Some(bias).filter(|_| computes[1])]
            }
        };
        Ok((dx.map(tensor), dr.map(tensor), affine))
    }
}

impl Rows {
    /// Those of scale and shift.
    fn affine_gradients(&self, gpu: &Gpu, sums: Pointer) -> Result<[Tensor; 2]> {
        let (weight, bias) = (gpu.empty(DType::F32, self.c)?, gpu.empty(DType::F32, self.c)?);
        let arguments = arguments![sums, weight.pointer()?, bias.pointer()?, self.spans, self.c];
        gpu.launch("affine_gradients", Grid::over(self.c), arguments)?;
        Ok([weight.into_tensor(self.c), bias.into_tensor(self.c)])
    }
}
