//! Convolutions whose weight is displaced for each micro-batch, and the gradients of micro-batches: batched products of
//! matrices. A convolution's are the windows of its input.

use super::conv::Layer;
use super::gpu::Gpu;
use super::launch::Pointer;
use super::memory::Fresh;
use super::micro::{moved, products_of_rows, scaled, terms_of};
use super::product::{Batch, Product};
use crate::graph::Precision;
use crate::per_sample::groups::{Groups, samples};
use crate::per_sample::micro::Displacement;
use crate::per_sample::recorder::{Factors, Gradients, Terms};
use candle_core::{DType, Result, Tensor, bail};
use std::ops::Range;

/// Bytes that what is made for some micro-batches may take, if one of them does not take more.
const MOST: usize = 256 << 20;

/// A convolution of a batch, and its micro-batches.
#[derive(Clone, Copy)]
pub(super) struct MicroBatches {
    layer: Layer,
    groups: Groups,
    /// Bytes that what is made for some micro-batches may take.
    most: usize,
}

/// Micro-batches of one length, one after another in memory.
struct Run {
    groups: Range<usize>,
    /// Of all of them.
    samples: Range<usize>,
}

impl Run {
    fn count(&self) -> usize {
        self.groups.len()
    }
}

/// Something in the memory of a GPU that may be part of a tensor.
enum Place {
    Part(Pointer),
    Own(Fresh),
}

impl Place {
    fn pointer(&self) -> Result<Pointer> {
        match self {
            Place::Part(pointer) => Ok(*pointer),
            Place::Own(fresh) => fresh.pointer(),
        }
    }
}

impl MicroBatches {
    pub(super) fn new(layer: Layer, groups: Groups) -> Self {
        Self { layer, groups, most: MOST }
    }

    /// Those by which the weight is displaced.
    pub(super) fn of(layer: Layer, x: &Tensor, moved_by: &Displacement) -> Result<Self> {
        Ok(Self::new(layer, moved_by.groups_of("convolution", samples(x))?))
    }

    /// Elements of x that a sample has.
    fn inputs(&self) -> usize {
        let g = &self.layer.g;
        g.batch / self.groups.samples * g.height * g.width * g.c_in
    }

    /// Output pixels that a sample has.
    fn pixels(&self) -> usize {
        self.layer.g.pixels() / self.groups.samples
    }

    /// Elements of a window.
    fn window(&self) -> usize {
        self.layer.g.window()
    }

    /// Elements of the weight.
    fn weights(&self) -> usize {
        self.layer.g.c_out * self.window()
    }

    /// Output pixels of each micro-batch of a run.
    fn pixels_of_one(&self, run: &Run) -> usize {
        run.samples.len() / run.count() * self.pixels()
    }

    /// Those of the longest.
    fn most_pixels(&self) -> usize {
        self.groups.size.min(self.groups.samples) * self.pixels()
    }

    /// Whether two products with the pixels in the middle are less work than one that forms the gradient of a
    /// micro-batch.
    fn is_thin(&self) -> bool {
        self.most_pixels() * (self.window() + self.layer.g.c_out) <= self.weights()
    }

    /// All micro-batches, as many at once as may be if each takes so many elements of f32.
    fn runs(&self, elements: usize) -> Vec<Run> {
        let Groups { samples, size } = self.groups;
        let windows = if self.layer.is_product() { 0 } else { 2 * self.most_pixels() * self.window() };
        let most = (self.most / (4 * (elements + windows)).max(1)).clamp(1, 65535);
        let full = samples / size;
        let mut runs: Vec<Run> = (0..full)
            .step_by(most)
            .map(|first| first..full.min(first + most))
            .map(|groups| Run { samples: groups.start * size..groups.end * size, groups })
            .collect();
        if full * size < samples {
            runs.push(Run { groups: full..full + 1, samples: full * size..samples });
        }
        runs
    }

    fn bytes(&self) -> usize {
        self.layer.dtype.size_in_bytes()
    }

