//! One visitor that saves and restores what rules and optimizers carry from step to step.

use crate::{Batch, Key, ParamVec, Params, TrainingPoint};
use candle_core::{DType, Device, Result, Tensor, bail};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A place in a tree of named tensors that is being written or read.
///
/// Whoever has state describes it once: `state.vector("velocity", params, &mut self.velocity)` both saves and loads.
pub struct State<'a> {
    path: String,
    direction: Direction<'a>,
}

enum Direction<'a> {
    Save(&'a mut BTreeMap<String, Tensor>),
    Load { tensors: &'a BTreeMap<String, Tensor>, read: Rc<RefCell<BTreeSet<String>>> },
}

impl<'a> State<'a> {
    /// Visits will write into `tensors`, under `path`: copies, which do not change as the run goes on.
    pub fn save(path: &str, tensors: &'a mut BTreeMap<String, Tensor>) -> Self {
        Self { path: path.to_owned(), direction: Direction::Save(tensors) }
    }

    /// Visits will read from `tensors`, under `path`.
    pub fn load(path: &str, tensors: &'a BTreeMap<String, Tensor>) -> Self {
        Self { path: path.to_owned(), direction: Direction::Load { tensors, read: Rc::default() } }
    }

    /// The state of a part, its names nested under `name`.
    pub fn part(&mut self, name: &str) -> State<'_> {
        let direction = match &mut self.direction {
            Direction::Save(tensors) => Direction::Save(tensors),
            Direction::Load { tensors, read } => Direction::Load { tensors, read: read.clone() },
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
                // Whether it exists is a part of the state: what is absent differs from what was lost.
                insert(tensors, path.clone(), Tensor::new(u8::from(value.is_some()), &Device::Cpu)?)?;
                for (param, tensor) in params.iter().zip(value.iter().flat_map(|v| v.tensors())) {
                    tensors.insert(format!("{path}/{}", param.name), tensor.copy()?);
                }
            }
            Direction::Load { tensors, read } => {
                *value =
                    exists(tensors, read, &path)?.then(|| read_vector(tensors, read, &path, params)).transpose()?;
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
                insert(tensors, path, Tensor::new(*value, &Device::Cpu)?)?;
            }
            Direction::Load { tensors, read } => match entry(tensors, read, &path)? {
                tensor if tensor.rank() == 0 => *value = tensor.to_dtype(DType::F64)?.to_scalar()?,
                tensor => bail!("{path:?} in the saved state has the shape {:?}; expected a number", tensor.dims()),
            },
        }
        Ok(())
    }

    /// A whole number: of steps, of estimates.
    ///
    /// # Errors
    /// If it is to be read and is missing, or is no whole number from 0 to 2⁶³ − 1.
    pub fn count(&mut self, name: &str, value: &mut u64) -> Result<()> {
        let path = format!("{}/{name}", self.path);
        match &mut self.direction {
            Direction::Save(tensors) => {
                let Ok(signed) = i64::try_from(*value) else { bail!("{path:?} is {value}, too large to be saved") };
                insert(tensors, path, Tensor::new(signed, &Device::Cpu)?)?;
            }
            Direction::Load { tensors, read } => match entry(tensors, read, &path)? {
                tensor if tensor.rank() == 0 && tensor.dtype() == DType::I64 => match tensor.to_scalar::<i64>()? {
                    saved if saved >= 0 => *value = saved as u64,
                    saved => bail!("{path:?} in the saved state is {saved}; expected a count"),
                },
                tensor => bail!("{path:?} in the saved state is {tensor}; expected a whole number"),
            },
        }
        Ok(())
    }

    /// A batch that may not exist yet: inputs, targets, key and training point. It is restored as a whole batch.
    ///
    /// # Errors
    /// Names what is missing or is no part of a batch.
    pub fn batch(&mut self, name: &str, params: &Params, value: &mut Option<Batch>) -> Result<()> {
        let path = format!("{}/{name}", self.path);
        let at = |part: &str| format!("{path}/{part}");
        match &mut self.direction {
            Direction::Save(tensors) => {
                insert(tensors, path.clone(), Tensor::new(u8::from(value.is_some()), &Device::Cpu)?)?;
                if let Some(batch) = value {
                    tensors.insert(at("inputs"), batch.inputs.copy()?);
                    tensors.insert(at("targets"), batch.targets.copy()?);
                    tensors.insert(at("key"), Tensor::new(&batch.key.halves(), &Device::Cpu)?);
                    let point = batch.training_point.map(|p| [p.progress, p.lr, p.lr_factor]);
                    tensors.insert(at("point"), Tensor::new(&point.unwrap_or([f64::NAN; 3]), &Device::Cpu)?);
                }
            }
            Direction::Load { tensors, read } => {
                *value = match exists(tensors, read, &path)? {
                    false => None,
                    true => {
                        let tensor = |part: &str| entry(tensors, read, &at(part))?.to_device(params.device())?.copy();
                        let key = entry(tensors, read, &at("key"))?.to_device(&Device::Cpu)?.to_vec1::<u32>()?;
                        let Ok(halves) = key.try_into() else { bail!("{:?} in the saved state is no key", at("key")) };
                        let batch = Batch::new(tensor("inputs")?, tensor("targets")?, Key::from_halves(halves));
                        match entry(tensors, read, &at("point"))?.to_device(&Device::Cpu)?.to_vec1::<f64>()?.as_slice()
                        {
                            [progress, ..] if progress.is_nan() => Some(batch),
                            &[progress, lr, lr_factor] => Some(batch.at(TrainingPoint { progress, lr, lr_factor })),
                            _ => bail!("{:?} in the saved state is no training point", at("point")),
                        }
                    }
                };
            }
        }
        Ok(())
    }

    /// # Errors
    /// Names a part of the saved state that no visit has read: it is that of something else.
    pub fn check_all_read(&self) -> Result<()> {
        let Direction::Load { tensors, read } = &self.direction else { return Ok(()) };
        let (prefix, read) = (format!("{}/", self.path), read.borrow());
        let mut own =
            tensors.range(prefix.clone()..).map(|(name, _)| name).take_while(|name| name.starts_with(&prefix));
        match own.find(|name| !read.contains(*name)) {
            Some(name) => bail!("{name:?} in the saved state belongs to nothing that is restored"),
            None => Ok(()),
        }
    }
}

