//! Convolution against candle's own, in f64, at sizes that split the work: many tasks, partial sums, sliced weights.

use crate::{noise, values};
use candle_core::{DType, Result, Var};
use msharp_ops::conv2d;

/// Checks y, dx and dw of `conv2d` against candle's `conv2d` and its slow backward, NCHW; f64 differs by rounding only.
fn check(x: [usize; 4], weight: [usize; 4], stride: usize, padding: usize) -> Result<()> {
    let (x, weight) =
        (Var::from_tensor(&noise(&x, 1, DType::F64)?)?, Var::from_tensor(&noise(&weight, 2, DType::F64)?)?);
    let ours = conv2d(x.as_tensor(), &weight, None, (stride, stride), (padding, padding))?;
    let theirs =
        x.permute((0, 3, 1, 2))?.contiguous()?.conv2d(&weight, padding, stride, 1, 1)?.permute((0, 2, 3, 1))?;
    assert_eq!(ours.dims(), theirs.dims());
    let r = noise(ours.dims(), 3, DType::F64)?;
    let (our_grads, their_grads) = ((&ours * &r)?.backward()?, (&theirs * &r)?.backward()?);
    let grad = |grads: &candle_core::backprop::GradStore, var: &Var| grads.get(var).expect("a gradient").clone();
    for (name, ours, theirs) in [
        ("y", ours, theirs),
        ("dx", grad(&our_grads, &x), grad(&their_grads, &x)),
        ("dw", grad(&our_grads, &weight), grad(&their_grads, &weight)),
    ] {
        let (ours, theirs) = (values(&ours)?, values(&theirs)?);
        let scale = theirs.iter().fold(0.0f64, |scale, x| scale.max(x.abs()));
        let error = ours.iter().zip(&theirs).fold(0.0f64, |error, (a, b)| error.max((a - b).abs()));
        assert!(error < 1e-12 * scale, "{name} of {x} * {weight}: error {error} at scale {scale}");
    }
    Ok(())
}

#[test]
fn many_tasks_and_partial_sums() -> Result<()> {
    check([7, 23, 21, 5], [6, 5, 3, 3], 1, 1)?;
    check([5, 23, 19, 9], [17, 9, 3, 3], 2, 1)?;
    check([4, 17, 16, 33], [7, 33, 1, 1], 1, 0)
}

/// More than half a million weights: dw is computed in slices of taps and of 256 channels.
#[test]
fn sliced_weights() -> Result<()> {
    check([2, 5, 4, 300], [200, 300, 3, 3], 1, 1)?;
    check([3, 7, 5, 270], [230, 270, 3, 3], 2, 1)?;
    check([3, 9, 10, 700], [760, 700, 1, 1], 1, 0)
}
