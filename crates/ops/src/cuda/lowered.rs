//! Convolutions as products of matrices, for shapes and precisions that cuDNN has no plan for; and the oracle that its
//! plans are tested against.

use super::convolution::Direction;
use super::gpu::Gpu;
use super::launch::{Argument, Grid, Pointer};
use super::product::Product;
use crate::graph::Precision;
use crate::layers::Geometry;
use candle_core::{DType, Result};

impl Gpu {
    /// The windows of `n / window` output pixels of images x, `[pixels, taps, c_in]`.
    pub(super) fn windows(&self, g: &Geometry, dtype: DType, x: Pointer, to: Pointer, n: usize) -> Result<()> {
        let kernel = if dtype == DType::BF16 { "windows_bf16" } else { "windows_f32" };
        self.launch(kernel, Grid::over(n), &with_sizes(g, [x.into(), to.into(), n.into()]))
    }

    /// The way back: each of the `n` elements of x becomes the sum of those that windows have of it, or `adds` them.
    pub(super) fn add_windows(
        &self,
        g: &Geometry,
        dtype: DType,
        (windows, x): (Pointer, Pointer),
        n: usize,
        adds: bool,
    ) -> Result<()> {
        let kernel = if dtype == DType::BF16 { "add_windows_bf16" } else { "add_windows_f32" };
        self.launch(kernel, Grid::over(n), &with_sizes(g, [windows.into(), x.into(), n.into(), adds.into()]))
    }

    /// As [`convolve`](Self::convolve), by way of all windows in memory, `[pixels, taps, c_in]`.
    pub(super) fn convolve_lowered(
        &self,
        direction: Direction,
        g: &Geometry,
        precision: Precision,
        [x, w, y]: [Pointer; 3],
    ) -> Result<()> {
        let dtype = match precision {
            Precision::Bf16 => DType::BF16,
            Precision::F32 | Precision::Tf32 => DType::F32,
        };
        let (pixels, window) = (g.pixels(), g.window());
        let columns = self.empty(dtype, pixels * window)?;
        let windows = |to| self.windows(g, dtype, x, to, pixels * window);
        let product = |rows, inner, columns, transposed| Product {
            rows,
            inner,
            columns,
            transposed,
            precision,
            wide: false,
            batch: None,
        };
        let at = columns.pointer()?;
        match direction {
            Direction::Forward => {
                windows(at)?;
                self.multiply(product(pixels, window, g.c_out, (false, true)), at, w, y)
            }
            Direction::Weight => {
                windows(at)?;
                self.multiply(product(g.c_out, pixels, window, (true, false)), y, at, w)
            }
            Direction::Input => {
                self.multiply(product(pixels, g.c_out, window, (false, false)), y, w, at)?;
                self.add_windows(g, dtype, (at, x), g.batch * g.height * g.width * g.c_in, false)
            }
        }
    }
}

/// The arguments of a kernel that ends with the sizes of a convolution.
fn with_sizes<'a, const N: usize>(g: &Geometry, first: [Argument<'a>; N]) -> Vec<Argument<'a>> {
    let sizes = [g.height, g.width, g.c_in, g.out_height, g.out_width];
    let steps = [g.kernel.0, g.kernel.1, g.stride.0, g.stride.1, g.padding.0, g.padding.1];
    first.into_iter().chain(sizes.into_iter().chain(steps).map(Argument::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::{cuda_device, device_of};
    use candle_core::Tensor;

    /// cuDNN's results against these, in each direction and precision; and that the choice is reported.
    #[test]
    fn plans_compute_what_products_do() -> Result<()> {
        let gpu = cuda_device(0)?;
        let numbers = |n: usize| {
            let value = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.;
            Tensor::from_iter((0..n).map(value), &gpu)
        };
        let shapes = [
            ((8, 8), 16, 24, (3, 3), (1, 1), (1, 1)),
            ((7, 5), 3, 8, (3, 3), (2, 2), (1, 1)),
            ((9, 8), 8, 8, (5, 2), (2, 1), (2, 0)),
        ];
        for (size, c_in, c_out, kernel, stride, padding) in shapes {
            let out = |n: usize, k: usize, s: usize, p: usize| (n + 2 * p - k) / s + 1;
            let g = Geometry {
                batch: 3,
                height: size.0,
                width: size.1,
                c_in,
                out_height: out(size.0, kernel.0, stride.0, padding.0),
                out_width: out(size.1, kernel.1, stride.1, padding.1),
                c_out,
                kernel,
                stride,
                padding,
            };
            let sizes = [g.batch * g.height * g.width * c_in, c_out * g.window(), g.pixels() * c_out];
            for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
                let dtype = if precision == Precision::Bf16 { DType::BF16 } else { DType::F32 };
                let operands = sizes.map(|n| numbers(n).and_then(|x| crate::cuda::cast(&*device_of(&x)?, &x, dtype)));
                let operands = operands.into_iter().collect::<Result<Vec<_>>>()?;
                for (direction, result) in [(Direction::Forward, 2), (Direction::Weight, 1), (Direction::Input, 0)] {
                    let device = device_of(&operands[0])?;
                    let run = |lowered: bool| -> Result<Vec<f32>> {
                        let out = device.empty(dtype, sizes[result])?;
                        let mut pointers = [0, 1, 2].map(|i| Pointer::of(&operands[i]));
                        pointers[result] = out.pointer();
                        let [x, w, y] = pointers;
                        let pointers = [x?, w?, y?];
                        match lowered {
                            true => device.convolve_lowered(direction, &g, precision, pointers)?,
                            false => device.convolve(direction, &g, precision, pointers)?,
                        }
                        let out = out.into_tensor(sizes[result]);
                        crate::cuda::cast(&device, &out, DType::F32)?.to_vec1()
                    };
                    let (found, expected) = (run(false)?, run(true)?);
                    let size: f64 = expected.iter().map(|y| (*y as f64).powi(2)).sum();
                    let square: f64 = found.iter().zip(&expected).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum();
                    let error = (square / size).sqrt();
                    let limit = match precision {
                        Precision::F32 => 2e-6,
                        Precision::Tf32 => 1e-3,
                        Precision::Bf16 => 1e-2,
                    };
                    assert!(error < limit, "{direction:?} of {g:?} in {precision:?}: {error:e}");
                }
            }
        }
        let told = crate::convolution_plans(&gpu)?;
        assert!(told.len() >= 27 && told.iter().any(|plan| plan.contains("Forward")), "{told:?}");
        Ok(())
    }
}