fn insert(tensors: &mut BTreeMap<String, Tensor>, path: String, value: Tensor) -> Result<()> {
    if tensors.contains_key(&path) {
        bail!("two parts of the state are called {path:?}; expected names that are unique")
    }
    tensors.insert(path, value);
    Ok(())
}

fn entry<'t>(
    tensors: &'t BTreeMap<String, Tensor>,
    read: &RefCell<BTreeSet<String>>,
    path: &str,
) -> Result<&'t Tensor> {
    let Some(tensor) = tensors.get(path) else { bail!("{path:?} is missing from the saved state") };
    read.borrow_mut().insert(path.to_owned());
    Ok(tensor)
}

/// Whether something that may not exist yet was there.
fn exists(tensors: &BTreeMap<String, Tensor>, read: &RefCell<BTreeSet<String>>, path: &str) -> Result<bool> {
    match entry(tensors, read, path)? {
        marker if marker.rank() == 0 && marker.dtype() == DType::U8 => Ok(marker.to_scalar::<u8>()? == 1),
        other => bail!("{path:?} in the saved state is {other}; expected whether there is a vector or a batch"),
    }
}

fn read_vector(
    tensors: &BTreeMap<String, Tensor>,
    read: &RefCell<BTreeSet<String>>,
    path: &str,
    params: &Params,
) -> Result<ParamVec> {
    let one = |param: &crate::Param| {
        let name = format!("{path}/{}", param.name);
        let tensor = entry(tensors, read, &name)?;
        if tensor.dims() != param.var.dims() {
            bail!("{name:?} has the shape {:?}; this model has {:?}", tensor.dims(), param.var.dims())
        }
        // A copy: an optimizer may step in the memory of its vector, and what was saved must not follow.
        tensor.to_dtype(param.var.dtype())?.to_device(param.var.device())?.copy()
    };
    Ok(ParamVec::new(params, params.iter().map(one).collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;

    #[test]
    fn what_is_saved_is_loaded_and_what_is_missing_is_named() -> Result<()> {
        let var = |n: usize| Var::zeros(n, DType::F32, &Device::Cpu);
        let params = Params::new([("a".to_owned(), var(2)?), ("b".to_owned(), var(3)?)])?;
        let (mut velocity, mut count) = (Some(ParamVec::gaussian(&params, Key::new(1))?), 7);
        let mut tensors = BTreeMap::new();
        {
            let mut state = State::save("optimizer", &mut tensors);
            state.vector("velocity", &params, &mut velocity)?;
            state.vector("nothing", &params, &mut None)?;
            state.part("inner").count("count", &mut count)?;
            state.part("inner").number("mean", &mut 0.5)?;
        }
        let again = State::save("optimizer", &mut tensors).part("inner").count("count", &mut count).unwrap_err();
        assert!(again.to_string().contains("optimizer/inner/count"), "{again}");
        assert!(tensors.contains_key("optimizer/velocity/b") && tensors.contains_key("optimizer/inner/count"));

        let (mut read, mut none, mut number, mut mean) = (None, velocity.clone(), 0, 0.);
        let mut state = State::load("optimizer", &tensors);
        state.vector("velocity", &params, &mut read)?;
        state.vector("nothing", &params, &mut none)?;
        let error = state.check_all_read().unwrap_err().to_string();
        assert!(error.contains("\"optimizer/inner/count\""), "{error}");
        state.part("inner").count("count", &mut number)?;
        state.part("inner").number("mean", &mut mean)?;
        state.check_all_read()?;
        assert_eq!(read.unwrap().to_vec()?, velocity.unwrap().to_vec()?);
        assert!(none.is_none());
        assert_eq!((number, mean), (7, 0.5));
        let error = State::load("optimizer", &tensors).part("inner").count("mean", &mut number).unwrap_err();
        assert!(error.to_string().contains("expected a whole number"), "{error}");

        let error = State::load("optimizer", &tensors).vector("mean", &params, &mut None).unwrap_err();
        assert!(
            error.to_string().contains("\"optimizer/mean\" is missing"),
            "what was never saved is not absent: {error}"
        );
        tensors.remove("optimizer/velocity/b");
        let error = State::load("optimizer", &tensors).vector("velocity", &params, &mut None).unwrap_err();
        assert!(error.to_string().contains("optimizer/velocity/b"));
        Ok(())
    }
}
