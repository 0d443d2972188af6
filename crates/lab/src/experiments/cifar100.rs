//! `reproduce cifar100`.

mod published;

use super::Family;
use super::cifar10::{Cifar, Setting};
use crate::config::DataName;
use msharp_models::Architecture;

/// On CIFAR-100.
pub static CIFAR100: Cifar = Cifar::new(
    "The paper's Table 1 (b): SGD, SAM, m-SAM and RW-SAM on CIFAR-100",
    Setting {
        name: "cifar100",
        set: DataName::Cifar100,
        // 40 whole batches: of 2500 the last would be a normalisation batch of 4.
        images: 2560,
        epochs: 100,
        published: published::PUBLISHED,
        networks: &[(Architecture::ResNet8, 3)],
        best: [(Family::Sam(64), 0.05), (Family::Sam(16), 0.1), (Family::Sam(4), 0.0125), (Family::probe(16), 0.1)],
    },
);
