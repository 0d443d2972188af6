//! Vision transformers (Dosovitskiy et al. 2021, <https://arxiv.org/abs/2010.11929>), as in timm.

use crate::{Error, LayerNorm, Linear};
use candle_core::{Result, Tensor};
use candle_nn::{Init, Module, ModuleT, VarBuilder};
use msharp_ops::{Activation, FeatureMap};

/// Features of the hidden layer of a block's two-layer network, as a multiple of the width.
const MLP_RATIO: usize = 4;
/// timm's initialisation of matrices and positions. timm truncates the normal distribution at ±2, a
/// hundred of its deviations, which has no effect.
const NORMAL: Init = Init::Randn { mean: 0., stdev: 0.02 };
/// γ of a LayerScale at first, DINOv2's.
const LAYER_SCALE: Init = Init::Const(1e-5);
/// The largest height and width of images, so that no name can ask for more memory than there is.
const MOST_PIXELS: usize = 4096;

/// The shape of a vision transformer. The published shapes are constants; a literal makes any other.
///
/// ```
/// use msharp_models::{VIT_TINY, ViTConfig};
/// # let vb = candle_nn::VarBuilder::zeros(candle_core::DType::F32, &candle_core::Device::Cpu);
/// let config = ViTConfig { image: 384, ..VIT_TINY };
/// let timms_vit_tiny_patch16_384 = config.build(1000, vb)?;
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViTConfig {
    /// Height and width of the images in pixels. No other size is accepted, as every patch has its own position
    /// embedding.
    pub image: usize,
    /// Height and width of a patch in pixels; divides `image`.
    pub patch: usize,
    /// d, the number of features of a token.
    pub width: usize,
    /// The number of transformer blocks.
    pub depth: usize,
    /// The number of attention heads; divides `width`.
    pub heads: usize,
    /// Whether the branches of a block have a LayerScale: h + γ ⊙ f(h), γ `[d]` 1e-5 at first (Touvron et al. 2021,
    /// <https://arxiv.org/abs/2103.17239>). Its role is [`Role::Bias`](msharp_core::Role::Bias): as a vector it is free
    /// of weight decay where biases are, and it is no normalisation layer's.
    pub layer_scale: bool,
}

const PATCH16: ViTConfig = ViTConfig { image: 224, patch: 16, width: 192, depth: 12, heads: 3, layer_scale: false };
const DINOV2: ViTConfig = ViTConfig { image: 518, patch: 14, layer_scale: true, ..PATCH16 };

/// 1.2 M parameters, for 32×32 images, 65 tokens of 4×4 pixels: half the depth and two thirds of the width of
/// [`VIT_TINY`], and a hundredth of the work of ViT-B. Not published; small enough for tests and for CIFAR on a CPU.
pub const VIT_MINI: ViTConfig = ViTConfig { image: 32, patch: 4, width: 128, depth: 6, heads: 4, ..PATCH16 };
/// 5.5 M parameters without the classifier: timm's `vit_tiny_patch16_224`, DeiT-Ti.
pub const VIT_TINY: ViTConfig = PATCH16;
/// 21.7 M parameters without the classifier: timm's `vit_small_patch16_224`, DeiT-S.
pub const VIT_SMALL: ViTConfig = ViTConfig { width: 384, heads: 6, ..PATCH16 };
/// 85.8 M parameters without the classifier: timm's `vit_base_patch16_224`, ViT-B/16 of the paper.
pub const VIT_BASE: ViTConfig = ViTConfig { width: 768, heads: 12, ..PATCH16 };
/// 22.1 M parameters without the classifier: timm's `vit_small_patch14_dinov2`, ViT-S/14 of DINOv2 (Oquab et al. 2023,
/// <https://arxiv.org/abs/2304.07193>), with LayerScale. Trained on 518×518 images, and much used on smaller ones.
pub const VIT_SMALL_DINOV2: ViTConfig = ViTConfig { width: 384, heads: 6, ..DINOV2 };
/// 86.6 M parameters without the classifier: timm's `vit_base_patch14_dinov2`, ViT-B/14 of DINOv2.
pub const VIT_BASE_DINOV2: ViTConfig = ViTConfig { width: 768, heads: 12, ..DINOV2 };

/// [`VIT_MINI`] for `classes` classes, with its weights from `vb`; see [`ViTConfig::build`].
pub fn vit_mini(classes: usize, vb: VarBuilder) -> Result<VisionTransformer> {
    VIT_MINI.build(classes, vb)
}

/// [`VIT_TINY`] for `classes` classes, with its weights from `vb`; see [`ViTConfig::build`].
pub fn vit_tiny(classes: usize, vb: VarBuilder) -> Result<VisionTransformer> {
    VIT_TINY.build(classes, vb)
}

