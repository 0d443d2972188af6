//! Parameters and buffers to and from files, under the names that PyTorch reads.

use crate::Params;
use candle_core::{Error, Result, Tensor, Var};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

impl Params {
    /// The prefix without which the names of `tensors` are those of this model: `module.`, as PyTorch's DataParallel
    /// puts in front of all of them, or `_orig_mod.`, as its compiler does.
    pub fn prefix_of(&self, tensors: &BTreeMap<String, Tensor>) -> Option<String> {
        let first = &self.iter().next()?.name;
        let prefix = tensors.keys().find_map(|name| name.strip_suffix(first.as_str()).filter(|p| p.ends_with('.')))?;
        let fits = |(name, _): (&str, &Var)| {
            tensors.contains_key(&format!("{prefix}{name}")) || name.ends_with("num_batches_tracked")
        };
        (tensors.keys().all(|name| name.starts_with(prefix)) && self.vars().all(fits)).then(|| prefix.to_owned())
    }

    pub(crate) fn of_prefix(&self, tensors: &BTreeMap<String, Tensor>) -> String {
        match self.prefix_of(tensors) {
            Some(prefix) => format!(": every name has {prefix:?} in front; expected names without it"),
            None => String::new(),
        }
    }

    /// Reads parameters and buffers from a safetensors file, as [`assign`](Params::assign) does.
    ///
    /// # Errors
    /// Names the file, and the tensor that does not fit.
    pub fn load(&self, path: &Path) -> Result<()> {
        let in_file = |error: Error| error.context(format!("cannot load {}", path.display()));
        let tensors = candle_core::safetensors::load(path, self.device()).map_err(in_file)?;
        self.assign(&tensors.into_iter().collect()).map_err(in_file)
    }

    /// Writes parameters and buffers to a safetensors file, which PyTorch reads under the same names.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.save_with(path, &BTreeMap::new())
    }

    /// As [`save`](Params::save), with text about the weights in the file's metadata: what they are of, and what their
    /// inputs were normalised by.
    pub fn save_with(&self, path: &Path, about: &BTreeMap<String, String>) -> Result<()> {
        let bytes = to_safetensors(&self.named_tensors(), about)?;
        crate::write_aside(path, |file| Ok(std::io::Write::write_all(file, &bytes)?))
    }
}

/// The bytes of a safetensors file of `tensors`, which are on the CPU or are copied there, with text about them. They
/// are a function of these alone: the entries stand in the order of their names.
pub fn to_safetensors(tensors: &BTreeMap<String, Tensor>, about: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    if tensors.contains_key("__metadata__") {
        candle_core::bail!("a tensor is called \"__metadata__\", a name of safetensors' own; expected another")
    }
    let metadata = (!about.is_empty()).then(|| about.clone().into_iter().collect::<HashMap<_, _>>());
    let bytes = safetensors::serialize(tensors, metadata).map_err(Error::wrap)?;
    // 8 bytes of its length, the header, the numbers. The order of a hash map is another one in every process.
    let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(bytes) };
    let (header, numbers) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let sorted: BTreeMap<String, BTreeMap<String, serde_json::Value>> =
        serde_json::from_slice(header).map_err(Error::wrap)?;
    let mut header = serde_json::to_vec(&sorted).map_err(Error::wrap)?;
    header.resize(header.len().next_multiple_of(8), b' '); // numbers are aligned
    Ok([&(header.len() as u64).to_le_bytes(), header.as_slice(), numbers].concat())
}

/// The text in the metadata of a safetensors file; empty if there is none.
///
/// # Errors
/// Names the file: it is missing, truncated, or something else.
pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    let named = |error: Error| error.context(format!("cannot read {} as safetensors", path.display()));
    let bytes = std::fs::read(path).map_err(|error| named(error.into()))?;
    let read = safetensors::SafeTensors::read_metadata(&bytes);
    let (_, header) = read.map_err(|error| named(Error::msg(format!("truncated or no safetensors ({error})"))))?;
    Ok(header.metadata().clone().unwrap_or_default().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn named(names: &[&str]) -> Params {
        let var =
            |name: &str| Var::zeros(if name == "fc.weight" { vec![3, 2] } else { vec![3] }, DType::F32, &Device::Cpu);
        Params::new(names.iter().map(|name| ((*name).to_owned(), var(name).unwrap()))).unwrap()
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

    #[test]
    fn a_prefix_in_front_of_all_names_is_said() {
        let params = named(&["a", "bn.running_mean", "fc.weight"]);
        let of = |prefix: &str| -> BTreeMap<String, Tensor> {
            params.snapshot().unwrap().into_iter().map(|(name, t)| (format!("{prefix}{name}"), t)).collect()
        };
        for prefix in ["module.", "_orig_mod.", "module._orig_mod."] {
            assert_eq!(params.prefix_of(&of(prefix)).as_deref(), Some(prefix));
            let error = params.assign(&of(prefix)).unwrap_err().to_string();
            assert!(error.contains(&format!("every name has {prefix:?} in front")), "{error}");
        }
        assert_eq!(params.prefix_of(&of("")), None);
        let mut other = of("module.");
        other.remove("module.a");
        assert_eq!(params.prefix_of(&other), None);
    }

    #[test]
    fn equal_weights_are_equal_files() {
        let about: BTreeMap<String, String> = (0..9).map(|i| (format!("entry {i}"), format!("\"{i}\" – é"))).collect();
        let tensors = named(&["a", "b", "c", "fc.weight"]).named_tensors();
        let once = to_safetensors(&tensors, &about).unwrap();
        assert!((0..9).all(|_| to_safetensors(&tensors, &about.clone()).unwrap() == once));
        let read = candle_core::safetensors::load_buffer(&once, &Device::Cpu).unwrap();
        assert_eq!(read.len(), 4);
        assert_eq!(read["fc.weight"].dims(), [3, 2]);
    }

    #[test]
    fn what_is_said_of_weights_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let (params, about) = (named(&["a"]), BTreeMap::from([("norm".to_owned(), "group-8".to_owned())]));
        params.save_with(&path, &about).unwrap();
        assert_eq!(metadata(&path).unwrap(), about);
        params.load(&path).unwrap();
        params.save(&path).unwrap();
        assert!(metadata(&path).unwrap().is_empty());
        std::fs::write(&path, b"x").unwrap();
        assert!(metadata(&path).unwrap_err().to_string().contains("x.safetensors"));
    }
}
