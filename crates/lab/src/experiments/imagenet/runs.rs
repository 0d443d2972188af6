//! `reproduce imagenet`: the paper's Table 2 (a), and smaller versions of it.

use crate::config::{DataName, RunConfig};
use crate::experiments::{Preset, four_rules, standard};
use crate::page::table::Published;
use anyhow::{Result, ensure};
use msharp_models::{Architecture, Norm};

/// Batch 256, learning rate 0.1 with a cosine, momentum 0.9, weight decay 1e-4, 90 epochs, random resized crops and
/// flips are the field's; the paper's are not published.
pub fn configs(preset: Preset, data: &DataName) -> Result<Vec<RunConfig>> {
    ensure!(data.side().is_none(), "--data is {data}; expected pictures on disk, such as folder:PATH");
    let base = |model, size, epochs, batch| {
        standard(model, Norm::Batch, data.clone())
            .with(|c| {
                c.images.image_size = Some(size);
                (c.optimisation.epochs, c.optimisation.batch_size) = (epochs, batch);
                c.optimisation.weight_decay = 1e-4;
            })
            .canonical()
    };
    Ok(match preset {
        Preset::Smoke => four_rules(&base(Architecture::ResNet18ImageNet, 64, 1, 32), 0.05, 16, 0..1),
        Preset::Laptop => four_rules(&base(Architecture::ResNet18ImageNet, 128, 10, 64), 0.05, 16, 0..3),
        Preset::Paper => four_rules(&base(Architecture::ResNet50ImageNet, 224, 90, 256), 0.05, 64, 0..3),
    })
}

/// Table 2 (a) of the paper.
pub const PUBLISHED: &[Published] = &[
    published("sgd", 76.67, Some(0.05)),
    published("sam", 77.16, Some(0.04)),
    published("rw-sam", 77.37, None), // its deviation is cut off in our source
];

const fn published(rule: &'static str, mean: f64, std: Option<f64>) -> Published {
    Published { model: Architecture::ResNet50ImageNet, data: None, rule, accuracy: (mean, std) }
}

/// Above the table.
pub fn about(preset: Preset) -> &'static str {
    match preset {
        Preset::Smoke => {
            "ResNet-18 at 64 pixels, one epoch, batch 32, ρ = 0.05, one seed: a check that everything runs on pictures \
             of a folder."
        }
        Preset::Laptop => {
            "ResNet-18 at 128 pixels, 10 epochs, batch 64, ρ = 0.05, on the folder that was given: smaller than the \
             paper's set-up, so compare the rules with each other and not with the paper."
        }
        Preset::Paper => {
            "ResNet-50 at 224 pixels, 90 epochs, batch 256, ρ = 0.05, on the folder that was given. The paper's values \
             are those of ImageNet-1K; its ρ, λ and δ are not published. Under BatchNorm m-SAM also shrinks the \
             normalisation batch."
        }
    }
}
