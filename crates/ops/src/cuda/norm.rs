//! Normalisations with their epilogue: two launches forward and two backward, one more each for groups.

use super::gpu::{COUNTERS, Gpu};
use super::launch::{Grid, Pointer, THREADS, arguments};
use super::{by_width, device_of};
use crate::graph::{Activation, Pass, Recorded, stored};
use crate::layers::{Epilogue, RunningStats};
use candle_core::{DType, Result, Tensor, bail};
use std::sync::{Arc, Mutex};

/// How the rows of an activation are normalised.
#[derive(Clone, Copy)]
struct Rows {
    spans: usize,
    rows: usize,
    c: usize,
    /// Channels of a group; 1 for batch normalisation.
    group: usize,
    /// Whether the statistics are those of the rows, so that a gradient flows through them.
    own: bool,
    wide: bool,
}

/// What the forward leaves for the backward; f32 `[spans, c]`.
struct Statistics {
    mean: Tensor,
    rstd: Tensor,
}

/// [`batch_norm`](crate::batch_norm), whose shapes are checked. A batch of one row has no variance: its statistics
/// become NaN.
pub(crate) fn batch_norm<X: Activation>(
    gpu: &Gpu,
    activation: &X,
    affine: (&Tensor, &Tensor),
    stats: &RunningStats,
    train: bool,
    eps: f64,
    epilogue: Epilogue<X>,
) -> Result<X> {
    let x = activation.values();
    let c = affine.0.elem_count();
    for running in [stats.mean, stats.var] {
        if running.dtype() != DType::F32 || running.elem_count() != c {
            bail!(
                "batch_norm: running statistics on a GPU are f32 [{c}], not {:?} {:?}",
                running.dtype(),
                running.dims()
            );
        }
    }
    let rows = Rows { spans: 1, rows: x.elem_count() / c, c, group: 1, own: train, wide: wide(x, c)? };
    let statistics = if train {
        rows.moments(gpu, x, eps, false, Some(stats))?
    } else {
        let rstd = gpu.empty(DType::F32, c)?;
        let var = stats.var.as_detached_tensor();
        gpu.launch("running_rstd", Grid::over(c), arguments![Pointer::of(&var)?, rstd.pointer()?, c, eps as f32])?;
        Statistics { mean: stats.mean.as_detached_tensor(), rstd: rstd.into_tensor(c) }
    };
    record(gpu, "batch_norm", activation, affine, rows, statistics, epilogue)
}

/// [`group_norm`](crate::group_norm), whose shapes are checked.
pub(crate) fn group_norm<X: Activation>(
    gpu: &Gpu,
    activation: &X,
    groups: usize,
    affine: (&Tensor, &Tensor),
    eps: f64,
    epilogue: Epilogue<X>,
) -> Result<X> {
    let x = activation.values();
    let (spans, c) = (x.dims()[0], affine.0.elem_count());
    let rows = x.elem_count() / spans / c;
    let rows = Rows { spans, rows, c, group: c / groups, own: true, wide: wide(x, c)? };
    let statistics = rows.moments(gpu, x, eps, true, None)?;
    let (mean, rstd) = (Pointer::of(&statistics.mean)?, Pointer::of(&statistics.rstd)?);
    let all = spans * groups;
    gpu.launch("group_moments", Grid::of(all.div_ceil(256)), arguments![mean, rstd, all, rows.group, eps as f32])?;
    record(gpu, "group_norm", activation, affine, rows, statistics, epilogue)
}

/// Whether 16 bytes can be read at a time: several channels.
fn wide(x: &Tensor, c: usize) -> Result<bool> {
    Ok(c.is_multiple_of(16 / x.dtype().size_in_bytes()) && Pointer::of(x)?.is_aligned())
}

