//! Positions of a window over images, and copies of the images in which every window is a few runs of memory.

use crate::layers::Geometry;
use std::ops::Range;

/// A grid of windows over each of `images` images `[h, w, c]`: the window of position (i, j) has its corner at row
/// i · step.0 − before.0, column j · step.1 − before.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) images: usize,
    pub(super) image: (usize, usize),
    pub(super) channels: usize,
    /// Positions down and across.
    pub(super) size: (usize, usize),
    pub(super) kernel: (usize, usize),
    pub(super) step: (usize, usize),
    /// What lies before the image in the first window; negative where that begins inside.
    pub(super) before: (isize, isize),
}

/// Some positions of a grid: whole images, or rows of one.
#[derive(Clone, Debug)]
pub(super) struct Strip {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
}

/// Elements of a copy: a part of L2, and of the smallest there is.
const COPY: usize = 48 * 1024;
/// Strips that a batch is cut into at least, if it can be, for the threads.
const STRIPS: usize = 16;

impl Grid {
    /// The windows of `g` over x.
    pub(super) fn forward(g: &Geometry) -> Self {
        let mut grid = Self {
            images: g.batch,
            image: (g.height, g.width),
            channels: g.c_in,
            size: (g.out_height, g.out_width),
            kernel: g.kernel,
            step: g.stride,
            before: (g.padding.0 as isize, g.padding.1 as isize),
        };
        if g.kernel == (1, 1) && g.stride == (1, 1) && g.padding == (0, 0) {
            // One tall image, which can be cut anywhere.
            let pixels = g.pixels();
            grid = Self { images: 1, image: (pixels, 1), size: (pixels, 1), ..grid };
        }
        grid
    }

    /// Distance of neighbouring windows in a copy. Where a stride leaves pixels out, the copy does, too.
    fn step_in_copy(&self) -> (usize, usize) {
        (self.step.0.min(self.kernel.0), self.step.1.min(self.kernel.1))
    }

    /// Rows of the copy for so many rows of positions.
    fn rows_of_copy(&self, rows: usize) -> usize {
        (rows.max(1) - 1) * self.step_in_copy().0 + self.kernel.0
    }

    /// Elements of a row of a copy: the distance between the runs of a window.
    pub(super) fn row(&self) -> usize {
        ((self.size.1.max(1) - 1) * self.step_in_copy().1 + self.kernel.1) * self.channels
    }

    /// Elements of a run: a row of a window.
    pub(super) fn run(&self) -> usize {
        self.kernel.1 * self.channels
    }

    /// Elements between neighbouring windows of a row in a copy.
    pub(super) fn stride(&self) -> usize {
        self.step_in_copy().1 * self.channels
    }

    /// Cuts the batch by its shape alone.
    pub(super) fn strips(&self) -> Vec<Strip> {
        let (rows, copy) = (self.size.0, self.rows_of_copy(self.size.0) * self.row());
        if rows == 0 || self.size.1 == 0 {
            return vec![];
        }
        if copy <= COPY {
            let images = (COPY / copy.max(1)).clamp(1, self.images.div_ceil(STRIPS).max(1));
            let cut = |start: usize| Strip { images: start..(start + images).min(self.images), rows: 0..rows };
            return (0..self.images).step_by(images).map(cut).collect();
        }
        let fit = (COPY / (self.step_in_copy().0 * self.row()).max(1)).max(1);
        let tall = fit.min((rows * self.images).div_ceil(STRIPS)).max(1);
        let cut = |image: usize| {
            (0..rows)
                .step_by(tall)
                .map(move |start| Strip { images: image..image + 1, rows: start..(start + tall).min(rows) })
        };
        (0..self.images).flat_map(cut).collect()
    }

    /// Elements of the copy for a strip.
    pub(super) fn copy_len(&self, strip: &Strip) -> usize {
        strip.images.len() * self.rows_of_copy(strip.rows.len()) * self.row()
    }

    /// First element of the window of the first position in each row of a strip.
    pub(super) fn rows(&self, strip: &Strip) -> impl Iterator<Item = usize> {
        let (images, rows) = (strip.images.len(), strip.rows.len());
        let (per_image, step, row) = (self.rows_of_copy(rows), self.step_in_copy().0, self.row());
        (0..images).flat_map(move |image| (0..rows).map(move |i| (image * per_image + i * step) * row))
    }

    /// Copies what the windows of a strip see of `x` `[images, h, w, c]`, with zeros outside of the images.
    pub(super) fn copy<T: Copy>(&self, x: &[T], strip: &Strip, zero: T, copy: &mut [T]) {
        let ((h, w), c, step) = (self.image, self.channels, self.step_in_copy());
        let source = |start: usize, j: usize, stride: usize, step: usize, before: isize| {
            ((start + j / step) * stride + j % step) as isize - before
        };
        let rows = self.rows_of_copy(strip.rows.len());
        for (index, to) in copy.chunks_exact_mut(self.row().max(1)).enumerate() {
            let image = strip.images.start + index / rows;
            let y = source(strip.rows.start, index % rows, self.step.0, step.0, self.before.0);
            if y < 0 || y >= h as isize {
                to.fill(zero);
                continue;
            }
            let from = &x[(image * h + y as usize) * w * c..][..w * c];
            if step.1 == self.step.1 {
                // Neighbours in the copy are neighbours in the image.
                let left = self.before.1;
                let first = left.clamp(0, (to.len() / c) as isize) as usize;
                let last = (w as isize + left).clamp(first as isize, (to.len() / c) as isize) as usize;
                to[..first * c].fill(zero);
                to[last * c..].fill(zero);
                if first < last {
                    let start = (first as isize - left) as usize;
                    to[first * c..last * c].copy_from_slice(&from[start * c..(start + last - first) * c]);
                }
            } else {
                for (j, to) in to.chunks_exact_mut(c).enumerate() {
                    match source(0, j, self.step.1, step.1, self.before.1) {
                        x if x < 0 || x >= w as isize => to.fill(zero),
                        x => to.copy_from_slice(&from[x as usize * c..(x as usize + 1) * c]),
                    }
                }
            }
        }
    }
}
