//! One visitor that saves and restores what rules and optimizers carry from step to step.

use crate::{ParamVec, Params};
use candle_core::{DType, Result, Tensor, bail};
use std::collections::BTreeMap;

/// A place in a tree of named tensors that is being written or read.
///
/// Whoever has state describes it once: `state.vector("velocity", params, &mut self.velocity)` both saves and loads.
pub struct State<'a> {
    path: String,
    direction: Direction<'a>,
}

enum Direction<'a> {
    Save(&'a mut BTreeMap<String, Tensor>),
    Load(&'a BTreeMap<String, Tensor>),
}

impl<'a> State<'a> {
    /// Visits will write into `tensors`, under `path`.
    pub fn save(path: &str, tensors: &'a mut BTreeMap<String, Tensor>) -> Self {
        Self { path: path.to_owned(), direction: Direction::Save(tensors) }
    }

    /// Visits will read from `tensors`, under `path`.
    pub fn load(path: &str, tensors: &'a BTreeMap<String, Tensor>) -> Self {
        Self { path: path.to_owned(), direction: Direction::Load(tensors) }
    }

    /// The state of a part, its names nested under `name`.
    pub fn part(&mut self, name: &str) -> State<'_> {
        let direction = match &mut self.direction {
            Direction::Save(tensors) => Direction::Save(tensors),
            Direction::Load(tensors) => Direction::Load(tensors),
        };
        State { path: format!("{}/{name}", self.path), direction }
    }

    /// A vector in parameter space that may not exist yet.
    ///
    /// # Errors
    /// Names what is missing or of another shape.
    pub fn vector(&mut self, name: &str, params: &Params, value: &mut Option<ParamVec>) -> Result<()> {
        let path = format!("{}/{name}", self.path);
        match &mut self.direction {
            Direction::Save(tensors) => {
                for (param, tensor) in params.iter().zip(value.iter().flat_map(|v| v.tensors())) {
                    tensors.insert(format!("{path}/{}", param.name), tensor.clone());
                }
            }
            Direction::Load(tensors) => {
                let prefix = format!("{path}/");
                let exists = tensors.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix));
                *value = exists.then(|| read_vector(tensors, &path, params)).transpose()?;
            }
        }
        Ok(())
    }

    /// A number.
    ///
    /// # Errors
    /// If it is to be read and missing.
    pub fn number(&mut self, name: &str, value: &mut f64) -> Result<()> {
        let path = format!("{}/{name}", self.path);
        match &mut self.direction {
            Direction::Save(tensors) => {
                tensors.insert(path, Tensor::new(*value, &candle_core::Device::Cpu)?);
            }
            Direction::Load(tensors) => match tensors.get(&path) {
                Some(tensor) if tensor.rank() == 0 => *value = tensor.to_dtype(DType::F64)?.to_scalar()?,
                _ => bail!("the number {path:?} is missing from the saved state"),
            },
        }
        Ok(())
    }
}

fn read_vector(tensors: &BTreeMap<String, Tensor>, path: &str, params: &Params) -> Result<ParamVec> {
    let read = |param: &crate::Param| {
        let name = format!("{path}/{}", param.name);
        match tensors.get(&name) {
            Some(tensor) if tensor.dims() == param.var.dims() => tensor.to_device(param.var.device()),
            Some(tensor) => bail!("{name:?} has the shape {:?}; this model has {:?}", tensor.dims(), param.var.dims()),
            None => bail!("{name:?} is missing from the saved state"),
        }
    };
    Ok(ParamVec::new(params, params.iter().map(read).collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use candle_core::{Device, Var};

    #[test]
    fn what_is_saved_is_loaded_and_what_is_missing_is_named() -> Result<()> {
        let var = |n: usize| Var::zeros(n, DType::F32, &Device::Cpu);
        let params = Params::new([("a".to_owned(), var(2)?), ("b".to_owned(), var(3)?)])?;
        let (mut velocity, mut count) = (Some(ParamVec::gaussian(&params, Key::new(1))?), 7.);
        let mut tensors = BTreeMap::new();
        {
            let mut state = State::save("optimizer", &mut tensors);
            state.vector("velocity", &params, &mut velocity)?;
            state.part("inner").number("count", &mut count)?;
        }
        assert!(tensors.contains_key("optimizer/velocity/b") && tensors.contains_key("optimizer/inner/count"));

        let (mut read, mut none, mut number) = (None, velocity.clone(), 0.);
        let mut state = State::load("optimizer", &tensors);
        state.vector("velocity", &params, &mut read)?;
        state.vector("nothing", &params, &mut none)?;
        state.part("inner").number("count", &mut number)?;
        assert_eq!(read.unwrap().to_vec()?, velocity.unwrap().to_vec()?);
        assert!(none.is_none());
        assert_eq!(number, 7.);

        tensors.remove("optimizer/velocity/b");
        let error = State::load("optimizer", &tensors).vector("velocity", &params, &mut None).unwrap_err();
        assert!(error.to_string().contains("optimizer/velocity/b"));
        Ok(())
    }
}
