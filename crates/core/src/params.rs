//! The trainable parameters and the buffers of a model, by name and in name order.

use crate::{Role, Select, role_by_name};
use candle_core::{DType, Device, Result, Storage, Tensor, Var, bail};
use candle_nn::VarMap;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::sync::PoisonError;

/// A named trainable variable.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its path in the model, dots between the parts.
    pub name: String,
    /// Its value. [`BatchLoss`](crate::BatchLoss) displaces it, optimizers and [`Params::assign`] write it; nothing
    /// else does.
    pub var: Var,
    /// What it is for.
    pub role: Role,
}

/// All parameters of a model, and its buffers: what it carries but does not train.
///
/// The order is that of the names, so it does not depend on the order in which a model was built. Written out
/// (`println!("{params}")`) it is a table of every name with its shape and role.
#[derive(Clone, Debug)]
pub struct Params {
    params: Vec<Param>,
    buffers: Vec<(String, Var)>,
}

impl Params {
    /// Sorts variables into parameters and buffers by [`role_by_name`].
    ///
    /// # Errors
    /// If two variables have one name or one storage, or there is nothing to train.
    pub fn new(vars: impl IntoIterator<Item = (String, Var)>) -> Result<Self> {
        let vars: Vec<(String, Var)> = vars.into_iter().collect();
        let named: BTreeMap<String, Var> = vars.iter().cloned().collect();
        let role = |(name, var): (String, Var)| {
            let role = role_by_name(&name, &named);
            (name, var, role)
        };
        Self::with_roles(vars.into_iter().map(role))
    }

