//! Weights that fit a model in part: those of another head, or of another program's names.

use crate::{Error, Params};
use candle_core::{Result, Tensor, bail};
use glob::Pattern;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::path::Path;

/// What PyTorch's wrappers put in front of every name: DataParallel, a training module, the compiler.
const WRAPPERS: [&str; 3] = ["module.", "model.", "_orig_mod."];

/// As many names of a list are written out.
const WRITTEN: usize = 8;

/// How the tensors of a file fit a model, by name.
///
/// Of a file that was loaded, the lists have what was skipped; in [`Error::Misfit`], what was not. Written out it is
/// one line: `2 of 65 tensors missing: fc.weight [10, 64], fc.bias [10]; 2 unexpected: …`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// What every name of the file had in front and is not counted to it, such as `module.`; empty if nothing.
    pub prefix: String,
    /// The tensors of both, with one shape: those that are loaded.
    pub loaded: Vec<String>,
    /// The model's that the file does not have, with their shapes.
    pub missing: BTreeMap<String, Vec<usize>>,
    /// The file's that the model does not have, with their shapes.
    pub unexpected: BTreeMap<String, Vec<usize>>,
    /// Those of both with another shape: in the file, and in the model.
    pub reshaped: BTreeMap<String, [Vec<usize>; 2]>,
}

impl Params {
    /// Reads from a safetensors file, of f32, f16, bf16 or f64, those parameters and buffers that it has; `skip` says
    /// what it may lack. Everything else must fit, or nothing is written.
    ///
    /// `skip` are globs on names, as `head.*`: tensors that may be missing in the file, unexpected in it, or of another
    /// shape. One that fits is loaded all the same. Prefixes that PyTorch's wrappers put in front of all names
    /// (`module.`, `model.`, `_orig_mod.`, several of them too) are taken off. A missing `num_batches_tracked` is
    /// accepted, since PyTorch did not always write it.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use msharp_core::{Error, Seeded};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("published.safetensors");
    /// let network = |classes: usize| -> candle_core::Result<_> {
    ///     let init = Seeded::new(0, DType::F32, &Device::Cpu);
    ///     candle_nn::linear(4, 8, init.var_builder().pp("body"))?;
    ///     candle_nn::linear(8, classes, init.var_builder().pp("head"))?;
    ///     init.params()
    /// };
    /// network(1000)?.save(&path)?;
    ///
    /// let params = network(10)?;
    /// let error = params.load_partial(&path, &[]).unwrap_err();
    /// assert!(matches!(Error::of(&error), Some(Error::Misfit(fit)) if fit.reshaped.len() == 2));
    /// let fit = params.load_partial(&path, &["head.*"])?;
    /// assert_eq!(fit.loaded, ["body.bias", "body.weight"]);
    /// assert_eq!(fit.reshaped["head.bias"], [[1000], [10]]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Misfit`] with everything that does not fit and is not skipped; an error that names a tensor of whole
    /// numbers, a glob of `skip` that is none or matches no tensor of either side, or the file where it cannot be read.
    pub fn load_partial(&self, path: &Path, skip: &[&str]) -> Result<Fit> {
        let in_file = |error: candle_core::Error| error.context(format!("cannot load {}", path.display()));
        let tensors = candle_core::safetensors::load(path, self.device()).map_err(in_file)?;
        self.assign_partial(&tensors.into_iter().collect(), skip).map_err(in_file)
    }

    /// As [`load_partial`](Params::load_partial), of tensors.
    ///
    /// # Errors
    /// As those.
    pub fn assign_partial(&self, tensors: &BTreeMap<String, Tensor>, skip: &[&str]) -> Result<Fit> {
        let prefix = self.wrapper_of(tensors);
        let mut rest: BTreeMap<&str, &Tensor> =
            tensors.iter().map(|(name, tensor)| (&name[prefix.len()..], tensor)).collect();
        let skip = self.globs(skip, &rest)?;

        let (mut fit, mut writes) = (Fit { prefix, ..Fit::default() }, Vec::new());
        for (name, var) in self.vars() {
            match rest.remove(name) {
                Some(value) if value.dims() == var.dims() => {
                    writes.push((var, self.value_for(name, var, value)?));
                    fit.loaded.push(name.to_owned());
                }
                Some(value) => {
                    fit.reshaped.insert(name.to_owned(), [value.dims().to_vec(), var.dims().to_vec()]);
                }
                None if name.ends_with("num_batches_tracked") => {}
                None => {
                    fit.missing.insert(name.to_owned(), var.dims().to_vec());
                }
            }
        }
        fit.unexpected = rest.into_iter().map(|(name, tensor)| (name.to_owned(), tensor.dims().to_vec())).collect();

        let misfit = fit.without(|name| skip.iter().any(|glob| glob.matches(name)));
        if !misfit.is_complete() {
            return Err(Error::Misfit(Box::new(misfit)).into());
        }
        writes.into_iter().try_for_each(|(var, value)| var.set(&value))?;
        Ok(fit)
    }

