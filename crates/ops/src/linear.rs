//! Linear maps.

use crate::conv::{Geometry, record};
use crate::last_layer::saw_linear;
use crate::node::Activation;
use candle_core::{Result, Tensor, bail};

/// `x` `[.., in]` times `weightᵀ` `[in, out]` plus `bias` `[out]`, giving `[.., out]`: PyTorch's `linear`.
///
/// A weight of more dimensions, `[out, ..]`, counts as the matrix of its rows: that of a convolution, for
/// [`patches`](crate::patches). `Err` if the shapes or element types do not fit.
pub fn linear<X: Activation>(x: &X, weight: &Tensor, bias: Option<&Tensor>) -> Result<X> {
    let (activation, x) = (x, x.values());
    let (&[ref leading @ .., c_in], &[c_out, ref w_in @ .., last]) = (x.dims(), weight.dims()) else {
        bail!("linear: expected x [.., in] and weight [out, in], got {:?} and {:?}", x.dims(), weight.dims())
    };
    let w_in = w_in.iter().product::<usize>() * last;
    if c_in != w_in {
        bail!("linear: x {:?} has {c_in} features, but weight {:?} expects {w_in}", x.dims(), weight.dims());
    }
    if let Some(bias) = bias
        && bias.dims() != [c_out]
    {
        bail!("linear: weight {:?} needs a bias [{c_out}], got {:?}", weight.dims(), bias.dims());
    }
    // A linear map of n rows is a 1 x 1 convolution of n pixels.
    let pixels = Geometry::pointwise(leading.iter().product(), c_in, c_out);
    let y = record("linear", activation, weight, bias, pixels, [leading, &[c_out]].concat())?;
    saw_linear(x, weight, bias, y.values());
    Ok(y)
}
