//! Weights to the transformed domain, and their gradient back.

use super::WINDOW;
use super::panels::Panels;
use super::transform::{GradWeight, Weight, squared};
use crate::cpu::parallel::Region;
use crate::cpu::vector::{Lanes, lanes, load, store};
use pulp::{Simd, WithSimd};

/// Which convolution a weight `[c_out, c_in, 3, 3]` is transformed for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Pass {
    /// That of x: inputs are `c_in`, outputs `c_out`.
    Forward,
    /// That of dy, which gives dx: inputs are `c_out`, outputs `c_in`, and the filter is flipped.
    Backward,
}

/// G g Gᵀ of the filters of one panel; the first output of `filters` is output `first` of the weight.
pub(super) struct TransformWeight<'a, T> {
    pub(super) weight: &'a [T],
    pub(super) pass: Pass,
    /// Outputs of the whole weight.
    pub(super) outputs: usize,
    pub(super) first: usize,
    pub(super) filters: Panels,
    pub(super) panel: usize,
    pub(super) to: Region<T>,
}

impl<T: Lanes> WithSimd for TransformWeight<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weight, pass, outputs, first, filters, panel, to } = self;
        let width = lanes::<T, S>();
        let of_panel = panel * width..((panel + 1) * width).min(filters.columns);
        for input in 0..filters.rows {
            let mut g = [[T::constant(simd, 0.0); 3]; 3];
            for (lane, output) in of_panel.clone().map(|output| first + output).enumerate() {
                let filter = match pass {
                    Pass::Forward => output * filters.rows + input,
                    Pass::Backward => input * outputs + output,
                };
                let taps: &[T] = &weight[9 * filter..9 * filter + 9];
                for tap in 0..9 {
                    let place = if pass == Pass::Forward { tap } else { 8 - tap };
                    // SAFETY: `g` is nine vectors of `width` lanes.
                    unsafe { g.as_mut_ptr().cast::<T>().add(place * width + lane).write(taps[tap]) };
                }
            }
            let u = squared::<Weight, T, S, 3, WINDOW>(simd, g);
            let to = to.at(panel * filters.panel() + input * width);
            for i in 0..WINDOW {
                for j in 0..WINDOW {
                    // SAFETY: `filters` describes the memory at `to`.
                    unsafe { store::<T, S>(to.add((WINDOW * i + j) * filters.position()), u[i][j]) };
                }
            }
        }
    }
}

/// Gᵀ (Σ du) G of the outputs of one panel to their part of dw, `[outputs of the panel, c_in, 3, 3]`.
pub(super) struct TransformGradWeight<'a, T> {
    pub(super) parts: &'a [Region<T>],
    pub(super) filters: Panels,
    pub(super) panel: usize,
    pub(super) to: Region<T>,
}

impl<T: Lanes> WithSimd for TransformGradWeight<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { parts, filters, panel, to } = self;
        let width = lanes::<T, S>();
        let outputs = width.min(filters.columns - panel * width);
        for input in 0..filters.rows {
            let mut u = [[T::constant(simd, 0.0); WINDOW]; WINDOW];
            for part in parts {
                let part = part.at(panel * filters.panel() + input * width);
                for i in 0..WINDOW {
                    for j in 0..WINDOW {
                        // SAFETY: `filters` describes the memory of every part.
                        let du = unsafe { load::<T, S>(part.add((WINDOW * i + j) * filters.position())) };
                        u[i][j] = T::add(simd, u[i][j], du);
                    }
                }
            }
            let g = squared::<GradWeight, T, S, WINDOW, 3>(simd, u);
            for output in 0..outputs {
                for tap in 0..9 {
                    // SAFETY: `g` is nine vectors of `width` lanes, and `to` has room for every output and input.
                    unsafe {
                        let value = g.as_ptr().cast::<T>().add(tap * width + output).read();
                        to.at((output * filters.rows + input) * 9 + tap).write(value);
                    }
                }
            }
        }
    }
}