    /// Those of a `VarMap` of candle-nn. Errors as those of [`new`](Params::new).
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use candle_nn::{VarBuilder, VarMap};
    /// let varmap = VarMap::new();
    /// let layer = candle_nn::linear(4, 3, VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu).pp("fc"))?;
    /// assert_eq!(msharp_core::Params::from_varmap(&varmap)?.count(), 15);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn from_varmap(varmap: &VarMap) -> Result<Self> {
        let vars = varmap.data().lock().unwrap_or_else(PoisonError::into_inner);
        Self::new(vars.iter().map(|(name, var)| (name.clone(), var.clone())).collect::<BTreeMap<_, _>>())
    }

    /// Those parameters that `select` holds, with their roles, without buffers; the variables are shared.
    ///
    /// # Errors
    /// If it holds none.
    pub fn subset(&self, select: &Select) -> Result<Self> {
        select.check(self)?;
        let held = self.params.iter().filter(|param| select.holds(param));
        Ok(Self { params: held.cloned().collect(), buffers: Vec::new() })
    }

    /// As [`new`](Params::new), with the roles given; `None` makes a buffer.
    ///
    /// # Errors
    /// As those of [`new`](Params::new).
    pub fn with_roles(vars: impl IntoIterator<Item = (String, Var, Option<Role>)>) -> Result<Self> {
        let (mut params, mut buffers) = (Vec::new(), Vec::new());
        for (name, var, role) in vars {
            match role {
                Some(role) => params.push(Param { name, var, role }),
                None => buffers.push((name, var)),
            }
        }
        if params.is_empty() {
            bail!("no trainable parameter among {} variables", buffers.len())
        }
        params.sort_by(|a, b| a.name.cmp(&b.name));
        buffers.sort_by(|a, b| a.0.cmp(&b.0));
        let all = Self { params, buffers };
        all.check_distinct()?;
        Ok(all)
    }

    /// A variable that is displaced twice, or stepped twice, is neither SAM nor SGD.
    fn check_distinct(&self) -> Result<()> {
        let (mut names, mut storages) = (BTreeMap::new(), BTreeMap::new());
        for (name, var) in self.vars() {
            if names.insert(name, ()).is_some() {
                bail!("two variables are called {name:?}; expected names that are unique")
            }
            if let Some(other) = storages.insert(storage_of(var), name) {
                bail!(
                    "{other:?} and {name:?} are one variable under two names, which every step would move twice; \
                     expected it once"
                )
            }
        }
        Ok(())
    }

    /// The parameters in name order.
    pub fn iter(&self) -> std::slice::Iter<'_, Param> {
        self.params.iter()
    }

    /// The buffers in name order.
    pub fn buffers(&self) -> &[(String, Var)] {
        &self.buffers
    }

    /// The number of parameter tensors.
    pub fn len(&self) -> usize {
        self.params.len()
    }

    /// Never: there is at least one parameter.
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// `d`, the number of trainable scalars.
    pub fn count(&self) -> usize {
        self.params.iter().map(|p| p.var.elem_count()).sum()
    }

    /// Where the parameters live.
    pub fn device(&self) -> &Device {
        self.params[0].var.device()
    }

    /// ‖x‖ over all parameters, summed in f64; a host-device synchronisation on a GPU.
    pub fn norm(&self) -> Result<f64> {
        Ok(self.squared_norm()?.to_scalar::<f64>()?.sqrt())
    }

    /// ‖x‖² where the parameters are, f64 `[]`: no host-device synchronisation before it is read.
    pub fn squared_norm(&self) -> Result<Tensor> {
        msharp_ops::sum_of_squares(&self.refs())
    }

    /// The name of the first parameter or buffer that has an entry which is not finite; a host-device synchronisation
    /// on a GPU.
    pub fn not_finite(&self) -> Result<Option<String>> {
        let buffers = self.buffers.iter().map(|(_, var)| var.as_tensor()).filter(|buffer| buffer.dtype().is_float());
        let all: Vec<&Tensor> = self.refs().into_iter().chain(buffers).collect();
        let is_finite = |tensors: &[&Tensor]| -> Result<bool> {
            let mut sums = Vec::new(); // of one element type each
            for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
                let of_type: Vec<&Tensor> = tensors.iter().copied().filter(|t| t.dtype() == dtype).collect();
                if !of_type.is_empty() {
                    sums.push(msharp_ops::sum_of_squares(&of_type)?.to_scalar::<f64>()?);
                }
            }
            Ok(sums.into_iter().all(f64::is_finite))
        };
        if is_finite(&all)? {
            return Ok(None);
        }
        for (name, var) in self.vars().filter(|(_, var)| var.dtype().is_float()) {
            // 0 times what is finite is 0, also where a square would overflow.
            if var.as_detached_tensor().to_dtype(DType::F64)?.affine(0., 0.)?.sum_all()?.to_scalar::<f64>()? != 0. {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    /// The parameters as ops over all of them take them, in name order.
    pub fn refs(&self) -> Vec<&Tensor> {
        self.params.iter().map(|param| param.var.as_tensor()).collect()
    }

    /// Parameters and buffers under their names, *sharing storage with the model*: they change as it trains.
    /// [`snapshot`](Params::snapshot) does not.
    pub fn named_tensors(&self) -> BTreeMap<String, Tensor> {
        self.vars().map(|(name, var)| (name.to_owned(), var.as_detached_tensor())).collect()
    }

    /// Copies of parameters and buffers under their names: what [`assign`](Params::assign) brings back later.
    pub fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        self.vars().map(|(name, var)| Ok((name.to_owned(), var.as_detached_tensor().copy()?))).collect()
    }

    pub(crate) fn vars(&self) -> impl Iterator<Item = (&str, &Var)> {
        let params = self.params.iter().map(|p| (p.name.as_str(), &p.var));
        params.chain(self.buffers.iter().map(|(name, var)| (name.as_str(), var)))
    }
}

impl Display for Params {
    /// A line for each parameter, then each buffer: name, shape and role.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let shape = |var: &Var| format!("{:?}", var.dims());
        let params = self.params.iter().map(|p| (p.name.as_str(), shape(&p.var), p.role.to_string()));
        let buffers = self.buffers.iter().map(|(name, var)| (name.as_str(), shape(var), "buffer".to_owned()));
        let lines: Vec<(&str, String, String)> = params.chain(buffers).collect();
        let name = lines.iter().map(|line| line.0.len()).max().unwrap_or(0);
        let width = lines.iter().map(|line| line.1.len()).max().unwrap_or(0);
        lines.iter().try_for_each(|line| writeln!(f, "{:name$}  {:width$}  {}", line.0, line.1, line.2))
    }
}

