//! The values of named tensors written into a model: all of them fit, or nothing is written.

use crate::params::storage_of;
use crate::{Error, Params};
use candle_core::{Result, Tensor, Var};
use std::collections::BTreeMap;

impl Params {
    /// Writes the values of `tensors` into the parameters and buffers of the same names. Values that share storage with
    /// this model, as those of [`tensors`](Params::named_tensors) do, are read before anything is written.
    ///
    /// A missing `num_batches_tracked` is accepted, since PyTorch did not always write it. Nothing is changed if
    /// anything does not fit.
    ///
    /// # Errors
    /// Names the first tensor that is missing, unexpected, of another shape, or of whole numbers where floats are
    /// expected or the reverse; and the prefix that all names have, where it is why they do not fit.
    pub fn assign(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        self.writes(tensors)?.into_iter().try_for_each(|(var, value)| var.set(&value))
    }

    /// Whether [`assign`](Params::assign) would take `tensors`. Nothing is written.
    ///
    /// # Errors
    /// As those of [`assign`](Params::assign).
    pub fn check_fit(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        self.writes(tensors).map(drop)
    }

    /// What goes where, all of it read.
    fn writes(&self, tensors: &BTreeMap<String, Tensor>) -> Result<Vec<(&Var, Tensor)>> {
        let mut writes = Vec::new();
        for (name, var) in self.vars() {
            match tensors.get(name) {
                Some(value) if value.dims() != var.dims() => {
                    let problem = format!("has the shape {:?}; this model has {:?}", value.dims(), var.dims());
                    return Err(Error::mismatch(name, problem));
                }
                Some(value) => writes.push((var, self.value_for(name, var, value)?)),
                None if name.ends_with("num_batches_tracked") => {}
                None => {
                    let problem = format!("of this model is missing{}", self.of_prefix(tensors));
                    return Err(Error::mismatch(name, problem));
                }
            }
        }
        let known: BTreeMap<&str, &Var> = self.vars().collect();
        if let Some(name) = tensors.keys().find(|name| !known.contains_key(name.as_str())) {
            return Err(Error::mismatch(name, "is no parameter or buffer of this model"));
        }
        Ok(writes)
    }

    /// `value` as `var`, called `name`, takes it: in its element type, on its device, in a storage that no variable of
    /// this model has.
    ///
    /// # Errors
    /// If one is of whole numbers and the other of floats.
    pub(crate) fn value_for(&self, name: &str, var: &Var, value: &Tensor) -> Result<Tensor> {
        let (found, own) = (value.dtype(), var.dtype());
        if found.is_float() != own.is_float() {
            let problem = format!(
                "has elements of {found:?}; this model has {own:?}, and the one is not a rounding of the other"
            );
            return Err(Error::mismatch(name, problem));
        }
        let value = value.to_dtype(own)?.to_device(var.device())?.detach();
        let shares = self.vars().any(|(_, var)| storage_of(var) == storage_of(&value));
        if shares { value.copy() } else { Ok(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn named(order: &[&str]) -> Params {
        let shape = |name: &str| if name == "fc.weight" { vec![3, 2] } else { vec![3] };
        let var = |name: &str| Var::zeros(shape(name), DType::F32, &Device::Cpu).unwrap();
        Params::new(order.iter().map(|name| (name.to_string(), var(name)))).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_named_and_changes_nothing() {
        let (params, other) = (named(&["a", "fc.weight"]), named(&["a", "b", "fc.weight"]));
        params.iter().for_each(|p| p.var.set(&p.var.ones_like().unwrap()).unwrap());
        let message = |r: Result<()>| r.unwrap_err().to_string();
        assert!(message(other.assign(&params.named_tensors())).contains("\"b\" of this model is missing"));
        assert!(message(params.assign(&other.named_tensors())).contains("\"b\" is no parameter"));
        assert_eq!(params.norm().unwrap(), 3.);
    }

    /// One's own tensors are values like any other, also those of another parameter.
    #[test]
    fn ones_own_tensors_can_be_assigned_and_a_snapshot_does_not_follow_the_run() {
        let params = named(&["a", "b", "fc.weight"]);
        params.iter().enumerate().for_each(|(i, p)| {
            p.var.set(&p.var.ones_like().unwrap().affine(i as f64 + 1., 0.).unwrap()).unwrap();
        });
        let first = |name: &str| params.named_tensors()[name].flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
        let before = params.snapshot().unwrap();

        let mut t = params.named_tensors();
        t.insert("fc.weight".to_owned(), Tensor::full(9f32, (3, 2), &Device::Cpu).unwrap());
        params.assign(&t).unwrap();
        assert_eq!((first("a"), first("b"), first("fc.weight")), (1., 2., 9.));

        let mut swapped = params.named_tensors();
        let (a, b) = (swapped["a"].clone(), swapped["b"].clone());
        swapped.insert("a".to_owned(), b);
        swapped.insert("b".to_owned(), a);
        params.assign(&swapped).unwrap();
        assert_eq!((first("a"), first("b")), (2., 1.));

        params.assign(&before).unwrap();
        assert_eq!((first("a"), first("b"), first("fc.weight")), (1., 2., 3.));
    }

    #[test]
    fn whole_numbers_do_not_become_weights() {
        let params = named(&["a", "fc.weight"]);
        let mut tensors = params.snapshot().unwrap();
        tensors.insert("a".to_owned(), Tensor::new(&[1u8, 2, 3], &Device::Cpu).unwrap());
        let error = params.assign(&tensors).unwrap_err().to_string();
        assert!(error.contains("\"a\"") && error.contains("U8") && error.contains("F32"), "{error}");
        tensors.insert("a".to_owned(), Tensor::new(&[1f64, 2., 3.], &Device::Cpu).unwrap());
        params.assign(&tensors).unwrap();
    }
}
