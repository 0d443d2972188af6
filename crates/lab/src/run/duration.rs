//! How long runs will take, from a timed step of each of their networks.

use crate::build::{self, cost};
use crate::config::RunConfig;
use crate::data::Datasets;
use anyhow::{Context, Result};
use msharp_core::{BatchLoss, DataSource, Perturbation};
use msharp_perturb::Plain;
use std::time::Instant;

/// Samples in the timed step.
const TIMED_BATCH: usize = 32;

/// A backward pass in units of a forward pass.
const BACKWARD: f64 = 2.;

/// Expected seconds of training for each of `configs`. One step of each network is timed, after one to warm up.
pub fn seconds(configs: &[RunConfig], data: &mut Datasets) -> Result<Vec<f64>> {
    let mut timed: Vec<(String, f64)> = Vec::new();
    let mut expected = Vec::with_capacity(configs.len());
    for config in configs {
        let streams = data.streams(config)?;
        let network =
            format!("{} {} {} {}", config.model.architecture, config.model.norm, streams.classes, config.side());
        let pass = match timed.iter().find(|(known, _)| *known == network) {
            Some((_, pass)) => *pass,
            None => {
                let pass = forward_seconds_a_sample(config, streams.classes, &*streams.train)?;
                timed.push((network, pass));
                pass
            }
        };
        let passes = cost(config, streams.whole.clone())?;
        let training = streams.train.samples() as f64 * (passes.forward + BACKWARD * passes.backward);
        let testing = streams.test.samples() as f64 / config.measuring.evaluate_every as f64;
        expected.push(config.optimisation.epochs as f64 * pass * (training + testing));
    }
    Ok(expected)
}

fn forward_seconds_a_sample(config: &RunConfig, classes: usize, train: &dyn DataSource) -> Result<f64> {
    let (model, params) = build::model(config, classes)?;
    let classifier = build::classifier(model, config);
    let batch = train.epoch(0).next().context("the training set has no batch")??;
    let batch = batch.chunks(TIMED_BATCH)?.swap_remove(0);
    let mut seconds = 0.;
    for _ in 0..2 {
        let started = Instant::now();
        Plain.gradient(BatchLoss::new(&classifier, &params, &batch))?.grads.norm()?; // to read is to wait for a GPU
        seconds = started.elapsed().as_secs_f64();
    }
    Ok(seconds / batch.len() as f64 / (1. + BACKWARD))
}
