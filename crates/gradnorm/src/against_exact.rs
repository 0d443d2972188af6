//! One sample's norm against its own gradient: how a closed form finds out that it does not hold.

use candle_core::{Result, Tensor, bail};
use msharp_core::{ParamVec, Params, uncounted};

/// Norms of one sample may differ by so much of themselves.
const RELATIVE: f64 = 1e-2;
/// And by so much of the sample's norm over all parameters, which is rounding where a gradient cancels.
const OF_ALL: f64 = 1e-3;

/// The sample whose norm is the largest of those that are finite, if any is, and the gradient of its loss: one backward
/// pass, [uncounted]. `losses` `[b]`, their graph open; `norms` f64 `[b]`.
pub(crate) fn one_gradient(losses: &Tensor, norms: &Tensor, params: &Params) -> Result<Option<(usize, ParamVec)>> {
    let norms = norms.to_vec1::<f64>()?;
    let finite = norms.iter().enumerate().filter(|(_, norm)| norm.is_finite());
    let Some((sample, _)) = finite.max_by(|a, b| a.1.total_cmp(b.1)) else { return Ok(None) };
    let gradient = uncounted(|| ParamVec::collect(params, &losses.get(sample)?.backward()?))?;
    Ok(Some((sample, gradient)))
}

/// # Errors
/// If what was `measured` of a sample with respect to `what` is not the norm of its gradient, `exact`; `of_all` is that
/// over all parameters.
pub(crate) fn compare(what: &str, sample: usize, measured: f64, exact: f64, of_all: f64) -> Result<()> {
    if of_all.is_finite() && (measured - exact).abs() > RELATIVE * measured.max(exact) + OF_ALL * of_all {
        bail!(
            "the gradient of sample {sample}'s loss with respect to {what} has the norm {exact:.4e}, and {measured:.4e} \
             was measured: row {sample} of an op's input is not of sample {sample} alone, or other ops use the \
             parameters too"
        )
    }
    Ok(())
}