impl Rows {
    /// Threads side by side for the channels, below each other for the rows. The shape alone decides, so the bits do
    /// not depend on the GPU.
    fn grid(&self, dtype: DType, rows_of_a_thread: usize) -> Grid {
        let at_once = if self.wide { 16 / dtype.size_in_bytes() } else { 1 };
        let across = self.c.div_ceil(at_once);
        let side = across.next_power_of_two().min(32);
        let below = THREADS as usize / side;
        let most = (1024 / (self.spans * across.div_ceil(side))).max(1);
        let chunks = self.rows.div_ceil(below * rows_of_a_thread).clamp(1, most);
        Grid {
            blocks: (across.div_ceil(side) as u32, chunks as u32, self.spans as u32),
            threads: (side as u32, below as u32),
        }
    }

    /// The grid of a kernel with sums, and memory for those of its blocks.
    fn sums(&self, gpu: &Gpu, dtype: DType) -> Result<(Grid, Tensor)> {
        let grid = self.grid(dtype, 16);
        let (side, chunks, spans) = grid.blocks;
        if (side * spans) as usize > COUNTERS || spans > 65535 {
            bail!("a normalisation of {spans} samples with {} channels is too large for a GPU", self.c);
        }
        let len = spans as usize * chunks as usize * 2 * self.c;
        Ok((grid, gpu.empty(DType::F32, len)?.into_tensor(len)))
    }

    /// Mean and 1/√(variance + eps), or, `raw`, the variance.
    fn moments(&self, gpu: &Gpu, x: &Tensor, eps: f64, raw: bool, stats: Option<&RunningStats>) -> Result<Statistics> {
        let coefficients = self.spans * self.c;
        let (mean, rstd) = (gpu.empty(DType::F32, coefficients)?, gpu.empty(DType::F32, coefficients)?);
        let (grid, partials) = self.sums(gpu, x.dtype())?;
        let var = |var: &candle_core::Var| Pointer::of(&var.as_detached_tensor());
        let (running_mean, running_var, batches, momentum) = match stats {
            Some(stats) => {
                let batches = stats.batches.map(var).transpose()?.unwrap_or(Pointer::NONE);
                (var(stats.mean)?, var(stats.var)?, batches, stats.momentum)
            }
            None => (Pointer::NONE, Pointer::NONE, Pointer::NONE, 0.),
        };
        let arguments = arguments![
            Pointer::of(x)?,
            Pointer::of(&partials)?,
            mean.pointer()?,
            rstd.pointer()?,
            gpu.counters(),
            self.rows,
            self.c,
            eps as f32,
            raw,
            running_mean,
            running_var,
            batches,
            momentum as f32
        ];
        gpu.launch(by_width!("moments", x.dtype(), self.wide), grid, arguments)?;
        Ok(Statistics { mean: mean.into_tensor(coefficients), rstd: rstd.into_tensor(coefficients) })
    }
}

fn record<X: Activation>(
    gpu: &Gpu,
    op: &'static str,
    activation: &X,
    (weight, bias): (&Tensor, &Tensor),
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
    let y = gpu.empty(x.dtype(), x.elem_count())?;
    let arguments = arguments![
        Pointer::of(x)?,
        beside.unwrap_or(Pointer::NONE),
        y.pointer()?,
        Pointer::of(&statistics.mean)?,
        Pointer::of(&statistics.rstd)?,
        Pointer::of(&affine[0])?,
        Pointer::of(&affine[1])?,
        rows.rows,
        rows.c,
        relu
    ];
    gpu.launch(by_width!("apply", x.dtype(), rows.wide), rows.grid(x.dtype(), 4), arguments)?;
    let y = y.into_storage();
    let backward = Backward { rows, statistics, affine: [affine[0].detach(), affine[1].detach()], relu };
    match &residual {
        Some(residual) => {
            // candle's nodes have three inputs at most, so the two affine parameters are one node.
            let pair = Pair::new(gpu, [&affine[0], &affine[1]])?;
            let node = pair.node.clone();
            let maps = [activation, residual];
            X::record(op, &maps, &[&node], y, x.shape(), move |Pass { inputs: [x, _, _], wanted, y, dy }| {
                let (dx, dr, affine) = backward.run(x, Some(y), dy, wanted)?;
                let stands = affine.map(|affine| pair.deliver(affine)).transpose()?;
                Ok([dx, dr, stands])
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
                    let (dx, _, affine) = backward.run(x, None, dy, [wanted[0], false, wanted[1] || wanted[2]])?;
                    let [weight, bias] = affine.map_or([None, None], |affine| affine.map(Some));
                    Ok([dx, weight.filter(|_| wanted[1]), bias.filter(|_| wanted[2])])
                },
            )
        }
    }
}

