//! `reproduce toy`: the four rules on the synthetic set.

use super::{Preset, four_rules, standard};
use crate::config::{DataName, RunConfig};
use msharp_models::{Architecture, Norm};

/// ResNet-8 with group normalisation, so that a micro-batch changes the perturbation and nothing else.
pub fn configs(preset: Preset) -> Vec<RunConfig> {
    let base = standard(Architecture::ResNet8, Norm::Group(32), DataName::Synthetic);
    match preset {
        Preset::Smoke => {
            let base = RunConfig { subset: Some(640), test_subset: Some(400), epochs: 3, batch_size: 64, ..base };
            four_rules(&base, 0.1, 16, 1)
        }
        Preset::Laptop => {
            let base = RunConfig { subset: Some(2000), epochs: 15, batch_size: 64, ..base };
            four_rules(&base, 0.1, 16, 3)
        }
        Preset::Paper => {
            let base = RunConfig { epochs: 40, ..base };
            four_rules(&base, 0.1, 32, 5)
        }
    }
}

/// Above the table.
pub fn about(preset: Preset) -> &'static str {
    match preset {
        Preset::Smoke => {
            "ResNet-8 (GroupNorm), 640 synthetic images, 3 epochs, batch 64, ρ = 0.1, one seed: a check that everything runs."
        }
        Preset::Laptop => "ResNet-8 (GroupNorm), 2 000 synthetic images, 15 epochs, batch 64, ρ = 0.1.",
        Preset::Paper => "ResNet-8 (GroupNorm), 10 000 synthetic images, 40 epochs, batch 128, ρ = 0.1.",
    }
}
