//! Which of the two convolutions a shape gets.

use super::direct::Direct;
use super::geometry::Geometry;
use super::winograd::Winograd;
use crate::float::Float;
use pulp::Arch;

/// How a convolution is computed.
#[derive(Clone, Copy)]
pub(super) enum Algorithm {
    Direct(Direct),
    Winograd(Winograd),
}

impl Algorithm {
    /// The faster one.
    pub(super) fn of(g: &Geometry) -> Self {
        let arch = Arch::new();
        match Winograd::of(g, arch) {
            Some(winograd) if g.c_in >= 8 && g.c_out >= 8 => Algorithm::Winograd(winograd),
            _ => Algorithm::Direct(Direct { g: *g, arch }),
        }
    }

    /// y `[b, h', w', c_out]`.
    pub(super) fn forward<T: Float>(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        match self {
            Algorithm::Direct(direct) => direct.forward(x, weight, bias),
            Algorithm::Winograd(winograd) => winograd.forward(x, weight, bias),
        }
    }

    /// dx `[b, h, w, c_in]`.
    pub(super) fn grad_input<T: Float>(&self, weight: &[T], dy: &[T]) -> Vec<T> {
        match self {
            Algorithm::Direct(direct) => direct.grad_input(weight, dy),
            Algorithm::Winograd(winograd) => winograd.grad_input(weight, dy),
        }
    }

    /// dw `[c_out, c_in, kh, kw]`.
    pub(super) fn grad_weight<T: Float>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        match self {
            Algorithm::Direct(direct) => direct.grad_weight(x, dy),
            Algorithm::Winograd(winograd) => winograd.grad_weight(x, dy),
        }
    }
}
