//! The published networks by name, as in a command line or a configuration file.

use crate::{Error, Norm, RESNET8, RESNET18, RESNET20, RESNET34, RESNET50, ResNet, WideResNet, wide_resnet};
use crate::{ViT, ViTConfig, VisionTransformer};
use crate::{resnet, resnet_a, wide_resnet::blocks_in_stage};
use candle_core::{Result, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// A published network, by name.
///
/// [`Display`] writes the name and [`FromStr`] reads it; the [table](crate#the-networks) lists all names.
///
/// ```
/// use candle_core::{DType, Device};
/// use msharp_core::Seeded;
/// use msharp_models::{Architecture, Norm};
///
/// let architecture: Architecture = "wrn-16-4".parse()?;
/// assert_eq!(architecture, Architecture::WideResNet { depth: 16, widen: 4 });
/// let init = Seeded::new(0, DType::F32, &Device::Cpu);
/// let model = architecture.build(Norm::Batch, 10, init.var_builder())?;
/// assert_eq!(init.params()?.count(), 2_748_890);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// `resnet8`, [`RESNET8`].
    ResNet8,
    /// `resnet18`, [`RESNET18`].
    ResNet18,
    /// `resnet20`, [`RESNET20`].
    ResNet20,
    /// `resnet34`, [`RESNET34`].
    ResNet34,
    /// `resnet50`, [`RESNET50`].
    ResNet50,
    /// `resnet18-imagenet`: [`RESNET18`] with [ImageNet's stem](crate::ResNetConfig::imagenet), timm's `resnet18`.
    ResNet18ImageNet,
    /// `resnet34-imagenet`: [`RESNET34`] with the stem for ImageNet, timm's `resnet34`.
    ResNet34ImageNet,
    /// `resnet50-imagenet`: [`RESNET50`] with the stem for ImageNet, timm's `resnet50`.
    ResNet50ImageNet,
    /// `resnet20a` and other depths, [`resnet_a`]: with padded shortcuts.
    ResNetA {
        /// The number of layers, 6n + 2 with n blocks in a stage. Published: 20, 32, 44, 56, 110.
        depth: usize,
    },
    /// `wrn-28-10` and other numbers, [`wide_resnet`].
    WideResNet {
        /// The number of convolutions, 6n + 4 with n blocks in a stage. Published: 16, 22, 28, 40.
        depth: usize,
        /// The factor on the channels 16, 32, 64. Published: 1 to 12.
        widen: usize,
    },
    /// `vit_base_patch16_224`, or `vit_base_patch16_224@384` for images of another size; [`ViT`] has the names.
    ViT {
        /// The name.
        vit: ViT,
        /// Height and width of the images in pixels, a multiple of the patch.
        image: usize,
    },
}

use Architecture::{ResNet8, ResNet18, ResNet18ImageNet, ResNet20, ResNet34, ResNet34ImageNet};
use Architecture::{ResNet50, ResNet50ImageNet};

/// The ResNets that have no numbers in their names to choose.
const RESNETS: [(&str, Architecture); 8] = [
    ("resnet8", ResNet8),
    ("resnet18", ResNet18),
    ("resnet20", ResNet20),
    ("resnet34", ResNet34),
    ("resnet50", ResNet50),
    ("resnet18-imagenet", ResNet18ImageNet),
    ("resnet34-imagenet", ResNet34ImageNet),
    ("resnet50-imagenet", ResNet50ImageNet),
];

impl Architecture {
    /// Builds the network with normalisation `norm` for `classes` classes, with its weights from `vb`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if there is no wide ResNet of this depth, or `norm` is not the default and the network
    /// [has no choice](Architecture::has_choice_of_norm); an error of `vb` if it has no tensor of a name and shape.
    pub fn build(self, norm: Norm, classes: usize, vb: VarBuilder) -> Result<Model> {
        if norm != Norm::default() && !self.has_choice_of_norm() {
            let text = format!("{self} has layer normalisation, and {norm} cannot take its place");
            return Err(Error::InvalidConfig(text).into());
        }
        if let Some(vit) = self.vit() {
            return Ok(Model::VisionTransformer(vit.build(classes, vb)?));
        }
        let resnet = match self {
            Architecture::ResNetA { depth } => return Ok(Model::ResNet(resnet_a(depth, norm, classes, vb)?)),
            Architecture::WideResNet { depth, widen } => {
                return Ok(Model::WideResNet(wide_resnet(depth, widen, norm, classes, vb)?));
            }
            ResNet8 => RESNET8,
            ResNet18 => RESNET18,
            ResNet20 => RESNET20,
            ResNet34 => RESNET34,
            ResNet18ImageNet => RESNET18.imagenet(),
            ResNet34ImageNet => RESNET34.imagenet(),
            ResNet50ImageNet => RESNET50.imagenet(),
            _ => RESNET50,
        };
        Ok(Model::ResNet(resnet.build(norm, classes, vb)?))
    }