/// Scale and shift as one number in candle's graph; their gradients are stored beside it.
struct Pair {
    node: Tensor,
    gradients: Arc<Mutex<Option<[Tensor; 2]>>>,
}

impl Pair {
    fn new(gpu: &Gpu, affine: [&Tensor; 2]) -> Result<Self> {
        let gradients: Arc<Mutex<Option<[Tensor; 2]>>> = Arc::default();
        let waiting = gradients.clone();
        let number = gpu.empty(DType::F32, 1)?.into_storage();
        let node = Tensor::record("affine", &[], &affine, number, (), move |Pass::<2> { wanted, .. }| {
            match super::locked(&waiting).take() {
                Some([weight, bias]) => Ok([wanted[0].then_some(weight), wanted[1].then_some(bias)]),
                None => bail!("a normalisation's scale got no gradient in this backward pass"),
            }
        })?;
        Ok(Self { node, gradients })
    }

    /// Leaves the gradients for the node; returns what stands for them in the graph.
    fn deliver(&self, gradients: [Tensor; 2]) -> Result<Tensor> {
        let gpu = device_of(&gradients[0])?;
        *super::locked(&self.gradients) = Some(gradients);
        Ok(gpu.zero().clone())
    }
}

struct Backward {
    rows: Rows,
    statistics: Statistics,
    affine: [Tensor; 2],
    relu: bool,
}

/// dx, the residual's gradient, and those of scale and shift, as far as they are wanted.
type Gradients = (Option<Tensor>, Option<Tensor>, Option<[Tensor; 2]>);

impl Backward {
    /// `y` is the result if it cannot be recomputed, since the residual is not kept.
    fn run(
        &self,
        x: &Tensor,
        y: Option<&Tensor>,
        dy: &Tensor,
        [input, residual, parameters]: [bool; 3],
    ) -> Result<Gradients> {
        let Self { rows, statistics: Statistics { mean, rstd }, affine: [weight, bias], relu } = self;
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
            Pointer::of(weight)?,
            Pointer::of(bias)?,
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
        let output = |wanted: bool| wanted.then(|| gpu.empty(x.dtype(), x.elem_count())).transpose();
        let (dx, dr) = (output(input)?, output(residual)?);
        if input || residual {
            let at = |fresh: &Option<super::memory::Fresh>| fresh.as_ref().map_or(Ok(Pointer::NONE), |f| f.pointer());
            let arguments = arguments![
                Pointer::of(x)?,
                kept,
                Pointer::of(dy)?,
                at(&dx)?,
                at(&dr)?,
                Pointer::of(mean)?,
                Pointer::of(rstd)?,
                Pointer::of(weight)?,
                Pointer::of(bias)?,
                terms.pointer()?,
                rows.rows,
                rows.c,
                *relu
            ];
            gpu.launch(by_width!("gradient_input", x.dtype(), rows.wide), rows.grid(x.dtype(), 4), arguments)?;
        }
        let tensor = |fresh: super::memory::Fresh| stored(fresh.into_storage(), x.shape());
        let affine = parameters.then(|| rows.affine_gradients(gpu, sums.pointer()?)).transpose()?;
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
