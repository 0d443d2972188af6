//! The networks by the names that a command line or a configuration file gives them.

use crate::wide_resnet::blocks_in_stage;
use crate::{Norm, RESNET8, RESNET18, RESNET20, RESNET34, RESNET50, ResNet, WideResNet, wide_resnet};
use crate::{VIT_BASE, VIT_MINI, VIT_SMALL, VIT_TINY, ViTConfig, VisionTransformer};
use candle_core::{Error, Result, Tensor, bail};
use candle_nn::{ModuleT, VarBuilder};
use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// A published network.
///
/// ```
/// use msharp_models::Architecture;
/// let architecture: Architecture = "wrn-28-10".parse()?;
/// assert_eq!(architecture, Architecture::WideResNet { depth: 28, widen: 10 });
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
    /// `wrn-28-10`, [`wide_resnet`].
    WideResNet {
        /// 6n + 4.
        depth: usize,
        /// The factor on the channels 16, 32, 64.
        widen: usize,
    },
    /// `vit-mini`, [`VIT_MINI`], for 32×32 images.
    ViTMini,
    /// `vit-tiny`, [`VIT_TINY`], for 224×224 images, as the next two.
    ViTTiny,
    /// `vit-small`, [`VIT_SMALL`].
    ViTSmall,
    /// `vit-base`, [`VIT_BASE`].
    ViTBase,
}

use Architecture::{ResNet8, ResNet18, ResNet20, ResNet34, ResNet50, ViTBase, ViTMini, ViTSmall, ViTTiny};

/// All that have no numbers in their names to choose.
const NAMED: [Architecture; 9] = [ResNet8, ResNet18, ResNet20, ResNet34, ResNet50, ViTMini, ViTTiny, ViTSmall, ViTBase];

impl Architecture {
    /// The network with its weights from `vb`.
    ///
    /// # Errors
    /// Where `vb` has no tensor of the name and shape, there is no wide ResNet of the depth, or `norm` is not the
    /// default and the network [has no choice](Architecture::has_choice_of_norm).
    pub fn build(self, norm: Norm, classes: usize, vb: VarBuilder) -> Result<Model> {
        if norm != Norm::default() && !self.has_choice_of_norm() {
            bail!("{self} has layer normalisation, and {norm} cannot take its place")
        }
        if let Some(vit) = self.vit() {
            return Ok(Model::VisionTransformer(vit.build(classes, vb)?));
        }
        let resnet = match self {
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

    /// Whether it can be built with one [`Norm`] or another. A vision transformer cannot: it has layer normalisation,
    /// and the default stands for that.
    pub fn has_choice_of_norm(self) -> bool {
        self.vit().is_none()
    }

    /// The side of the images, where it takes no others.
    pub fn image(self) -> Option<usize> {
        self.vit().map(|vit| vit.image)
    }

    /// The name of the classifier's layer: `fc` or `head`.
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

    /// What [`Display`] writes.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(named) = NAMED.into_iter().find(|named| named.to_string() == text) {
            return Ok(named);
        }
        let numbers = text.strip_prefix("wrn-").and_then(|numbers| numbers.split_once('-'));
        match numbers.map(|(depth, widen)| (depth.parse(), widen.parse())) {
            Some((Ok(depth), Ok(widen))) => {
                blocks_in_stage(depth, widen)?;
                Ok(Architecture::WideResNet { depth, widen })
            }
            _ => {
                let known = NAMED.map(|named| named.to_string()).join(", ");
                bail!("there is no architecture {text:?}; there are {known} and wrn-DEPTH-WIDEN such as wrn-28-10")
            }
        }
    }
}

/// A network of the catalogue, built.
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
    /// What the classifier sees: `[b, h, w, 3]` to `[b, c]`.
    pub fn features(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        match self {
            Model::ResNet(model) => model.features(xs, train),
            Model::WideResNet(model) => model.features(xs, train),
            Model::VisionTransformer(model) => model.features(xs),
        }
    }
}

impl ModuleT for Model {
    /// `[b, h, w, 3]` to logits, `[b, classes]`.
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
        for architecture in NAMED.into_iter().chain(wide) {
            assert_eq!(architecture.to_string().parse::<Architecture>().unwrap(), architecture);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        for text in ["resnet19", "ResNet18", "wrn-28", "wrn-28-x", ""] {
            let message = text.parse::<Architecture>().unwrap_err().to_string();
            assert!(
                message.contains(
                    "resnet8, resnet18, resnet20, resnet34, resnet50, vit-mini, vit-tiny, vit-small, vit-base and wrn-"
                ),
                "{message}"
            );
        }
        for text in ["wrn-27-10", "wrn-4-1", "wrn-0-1", "wrn-28-0"] {
            assert!(text.parse::<Architecture>().unwrap_err().to_string().contains("6n + 4"), "{text}");
        }
    }
}