/// [`VIT_SMALL`] for `classes` classes, with its weights from `vb`; see [`ViTConfig::build`].
pub fn vit_small(classes: usize, vb: VarBuilder) -> Result<VisionTransformer> {
    VIT_SMALL.build(classes, vb)
}

/// [`VIT_BASE`] for `classes` classes, with its weights from `vb`; see [`ViTConfig::build`].
pub fn vit_base(classes: usize, vb: VarBuilder) -> Result<VisionTransformer> {
    VIT_BASE.build(classes, vb)
}

/// A vision transformer with timm's parameter names: `cls_token`, `pos_embed`, `patch_embed.proj`, `blocks.0.norm1`,
/// `.attn.qkv`, `.attn.proj`, `.ls1`, `.norm2`, `.mlp.fc1`, `.mlp.fc2`, `.ls2`, …, `norm`, `head`.
///
/// It has timm's defaults: normalisation before attention and before the MLP, exact GELU, biases for queries, keys and
/// values, the class token as the input of the classifier, no dropout. Without batch normalisation, the output for a
/// sample does not depend on the rest of the batch, in training either.
#[derive(Clone, Debug)]
pub struct VisionTransformer {
    image: usize,
    patch: usize,
    /// `[d, 3, patch, patch]`, as a convolution whose stride is its kernel; `[d]`.
    proj: (Tensor, Tensor),
    cls_token: Tensor, // [1, 1, d]
    pos_embed: Tensor, // [1, n + 1, d]
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl ViTConfig {
    /// Builds the network for `classes` classes, with its weights from `vb`.
    ///
    /// Initialisation is timm's: matrices and position embeddings normal with deviation 0.02, biases 0, scale and shift
    /// of normalisations 1 and 0, the class token normal with deviation 1e-6, filter and bias of the patch embedding
    /// PyTorch's default for a convolution.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if `patch` does not divide `image`, `image` is not from 1 to 4096, or `heads` does not
    /// divide `width`; an error of `vb` if it has no tensor of a name and shape.
    pub fn build(&self, classes: usize, vb: VarBuilder) -> Result<VisionTransformer> {
        let &ViTConfig { image, patch, width: d, depth, heads, layer_scale } = self;
        self.check()?;
        let bound = 1. / ((3 * patch * patch) as f64).sqrt();
        let uniform = Init::Uniform { lo: -bound, up: bound };
        let proj = vb.pp("patch_embed.proj");
        let block = |i| Block::new(d, heads, layer_scale, vb.pp("blocks").pp(i));
        Ok(VisionTransformer {
            image,
            patch,
            proj: (
                proj.get_with_hints((d, 3, patch, patch), "weight", uniform)?,
                proj.get_with_hints(d, "bias", uniform)?,
            ),
            cls_token: vb.get_with_hints((1, 1, d), "cls_token", Init::Randn { mean: 0., stdev: 1e-6 })?,
            pos_embed: vb.get_with_hints((1, (image / patch).pow(2) + 1, d), "pos_embed", NORMAL)?,
            blocks: (0..depth).map(block).collect::<Result<_>>()?,
            norm: LayerNorm::new(d, vb.pp("norm"))?,
            head: linear(d, classes, vb.pp("head"))?,
        })
    }

    pub(crate) fn check(&self) -> std::result::Result<(), Error> {
        let &ViTConfig { image, patch, width, heads, .. } = self;
        if patch == 0 || !image.is_multiple_of(patch) || !(1..=MOST_PIXELS).contains(&image) {
            return Err(Error::InvalidConfig(format!(
                "images of {image} pixels and patches of {patch}: the patch must divide the image; expected a multiple \
                 of {patch} up to {MOST_PIXELS}"
            )));
        }
        if heads == 0 || !width.is_multiple_of(heads) {
            let text = format!("a width of {width} and {heads} heads: the heads must divide the width");
            return Err(Error::InvalidConfig(text));
        }
        Ok(())
    }
}

fn linear(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Linear> {
    Linear::with_init(inputs, outputs, NORMAL, Init::Const(0.), vb)
}

impl VisionTransformer {
    /// The input of the classifier: images `[b, h, w, 3]` to features `[b, d]`, the normalised class token.
    ///
    /// # Errors
    /// [`Error::WrongImages`] for images of another size.
    pub fn features(&self, xs: &Tensor) -> Result<Tensor> {
        let class_token = match self.blocks.split_last() {
            // After the last attention no token depends on another one, and the others are not read.
            Some((last, others)) => last.apply_to_first(&self.encode(xs, others)?)?,
            None => msharp_ops::first_token(&self.encode(xs, &[])?)?,
        };
        self.norm.apply(&class_token)?.leave() // [b, d]
    }

    /// All normalised tokens of images `[b, h, w, 3]`, `[b, n + 1, d]`: the class token, then the patches row by row of
    /// the image. What timm calls `forward_features`.
    ///
    /// # Errors
    /// [`Error::WrongImages`] for images of another size.
    pub fn tokens(&self, xs: &Tensor) -> Result<Tensor> {
        self.norm.apply(&self.encode(xs, &self.blocks)?)?.leave() // [b, n + 1, d]
    }

    /// The tokens after these blocks, `[b, n + 1, d]`.
    fn encode(&self, xs: &Tensor, blocks: &[Block]) -> Result<FeatureMap> {
        match xs.dims() {
            &[_, h, w, 3] if (h, w) == (self.image, self.image) => {}
            dims => {
                let text = format!("this ViT expects images [b, {0}, {0}, 3], got {dims:?}", self.image);
                return Err(Error::WrongImages(text).into());
            }
        }
        let patches = msharp_ops::patches(&FeatureMap::enter(xs)?, self.patch)?; // [b, n, 3 patch²]
        let h = msharp_ops::linear(&patches, &self.proj.0, Some(&self.proj.1))?; // [b, n, d]
        let mut h = msharp_ops::tokens(&h, &self.cls_token, &self.pos_embed)?; // [b, n + 1, d]
        for block in blocks {
            h = block.apply(&h)?;
        }
        Ok(h)
    }
}

impl ModuleT for VisionTransformer {
    /// Images `[b, h, w, 3]` to logits `[b, classes]`.
    fn forward_t(&self, xs: &Tensor, _: bool) -> Result<Tensor> {
        self.head.forward(&self.features(xs)?)
    }
}

/// h + γ ⊙ attention(norm(h)), then h + γ ⊙ network(norm(h)); without LayerScale, γ is 1.
#[derive(Clone, Debug)]
struct Block {
    heads: usize,
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    ls1: Option<Tensor>, // [d]
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    ls2: Option<Tensor>, // [d]
}

impl Block {
    fn new(d: usize, heads: usize, layer_scale: bool, vb: VarBuilder) -> Result<Self> {
        let gamma = |name: &str| vb.pp(name).get_with_hints(d, "gamma", LAYER_SCALE);
        let gamma = |name: &str| layer_scale.then(|| gamma(name)).transpose();
        Ok(Self {
            heads,
            norm1: LayerNorm::new(d, vb.pp("norm1"))?,
            qkv: linear(d, 3 * d, vb.pp("attn.qkv"))?,
            proj: linear(d, d, vb.pp("attn.proj"))?,
            ls1: gamma("ls1")?,
            norm2: LayerNorm::new(d, vb.pp("norm2"))?,
            fc1: linear(d, MLP_RATIO * d, vb.pp("mlp.fc1"))?,
            fc2: linear(MLP_RATIO * d, d, vb.pp("mlp.fc2"))?,
            ls2: gamma("ls2")?,
        })
    }

    /// `[b, n, d]` both.
    fn apply<X: Activation>(&self, h: &X) -> Result<X> {
        self.after_attention(h, &self.attention(h)?)
    }

    /// The first token of [`apply`](Self::apply), `[b, d]`, from h `[b, n, d]`.
    fn apply_to_first<X: Activation>(&self, h: &X) -> Result<X> {
        let attention = msharp_ops::first_token(&self.attention(h)?)?;
        self.after_attention(&msharp_ops::first_token(h)?, &attention)
    }

    /// `[b, n, d]` both.
    fn attention<X: Activation>(&self, h: &X) -> Result<X> {
        msharp_ops::attention(&self.qkv.apply(&self.norm1.apply(h)?)?, self.heads)
    }

    /// What follows for each token, `[…, d]` all.
    fn after_attention<X: Activation>(&self, h: &X, attention: &X) -> Result<X> {
        let h = residual(h, &self.proj.apply(attention)?, &self.ls1)?;
        let hidden = msharp_ops::gelu(&self.fc1.apply(&self.norm2.apply(&h)?)?)?; // […, 4 d]
        residual(&h, &self.fc2.apply(&hidden)?, &self.ls2)
    }
}

/// h + γ ⊙ x
fn residual<X: Activation>(h: &X, x: &X, gamma: &Option<Tensor>) -> Result<X> {
    match gamma {
        Some(gamma) => msharp_ops::layer_scale(h, x, gamma),
        None => msharp_ops::add(h, x),
    }
}
