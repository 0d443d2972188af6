//! The trainable parameters and the buffers of a model, by name and in name order.

use candle_core::{Device, Result, Tensor, Var, bail};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What a parameter is for; rules and optimizers select by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A matrix or a filter: two or more dimensions.
    Weight,
    /// The shift of a linear layer or a convolution, and what a vision transformer adds to its tokens.
    Bias,
    /// The scale or the shift of a normalisation layer.
    Norm,
}

/// A named trainable variable.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its path in the model, dots between the parts.
    pub name: String,
    /// Its value. [`gradient_at`](crate::gradient_at) displaces it, optimizers and [`Params::assign`] write it; nobody
    /// else.
    pub var: Var,
    /// What it is for.
    pub role: Role,
}

/// All parameters of a model, and its buffers: what it carries but does not train.
///
/// The order is that of the names, so it does not depend on the order in which a model was built.
#[derive(Clone, Debug)]
pub struct Params {
    params: Vec<Param>,
    buffers: Vec<(String, Var)>,
}

impl Params {
    /// Sorts variables into parameters and buffers by [`role_by_name`].
    ///
    /// # Errors
    /// If two variables have one name, or there is nothing to train.
    pub fn new(vars: impl IntoIterator<Item = (String, Var)>) -> Result<Self> {
        let mut named = BTreeMap::new();
        for (name, var) in vars {
            if named.insert(name.clone(), var).is_some() {
                bail!("two variables are called {name:?}; names of parameters are unique")
            }
        }
        let roles: Vec<Option<Role>> = named.keys().map(|name| role_by_name(name, &named)).collect();
        Self::with_roles(named.into_iter().zip(roles).map(|((name, var), role)| (name, var, role)))
    }

    /// As [`new`](Params::new), with the roles given; `None` makes a buffer.
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
        Ok(Self { params, buffers })
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

    /// ‖x‖ over all parameters, summed in f64; waits for a GPU that has them.
    pub fn norm(&self) -> Result<f64> {
        Ok(self.squared_norm()?.to_scalar::<f64>()?.sqrt())
    }

    /// ‖x‖² where the parameters are, f64 `[]`: nobody waits for it before it is read.
    pub fn squared_norm(&self) -> Result<Tensor> {
        msharp_ops::sum_of_squares(&self.each())
    }

    /// The parameters as ops over all of them take them, in name order.
    pub fn each(&self) -> Vec<&Tensor> {
        self.params.iter().map(|param| param.var.as_tensor()).collect()
    }

    /// Parameters and buffers under their names, sharing storage with the model.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.vars().map(|(name, var)| (name.to_owned(), var.as_detached_tensor())).collect()
    }

    /// Writes the values of `tensors` into the parameters and buffers of the same names.
    ///
    /// A missing `num_batches_tracked` is accepted, since PyTorch did not always write it. Nothing is changed if
    /// anything does not fit.
    ///
    /// # Errors
    /// Names the first tensor that is missing, unexpected, or of another shape.
    pub fn assign(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut writes = Vec::new();
        for (name, var) in self.vars() {
            match tensors.get(name) {
                Some(value) if value.dims() == var.dims() => {
                    writes.push((var, value.to_dtype(var.dtype())?.to_device(var.device())?))
                }
                Some(value) => {
                    bail!("tensor {name:?} has the shape {:?}; this model has {:?}", value.dims(), var.dims())
                }
                None if name.ends_with("num_batches_tracked") => {}
                None => bail!("tensor {name:?} of this model is missing"),
            }
        }
        let known: BTreeMap<&str, &Var> = self.vars().collect();
        if let Some(name) = tensors.keys().find(|name| !known.contains_key(name.as_str())) {
            bail!("tensor {name:?} is no parameter or buffer of this model")
        }
        writes.into_iter().try_for_each(|(var, value)| var.set(&value))
    }

    /// Reads parameters and buffers from a safetensors file, as [`assign`](Params::assign) does.
    ///
    /// # Errors
    /// Names the file, and the tensor that does not fit.
    pub fn load(&self, path: &Path) -> Result<()> {
        let in_file = |error: candle_core::Error| error.context(format!("cannot load {}", path.display()));
        let tensors = candle_core::safetensors::load(path, self.device()).map_err(in_file)?;
        self.assign(&tensors.into_iter().collect()).map_err(in_file)
    }

    /// Writes parameters and buffers to a safetensors file, which PyTorch reads under the same names.
    pub fn save(&self, path: &Path) -> Result<()> {
        let tensors: HashMap<String, Tensor> = self.tensors().into_iter().collect();
        let bytes = safetensors::serialize(tensors, None).map_err(candle_core::Error::wrap)?;
        crate::write_aside(path, |file| Ok(std::io::Write::write_all(file, &bytes)?))
    }

    fn vars(&self) -> impl Iterator<Item = (&str, &Var)> {
        let params = self.params.iter().map(|p| (p.name.as_str(), &p.var));
        params.chain(self.buffers.iter().map(|(name, var)| (name.as_str(), var)))
    }
}

/// The rule for roles, from the name and the shapes alone:
///
/// - `running_mean`, `running_var` and `num_batches_tracked` are buffers (`None`), and so is whatever is no float;
/// - timm's `cls_token` and `pos_embed`, which are added to activations and multiply none, are [`Role::Bias`], so that
///   they are free of weight decay where biases are;
/// - two or more dimensions make a [`Role::Weight`] of everything else;
/// - a vector called `weight` or `gamma` is a norm's scale, and a `bias` or `beta` beside it is the norm's shift:
///   [`Role::Norm`];
/// - every other vector is a [`Role::Bias`].
pub fn role_by_name(name: &str, all: &BTreeMap<String, Var>) -> Option<Role> {
    let (path, last) = name.rsplit_once('.').map_or(("", name), |(path, last)| (path, last));
    let var = &all[name];
    let is_vector = |sibling: &str| {
        let sibling = if path.is_empty() { sibling.to_owned() } else { format!("{path}.{sibling}") };
        all.get(&sibling).is_some_and(|v| v.rank() == 1)
    };
    match last {
        "running_mean" | "running_var" | "num_batches_tracked" => None,
        _ if !var.dtype().is_float() => None,
        "cls_token" | "pos_embed" => Some(Role::Bias),
        _ if var.rank() >= 2 => Some(Role::Weight),
        "weight" | "gamma" => Some(Role::Norm),
        "bias" if is_vector("weight") => Some(Role::Norm),
        "beta" if is_vector("gamma") => Some(Role::Norm),
        _ => Some(Role::Bias),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;

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

    #[test]
    fn what_does_not_fit_is_named_and_changes_nothing() {
        let (params, other) = (named(&["a", "fc.weight"]), named(&["a", "b", "fc.weight"]));
        params.iter().for_each(|p| p.var.set(&p.var.ones_like().unwrap()).unwrap());
        let message = |r: Result<()>| r.unwrap_err().to_string();
        assert!(message(other.assign(&params.tensors())).contains("\"b\" of this model is missing"));
        assert!(message(params.assign(&other.tensors())).contains("\"b\" is no parameter"));
        assert_eq!(params.norm().unwrap(), 3.);
    }

    #[test]
    fn a_truncated_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let params = named(&["a", "fc.weight"]);
        params.save(&path).unwrap();
        params.load(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert!(params.load(&path).unwrap_err().to_string().contains("x.safetensors"));
    }
}
