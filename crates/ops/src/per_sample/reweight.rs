//! The Gibbs weights of a batch, on the device of its norms.

use super::gibbs::{Reweighted, Temperature};
use crate::dispatch::on_device;
use candle_core::{DType, Result, Tensor, bail};

/// [`gibbs`](crate::gibbs) of `norms`, f64 `[b]`, without a host-device synchronisation.
///
/// `Err` if there are none, they are not f64 `[b]`, or the temperature is [none](Temperature::check).
pub fn reweight(norms: &Tensor, temperature: Temperature) -> Result<Reweighted> {
    temperature.check()?;
    if norms.rank() != 1 || norms.dtype() != DType::F64 || norms.elem_count() == 0 {
        bail!("reweight: expected norms [b] in f64, got {:?} {:?}", norms.dtype(), norms.dims());
    }
    let norms = &norms.detach().contiguous()?;
    on_device!(norms, reweight(norms, temperature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gibbs;
    use candle_core::Device;

    #[test]
    fn a_temperature_that_no_formula_allows_is_refused() -> Result<()> {
        let norms = Tensor::new(&[1f64, 2.], &Device::Cpu)?;
        for (temperature, part) in [
            (Temperature::EffectiveSize(0.5), "effective size is 0.5; expected a finite number of at least 1"),
            (Temperature::EffectiveSize(f64::INFINITY), "effective size is inf"),
            (Temperature::Raw(-1.), "lambda is -1; expected a finite number of at least 0"),
            (Temperature::Relative(f64::NAN), "lambda is NaN"),
        ] {
            let error = reweight(&norms, temperature).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(std::panic::catch_unwind(|| gibbs(&[1., 2.], temperature)).is_err());
        }
        Ok(())
    }
}
