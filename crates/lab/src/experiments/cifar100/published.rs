//! Table 1 (b) of the paper.

use crate::experiments::cifar10::{WRN, published};
use crate::page::table::Published;
use msharp_models::Architecture;

pub const PUBLISHED: &[Published] = &[
    published(Architecture::ResNet18, "sgd", 78.91, 0.18),
    published(Architecture::ResNet18, "sam", 78.90, 0.27),
    published(Architecture::ResNet18, "rw-sam", 79.31, 0.28),
    published(Architecture::ResNet50, "sgd", 79.55, 0.16),
    published(Architecture::ResNet50, "sam", 80.31, 0.35),
    published(Architecture::ResNet50, "rw-sam", 80.83, 0.05),
    published(WRN, "sgd", 81.55, 0.15),
    published(WRN, "sam", 83.25, 0.07),
    published(WRN, "rw-sam", 83.52, 0.08),
];
