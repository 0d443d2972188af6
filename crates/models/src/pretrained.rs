//! Published weights as the start of a network with other classes and another size of images.

use crate::misfit::hints;
use crate::{Architecture, Bicubic, Description, Error, Norm, PretrainedConfig, resample_positions};
use candle_core::{DType, Device, Result, Tensor};
use msharp_core::{Fit, Params};
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::path::Path;

/// Published weights, and what is known of them.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// Parameters and buffers by name, of any type of floating-point numbers; they are converted.
    pub tensors: BTreeMap<String, Tensor>,
    /// The description in the metadata of a file of ours.
    pub description: Option<Description>,
    /// timm's configuration, of the file `config.json` beside the weights.
    pub config: Option<PretrainedConfig>,
}

/// What became of published weights: written out, a few lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// How the tensors fit: as they are in `loaded`; a new classifier in `missing`; left over in `unexpected`.
    pub fit: Fit,
    /// The rows and columns of position embeddings that were resampled, in the file and in the network.
    pub resized: Option<[[usize; 2]; 2]>,
}

impl Pretrained {
    /// The tensors and the description of the safetensors file `path`, and the configuration beside it.
    ///
    /// # Errors
    /// With the path, if one of the files is broken, or the weights cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let tensors = candle_core::safetensors::load(path, &Device::Cpu)
            .map_err(|error| error.context(format!("cannot load {}", path.display())))?;
        let config = PretrainedConfig::beside(path)?;
        Ok(Self { tensors: tensors.into_iter().collect(), description: Description::read(path)?, config })
    }

    /// Mean and deviation of the images that the weights were trained on: those of the description, or of timm's
    /// configuration.
    pub fn normalisation(&self) -> Option<([f32; 3], [f32; 3])> {
        let described = self.description.as_ref().map(|about| (about.mean, about.std));
        described.or_else(|| self.config.as_ref().and_then(|config| config.mean.zip(config.std)))
    }

    /// Loads the weights into `params`, the parameters of `architecture` with normalisation `norm`.
    ///
    /// - The classifier (`fc.*`, `head.*`) keeps its initialisation where the file has none, or one of another number
    ///   of classes.
    /// - Position embeddings of another square grid are resampled as timm does it: those of the patches by
    ///   [`Bicubic::Antialiased`] in f32, that of the class token as it is.
    /// - What PyTorch's wrappers put in front of all names is taken off ([`Params::load_partial`]).
    /// - Everything else must fit. Nothing is written if it does not.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use msharp_core::Seeded;
    /// use msharp_models::{Architecture, Norm, Pretrained};
    /// # use candle_nn::VarBuilder;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("model.safetensors");
    /// # let large = Seeded::new(1, DType::F32, &Device::Cpu);
    /// # "vit-mini@64".parse::<Architecture>()?.build(Norm::Batch, 1000, large.var_builder())?;
    /// # large.params()?.save(&path)?;
    /// let pretrained = Pretrained::read(&path)?; // of 1000 classes, for 64×64 images
    /// let vit: Architecture = "vit-mini".parse()?;
    /// let init = Seeded::new(0, DType::F32, &Device::Cpu);
    /// let model = vit.build(Norm::Batch, 10, init.var_builder())?;
    /// let loaded = pretrained.load_into(&init.params()?, vit, Norm::Batch)?;
    /// assert_eq!(
    ///     loaded.to_string(),
    ///     "78 tensors loaded\n\
    ///      pos_embed resampled from 16×16 to 8×8 positions\n\
    ///      at zero: head.bias [10], head.weight [10, 128]\n\
    ///      left over: head.bias [1000], head.weight [1000, 128]"
    /// );
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    ///
    /// A new classifier is zero, so that all classes are equally likely at first and the layers before it move when it
    /// has learnt something (Kolesnikov et al. 2020, BiT; Dosovitskiy et al. 2021).
    ///
    /// # Errors
    /// [`Error::WrongWeights`] if the description is that of another network or normalisation. [`Error::InvalidTensor`]
    /// for the first that has an element that is not finite, or a negative variance. [`Error::Misfit`] with all tensors
    /// that do not fit.
    pub fn load_into(&self, params: &Params, architecture: Architecture, norm: Norm) -> Result<Loaded> {
        self.check_description(architecture, norm)?;
        check_values(&self.tensors)?;
        let mut tensors = self.tensors.clone();
        let resized = resample_to_fit(&mut tensors, params)?;
        let head = format!("{}.", architecture.classifier());
        let fit = load(params, &tensors, &head).map_err(|error| self.explained(error, architecture))?;
        Ok(Loaded { fit, resized })
    }

    fn check_description(&self, architecture: Architecture, norm: Norm) -> Result<()> {
        let Some(about) = &self.description else { return Ok(()) };
        let resized = match architecture.image_size() {
            Some(size) => about.architecture.with_image_size(size)?,
            None => about.architecture,
        };
        for (entry, found, expected) in [
            ("model", resized.to_string(), architecture.to_string()),
            ("norm", about.norm.to_string(), norm.to_string()),
        ] {
            if found != expected {
                return Err(Error::WrongWeights { entry: entry.to_owned(), found, expected }.into());
            }
        }
        Ok(())
    }

    /// A misfit with what may be its reason.
    fn explained(&self, error: candle_core::Error, architecture: Architecture) -> candle_core::Error {
        let Some(msharp_core::Error::Misfit(fit)) = msharp_core::Error::of(&error) else { return error };
        let named = self.config.as_ref().and_then(|config| config.architecture.as_deref());
        let mut hints = hints(fit);
        hints.extend(named.map(|named| format!("config.json is that of {named}, and the network is {architecture}")));
        Error::Misfit { fit: fit.clone(), hints }.into()
    }
}