    /// Whether [`build`](Architecture::build) accepts any [`Norm`]. A vision transformer accepts the default only, and
    /// has layer normalisation.
    pub fn has_choice_of_norm(self) -> bool {
        self.vit().is_none()
    }

    /// Whether it begins with [ImageNet's stem](crate::ResNetConfig::imagenet), which is for images of 100 pixels and
    /// more.
    pub fn has_imagenet_stem(self) -> bool {
        matches!(self, ResNet18ImageNet | ResNet34ImageNet | ResNet50ImageNet)
    }

    /// The height and width of the images in pixels; `None` where any size is accepted.
    pub fn image_size(self) -> Option<usize> {
        self.vit().map(|vit| vit.image)
    }

    /// The same network for images of `size` × `size` pixels. One that accepts any size stays as it is.
    ///
    /// ```
    /// use msharp_models::Architecture;
    /// let architecture: Architecture = "vit_small_patch14_dinov2".parse()?;
    /// assert_eq!(architecture.image_size(), Some(518));
    /// assert_eq!(architecture.with_image_size(98)?.to_string(), "vit_small_patch14_dinov2@98");
    /// # Ok::<(), msharp_models::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if the patch of a vision transformer does not divide `size`, or `size` is above 4096.
    pub fn with_image_size(self, size: usize) -> std::result::Result<Self, Error> {
        match self {
            Architecture::ViT { vit, .. } => {
                ViTConfig { image: size, ..vit.config() }.check()?;
                Ok(Architecture::ViT { vit, image: size })
            }
            _ => Ok(self),
        }
    }

    /// The parameter name of the classifier, the last linear layer: `fc` or `head`.
    pub fn classifier(self) -> &'static str {
        if self.vit().is_some() { "head" } else { "fc" }
    }

    fn vit(self) -> Option<ViTConfig> {
        match self {
            Architecture::ViT { vit, image } => Some(ViTConfig { image, ..vit.config() }),
            _ => None,
        }
    }
}

impl Display for Architecture {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match *self {
            Architecture::ResNetA { depth } => write!(f, "resnet{depth}a"),
            Architecture::WideResNet { depth, widen } => write!(f, "wrn-{depth}-{widen}"),
            Architecture::ViT { vit, image } if image == vit.config().image => f.write_str(vit.name()),
            Architecture::ViT { vit, image } => write!(f, "{}@{image}", vit.name()),
            resnet => {
                f.write_str(RESNETS.iter().find(|(_, known)| *known == resnet).map_or("resnet", |(name, _)| name))
            }
        }
    }
}

impl FromStr for Architecture {
    type Err = Error;

    /// Reads the name that [`Display`] writes, and the older names of vision transformers.
    fn from_str(text: &str) -> std::result::Result<Self, Error> {
        if let Some((_, resnet)) = RESNETS.into_iter().find(|(name, _)| *name == text) {
            return Ok(resnet);
        }
        let (name, size) = text.split_once('@').map_or((text, None), |(name, size)| (name, Some(size)));
        if let Some(vit) = ViT::of_name(name) {
            let named = Architecture::ViT { vit, image: vit.config().image };
            return match size.map(str::parse) {
                None => Ok(named),
                Some(Ok(size)) => named.with_image_size(size),
                Some(Err(_)) => Err(Error::InvalidConfig(format!(
                    "{text:?}: after the @ stands the size of the images in pixels; expected a number, as in {named}@{}",
                    2 * vit.config().image
                ))),
            };
        }
        let padded = text.strip_prefix("resnet").and_then(|rest| rest.strip_suffix('a'));
        if let Some(depth) = padded.and_then(|depth| depth.parse().ok()) {
            resnet::blocks_in_stage(depth)?;
            return Ok(Architecture::ResNetA { depth });
        }
        let numbers = text.strip_prefix("wrn-").and_then(|numbers| numbers.split_once('-'));
        match numbers.map(|(depth, widen)| (depth.parse(), widen.parse())) {
            Some((Ok(depth), Ok(widen))) => {
                blocks_in_stage(depth, widen)?;
                Ok(Architecture::WideResNet { depth, widen })
            }
            _ => {
                let known: Vec<&str> =
                    RESNETS.map(|(name, _)| name).into_iter().chain(ViT::ALL.map(ViT::name)).collect();
                Err(Error::UnknownArchitecture { name: text.to_owned(), known: known.join(", ") })
            }
        }
    }
}

