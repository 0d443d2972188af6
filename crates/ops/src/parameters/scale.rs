//! Multiples of vectors in parameter space, and their sums.

use super::Rescale;
use super::lists::{check, plain};
use crate::dispatch::on_device;
use candle_core::{Result, Tensor};

/// f y, and f as f64 `[]` on the device of y, with f such that f y has the requested `length`. One pass, and one for
/// each length that must be computed.
pub fn scale(y: &[&Tensor], length: Rescale) -> Result<(Vec<Tensor>, Tensor)> {
    let y = plain(y)?;
    on_device!(y.first(), scale(&y, length))
}

/// x + c y. One pass. `Err` if shapes or element types differ.
pub fn add_scaled(x: &[&Tensor], c: f64, y: &[&Tensor]) -> Result<Vec<Tensor>> {
    check("add_scaled", x, y)?;
    let (x, y) = (plain(x)?, plain(y)?);
    on_device!(x.first(), add_scaled(&x, c, &y))
}
