//! The rectifier.

use crate::float::{with_float, with_slice};
use crate::node::{constant, input, record1};
use crate::norm::{masked, positive};
use crate::parallel::{map, zip_map};
use candle_core::{Result, Tensor};

/// max(x, 0) of every element; the gradient at 0 is 0, as in PyTorch. Any shape.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    let x = &input(x)?;
    with_float!("relu", x, T => {
        let y = with_slice(x, |x| Ok(map(x, positive::<T>)))?;
        record1("relu", x, y, x.shape(), |_, y, dy| {
            let dx = with_slice(y, |y| with_slice(dy, |dy| Ok(zip_map(y, dy, masked::<T>))))?;
            constant(dx, y.shape()).map(Some)
        })
    })
}
