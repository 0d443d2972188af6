//! Initialisation in which each tensor is a pure function of (seed, path).

use crate::{Key, Params};
use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use candle_nn::init::NormalOrUniform;
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Draws the variables of a model, and keeps them.
///
/// It stands behind candle's [`VarBuilder`], so every layer that candle or anybody else wrote works with it. candle's
/// own generator on the CPU cannot be seeded; here the order in which a model asks for its variables has no influence.
///
/// ```
/// use candle_core::{DType, Device};
/// use msharp_core::Seeded;
/// let init = Seeded::new(7, DType::F32, &Device::Cpu);
/// let layer = candle_nn::linear(4, 3, init.var_builder().pp("fc"))?;
/// let params = init.params()?;
/// assert_eq!(params.count(), 15);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Seeded {
    key: Key,
    dtype: DType,
    device: Device,
    vars: Arc<Mutex<BTreeMap<String, Var>>>,
}

impl Seeded {
    /// Nothing is drawn yet.
    pub fn new(seed: u64, dtype: DType, device: &Device) -> Self {
        Self { key: Key::new(seed).fold_name("init"), dtype, device: device.clone(), vars: Arc::default() }
    }

    /// Hand this to a model's constructor.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), self.dtype, self.device.clone())
    }

    /// Everything that was asked for so far.
    pub fn params(&self) -> Result<Params> {
        Params::new(self.vars().iter().map(|(name, var)| (name.clone(), var.clone())))
    }

    fn vars(&self) -> MutexGuard<'_, BTreeMap<String, Var>> {
        self.vars.lock().unwrap_or_else(PoisonError::into_inner) // a map of finished variables is never half-written
    }

    fn draw(&self, shape: &Shape, name: &str, init: Init) -> Vec<f64> {
        let mut rng = self.key.fold_name(name).rng();
        let mut fill = |one: &mut dyn FnMut(&mut _) -> f64| (0..shape.elem_count()).map(|_| one(&mut rng)).collect();
        match init {
            Init::Const(value) => vec![value; shape.elem_count()],
            Init::Randn { mean, stdev } => fill(&mut |rng| mean + stdev * normal(rng)),
            Init::Uniform { lo, up } => fill(&mut |rng| lo + (up - lo) * rng.random::<f64>()),
            Init::Kaiming { dist, fan, non_linearity } => {
                let stdev = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
                match dist {
                    NormalOrUniform::Normal => fill(&mut |rng| stdev * normal(rng)),
                    NormalOrUniform::Uniform => {
                        let bound = 3f64.sqrt() * stdev;
                        fill(&mut |rng| bound * (2. * rng.random::<f64>() - 1.))
                    }
                }
            }
        }
    }
}

fn normal(rng: &mut rand_chacha::ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

impl SimpleBackend for Seeded {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut vars = self.vars();
        if let Some(var) = vars.get(name) {
            if var.shape() != &shape {
                bail!("variable {name:?} has the shape {:?}, and is asked for as {shape:?}", var.shape())
            }
            return Ok(var.as_tensor().clone());
        }
        let value = Tensor::from_vec(self.draw(&shape, name, init), shape, device)?.to_dtype(dtype)?;
        let var = Var::from_tensor(&value)?;
        vars.insert(name.to_owned(), var.clone());
        Ok(var.as_tensor().clone())
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        match self.vars().get(name) {
            Some(var) => Ok(var.as_tensor().clone()),
            None => bail!("variable {name:?} does not exist yet, and without a shape it cannot be drawn"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.vars().contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_nn::init::{FanInOut, NonLinearity};

    fn values(seed: u64, name: &str, init: Init) -> Vec<f64> {
        let seeded = Seeded::new(seed, DType::F64, &Device::Cpu);
        let tensor = seeded.var_builder().get_with_hints((64, 32, 3, 3), name, init).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn deviation(values: &[f64]) -> f64 {
        (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn a_tensor_is_a_function_of_seed_and_path() {
        let init = Init::Randn { mean: 0., stdev: 1. };
        assert_eq!(values(1, "a", init), values(1, "a", init));
        assert_ne!(values(1, "a", init), values(2, "a", init));
        assert_ne!(values(1, "a", init), values(1, "b", init));
    }

    #[test]
    fn distributions_have_their_published_deviation() {
        let kaiming = |dist, fan| Init::Kaiming { dist, fan, non_linearity: NonLinearity::ReLU };
        let (fan_in, fan_out) = (f64::sqrt(2. / (32. * 9.)), f64::sqrt(2. / (64. * 9.)));
        let cases = [
            (kaiming(NormalOrUniform::Normal, FanInOut::FanOut), fan_out),
            (kaiming(NormalOrUniform::Uniform, FanInOut::FanIn), fan_in),
            (Init::Uniform { lo: -0.5, up: 0.5 }, 0.5 / 3f64.sqrt()),
            (Init::Randn { mean: 0., stdev: 0.2 }, 0.2),
        ];
        for (init, expected) in cases {
            let found = deviation(&values(5, "w", init));
            assert!((found / expected - 1.).abs() < 0.02, "{init:?}: {found} for {expected}");
        }
    }

    #[test]
    fn one_name_is_one_variable() -> Result<()> {
        let seeded = Seeded::new(0, DType::F32, &Device::Cpu);
        let vb = seeded.var_builder();
        let (a, b) = (vb.get(3, "w")?, vb.get(3, "w")?);
        Var::from_tensor(&a)?.set(&Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?)?;
        assert_eq!(b.to_vec1::<f32>()?, [1., 2., 3.]);
        assert!(vb.get(4, "w").is_err());
        Ok(())
    }
}
