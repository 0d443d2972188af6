//! A weight as panels: `[panel of outputs][window row, window column, input][lane]`.

use crate::cpu::float::Float;
use crate::cpu::parallel::{Region, for_chunks};
use std::ops::Range;

/// The shape of a weight in panels.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    pub(super) kernel: (usize, usize),
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) width: usize,
}

impl Panels {
    pub(super) fn count(&self) -> usize {
        self.outputs.div_ceil(self.width)
    }

    /// Elements of a panel.
    pub(super) fn panel(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.inputs * self.width
    }

    pub(super) fn len(&self) -> usize {
        self.count() * self.panel()
    }

    /// The weight in panels, of which `index(output, input, row, column)` is the place in `weight`; zeros in the lanes
    /// that have no output.
    pub(super) fn pack<T: Float>(
        &self,
        weight: &[T],
        index: impl Fn(usize, usize, usize, usize) -> usize + Sync,
    ) -> Vec<T> {
        let mut packed = vec![T::ZERO; self.len()];
        for_chunks(&mut packed, self.panel(), |panel, packed| {
            let first = panel * self.width;
            let outputs = self.width.min(self.outputs - first);
            for input in 0..self.inputs {
                for (row, column) in self.taps() {
                    let start = ((row * self.kernel.1 + column) * self.inputs + input) * self.width;
                    for (lane, packed) in packed[start..start + outputs].iter_mut().enumerate() {
                        *packed = weight[index(first + lane, input, row, column)];
                    }
                }
            }
        });
        packed
    }

    /// Adds `parts`, which are panels, to a weight `[outputs, inputs, rows, columns]`.
    pub(super) fn add_unpacked<T: Float>(&self, parts: &[Vec<T>], weight: &mut [T]) {
        let (inputs, taps) = (self.inputs, self.kernel.0 * self.kernel.1);
        for_chunks(weight, self.width * inputs * taps, |panel, weight| {
            for part in parts {
                let part = &part[panel * self.panel()..(panel + 1) * self.panel()];
                for (lane, weight) in weight.chunks_exact_mut(inputs * taps).enumerate() {
                    for input in 0..inputs {
                        for tap in 0..taps {
                            weight[input * taps + tap] += part[(tap * inputs + input) * self.width + lane];
                        }
                    }
                }
            }
        });
    }

    /// Rows and columns of the window, in order.
    fn taps(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (rows, columns) = self.kernel;
        (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
    }
}

/// Some channels of pixels `[pixels, c]` as panels `[panel of channels][pixel][lane]`; zeros in the lanes without one.
pub(super) fn pack_pixels<T: Float>(pixels: &[T], c: usize, channels: Range<usize>, width: usize, to: Region<T>) {
    let count = pixels.len() / c.max(1);
    for (panel, first) in channels.clone().step_by(width).enumerate() {
        let lanes = width.min(channels.end - first);
        for (i, pixel) in pixels.chunks_exact(c).enumerate() {
            let to = to.at((panel * count + i) * width);
            // SAFETY: `to` has room for all panels, and `lanes` channels are there from `first` on.
            unsafe {
                std::ptr::copy_nonoverlapping(pixel[first..first + lanes].as_ptr(), to, lanes);
                (lanes..width).for_each(|lane| to.add(lane).write(T::ZERO));
            }
        }
    }
}
