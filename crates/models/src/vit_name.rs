//! The published vision transformers by name.

use crate::{VIT_BASE, VIT_BASE_DINOV2, VIT_MINI, VIT_SMALL, VIT_SMALL_DINOV2, VIT_TINY, ViTConfig};

/// A published vision transformer, under timm's name. The name has the size of the images that it was trained on; it is
/// built for [any other](crate::Architecture::with_image_size) too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ViT {
    /// `vit-mini`, [`VIT_MINI`]; not published.
    Mini,
    /// `vit_tiny_patch16_224`, [`VIT_TINY`]; also read as `vit-tiny`.
    Tiny,
    /// `vit_small_patch16_224`, [`VIT_SMALL`]; also read as `vit-small`.
    Small,
    /// `vit_base_patch16_224`, [`VIT_BASE`]; also read as `vit-base`.
    Base,
    /// `vit_small_patch14_dinov2`, [`VIT_SMALL_DINOV2`].
    SmallDinov2,
    /// `vit_base_patch14_dinov2`, [`VIT_BASE_DINOV2`].
    BaseDinov2,
}

impl ViT {
    /// All of them.
    pub const ALL: [ViT; 6] = [ViT::Mini, ViT::Tiny, ViT::Small, ViT::Base, ViT::SmallDinov2, ViT::BaseDinov2];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ViT::Mini => "vit-mini",
            ViT::Tiny => "vit_tiny_patch16_224",
            ViT::Small => "vit_small_patch16_224",
            ViT::Base => "vit_base_patch16_224",
            ViT::SmallDinov2 => "vit_small_patch14_dinov2",
            ViT::BaseDinov2 => "vit_base_patch14_dinov2",
        }
    }

    /// Its shape, for images of the size that its name has.
    pub fn config(self) -> ViTConfig {
        match self {
            ViT::Mini => VIT_MINI,
            ViT::Tiny => VIT_TINY,
            ViT::Small => VIT_SMALL,
            ViT::Base => VIT_BASE,
            ViT::SmallDinov2 => VIT_SMALL_DINOV2,
            ViT::BaseDinov2 => VIT_BASE_DINOV2,
        }
    }

    /// The one of this name, or of the name that it had in descriptions of weights before.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let current = match name {
            "vit-tiny" => ViT::Tiny.name(),
            "vit-small" => ViT::Small.name(),
            "vit-base" => ViT::Base.name(),
            _ => name,
        };
        ViT::ALL.into_iter().find(|vit| vit.name() == current)
    }
}