impl Display for Loaded {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Fit { prefix, loaded, missing, unexpected, reshaped } = &self.fit;
        write!(f, "{} tensors loaded", loaded.len())?;
        if !prefix.is_empty() {
            write!(f, ", {prefix:?} in front of their names taken off")?;
        }
        if let Some([[h, w], [rows, columns]]) = self.resized {
            write!(f, "\npos_embed resampled from {h}×{w} to {rows}×{columns} positions")?;
        }
        for (what, of_one, side) in [("at zero", missing, 1), ("left over", unexpected, 0)] {
            let both = reshaped.iter().map(|(name, shapes)| (name, &shapes[side]));
            let all: Vec<String> = of_one.iter().chain(both).map(|(name, shape)| format!("{name} {shape:?}")).collect();
            if !all.is_empty() {
                write!(f, "\n{what}: {}", all.join(", "))?;
            }
        }
        Ok(())
    }
}

/// # Errors
/// [`Error::InvalidTensor`] for the first of `tensors`, weights of a network, that cannot be right.
pub(crate) fn check_values(tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    for (name, tensor) in tensors.iter().filter(|(_, tensor)| tensor.dtype().is_float()) {
        let is_variance = name.ends_with("running_var");
        let is_wrong = |x: &f32| !x.is_finite() || (is_variance && *x < 0.);
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        if let Some(value) = values.into_iter().find(is_wrong) {
            let expected = if is_variance { "variances of at least 0" } else { "finite numbers" };
            return Err(Error::InvalidTensor { name: name.clone(), value: value.to_string(), expected }.into());
        }
    }
    Ok(())
}

/// Loads all of `tensors`, but for a classifier, whose names begin with `head`, that is absent or of other classes: the
/// new one is zero.
fn load(params: &Params, tensors: &BTreeMap<String, Tensor>, head: &str) -> Result<Fit> {
    let error = match params.assign_partial(tensors, &[]) {
        Ok(fit) => return Ok(fit),
        Err(error) => error,
    };
    let Some(msharp_core::Error::Misfit(misfit)) = msharp_core::Error::of(&error) else { return Err(error) };
    let of_head = |name: &String| name.starts_with(head);
    let partly = misfit.loaded.iter().any(of_head); // it is taken whole or not at all
    let of_other_classes = misfit.reshaped.keys().any(of_head);
    let only_absent = misfit.unexpected.is_empty() && misfit.reshaped.is_empty() && misfit.missing.keys().all(of_head);
    if partly || !(of_other_classes || only_absent) {
        return Err(error);
    }
    let fit = params.assign_partial(tensors, &[&format!("{head}*")])?;
    for param in params.iter().filter(|param| of_head(&param.name)) {
        param.var.set(&param.var.zeros_like()?)?;
    }
    Ok(fit)
}

