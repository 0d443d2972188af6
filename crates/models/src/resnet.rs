//! Residual networks (He et al. 2016, <https://arxiv.org/abs/1512.03385>), for small images and for ImageNet's.

use crate::block::ResidualBlock;
use crate::{Block, Conv2d, Error, Linear, Norm, NormLayer, Shortcut};
use candle_core::{Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use msharp_ops::{FeatureMap, Window2d};

/// The layers before the first stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stem {
    /// A 3×3 convolution with stride 1, which keeps the image size. For 32×32 images.
    Cifar,
    /// A 7×7 convolution with stride 2 and a 3×3 max pooling with stride 2, which quarter height and width. For 224×224
    /// images.
    ImageNet,
}

/// The shape of a ResNet. The published shapes are constants; a literal makes any other.
///
/// ```
/// use msharp_models::{Norm, RESNET18, ResNetConfig};
/// # let vb = candle_nn::VarBuilder::zeros(candle_core::DType::F32, &candle_core::Device::Cpu);
/// let torchvisions_resnet18 = RESNET18.imagenet().build(Norm::Batch, 1000, vb)?;
/// let wider = ResNetConfig { width: 128, ..RESNET18 };
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResNetConfig<'a> {
    /// The layers before the first stage.
    pub stem: Stem,
    /// The residual block of all stages.
    pub block: Block,
    /// The shortcut where a stage begins.
    pub shortcut: Shortcut,
    /// The channels of the stem and the width of the first stage; the width doubles from stage to stage.
    pub width: usize,
    /// The number of blocks in each stage. Every stage except the first halves height and width.
    pub blocks: &'a [usize],
}

const CIFAR_BASIC: ResNetConfig =
    ResNetConfig { stem: Stem::Cifar, block: Block::Basic, shortcut: Shortcut::Projection, width: 64, blocks: &[] };

/// 0.08 M parameters: [`RESNET20`] with one block per stage instead of three. Not published; small enough for tests.
pub const RESNET8: ResNetConfig = ResNetConfig { width: 16, blocks: &[1, 1, 1], ..CIFAR_BASIC };
/// 0.27 M parameters: section 4.2 of the paper, n = 3, with projections.
pub const RESNET20: ResNetConfig = ResNetConfig { width: 16, blocks: &[3, 3, 3], ..CIFAR_BASIC };
/// 11.2 M parameters: table 1 of the paper, with the stem for 32×32 images.
pub const RESNET18: ResNetConfig = ResNetConfig { blocks: &[2, 2, 2, 2], ..CIFAR_BASIC };
/// 21.3 M parameters: table 1 of the paper, with the stem for 32×32 images.
pub const RESNET34: ResNetConfig = ResNetConfig { blocks: &[3, 4, 6, 3], ..CIFAR_BASIC };
/// 23.5 M parameters: table 1 of the paper, with the stem for 32×32 images.
pub const RESNET50: ResNetConfig = ResNetConfig { block: Block::Bottleneck, ..RESNET34 };

/// [`RESNET8`] with normalisation `norm` for `classes` classes; see [`ResNetConfig::build`].
pub fn resnet8(norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
    RESNET8.build(norm, classes, vb)
}

/// [`RESNET20`] with normalisation `norm` for `classes` classes; see [`ResNetConfig::build`].
pub fn resnet20(norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
    RESNET20.build(norm, classes, vb)
}

/// [`RESNET18`] with normalisation `norm` for `classes` classes; see [`ResNetConfig::build`].
pub fn resnet18(norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
    RESNET18.build(norm, classes, vb)
}

/// [`RESNET34`] with normalisation `norm` for `classes` classes; see [`ResNetConfig::build`].
pub fn resnet34(norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
    RESNET34.build(norm, classes, vb)
}

/// [`RESNET50`] with normalisation `norm` for `classes` classes; see [`ResNetConfig::build`].
pub fn resnet50(norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
    RESNET50.build(norm, classes, vb)
}

