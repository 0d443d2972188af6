//! Normalisations with their epilogue: two launches forward and two backward, one more each for groups.

mod record;

use super::by_width;
use super::gpu::{COUNTERS, Gpu};
use super::launch::{Grid, Pointer, THREADS, arguments};
use crate::graph::Activation;
use crate::layers::{Epilogue, RunningStats};
use crate::per_sample::recorder::{micro_batch_size, samples_are_coupled, take_part};
use candle_core::{DType, Result, Tensor, bail};
use record::record;

/// How the rows of an activation are normalised.
#[derive(Clone, Copy)]
struct Rows {
    spans: usize,
    rows: usize,
    c: usize,
    /// Channels of a group; 1 for batch normalisation.
    group: usize,
    /// Spans with the same statistics, in batch normalisation.
    together: usize,
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
    let (part, b, micro) = (take_part("batch_norm", [affine.0, affine.1]), x.dims()[0], micro_batch_size());
    let size = micro.unwrap_or(b);
    if train && micro.is_none() && b > 1 {
        samples_are_coupled();
    }
    // All rows are one span, or each sample is.
    let spans = if part.is_sample_by_sample() { b } else { 1 };
    let rows = x.elem_count() / c / spans;
    if train && micro.is_some() && rows * (b - (b - 1) / size * size) == 1 {
        bail!(
            "batch_norm: expected more than 1 value per channel when training, got a micro-batch of 1 sample of x {:?}",
            x.dims()
        )
    }
    let together = if spans == 1 { 1 } else { size };
    let rows = Rows { spans, rows, c, group: 1, together, own: train, wide: wide(x, c)? };
    let statistics = match (train, spans) {
        (true, 1) => rows.moments(gpu, x, eps, false, Some(stats))?,
        (true, _) => {
            let statistics = rows.moments(gpu, x, eps, true, None)?;
            rows.in_micro_batches(gpu, &statistics, eps, stats)?;
            statistics
        }
        (false, _) => {
            let n = spans * c;
            let (mean, rstd) = (gpu.empty(DType::F32, n)?, gpu.empty(DType::F32, n)?);
            let [running_mean, var] = [stats.mean, stats.var].map(|var| var.as_detached_tensor());
            let from = [Pointer::of(&running_mean)?, Pointer::of(&var)?];
            let arguments = arguments![from[0], from[1], mean.pointer()?, rstd.pointer()?, n, c, eps as f32];
            gpu.launch("running_moments", Grid::over(n), arguments)?;
            Statistics { mean: mean.into_tensor(n), rstd: rstd.into_tensor(n) }
        }
    };
    record(gpu, "batch_norm", activation, affine, part, rows, statistics, epilogue)
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
    let rows = Rows { spans, rows, c, group: c / groups, together: 1, own: true, wide: wide(x, c)? };
    let statistics = rows.moments(gpu, x, eps, true, None)?;
    let (mean, rstd) = (Pointer::of(&statistics.mean)?, Pointer::of(&statistics.rstd)?);
    let all = spans * groups;
    gpu.launch("group_moments", Grid::of(all.div_ceil(256)), arguments![mean, rstd, all, rows.group, eps as f32])?;
    let part = take_part("group_norm", [affine.0, affine.1]);
    record(gpu, "group_norm", activation, affine, part, rows, statistics, epilogue)
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
        let [running_mean, running_var, batches] = running(stats)?;
        let momentum = stats.map_or(0., |stats| stats.momentum);
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

    /// Makes mean and variance of each span those of its micro-batch, mean and 1/√(variance + eps); and the running
    /// statistics' step for each.
    fn in_micro_batches(&self, gpu: &Gpu, statistics: &Statistics, eps: f64, stats: &RunningStats) -> Result<()> {
        let [running_mean, running_var, batches] = running(Some(stats))?;
        let arguments = arguments![
            Pointer::of(&statistics.mean)?,
            Pointer::of(&statistics.rstd)?,
            self.spans,
            self.c,
            self.together,
            self.rows,
            eps as f32,
            running_mean,
            running_var,
            batches,
            stats.momentum as f32
        ];
        gpu.launch("micro_moments", Grid::of(self.c.div_ceil(256)), arguments)
    }
}

/// Running mean, variance and number of batches, where they are tracked.
fn running(stats: Option<&RunningStats>) -> Result<[Pointer; 3]> {
    let at = |var: &candle_core::Var| Pointer::of(&var.as_detached_tensor());
    let Some(stats) = stats else { return Ok([Pointer::NONE; 3]) };
    Ok([at(stats.mean)?, at(stats.var)?, stats.batches.map(at).transpose()?.unwrap_or(Pointer::NONE)])
}
