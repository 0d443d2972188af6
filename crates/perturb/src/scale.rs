//! How large a parameter is: the T of adaptive rules and of filter-wise noise.

use candle_core::{Result, Tensor};
use msharp_core::Param;

/// What the size of an entry of w is taken to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// |wⱼ|, each entry for itself.
    Element,
    /// ‖f‖ of the filter that the entry is in, a filter being what one output is computed with; an entry of a vector is
    /// in no filter and counts as |wⱼ|.
    Filter,
    /// As [`Filter`](Scale::Filter), a vector being one filter.
    FilterOrVector,
    /// ‖W‖ of the whole tensor.
    Tensor,
}

impl Scale {
    /// T, which broadcasts to the shape of `param`.
    pub fn of(self, param: &Param) -> Result<Tensor> {
        let w = param.var.as_detached_tensor();
        let is_vector = w.rank() < 2;
        match self {
            Scale::Element => w.abs(),
            Scale::Filter if is_vector => w.abs(),
            Scale::Filter | Scale::FilterOrVector if !is_vector => {
                let norms = w.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?; // [out]
                let mut shape = vec![1; w.rank()];
                shape[0] = w.dims()[0];
                norms.reshape(shape)
            }
            _ => w.sqr()?.sum_all()?.sqrt()?.reshape(vec![1; w.rank()]),
        }
    }
}