/// A CIFAR network as section 4.2 of the paper has it, with shortcuts that are [padded](Shortcut::Padding): ResNet-20,
/// 32, 44, 56 and 110, of 6n + 2 layers with n blocks in a stage; see [`ResNetConfig::build`]. 269,722 parameters at
/// depth 20, 464,154 at 32, 658,586 at 44, 853,018 at 56.
///
/// # Errors
/// [`Error::InvalidConfig`](crate::Error::InvalidConfig) if `depth` is not 6n + 2 with n from 1 to 200; those of
/// [`ResNetConfig::build`].
pub fn resnet_a(depth: usize, norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
    let blocks = [blocks_in_stage(depth)?; 3];
    ResNetConfig { shortcut: Shortcut::Padding, width: 16, blocks: &blocks, ..CIFAR_BASIC }.build(norm, classes, vb)
}

/// n for a [`resnet_a`] of 6n + 2 layers.
pub(crate) fn blocks_in_stage(depth: usize) -> std::result::Result<usize, Error> {
    match depth.checked_sub(2).map(|layers| (layers / 6, layers % 6)) {
        Some((n @ 1..=200, 0)) => Ok(n),
        _ => Err(Error::InvalidConfig(format!(
            "resnet{depth}a has {depth} layers; expected 6n + 2, such as 20, 32, 44, 56 or 110"
        ))),
    }
}

/// A residual network with torchvision's parameter names: `conv1`, `bn1`, `layer1.0.conv1`, …, `layer2.0.downsample.0`,
/// …, `fc`.
///
/// Where the shape changes, the [`Shortcut`] is a projection, as in torchvision, or padded, as in the paper's networks
/// for CIFAR and in most of their published checkpoints. Some of those call the classifier `linear`.
#[derive(Clone, Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: NormLayer,
    stem: Stem,
    blocks: Vec<ResidualBlock>,
    fc: Linear,
}

impl ResNetConfig<'_> {
    /// The same with the stem for ImageNet's images: [`RESNET18`], [`RESNET34`] and [`RESNET50`] then are the networks
    /// of torchvision and timm.
    pub const fn imagenet(self) -> Self {
        Self { stem: Stem::ImageNet, ..self }
    }

    /// Builds the network with normalisation `norm` for `classes` classes, with its weights from `vb`.
    ///
    /// Initialisation is torchvision's: convolutions as in [`Conv2d::new`], scale and shift of normalisations 1 and 0,
    /// the classifier PyTorch's default ([`Linear::new`]).
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) for 0 groups; an error of `vb` if it has no tensor of a
    /// name and shape.
    pub fn build(&self, norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
        let (kernel, stride) = match self.stem {
            Stem::Cifar => (3, 1),
            Stem::ImageNet => (7, 2),
        };
        let conv1 = Conv2d::new(3, self.width, kernel, stride, vb.pp("conv1"))?;
        let bn1 = NormLayer::new(norm, self.width, vb.pp("bn1"))?;

        let (mut blocks, mut channels) = (Vec::new(), self.width);
        for (stage, &count) in self.blocks.iter().enumerate() {
            let (vb, width) = (vb.pp(format!("layer{}", stage + 1)), self.width << stage);
            for i in 0..count {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                blocks.push(ResidualBlock::new((self.block, self.shortcut), channels, width, stride, norm, vb.pp(i))?);
                channels = width * self.block.expansion();
            }
        }
        let fc = Linear::new(channels, classes, vb.pp("fc"))?;
        Ok(ResNet { conv1, bn1, stem: self.stem, blocks, fc })
    }
}

impl ResNet {
    /// The input of the classifier: images `[b, h, w, 3]` to features `[b, c]`, the mean over positions.
    pub fn features(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let images = FeatureMap::enter(xs)?;
        let mut h = self.bn1.forward_relu(&self.conv1.apply(&images)?, train)?; // [b, h, w, width]
        if self.stem == Stem::ImageNet {
            h = msharp_ops::max_pool2d(&h, Window2d::square(3, 2, 1))?; // [b, h/4, w/4, width]
        }
        for block in &self.blocks {
            h = block.apply(&h, train)?;
        }
        msharp_ops::global_avg_pool2d(&h)?.leave() // [b, c]
    }
}

impl ModuleT for ResNet {
    /// Images `[b, h, w, 3]` to logits `[b, classes]`.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.fc.forward(&self.features(xs, train)?)
    }
}
