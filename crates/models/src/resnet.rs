//! Residual networks (He et al. 2016, <https://arxiv.org/abs/1512.03385>), for small images and for ImageNet's.

use crate::block::ResidualBlock;
use crate::{Block, Conv2d, Linear, Norm, NormLayer};
use candle_core::{Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use msharp_ops::{FeatureMap, Window2d};

/// What comes before the first stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stem {
    /// A 3×3 convolution: the image keeps its size. For 32×32 images.
    Cifar,
    /// A 7×7 convolution with stride 2 and a 3×3 maximum with stride 2: a quarter of the size. For 224×224 images.
    ImageNet,
}

/// The shape of a ResNet. Any literal is a network; the published ones are constants.
///
/// ```
/// use msharp_models::{Norm, RESNET18, ResNetConfig, Stem};
/// # let vb = candle_nn::VarBuilder::zeros(candle_core::DType::F32, &candle_core::Device::Cpu);
/// let config = ResNetConfig { stem: Stem::ImageNet, ..RESNET18 };
/// let torchvisions_resnet18 = config.build(Norm::Batch, 1000, vb)?;
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResNetConfig<'a> {
    /// What comes before the first stage.
    pub stem: Stem,
    /// What the stages are made of.
    pub block: Block,
    /// The width of the stem and of the first stage; it doubles from stage to stage.
    pub width: usize,
    /// Blocks in each stage. Every stage but the first halves the size of the image.
    pub blocks: &'a [usize],
}

const CIFAR_BASIC: ResNetConfig = ResNetConfig { stem: Stem::Cifar, block: Block::Basic, width: 64, blocks: &[] };

/// 0.08 M parameters. The ResNet-20 of the paper's section 4.2 with one block a stage: small enough for tests.
pub const RESNET8: ResNetConfig = ResNetConfig { width: 16, blocks: &[1, 1, 1], ..CIFAR_BASIC };
/// 0.27 M parameters: section 4.2 of the paper, n = 3.
pub const RESNET20: ResNetConfig = ResNetConfig { width: 16, blocks: &[3, 3, 3], ..CIFAR_BASIC };
/// 11.2 M parameters.
pub const RESNET18: ResNetConfig = ResNetConfig { blocks: &[2, 2, 2, 2], ..CIFAR_BASIC };
/// 21.3 M parameters.
pub const RESNET34: ResNetConfig = ResNetConfig { blocks: &[3, 4, 6, 3], ..CIFAR_BASIC };
/// 23.5 M parameters.
pub const RESNET50: ResNetConfig = ResNetConfig { block: Block::Bottleneck, ..RESNET34 };

/// [`RESNET8`] with its weights from `vb`.
pub fn resnet8(norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
    RESNET8.build(norm, classes, vb)
}

/// [`RESNET20`] with its weights from `vb`.
pub fn resnet20(norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
    RESNET20.build(norm, classes, vb)
}

/// [`RESNET18`] with its weights from `vb`.
pub fn resnet18(norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
    RESNET18.build(norm, classes, vb)
}

/// [`RESNET34`] with its weights from `vb`.
pub fn resnet34(norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
    RESNET34.build(norm, classes, vb)
}

/// [`RESNET50`] with its weights from `vb`.
pub fn resnet50(norm: Norm, classes: usize, vb: VarBuilder) -> Result<ResNet> {
    RESNET50.build(norm, classes, vb)
}

/// A residual network under torchvision's names: `conv1`, `bn1`, `layer1.0.conv1`, …, `layer2.0.downsample.0`, …, `fc`.
///
/// Where the shape changes, the shortcut is a 1×1 convolution with a norm (the paper's option B) in every network. For
/// the CIFAR networks the paper pads with zero channels instead (option A), which saves 1 % of ResNet-20's parameters
/// (269,722 instead of 272,474); option B keeps one kind of block, and is what the CIFAR checkpoints published under
/// torchvision's names have.
#[derive(Clone, Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: NormLayer,
    stem: Stem,
    blocks: Vec<ResidualBlock>,
    fc: Linear,
}

impl ResNetConfig<'_> {
    /// Reads or draws the weights. Convolutions begin as [`Conv2d::new`] says, norms at 1 and 0, the classifier at
    /// PyTorch's default: torchvision's choice.
    ///
    /// # Errors
    /// Where `vb` has no tensor of the name and shape.
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
                blocks.push(ResidualBlock::new(self.block, channels, width, stride, norm, vb.pp(i))?);
                channels = width * self.block.expansion();
            }
        }
        let fc = Linear::new(channels, classes, vb.pp("fc"))?;
        Ok(ResNet { conv1, bn1, stem: self.stem, blocks, fc })
    }
}

impl ResNet {
    /// What the classifier sees: `[b, h, w, 3]` to `[b, c]`, the mean over positions.
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
    /// `[b, h, w, 3]` to logits, `[b, classes]`.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.fc.forward(&self.features(xs, train)?)
    }
}