    /// What a run has of x, as it is.
    fn x(&self, x: Pointer, run: &Run) -> Pointer {
        x.plus(run.samples.start * self.inputs() * self.bytes())
    }

    /// What a run has of y.
    fn y(&self, y: Pointer, run: &Run) -> Pointer {
        y.plus(run.samples.start * self.pixels() * self.layer.g.c_out * self.bytes())
    }

    /// The windows of a run, `[pixels, window]`.
    fn windows(&self, gpu: &Gpu, x: Pointer, run: &Run) -> Result<Place> {
        let x = self.x(x, run);
        if self.layer.is_product() {
            return Ok(Place::Part(x));
        }
        let n = run.samples.len() * self.pixels() * self.window();
        let windows = gpu.empty(self.layer.dtype, n)?;
        gpu.windows(&self.layer.g, self.layer.dtype, x, windows.pointer()?, n)?;
        Ok(Place::Own(windows))
    }

    /// The product of each micro-batch of a run; `rows`, `inner` and `columns` of one.
    fn product(&self, run: &Run, [rows, inner, columns]: [usize; 3], transposed: (bool, bool)) -> Product {
        let lies = |rows, columns, transposed| if transposed { rows } else { columns };
        let apart = [lies(rows, inner, transposed.0), lies(inner, columns, transposed.1), columns];
        let batch = Some(Batch { count: run.count(), apart });
        Product { rows, inner, columns, transposed, precision: self.layer.precision, wide: false, batch }
    }

    /// The same with a result in f32.
    fn wide(&self, run: &Run, sizes: [usize; 3], transposed: (bool, bool)) -> Product {
        let wide = self.layer.precision == Precision::Bf16;
        Product { wide, ..self.product(run, sizes, transposed) }
    }

    /// Σ d aᵀ of each micro-batch of a run, f32 `[groups, c_out, window]`.
    fn form(&self, gpu: &Gpu, [a, d]: [Pointer; 2], run: &Run, to: Pointer) -> Result<()> {
        let windows = self.windows(gpu, a, run)?;
        let sizes = [self.layer.g.c_out, self.pixels_of_one(run), self.window()];
        gpu.multiply(self.wide(run, sizes, (true, false)), self.y(d, run), windows.pointer()?, to)
    }

    /// What each micro-batch contributes to the gradient of the weight: formed where all have no more elements than
    /// their factors.
    pub(super) fn weight_terms(&self, gpu: &Gpu, keeps: bool, [x, dy]: [&Tensor; 2]) -> Result<Terms> {
        let (g, count, weights) = (self.layer.g, self.groups.count(), self.weights());
        let at = [Pointer::of(x)?, Pointer::of(dy)?];
        if keeps && count * weights <= x.elem_count() + dy.elem_count() {
            let all = gpu.empty(DType::F32, count * weights)?;
            for run in self.runs(0) {
                self.form(gpu, at, &run, all.pointer()?.plus(4 * run.groups.start * weights))?;
            }
            let all = match g.taps() {
                1 => all.into_tensor((count, weights)),
                taps => all.into_tensor((count, g.c_out, taps, g.c_in)),
            };
            return terms_of(gpu, self.groups, all, true);
        }
        let squares = gpu.empty(DType::F64, count)?;
        let of_one = if self.is_thin() { 2 * self.most_pixels().pow(2) } else { weights };
        for run in self.runs(of_one) {
            let to = squares.pointer()?.plus(8 * run.groups.start);
            if self.is_thin() {
                // ‖Σ d aᵀ‖² = Σₛₜ ⟨aₛ, aₜ⟩⟨dₛ, dₜ⟩
                let pixels = self.pixels_of_one(&run);
                let gram = |rows: Pointer, length: usize| -> Result<Fresh> {
                    let gram = gpu.empty(DType::F32, run.count() * pixels * pixels)?;
                    let product = self.wide(&run, [pixels, length, pixels], (false, true));
                    gpu.multiply(product, rows, rows, gram.pointer()?)?;
                    Ok(gram)
                };
                let windows = self.windows(gpu, at[0], &run)?;
                let of_a = gram(windows.pointer()?, self.window())?;
                let of_d = gram(self.y(at[1], &run), g.c_out)?;
                products_of_rows(gpu, [of_a.pointer()?, of_d.pointer()?], to, (run.count(), pixels * pixels))?;
            } else {
                let formed = gpu.empty(DType::F32, run.count() * weights)?;
                self.form(gpu, at, &run, formed.pointer()?)?;
                let formed = formed.pointer()?;
                products_of_rows(gpu, [formed, formed], to, (run.count(), weights))?;
            }
        }
        let gradients = keeps.then(|| Gradients::factors(x, dy, g, self.layer.precision));
        Ok(Terms { samples: self.groups.samples, squares: squares.into_tensor(count), gradients })
    }

