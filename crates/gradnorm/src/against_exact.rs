//! Samples' norms against their own gradients: how a closed form finds out that it does not hold.

use crate::Error;
use candle_core::{Result, Tensor};
use msharp_core::{Key, ParamVec, Params, uncounted};
use rand::Rng;

/// Norms of one sample may differ by so much of themselves.
const RELATIVE: f64 = 1e-2;
/// And by so much of the sample's norm over all parameters, which is rounding where a gradient cancels.
const OF_ALL: f64 = 1e-3;

/// And by so much at all: gradients are f32 where norms are f64, and those of a memorised sample round to 0.
const AT_ALL: f64 = 1e-30;

/// The gradients of two samples' losses: of the one whose norm is the largest of those that are finite, and of one that
/// `key` draws. One backward pass each, [uncounted]. `losses` `[b]`, their graph open; `norms` f64 `[b]`.
pub(crate) fn two_gradients(
    losses: &Tensor,
    norms: &Tensor,
    params: &Params,
    key: Key,
) -> Result<Vec<(usize, ParamVec)>> {
    let norms = norms.to_vec1::<f64>()?;
    let finite: Vec<usize> = (0..norms.len()).filter(|i| norms[*i].is_finite()).collect();
    let Some(largest) = finite.iter().copied().max_by(|a, b| norms[*a].total_cmp(&norms[*b])) else {
        return Ok(Vec::new());
    };
    let drawn = finite[(key.fold_name("compared sample").rng().next_u64() % finite.len() as u64) as usize];
    let gradient = |i: usize| Ok((i, ParamVec::collect(params, &losses.get(i)?.backward()?)?));
    uncounted(|| {
        let other = Some(drawn).filter(|drawn| *drawn != largest);
        [Some(largest), other].into_iter().flatten().map(gradient).collect()
    })
}

/// # Errors
/// If what was `measured` of a sample with respect to `what` is not the norm of its gradient, `exact`; `of_all` is that
/// over all parameters.
pub(crate) fn compare(what: &str, sample: usize, measured: f64, exact: f64, of_all: f64) -> Result<()> {
    if of_all.is_finite() && (measured - exact).abs() > RELATIVE * measured.max(exact) + OF_ALL * of_all + AT_ALL {
        let text = format!(
            "the gradient of sample {sample}'s loss with respect to {what} has the norm {exact:.4e}, and {measured:.4e} \
             was measured: row {sample} of an op's input is not of sample {sample} alone, or other ops use the \
             parameters too"
        );
        return Err(Error::Disagrees { sample, text }.into());
    }
    Ok(())
}
