//! Products of the rows of a matrix with each other.

use crate::cpu::float::Float;
use crate::cpu::kernels::{Paneled, Tile, rows_times_panels};
use crate::cpu::parallel::Region;
use crate::cpu::vector::{Lanes, lanes, store, width};
use pulp::{Arch, Simd, WithSimd};

/// Elements of a Gram matrix of so many rows, which are padded to whole vectors.
pub(super) fn gram_len<T: Lanes>(arch: Arch, rows: usize) -> usize {
    rows * padded::<T>(arch, rows)
}

/// The distance between rows of a Gram matrix.
pub(super) fn padded<T: Lanes>(arch: Arch, rows: usize) -> usize {
    rows.next_multiple_of(width::<T>(arch))
}

/// gram\[s]\[t] = ⟨row s, row t⟩ of `x` `[rows, depth]` for s ≤ t. Below the diagonal, and behind the last row's
/// product, are numbers without a meaning.
pub(super) fn gram<T: Float>(arch: Arch, x: &[T], rows: usize, depth: usize, gram: &mut [T]) {
    let width = width::<T>(arch);
    T::scratch(rows.next_multiple_of(width) * depth, |panels| {
        for (panel, x) in panels.chunks_exact_mut((width * depth).max(1)).zip(x.chunks((width * depth).max(1))) {
            for k in 0..depth {
                for lane in 0..width {
                    panel[k * width + lane] = x.get(lane * depth + k).copied().unwrap_or(T::ZERO);
                }
            }
        }
        let stride = rows.next_multiple_of(width);
        assert!(x.len() >= rows * depth && gram.len() >= rows * stride);
        arch.dispatch(Gram { x, panels, rows, depth, stride, gram: Region::of(gram) });
    });
}

struct Gram<'a, T> {
    x: &'a [T],
    /// `[panel of rows][depth][lane]`
    panels: &'a [T],
    rows: usize,
    depth: usize,
    stride: usize,
    gram: Region<T>,
}

impl<T: Lanes> WithSimd for Gram<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.in_tiles(simd, self.stride / lanes::<T, S>());
    }
}

impl<T: Lanes> Paneled for Gram<'_, T> {
    /// Down to the diagonal.
    #[inline(always)]
    fn panels<S: Simd, const M: usize, const N: usize>(&self, simd: S, panel: usize) {
        let (width, depth) = (lanes::<T, S>(), self.depth);
        let last = self.rows.min((panel + N) * width);
        for first in (0..last).step_by(M) {
            let mut tile: Tile<T, S, M, N> = [[T::constant(simd, 0.0); N]; M];
            // Where rows are fewer than those of the tile, the last one is taken again, and not stored.
            let (mut rows, mut columns) = ([self.x.as_ptr(); M], [self.panels.as_ptr(); N]);
            for i in 0..M {
                rows[i] = self.x.as_ptr().wrapping_add((first + i).min(self.rows - 1) * depth);
            }
            for j in 0..N {
                columns[j] = self.panels.as_ptr().wrapping_add((panel + j) * depth * width);
            }
            // SAFETY: `x` has `rows` rows of `depth` elements, and there are as many panels as `stride` has vectors.
            unsafe { rows_times_panels(simd, &mut tile, rows, 1, columns, depth) };
            for i in 0..M.min(self.rows - first) {
                for j in 0..N {
                    // SAFETY: `gram` has `rows` rows of `stride` elements.
                    unsafe { store::<T, S>(self.gram.at((first + i) * self.stride + (panel + j) * width), tile[i][j]) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::vector::instruction_sets;

    #[test]
    fn products_are_those_of_the_rows() {
        for arch in instruction_sets() {
            for (rows, depth) in [(1, 1), (3, 5), (16, 7), (33, 4), (40, 20), (100, 3)] {
                let x: Vec<f64> = (0..rows * depth).map(|i| (i * 37 % 11) as f64 - 5.).collect();
                let stride = padded::<f64>(arch, rows);
                let mut found = vec![f64::NAN; gram_len::<f64>(arch, rows)];
                gram(arch, &x, rows, depth, &mut found);
                for s in 0..rows {
                    for t in s..rows {
                        let expected: f64 = (0..depth).map(|k| x[s * depth + k] * x[t * depth + k]).sum();
                        assert_eq!(found[s * stride + t], expected, "{arch:?}: {s}, {t} of {rows} × {depth}");
                    }
                }
            }
        }
    }
}