    /// Calls `f` for all micro-batches, with how the weight is displaced.
    fn each_run(
        &self,
        gpu: &Gpu,
        filters: &Tensor,
        moved_by: &Displacement,
        f: impl Fn(&Run, Displaced) -> Result<()>,
    ) -> Result<()> {
        let scales = Pointer::of(&moved_by.scales)?;
        let w = Pointer::of(filters)?;
        // W + εⱼ of a run from its gradients, in the element type of the products.
        let filters = |run: &Run, gradients: Pointer| -> Result<Fresh> {
            let (size, dtype) = ((run.count(), self.weights()), self.layer.dtype);
            let all = gpu.empty(dtype, size.0 * size.1)?;
            moved(gpu, dtype, [w, gradients, scales.plus(8 * run.groups.start)], all.pointer()?, size)?;
            Ok(all)
        };
        match &*moved_by.gradients {
            Gradients::Formed(gradients) => {
                let from = Pointer::of(gradients)?;
                self.runs(self.weights()).iter().try_for_each(|run| {
                    let filters = filters(run, from.plus(4 * run.groups.start * self.weights()))?;
                    f(run, Displaced::Formed(filters.pointer()?))
                })
            }
            Gradients::Factors(Factors { g, precision, .. })
                if (*g, *precision) != (self.layer.g, self.layer.precision) =>
            {
                bail!(
                    "a convolution {:?} in {:?} is displaced by the gradient of {g:?} in {precision:?}; expected the \
                     same batch and precision in both passes",
                    self.layer.g,
                    self.layer.precision
                )
            }
            Gradients::Factors(Factors { a, d, .. }) => {
                let factors = [Pointer::of(a)?, Pointer::of(d)?];
                if self.is_thin() {
                    let run_by_run = self.runs(2 * self.most_pixels().pow(2));
                    return run_by_run.iter().try_for_each(|run| {
                        let scales = scales.plus(8 * run.groups.start);
                        f(run, Displaced::LowRank { factors, scales })
                    });
                }
                self.runs(2 * self.weights()).iter().try_for_each(|run| {
                    let formed = gpu.empty(DType::F32, run.count() * self.weights())?;
                    self.form(gpu, factors, run, formed.pointer()?)?;
                    f(run, Displaced::Formed(filters(run, formed.pointer()?)?.pointer()?))
                })
            }
        }
    }

    /// y of a convolution whose weight is displaced; `filters` are f32, as the products have them.
    pub(super) fn forward(&self, gpu: &Gpu, x: &Tensor, filters: &Tensor, moved_by: &Displacement) -> Result<Fresh> {
        let (g, from) = (self.layer.g, Pointer::of(x)?);
        let y = match self.adds_to_all(moved_by) {
            true => self.layer.forward(gpu, x, &self.layer.narrow(gpu, filters)?)?,
            false => gpu.empty(self.layer.dtype, g.pixels() * g.c_out)?,
        };
        let out = y.pointer()?;
        self.each_run(gpu, filters, moved_by, |run, weight| {
            let (windows, pixels) = (self.windows(gpu, from, run)?, self.pixels_of_one(run));
            let y = self.y(out, run);
            match weight {
                Displaced::Formed(filters) => {
                    let product = self.product(run, [pixels, self.window(), g.c_out], (false, true));
                    gpu.multiply(product, windows.pointer()?, filters, y)
                }
                Displaced::LowRank { factors: [a, d], scales } => {
                    let windows_of_a = self.windows(gpu, a, run)?;
                    let rows = [windows.pointer()?, windows_of_a.pointer()?];
                    let middle = self.middle(gpu, run, [pixels, self.window()], rows, scales)?;
                    let product = self.product(run, [pixels, pixels, g.c_out], (false, false));
                    gpu.multiply_onto(product, middle.pointer()?, self.y(d, run), y, 1.)
                }
            }
        })?;
        Ok(y)
    }

