//! The published networks by name, as in a command line or a configuration file.

use crate::{Error, Norm, RESNET8, RESNET18, RESNET20, RESNET34, RESNET50, ResNet, WideResNet, wide_resnet};
use crate::{VIT_BASE, VIT_MINI, VIT_SMALL, VIT_TINY, ViTConfig, VisionTransformer};
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
    /// `vit-mini`, [`VIT_MINI`], for 32×32 images; not published.
    ViTMini,
    /// `vit-tiny`, [`VIT_TINY`], for 224×224 images.
    ViTTiny,
    /// `vit-small`, [`VIT_SMALL`], for 224×224 images.
    ViTSmall,
    /// `vit-base`, [`VIT_BASE`], for 224×224 images.
    ViTBase,
}

use Architecture::{ResNet8, ResNet18, ResNet20, ResNet34, ResNet50, ViTBase, ViTMini, ViTSmall, ViTTiny};

/// All that have no numbers in their names to choose.
const NAMED: [Architecture; 9] = [ResNet8, ResNet18, ResNet20, ResNet34, ResNet50, ViTMini, ViTTiny, ViTSmall, ViTBase];

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
            _ => RESNET50,
        };
        Ok(Model::ResNet(resnet.build(norm, classes, vb)?))
    }

    /// Whether [`build`](Architecture::build) accepts any [`Norm`]. A vision transformer accepts the default only, and
    /// has layer normalisation.
    pub fn has_choice_of_norm(self) -> bool {
        self.vit().is_none()
    }

    /// The height and width of the images in pixels; `None` where any size is accepted.
    pub fn image(self) -> Option<usize> {
        self.vit().map(|vit| vit.image)
    }

    /// The parameter name of the classifier, the last linear layer: `fc` or `head`.
    pub fn classifier(self) -> &'static str {
        if self.vit().is_some() { "head" } else { "fc" }
    }

    fn vit(self) -> Option<ViTConfig> {
        match self {
            ViTMini => Some(VIT_MINI),
            ViTTiny => Some(VIT_TINY),
            ViTSmall => Some(VIT_SMALL),
            ViTBase => Some(VIT_BASE),
            _ => None,
        }
    }
}

impl Display for Architecture {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            ResNet8 => write!(f, "resnet8"),
            ResNet18 => write!(f, "resnet18"),
            ResNet20 => write!(f, "resnet20"),
            ResNet34 => write!(f, "resnet34"),
            ResNet50 => write!(f, "resnet50"),
            Architecture::ResNetA { depth } => write!(f, "resnet{depth}a"),
            Architecture::WideResNet { depth, widen } => write!(f, "wrn-{depth}-{widen}"),
            ViTMini => write!(f, "vit-mini"),
            ViTTiny => write!(f, "vit-tiny"),
            ViTSmall => write!(f, "vit-small"),
            ViTBase => write!(f, "vit-base"),
        }
    }
}

impl FromStr for Architecture {
    type Err = Error;

    /// Reads the name that [`Display`] writes.
    fn from_str(text: &str) -> std::result::Result<Self, Error> {
        if let Some(named) = NAMED.into_iter().find(|named| named.to_string() == text) {
            return Ok(named);
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
                let known = NAMED.map(|named| named.to_string()).join(", ");
                Err(Error::UnknownArchitecture { name: text.to_owned(), known })
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
        for architecture in NAMED.into_iter().chain(wide).chain(padded) {
            assert_eq!(architecture.to_string().parse::<Architecture>().unwrap(), architecture);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        for text in ["resnet19", "ResNet18", "wrn-28", "wrn-28-x", ""] {
            let error = text.parse::<Architecture>().unwrap_err();
            assert!(matches!(&error, Error::UnknownArchitecture { name, .. } if name == text));
            let message = error.to_string();
            assert!(
                message.contains(
                    "resnet8, resnet18, resnet20, resnet34, resnet50, vit-mini, vit-tiny, vit-small, vit-base, resnetDEPTHa"
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