/// The position embeddings in `tensors` on the grid of the model, if both are square grids after a class token.
/// Returns both grids where they differ.
fn resample_to_fit(tensors: &mut BTreeMap<String, Tensor>, params: &Params) -> Result<Option<[[usize; 2]; 2]>> {
    let named = |name: &str| name == "pos_embed" || name.ends_with(".pos_embed");
    let own = params.iter().find(|param| param.name == "pos_embed").map(|param| param.var.dims().to_vec());
    let Some((own, (_, positions))) = own.zip(tensors.iter_mut().find(|(name, _)| named(name))) else {
        return Ok(None);
    };
    let (&[1, found, d], &[1, expected, width]) = (positions.dims(), own.as_slice()) else { return Ok(None) };
    let (Some(from), Some(to)) = (square_after_class_token(found), square_after_class_token(expected)) else {
        return Ok(None);
    };
    if found == expected || d != width || !positions.dtype().is_float() {
        return Ok(None);
    }
    let class = positions.narrow(1, 0, 1)?.to_dtype(candle_core::DType::F32)?;
    let grid = positions.narrow(1, 1, found - 1)?.reshape((from, from, d))?;
    let grid = resample_positions(&grid, [to, to], Bicubic::Antialiased)?.reshape((1, expected - 1, d))?;
    *positions = Tensor::cat(&[&class, &grid], 1)?;
    Ok(Some([[from; 2], [to; 2]]))
}