    /// dx of the same.
    pub(super) fn grad_input(
        &self,
        gpu: &Gpu,
        x: &Tensor,
        filters: &Tensor,
        dy: &Tensor,
        moved_by: &Displacement,
    ) -> Result<Tensor> {
        let (g, dtype, from) = (self.layer.g, self.layer.dtype, Pointer::of(dy)?);
        let adds = self.adds_to_all(moved_by);
        let dx = match adds {
            true => self.layer.grad_input(gpu, x, &self.layer.narrow(gpu, filters)?, dy)?,
            false => gpu.empty(dtype, x.elem_count())?.into_tensor(x.shape()),
        };
        let out = Pointer::of(&dx)?;
        self.each_run(gpu, filters, moved_by, |run, weight| {
            let (dy, dx, pixels) = (self.y(from, run), self.x(out, run), self.pixels_of_one(run));
            let n = run.samples.len() * self.pixels() * self.window();
            let windows = if self.layer.is_product() { Place::Part(dx) } else { Place::Own(gpu.empty(dtype, n)?) };
            let to = windows.pointer()?;
            match weight {
                Displaced::Formed(filters) => {
                    gpu.multiply(self.product(run, [pixels, g.c_out, self.window()], (false, false)), dy, filters, to)?;
                }
                Displaced::LowRank { factors: [a, d], scales } => {
                    let windows_of_a = self.windows(gpu, a, run)?;
                    let middle = self.middle(gpu, run, [pixels, g.c_out], [dy, self.y(d, run)], scales)?;
                    let product = self.product(run, [pixels, pixels, self.window()], (false, false));
                    let beta = if self.layer.is_product() { 1. } else { 0. };
                    gpu.multiply_onto(product, middle.pointer()?, windows_of_a.pointer()?, to, beta)?;
                }
            }
            match windows {
                Place::Part(_) => Ok(()),
                Place::Own(_) => gpu.add_windows(&g, dtype, (to, dx), run.samples.len() * self.inputs(), adds),
            }
        })?;
        Ok(dx)
    }

    /// cⱼ ⟨row s of x, row t of a⟩ of every micro-batch of a run.
    fn middle(
        &self,
        gpu: &Gpu,
        run: &Run,
        [pixels, length]: [usize; 2],
        [x, a]: [Pointer; 2],
        scales: Pointer,
    ) -> Result<Fresh> {
        let (n, each) = (run.count() * pixels * pixels, pixels * pixels);
        let middle = gpu.empty(self.layer.dtype, n)?;
        gpu.multiply(self.product(run, [pixels, length, pixels], (false, true)), x, a, middle.pointer()?)?;
        scaled(gpu, self.layer.dtype, (middle.pointer()?, scales), middle.pointer()?, (n, each))?;
        Ok(middle)
    }

    /// Whether what micro-batches add comes to the result of the whole batch.
    fn adds_to_all(&self, moved_by: &Displacement) -> bool {
        self.is_thin() && matches!(*moved_by.gradients, Gradients::Factors(_))
    }
}

/// How the weight of a run is displaced.
enum Displaced {
    /// W + εⱼ is here, `[groups, c_out, window]`.
    Formed(Pointer),
    /// ε is added as two thin products of these a and d, with these factors.
    LowRank { factors: [Pointer; 2], scales: Pointer },
}

#[cfg(test)]
mod tests;