    /// What wrappers have put in front of every name of `tensors`, and no name of this model begins with.
    fn wrapper_of(&self, tensors: &BTreeMap<String, Tensor>) -> String {
        let mut prefix = String::new();
        let all_have = |prefix: &str| !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(prefix));
        let is_own = |wrapper: &str| self.vars().any(|(name, _)| name.starts_with(wrapper));
        while let Some(wrapper) =
            WRAPPERS.into_iter().find(|wrapper| all_have(&format!("{prefix}{wrapper}")) && !is_own(wrapper))
        {
            prefix += wrapper;
        }
        prefix
    }

    fn globs(&self, skip: &[&str], of_file: &BTreeMap<&str, &Tensor>) -> Result<Vec<Pattern>> {
        let glob = |text: &&str| {
            let glob = match Pattern::new(text) {
                Ok(glob) => glob,
                Err(error) => bail!("{text:?} is no glob: {error}"),
            };
            if !self.vars().map(|(name, _)| name).chain(of_file.keys().copied()).any(|name| glob.matches(name)) {
                bail!("{text:?} is to be skipped, and neither the model nor the file has a tensor of such a name")
            }
            Ok(glob)
        };
        skip.iter().map(glob).collect()
    }
}

impl Fit {
    /// Whether nothing is missing, unexpected or of another shape.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.reshaped.is_empty()
    }

    /// The same without the misfits that are `skipped`.
    fn without(&self, skipped: impl Fn(&str) -> bool) -> Self {
        let mut fit = self.clone();
        fit.missing.retain(|name, _| !skipped(name));
        fit.unexpected.retain(|name, _| !skipped(name));
        fit.reshaped.retain(|name, _| !skipped(name));
        fit
    }

    /// Whether the missing and the unexpected ones have the same shapes: then they may have other names only.
    fn is_renamed(&self) -> bool {
        let sorted = |named: &BTreeMap<String, Vec<usize>>| {
            let mut shapes: Vec<_> = named.values().cloned().collect();
            shapes.sort();
            shapes
        };
        !self.missing.is_empty() && sorted(&self.missing) == sorted(&self.unexpected)
    }
}

impl Display for Fit {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let listed =
            |named: &BTreeMap<String, Vec<usize>>| list(named.iter().map(|(name, shape)| format!("{name} {shape:?}")));
        let all = self.loaded.len() + self.missing.len() + self.reshaped.len();
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("{} of {all} tensors missing: {}", self.missing.len(), listed(&self.missing)));
        }
        if !self.unexpected.is_empty() {
            let renamed = if self.is_renamed() { ": same shapes, renamed?" } else { "" };
            parts.push(format!("{} unexpected: {}{renamed}", self.unexpected.len(), listed(&self.unexpected)));
        }
        if !self.reshaped.is_empty() {
            let shapes = self.reshaped.iter().map(|(name, [file, own])| format!("{name} {file:?} for {own:?}"));
            parts.push(format!("{} of another shape: {}", self.reshaped.len(), list(shapes)));
        }
        if parts.is_empty() {
            parts.push(format!("all {all} tensors fit"));
        }
        f.write_str(&parts.join("; "))
    }
}

