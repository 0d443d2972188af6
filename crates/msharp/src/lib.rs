#![doc = include_str!("../README.md")]
//! # What is where
//!
//! Each crate is a module under its own name, with everything that it exports: [`ops`], [`core`], [`perturb`],
//! [`gradnorm`], [`train`] and [`dist`], and, where their features are on, `data`, `models` and `sde`. The root has
//! what a training loop is written with.
//!
//! [`candle_core`] and [`candle_nn`] are the versions that these crates are built against. Their version is exact here,
//! so a program that takes them from this crate cannot have two of them.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub use candle_core;
pub use candle_nn;
pub use msharp_core as core;
#[cfg(feature = "data")]
pub use msharp_data as data;
pub use msharp_dist as dist;
pub use msharp_gradnorm as gradnorm;
#[cfg(feature = "models")]
pub use msharp_models as models;
pub use msharp_ops as ops;
pub use msharp_perturb as perturb;
#[cfg(feature = "sde")]
pub use msharp_sde as sde;
pub use msharp_train as train;

pub use msharp_core::{
    Accumulated, Batch, BatchLoss, Batches, Component, DataSource, Error, GradNormEstimator, Gradient, Key, Objective,
    Optimizer, ParamVec, Params, Perturbation, Seeded, Select, Temperature, TrainingPoint,
};
pub use msharp_perturb::{Micro, Plain, Rule, m_sam, rw_sam, sam};
pub use msharp_train::{
    AdamW, Checkpoint, CheckpointPolicy, Classifier, Control, Evaluation, Observer, Outcome, ParamGroups, Progress,
    Schedule, Sgd, Task, evaluate, evaluate_logits, fit,
};