/// A built network of an [`Architecture`]; implements candle's [`ModuleT`].
#[derive(Clone, Debug)]
pub enum Model {
    /// One of the ResNets.
    ResNet(ResNet),
    /// A wide ResNet.
    WideResNet(WideResNet),
    /// A vision transformer.
    VisionTransformer(VisionTransformer),
}

impl Model {
    /// The input of the classifier: images `[b, h, w, 3]` to features `[b, c]`.
    ///
    /// `train` is as for [`forward_t`](ModuleT::forward_t): with batch normalisation, `true` normalises by the batch
    /// and updates the running statistics.
    pub fn features(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        match self {
            Model::ResNet(model) => model.features(xs, train),
            Model::WideResNet(model) => model.features(xs, train),
            Model::VisionTransformer(model) => model.features(xs),
        }
    }
}

impl ModuleT for Model {
    /// Images `[b, h, w, 3]` to logits `[b, classes]`.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        match self {
            Model::ResNet(model) => model.forward_t(xs, train),
            Model::WideResNet(model) => model.forward_t(xs, train),
            Model::VisionTransformer(model) => model.forward_t(xs, train),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let wide = [(10, 1), (16, 4), (28, 10)].map(|(depth, widen)| Architecture::WideResNet { depth, widen });
        let padded = [8, 20, 56].map(|depth| Architecture::ResNetA { depth });
        let vits = ViT::ALL.map(|vit| Architecture::ViT { vit, image: vit.config().image });
        let resized = vits.map(|vit| vit.with_image_size(112).unwrap());
        let named = RESNETS.map(|(_, resnet)| resnet).into_iter().chain(vits).chain(resized);
        for architecture in named.chain(wide).chain(padded) {
            assert_eq!(architecture.to_string().parse::<Architecture>().unwrap(), architecture);
        }
        let read = |text: &str| text.parse::<Architecture>().unwrap().to_string();
        assert_eq!(read("vit-tiny"), "vit_tiny_patch16_224");
        assert_eq!(read("vit-small@32"), "vit_small_patch16_224@32");
        assert_eq!(read("vit_base_patch16_224@224"), "vit_base_patch16_224");
        assert_eq!(read("vit-mini@64"), "vit-mini@64");
    }

    #[test]
    fn a_size_that_is_no_whole_number_of_patches_is_refused_with_both() {
        let base: Architecture = "vit_base_patch16_224".parse().unwrap();
        for size in [0, 8, 225, 1 << 60] {
            let error = base.with_image_size(size).unwrap_err().to_string();
            assert!(error.contains(&format!("images of {size} pixels")) && error.contains("patches of 16"), "{error}");
        }
        let resnet = Architecture::ResNet18ImageNet;
        assert_eq!((resnet.with_image_size(225).unwrap(), resnet.image_size()), (resnet, None));
        for text in ["vit-mini@x", "vit-mini@", "vit-mini@32@64", "vit-mini@-4"] {
            let error = text.parse::<Architecture>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("vit-mini@64"), "{error}");
        }
        assert!("resnet18@224".parse::<Architecture>().unwrap_err().to_string().contains("\"resnet18@224\""));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        for text in ["resnet19", "ResNet18", "wrn-28", "wrn-28-x", ""] {
            let error = text.parse::<Architecture>().unwrap_err();
            assert!(matches!(&error, Error::UnknownArchitecture { name, .. } if name == text));
            let message = error.to_string();
            assert!(
                message.contains(
                    "resnet50-imagenet, vit-mini, vit_tiny_patch16_224, vit_small_patch16_224, vit_base_patch16_224, \
                     vit_small_patch14_dinov2, vit_base_patch14_dinov2, resnetDEPTHa"
                ),
                "{message}"
            );
        }
        for text in ["resnet19a", "resnet2a", "resnet0a", "resnet99999999a"] {
            assert!(text.parse::<Architecture>().unwrap_err().to_string().contains("6n + 2"), "{text}");
        }
        for text in ["wrn-27-10", "wrn-4-1", "wrn-0-1", "wrn-28-0"] {
            assert!(text.parse::<Architecture>().unwrap_err().to_string().contains("6n + 4"), "{text}");
        }
    }
}
