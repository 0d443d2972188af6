//! ResNets, wide ResNets and vision transformers for candle, with the parameter names of torchvision and timm.
//!
//! Use this crate for the networks of the SAM literature: on CIFAR and ImageNet, with batch or group normalisation, and
//! with PyTorch's checkpoints. A network is a plain struct that takes its weights from a candle [`VarBuilder`] and
//! implements candle's [`ModuleT`]: `forward_t(images, train)` maps `[b, h, w, 3]` to logits `[b, classes]`. Images are
//! channels-last. Code that trains or loads candle models works with them unchanged.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::ModuleT;
//! use msharp_core::Seeded;
//! use msharp_models::{Norm, resnet8};
//!
//! let init = Seeded::new(0, DType::F32, &Device::Cpu);
//! let model = resnet8(Norm::Batch, 10, init.var_builder())?;
//! let params = init.params()?;
//! assert_eq!(params.count(), 78_042);
//!
//! let images = Tensor::zeros((2, 32, 32, 3), DType::F32, &Device::Cpu)?;
//! let logits = model.forward_t(&images, true)?; // [2, 10]
//! let losses = msharp_ops::cross_entropy(&logits, &Tensor::new(&[3u32, 8], &Device::Cpu)?, 0.)?; // [2]
//! let grads = losses.mean_all()?.backward()?;
//! assert!(params.iter().all(|p| grads.get(&p.var).is_some()));
//! # Ok::<(), candle_core::Error>(())
//! ```
//!
//! # The networks
//!
//! | [`Architecture`] | constructor | parameters, 10 classes | source |
//! |---|---|---|---|
//! | `resnet8` | [`resnet8`] | 78,042 | `resnet20` with one block per stage |
//! | `resnet20` | [`resnet20`] | 272,474 | He et al. 2016, section 4.2, with projections |
//! | `resnet20a`, `resnet56a`, … | [`resnet_a`] | 269,722; 853,018; … | He et al. 2016, section 4.2, as published |
//! | `resnet18` | [`resnet18`] | 11,173,962 | He et al. 2016, table 1, with a 3×3 stem |
//! | `resnet34` | [`resnet34`] | 21,282,122 | He et al. 2016, table 1, with a 3×3 stem |
//! | `resnet50` | [`resnet50`] | 23,520,842 | He et al. 2016, table 1, with a 3×3 stem |
//! | `wrn-16-4` | [`wide_resnet`] | 2,748,890 | Zagoruyko, Komodakis 2016 |
//! | `wrn-28-10` | [`wide_resnet`] | 36,479,194 | Zagoruyko, Komodakis 2016 |
//! | `resnet18-imagenet` | [`ResNetConfig::imagenet`] | 11,181,642 | the same with the stem for 224×224 images |
//! | `resnet34-imagenet` | [`ResNetConfig::imagenet`] | 21,289,802 | the same with the stem for 224×224 images |
//! | `resnet50-imagenet` | [`ResNetConfig::imagenet`] | 23,528,522 | the same with the stem for 224×224 images |
//! | `vit-mini` | [`vit_mini`] | 1,205,898 | a smaller ViT-Ti for 32×32 images |
//! | `vit_tiny_patch16_224` | [`vit_tiny`] | 5,526,346 | Touvron et al. 2021, table 1 |
//! | `vit_small_patch16_224` | [`vit_small`] | 21,669,514 | Touvron et al. 2021, table 1 |
//! | `vit_base_patch16_224` | [`vit_base`] | 85,806,346 | Dosovitskiy et al. 2021, ViT-B/16 |
//! | `vit_small_patch14_dinov2` | [`VIT_SMALL_DINOV2`] | 22,060,042 | Oquab et al. 2023, for 518×518 images |
//! | `vit_base_patch14_dinov2` | [`VIT_BASE_DINOV2`] | 86,587,402 | Oquab et al. 2023, for 518×518 images |
//!
//! timm's `resnet50` is `resnet50-imagenet` here, since `resnet50` has the stem of the literature on CIFAR. A vision
//! transformer is built for images of another size by its name with that size, `vit_base_patch16_224@384`, or by
//! [`Architecture::with_image_size`]; the convolutional networks take any size. `vit-tiny`, `vit-small` and `vit-base`
//! are older names of the first three of timm's, and are read.
//!
//! Other shapes are literals. A network of your own is composed of the layers [`Conv2d`], [`NormLayer`], [`LayerNorm`]
//! and [`Linear`].
//!
//! # Checkpoints
//!
//! Names, shapes and dtypes are those of PyTorch's state dicts, buffers included, for loading and for saving: a
//! [`ResNet`] has the names of torchvision and timm, a [`WideResNet`] those of the common PyTorch port, a
//! [`VisionTransformer`] those of timm. Tests compare names with PyTorch's lists, and logits, running statistics and
//! gradients with its numbers. A [`Description`] in the metadata of a file states network and normalisation; loading
//! refuses a file that contradicts it.
//!
//! [`Pretrained`] loads published weights into a network with other classes and for images of another size: the
//! classifier keeps its initialisation, position embeddings are resampled, everything else must fit.
//! [`PretrainedConfig`] is timm's `config.json`.
//!
//! # Normalisation
//!
//! The convolutional networks have batch or group normalisation ([`Norm`]) under the same parameter names. In training,
//! batch normalisation couples the samples of a batch, which changes the meaning of per-sample gradients and of
//! micro-batches: see [`Norm`]. A vision transformer has layer normalisation of each token, and no coupling.
//!
//! # Invariants
//!
//! * Initial weights are a pure function of the [`VarBuilder`], so of the seed of [`Seeded`].
//! * In evaluation the output for a sample does not depend on the rest of the batch.
//! * Every parameter receives a gradient.
//!
//! # Errors
//!
//! Functions return candle's [`Result`](candle_core::Result). [`Error::of`] finds the cause in it as a value to match
//! on: an unknown name, an impossible shape, a description that contradicts, images that do not fit.
//!
//! [`VarBuilder`]: candle_nn::VarBuilder
//! [`ModuleT`]: candle_nn::ModuleT
//! [`Seeded`]: msharp_core::Seeded

mod architecture;
mod block;
mod conv;
mod description;
mod error;
mod layer_norm;
mod linear;
mod misfit;
mod norm;
mod positions;
mod pretrained;
mod pretrained_config;
mod resnet;
mod vit;
mod vit_name;
mod wide_resnet;

pub use architecture::{Architecture, Model};
pub use block::{Block, Shortcut};
pub use conv::Conv2d;
pub use description::Description;
pub use error::Error;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use norm::{Norm, NormLayer};
pub use positions::{Bicubic, resample_positions};
pub use pretrained::{Loaded, Pretrained};
pub use pretrained_config::PretrainedConfig;
pub use resnet::{
    RESNET8, RESNET18, RESNET20, RESNET34, RESNET50, ResNet, ResNetConfig, Stem, resnet_a, resnet8, resnet18, resnet20,
    resnet34, resnet50,
};
pub use vit::{
    VIT_BASE, VIT_BASE_DINOV2, VIT_MINI, VIT_SMALL, VIT_SMALL_DINOV2, VIT_TINY, ViTConfig, VisionTransformer, vit_base,
    vit_mini, vit_small, vit_tiny,
};
pub use vit_name::ViT;
pub use wide_resnet::{WideResNet, wide_resnet};
