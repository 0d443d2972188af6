//! Multiples of vectors in parameter space, and their sums.

use super::{borrowed, check, plain, sum_of_squares};
use crate::float::{Float, with_float, with_slice};
use crate::node::{constant, on_cpu, stored};
use crate::parallel::{map, zip_map};
use candle_core::{Device, Result, Storage, Tensor};

/// How long a multiple of y is to be.
#[derive(Clone, Copy, Debug)]
pub enum Length<'a> {
    /// c ‖y‖
    Times(f64),
    /// ρ, whatever y is: f = ρ / (‖y‖ + 10⁻¹²), so that 0 stays 0.
    Of(f64),
    /// r ‖x‖ for another vector x: f = r ‖x‖ / (‖y‖ + 10⁻³⁰), so that 0 stays 0.
    Relative(f64, &'a [&'a Tensor]),
    /// |f| ‖y‖ for an f that was computed, f64 `[]` on the device of y; it may be negative.
    Given(&'a Tensor),
}

impl Length<'_> {
    /// What is added to ‖y‖ before it divides.
    pub(crate) fn guard(&self) -> f64 {
        match self {
            Length::Of(_) => 1e-12,
            Length::Relative(..) => 1e-30,
            Length::Times(_) | Length::Given(_) => 0.,
        }
    }

    /// f for a y on the CPU with ‖y‖² = `squares`.
    pub(super) fn factor(&self, squares: impl FnOnce() -> Result<f64>) -> Result<f64> {
        Ok(match self {
            Length::Times(c) => *c,
            Length::Of(rho) => rho / (squares()?.sqrt() + self.guard()),
            Length::Relative(r, x) => {
                let length = sum_of_squares(x)?.to_scalar::<f64>()?.sqrt();
                r * length / (squares()?.sqrt() + self.guard())
            }
            Length::Given(f) => f.to_scalar()?,
        })
    }
}

/// f y, and f as f64 `[]` on the device of y, for the f that makes it as long as is said. One pass, and one for each
/// length that must be known.
pub fn scale(y: &[&Tensor], length: Length) -> Result<(Vec<Tensor>, Tensor)> {
    let y = plain(y)?;
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::gpu_of_all(&y)? {
        return crate::cuda::parameters::scale(&gpu, &y, length);
    }
    let f = length.factor(|| sum_of_squares(&borrowed(&y))?.to_scalar())?;
    let one = |y: &Tensor| {
        with_float!("scale", y, T => {
            let f = T::narrow(f);
            constant(with_slice(y, |y| Ok(map(y, |y: T| f * y)))?, y.shape())
        })
    };
    Ok((y.iter().map(one).collect::<Result<_>>()?, Tensor::new(f, &Device::Cpu)?))
}

/// x + c y. One pass. `Err` if shapes or element types differ.
pub fn add_scaled(x: &[&Tensor], c: f64, y: &[&Tensor]) -> Result<Vec<Tensor>> {
    check("add_scaled", x, y)?;
    let (x, y) = (plain(x)?, plain(y)?);
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::gpu_of_all(&x)? {
        return crate::cuda::parameters::add_scaled(&gpu, &x, c, &y);
    }
    x.iter().zip(&y).map(|(x, y)| Ok(stored(sum(x, c, y)?, x.shape()))).collect()
}

/// x + c y on the CPU, contiguous both.
pub(super) fn sum(x: &Tensor, c: f64, y: &Tensor) -> Result<Storage> {
    with_float!("add_scaled", x, T => {
        let c = T::narrow(c);
        Ok(on_cpu(with_slice(x, |x| with_slice(y, |y| Ok(zip_map(x, y, |x: T, y| x + c * y))))?))
    })
}