/// The first of them, and how many more there are.
fn list(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(WRITTEN);
    let mut text = all.take(WRITTEN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    fn zeros(dims: &[usize]) -> Tensor {
        Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap()
    }

    fn params(named: &[(&str, &[usize])]) -> Params {
        let var = |(name, dims): &(&str, &[usize])| (name.to_string(), Var::from_tensor(&zeros(dims)).unwrap());
        Params::new(named.iter().map(var)).unwrap()
    }

    fn tensors(named: &[(&str, &[usize])]) -> BTreeMap<String, Tensor> {
        named.iter().map(|(name, dims)| (name.to_string(), (zeros(dims) + 1.).unwrap())).collect()
    }

    fn misfit(result: Result<Fit>) -> (Fit, String) {
        let error = result.unwrap_err();
        let Some(Error::Misfit(fit)) = Error::of(&error) else { panic!("{error}") };
        (*fit.clone(), error.to_string())
    }

    const MODEL: [(&str, &[usize]); 4] =
        [("conv.weight", &[4, 3]), ("fc.weight", &[10, 64]), ("fc.bias", &[10]), ("pos", &[1, 5])];

    #[test]
    fn all_that_does_not_fit_is_one_line_and_nothing_is_written() {
        let params = params(&MODEL);
        let file =
            [("conv.weight", &[4, 3][..]), ("linear.weight", &[10, 64]), ("linear.bias", &[10]), ("pos", &[1, 9])];
        let (fit, text) = misfit(params.assign_partial(&tensors(&file), &[]));
        let expected = "2 of 4 tensors missing: fc.bias [10], fc.weight [10, 64]; 2 unexpected: linear.bias [10], \
                        linear.weight [10, 64]: same shapes, renamed?; 1 of another shape: pos [1, 9] for [1, 5]";
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(fit.loaded, ["conv.weight"]);
        assert_eq!(params.norm().unwrap(), 0.);
        let (fit, text) = misfit(params.assign_partial(&tensors(&file), &["fc.*", "pos"]));
        assert_eq!((fit.missing.len(), fit.unexpected.len(), fit.reshaped.len()), (0, 2, 0));
        assert!(text.starts_with("2 unexpected") && !text.contains("renamed"), "{text}");
        assert_eq!(params.norm().unwrap(), 0.);
    }

    #[test]
    fn what_is_skipped_is_told_and_the_rest_is_loaded() {
        let params = params(&MODEL);
        let file =
            tensors(&[("conv.weight", &[4, 3]), ("fc.weight", &[9, 64]), ("fc.bias", &[10]), ("fc.scale", &[2])]);
        let fit = params.assign_partial(&file, &["fc.*", "pos"]).unwrap();
        assert_eq!(fit.loaded, ["conv.weight", "fc.bias"]);
        assert_eq!(fit.reshaped["fc.weight"], [[9, 64], [10, 64]]);
        assert!(fit.missing.contains_key("pos") && fit.unexpected.contains_key("fc.scale"));
        assert_eq!(params.squared_norm().unwrap().to_scalar::<f64>().unwrap(), 12. + 10.);
        let error = params.assign_partial(&file, &["head.*"]).unwrap_err().to_string();
        assert!(error.contains("\"head.*\""), "{error}");
        assert!(params.assign_partial(&file, &["[a"]).unwrap_err().to_string().contains("no glob"));
    }

    #[test]
    fn prefixes_of_wrappers_are_taken_off_unless_the_model_has_them() {
        let wrapped = |prefix: &str| -> BTreeMap<String, Tensor> {
            tensors(&MODEL).into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
        };
        for prefix in ["", "module.", "model.", "_orig_mod.", "module._orig_mod.", "_orig_mod.model.module."] {
            let fit = params(&MODEL).assign_partial(&wrapped(prefix), &[]).unwrap();
            assert_eq!((fit.prefix.as_str(), fit.loaded.len()), (prefix, 4));
        }
        let own = params(&[("model.a", &[2]), ("model.b", &[2])]);
        assert_eq!(own.assign_partial(&tensors(&[("model.a", &[2]), ("model.b", &[2])]), &[]).unwrap().prefix, "");
        let both = tensors(&[("module.model.a", &[2]), ("module.model.b", &[2])]);
        assert_eq!(own.assign_partial(&both, &[]).unwrap().prefix, "module.");
        let mut some = wrapped("module.");
        some.extend(tensors(&[("step", &[1])]));
        let (fit, _) = misfit(params(&MODEL).assign_partial(&some, &[]));
        assert_eq!((fit.missing.len(), fit.unexpected.len()), (4, 5));
        let (fit, _) = misfit(params(&MODEL).assign_partial(&BTreeMap::new(), &[]));
        assert_eq!(fit.missing.len(), 4);
    }

    #[test]
    fn a_long_list_is_cut_with_its_length() {
        let names: Vec<String> = (0..45).map(|i| format!("layer{i:02}")).collect();
        let all: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), &[1usize][..])).collect();
        let (_, text) = misfit(params(&all).assign_partial(&tensors(&[("x", &[2])]), &[]));
        assert!(
            text.starts_with("45 of 45 tensors missing: layer00 [1], ") && text.contains("layer07 [1] and 37 more;"),
            "{text}"
        );
    }

    #[test]
    fn half_precision_files_load_to_the_rounded_values_and_whole_numbers_do_not() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("half.safetensors");
        let exact = Tensor::new(&[1.0f32, 0.1, -3.3e-5, 65504.], &Device::Cpu)?;
        for dtype in [DType::F16, DType::BF16, DType::F64] {
            let tensors = std::collections::HashMap::from([("a", exact.to_dtype(dtype)?)]);
            candle_core::safetensors::save(&tensors, &path)?;
            let params = params(&[("a", &[4])]);
            params.load_partial(&path, &[])?;
            let loaded = params.named_tensors()["a"].to_vec1::<f32>()?;
            assert_eq!(loaded, exact.to_dtype(dtype)?.to_dtype(DType::F32)?.to_vec1::<f32>()?, "{dtype:?}");
        }
        let whole = BTreeMap::from([("a".to_owned(), Tensor::new(&[1u8, 2, 3, 4], &Device::Cpu)?)]);
        let error = params(&[("a", &[4])]).assign_partial(&whole, &[]).unwrap_err().to_string();
        assert!(error.contains("\"a\"") && error.contains("U8"), "{error}");
        std::fs::write(&path, b"not safetensors")?;
        assert!(params(&[("a", &[4])]).load_partial(&path, &[]).unwrap_err().to_string().contains("half.safetensors"));
        Ok(())
    }
}