/// s for 1 + s² tokens.
fn square_after_class_token(tokens: usize) -> Option<usize> {
    let side = tokens.checked_sub(1)?.isqrt();
    (side > 0 && side * side + 1 == tokens).then_some(side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use msharp_core::Seeded;

    /// Parameters and buffers of a network with weights of a seed.
    fn network(name: &str, norm: Norm, classes: usize, seed: u64) -> Params {
        let init = Seeded::new(seed, DType::F32, &Device::Cpu);
        name.parse::<Architecture>().unwrap().build(norm, classes, init.var_builder()).unwrap();
        init.params().unwrap()
    }

    fn published(name: &str, classes: usize) -> Pretrained {
        let tensors = network(name, Norm::Batch, classes, 1).snapshot().unwrap();
        Pretrained { tensors, description: None, config: None }
    }

    fn renamed(of: &Pretrained, rename: impl Fn(&str) -> Option<String>) -> Pretrained {
        let tensors = of.tensors.iter().filter_map(|(name, tensor)| Some((rename(name)?, tensor.clone()))).collect();
        Pretrained { tensors, ..of.clone() }
    }

    fn start(from: &Pretrained, name: &str) -> (Params, Result<Loaded>) {
        let params = network(name, Norm::Batch, 10, 2);
        let loaded = from.load_into(&params, name.parse().unwrap(), Norm::Batch);
        (params, loaded)
    }

    /// The error of a start, which leaves the weights as they were.
    fn refused(from: &Pretrained, name: &str) -> String {
        let (params, loaded) = start(from, name);
        let (now, before) = (params.snapshot().unwrap(), network(name, Norm::Batch, 10, 2).snapshot().unwrap());
        for (name, tensor) in now {
            let bits = |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(bits(&tensor), bits(&before[&name]), "{name} was written");
        }
        loaded.unwrap_err().to_string()
    }

    fn same(a: &Tensor, b: &Tensor) -> bool {
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values(a) == values(b)
    }

    #[test]
    fn a_new_head_is_zero_and_one_that_fits_is_loaded() {
        for (name, head) in [("resnet8", "fc."), ("vit-mini", "head.")] {
            let fresh = network(name, Norm::Batch, 10, 2).snapshot().unwrap();
            let other = published(name, 1000);
            let without = renamed(&other, |name| (!name.starts_with(head)).then(|| name.to_owned()));
            for (from, left_over) in [(&other, true), (&without, false)] {
                let (params, loaded) = start(from, name);
                let loaded = loaded.unwrap();
                assert_eq!(loaded.fit.loaded.len() + 2, fresh.len());
                let text = loaded.to_string();
                assert!(text.contains(&format!("at zero: {head}bias [10], {head}weight [10, ")), "{text}");
                assert_eq!(text.contains(&format!("left over: {head}bias [1000]")), left_over, "{text}");
                for (name, now) in params.snapshot().unwrap().iter().filter(|(_, now)| now.dtype() == DType::F32) {
                    let zero = now.zeros_like().unwrap();
                    let expected = if name.starts_with(head) { &zero } else { &other.tensors[name] };
                    assert!(same(now, expected), "{name}");
                }
            }
            let (params, loaded) = start(&published(name, 10), name);
            assert!(loaded.unwrap().fit.is_complete());
            let weight = format!("{head}weight");
            assert!(same(&params.named_tensors()[&weight], &published(name, 10).tensors[&weight]));
        }
    }

    #[test]
    fn half_a_head_and_a_renamed_one_are_refused_with_all_that_does_not_fit() {
        let published = published("resnet20a", 10);
        let half = renamed(&published, |name| (name != "fc.bias").then(|| name.to_owned()));
        let text = refused(&half, "resnet20a");
        assert!(text.starts_with("1 of 116 tensors missing: fc.bias [10]"), "{text}");
        let linear = renamed(&published, |name| {
            (!name.ends_with("num_batches_tracked")).then(|| name.replace("fc.", "linear."))
        });
        let text = refused(&linear, "resnet20a");
        let expected = "2 of 97 tensors missing: fc.bias [10], fc.weight [10, 64]; 2 unexpected: linear.bias [10], \
                        linear.weight [10, 64]: same shapes, renamed?";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn positions_move_to_the_grid_of_the_network_under_any_prefix() {
        let wrapped = renamed(&published("vit-mini@64", 10), |name| Some(format!("module.{name}")));
        let (params, loaded) = start(&wrapped, "vit-mini");
        let loaded = loaded.unwrap();
        assert_eq!(loaded.resized, Some([[16, 16], [8, 8]]));
        assert!(loaded.fit.is_complete() && loaded.to_string().contains("\"module.\" in front"), "{loaded}");
        let (found, of_file) = (&params.named_tensors()["pos_embed"], &wrapped.tensors["module.pos_embed"]);
        assert_eq!(found.dims(), [1, 65, 128]);
        assert!(same(&found.narrow(1, 0, 1).unwrap(), &of_file.narrow(1, 0, 1).unwrap()), "the class token's stays");
        let grid = of_file.narrow(1, 1, 256).unwrap().reshape((16, 16, 128)).unwrap();
        let expected = resample_positions(&grid, [8, 8], Bicubic::Antialiased).unwrap();
        assert!(same(&found.narrow(1, 1, 64).unwrap(), &expected));

        let odd = Tensor::zeros((1, 60, 128), DType::F32, &Device::Cpu).unwrap();
        let mut not_square = published("vit-mini", 10);
        not_square.tensors.insert("pos_embed".to_owned(), odd);
        let text = refused(&not_square, "vit-mini");
        assert!(text.contains("1 of another shape: pos_embed [1, 60, 128] for [1, 65, 128]"), "{text}");
    }

    #[test]
    fn elements_that_no_weight_can_have_are_named_with_their_tensor() {
        for (tensor, value, part) in [
            ("fc.weight", f64::NAN, "fc.weight has the element NaN; expected finite numbers"),
            ("conv1.weight", f64::INFINITY, "conv1.weight has the element inf"),
            ("bn1.running_var", -1., "bn1.running_var has the element -1; expected variances of at least 0"),
        ] {
            let mut from = published("resnet8", 10);
            let wrong = from.tensors[tensor].affine(0., value).unwrap();
            from.tensors.insert(tensor.to_owned(), wrong);
            let text = refused(&from, "resnet8");
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_reasons_of_a_misfit_are_guessed() {
        let depth = refused(&published("resnet20", 10), "resnet8");
        assert!(!depth.contains("normalisation?") && !depth.contains("downsample.*:"), "{depth}");

        let option_a = renamed(&published("resnet20", 10), |n| (!n.contains("downsample")).then(|| n.to_owned()));
        let text = refused(&option_a, "resnet20");
        assert!(
            text.contains("layer2.0.downsample.0.weight") && text.contains("no downsample.*: option-A shortcuts"),
            "{text}"
        );
        assert!(refused(&published("resnet20", 10), "resnet20a").contains("downsample.*: projections"));
        let scaled = {
            let mut vit = published("vit-mini", 10);
            vit.tensors.insert("blocks.0.ls1.gamma".into(), Tensor::ones(128, DType::F32, &Device::Cpu).unwrap());
            vit.config = Some(PretrainedConfig { architecture: Some("vit_other".into()), ..Default::default() });
            vit
        };
        let text = refused(&scaled, "vit-mini");
        assert!(text.contains("ls1.gamma: LayerScale") && text.contains("that of vit_other"), "{text}");
        assert!(refused(&published("resnet18-imagenet", 10), "resnet18").contains("the stem for ImageNet"));
    }

    #[test]
    fn a_description_of_another_network_is_refused_and_one_of_another_size_is_not() {
        let about = |model: &str, norm| Description {
            architecture: model.parse().unwrap(),
            norm,
            classes: 1000,
            mean: [0.5; 3],
            std: [0.25; 3],
        };
        let mut from = published("vit-mini@64", 1000);
        from.description = Some(about("vit-mini@64", Norm::Batch));
        assert_eq!(from.normalisation(), Some(([0.5; 3], [0.25; 3])));
        assert!(start(&from, "vit-mini").1.is_ok());
        let mut from = published("resnet8", 1000);
        for (wrong, part) in
            [(about("resnet20", Norm::Batch), "model resnet20"), (about("resnet8", Norm::Group(8)), "norm")]
        {
            from.description = Some(wrong);
            assert!(refused(&from, "resnet8").contains(part));
        }
    }
}
