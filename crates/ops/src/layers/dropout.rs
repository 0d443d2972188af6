//! Dropout whose mask is a function of a seed.

use super::Mask;
use crate::Range;
use crate::dispatch::on_device;
use crate::graph::Activation;
use candle_core::Result;

/// Each element of `x` is 0 with probability `p`, and x / (1 − p) otherwise (Srivastava et al. 2014): PyTorch's
/// `dropout`. The identity if `train` is false or `p` is 0. Any shape.
///
/// The mask is a function of `seed` and of an element's index alone, so it is the same in every call, on every device,
/// and for any number of threads: element i is dropped if word i of the ChaCha8 stream of the seed (as `rand_chacha`
/// has it) is less than p·2³². Two layers of a network need two seeds, and so do two steps. The backward draws the mask
/// again, and stores none.
///
/// A candle `ModuleT` does not see its batch, and with it no key: an objective that has dropout is a closure over the
/// batch, `|batch, train| …`, which passes `batch.key` on, and `msharp_train::evaluate_logits` evaluates its model.
///
/// `Err` if `p` is not a number from 0 to below 1, or for an element type that is no float.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let x = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
/// let y = msharp_ops::dropout(&x, 0.5, [7; 32], true)?;
/// assert!(y.flatten_all()?.to_vec1::<f32>()?.iter().all(|y| *y == 0. || *y == 2.));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn dropout<X: Activation>(x: &X, p: f64, seed: [u8; 32], train: bool) -> Result<X> {
    Range::BELOW_1.check("dropout: p", p)?;
    let x = x.input()?;
    if !train || p == 0. {
        return Ok(x);
    }
    let mask = Mask { seed, drop_below: (p * 2f64.powi(32)).round() as u64, scale: 1. / (1. - p) };
    on_device!(x.values(), X::dropout(&x, mask))
}
