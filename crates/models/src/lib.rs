//! ResNets, wide ResNets and vision transformers for candle: the networks that sharpness-aware training is measured on.
//!
//! A network here is a plain struct over tensors that takes its weights from a candle [`VarBuilder`] and implements
//! candle's [`ModuleT`]: `forward_t(xs, train)`, `[b, h, w, 3]` to logits `[b, classes]`. Whatever trains or loads
//! candle models trains and loads these; the layers call the differentiable ops of `msharp_ops`, so the fast path needs
//! no word here.
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
//! # The catalogue
//!
//! | [`Architecture`] | constructor | parameters, 10 classes | source |
//! |---|---|---|---|
//! | `resnet8` | [`resnet8`] | 78,042 | the next line, one block a stage |
//! | `resnet20` | [`resnet20`] | 272,474 | He et al. 2016, section 4.2, with projections |
//! | `resnet18` | [`resnet18`] | 11,173,962 | the same, table 1, with a 3×3 stem |
//! | `resnet34` | [`resnet34`] | 21,282,122 | " |
//! | `resnet50` | [`resnet50`] | 23,520,842 | " |
//! | `wrn-16-4` | [`wide_resnet`] | 2,748,890 | Zagoruyko, Komodakis 2016 |
//! | `wrn-28-10` | " | 36,479,194 | " |
//! | `vit-mini` | [`vit_mini`] | 1,205,898 | the next lines, smaller, for 32×32 images |
//! | `vit-tiny` | [`vit_tiny`] | 5,526,346 | Touvron et al. 2021, table 1; for 224×224 images |
//! | `vit-small` | [`vit_small`] | 21,669,514 | " |
//! | `vit-base` | [`vit_base`] | 85,806,346 | Dosovitskiy et al. 2021, ViT-B/16 |
//!
//! Every other shape is a literal: `ResNetConfig { stem: Stem::ImageNet, ..RESNET50 }` is torchvision's ResNet-50.
//!
//! # Checkpoints
//!
//! Names, shapes and dtypes are those of PyTorch's state dicts, buffers included, in both directions: a ResNet is
//! called as in torchvision and timm, a [`WideResNet`] as in the PyTorch port most used, a [`VisionTransformer`] as in
//! timm. The tests hold the names against PyTorch's lists, and logits, running statistics and gradients against its
//! numbers. A [`Description`] beside the tensors says what they are of and what images were normalised by; loading
//! refuses what contradicts it.
//!
//! # Normalisation
//!
//! Each convolutional network comes with batch or group normalisation ([`Norm`]) under the same names. Batch
//! normalisation couples the samples of a batch in training: read [`Norm`] before per-sample gradients or micro-batches
//! are given a meaning.
//!
//! A vision transformer has layer normalisation, of each token by itself, and no batch normalisation anywhere.
//!
//! A network of your own is written as these are: from [`Conv2d`], [`NormLayer`] and [`Linear`], on a screen or two.
//!
//! [`VarBuilder`]: candle_nn::VarBuilder
//! [`ModuleT`]: candle_nn::ModuleT

mod architecture;
mod block;
mod conv;
mod description;
mod layer_norm;
mod linear;
mod norm;
mod resnet;
mod vit;
mod wide_resnet;

pub use architecture::{Architecture, Model};
pub use block::Block;
pub use conv::Conv2d;
pub use description::Description;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use norm::{Norm, NormLayer};
pub use resnet::{
    RESNET8, RESNET18, RESNET20, RESNET34, RESNET50, ResNet, ResNetConfig, Stem, resnet8, resnet18, resnet20, resnet34,
    resnet50,
};
pub use vit::{
    VIT_BASE, VIT_MINI, VIT_SMALL, VIT_TINY, ViTConfig, VisionTransformer, vit_base, vit_mini, vit_small, vit_tiny,
};
pub use wide_resnet::{WideResNet, wide_resnet};
