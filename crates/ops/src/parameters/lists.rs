//! Lists of tensors, one for each parameter.

use candle_core::{Result, Tensor, bail};

/// `Err` naming the op unless both lists have tensors of the same shapes, element types and devices, one by one.
pub(crate) fn check(op: &str, first: &[&Tensor], second: &[&Tensor]) -> Result<()> {
    if first.len() != second.len() {
        bail!("{op}: {} tensors and {} do not go together", first.len(), second.len());
    }
    for (i, (a, b)) in first.iter().zip(second).enumerate() {
        if a.dims() != b.dims() {
            bail!("{op}: shapes of the tensors {i} differ: {:?} and {:?}", a.dims(), b.dims());
        }
        if a.dtype() != b.dtype() {
            bail!("{op}: element types of the tensors {i} differ: {:?} and {:?}", a.dtype(), b.dtype());
        }
        if a.device().location() != b.device().location() {
            bail!("{op}: the tensors {i} are on {:?} and {:?}", a.device().location(), b.device().location());
        }
    }
    Ok(())
}

/// The tensors without a graph, contiguous.
pub(crate) fn plain(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    tensors.iter().map(|tensor| tensor.detach().contiguous()).collect()
}

/// A list of tensors as a list of references.
pub(crate) fn borrowed(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}