/// Where the numbers of a tensor lie: equal for tensors that share them.
pub(crate) fn storage_of(tensor: &Tensor) -> *const Storage {
    let (storage, _) = tensor.storage_and_layout();
    std::ptr::from_ref(&*storage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn var(shape: &[usize]) -> Var {
        Var::zeros(shape, DType::F32, &Device::Cpu).unwrap()
    }

    fn named(order: &[&str]) -> Params {
        let shape = |name: &str| match name {
            "fc.weight" => vec![3, 2],
            "vit.pos_embed" => vec![1, 3, 2],
            _ => vec![3],
        };
        Params::new(order.iter().map(|name| (name.to_string(), var(&shape(name))))).unwrap()
    }

    #[test]
    fn roles_follow_from_names_and_shapes() {
        let params = named(&["fc.weight", "fc.bias", "bn.bias", "bn.weight", "bn.running_mean", "vit.pos_embed"]);
        let roles: Vec<_> = params.iter().map(|p| (p.name.as_str(), p.role)).collect();
        let expected = [
            ("bn.bias", Role::Norm),
            ("bn.weight", Role::Norm),
            ("fc.bias", Role::Bias),
            ("fc.weight", Role::Weight),
            ("vit.pos_embed", Role::Bias),
        ];
        assert_eq!(roles, expected);
        assert_eq!(params.buffers()[0].0, "bn.running_mean");
        assert_eq!(params.count(), 21);
    }

    #[test]
    fn the_order_of_creation_does_not_matter() {
        let names = |params: &Params| params.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&named(&["a", "b", "fc.weight"])), names(&named(&["fc.weight", "b", "a"])));
    }

    /// f = ½(w² − 1)² at w = 2 under two names: a displaced pass moved it twice, and put back the half-moved value.
    #[test]
    fn one_variable_under_two_names_is_refused_with_both() {
        let w = var(&[3]);
        let both = |a: &str, b: &str, x: &Var, y: &Var| {
            Params::new([(a.to_owned(), x.clone()), (b.to_owned(), y.clone())]).map(drop).unwrap_err().to_string()
        };
        let error = both("a", "b", &w, &w);
        assert!(error.contains("\"a\"") && error.contains("\"b\""), "{error}");
        let error = both("a.running_mean", "b", &w, &w);
        assert!(error.contains("\"a.running_mean\"") && error.contains("\"b\""), "a buffer is moved too: {error}");
        assert!(both("a", "a", &w, &var(&[3])).contains("\"a\""));
        let roles = [("a", Some(Role::Weight)), ("a", None)].map(|(name, role)| (name.to_owned(), var(&[1]), role));
        assert!(Params::with_roles(roles).unwrap_err().to_string().contains("\"a\""));
    }

    #[test]
    fn the_first_tensor_that_is_not_finite_is_named() {
        let params = named(&["a", "bn.bias", "bn.weight", "bn.running_var"]);
        assert_eq!(params.not_finite().unwrap(), None);
        let bad = Tensor::new(&[0f32, f32::NAN, 0.], &Device::Cpu).unwrap();
        params.buffers()[0].1.set(&bad).unwrap();
        assert_eq!(params.not_finite().unwrap().as_deref(), Some("bn.running_var"));
        let large = Params::new([("x".to_owned(), Var::new(&[1e200f64], &Device::Cpu).unwrap())]).unwrap();
        assert_eq!(large.not_finite().unwrap(), None, "its square overflows, and it does not");
        params.iter().nth(1).unwrap().var.set(&bad).unwrap();
        assert_eq!(params.not_finite().unwrap().as_deref(), Some("bn.bias"));
    }

    #[test]
    fn every_parameter_is_listed_with_its_role() {
        let params = named(&["fc.weight", "fc.bias", "bn.weight", "bn.bias", "bn.running_mean"]);
        let text = params.to_string();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["bn.bias", "[3]", "norm"]);
        assert_eq!(words[3], ["fc.weight", "[3,", "2]", "weight"]);
        assert_eq!(words[4], ["bn.running_mean", "[3]", "buffer"]);
    }
}
