//! Streams of a set in memory whose images are inputs as they are.

use super::{ByLabel, EVALUATION, Source, Streams, contents};
use crate::config::{AugmentName, RunConfig};
use anyhow::{Result, ensure};
use candle_core::Device;
use msharp_data::{Augment, Dataset, Loader, Placement};
use std::sync::Arc;

/// The streams of a configuration.
pub(super) fn streams(config: &RunConfig, train: Arc<Dataset>, test: Arc<Dataset>) -> Result<Streams> {
    let seed = config.optimisation.seed;
    let contents = contents(&*train, &*test);
    let normalisation = config.images.normalisation((train.mean, train.std));
    let normalised = |set: Arc<Dataset>| {
        let (mean, std) = normalisation;
        let as_it_is = (set.mean, set.std) == normalisation;
        if as_it_is { set } else { Arc::new(Dataset { mean, std, ..Arc::unwrap_or_clone(set) }) }
    };
    let (mut train, mut test) = (normalised(train), normalised(test));
    if let Some(n) = config.data.subset {
        train = Arc::new(train.subset(n, seed)?);
    }
    let truth = train.clone();
    if config.data.label_noise > 0. {
        let noisy = Arc::unwrap_or_clone(train.clone()).with_label_noise(config.data.label_noise, seed)?;
        ensure!(
            noisy.labels != train.labels,
            "--label-noise is {}, which changes no label of {} images; expected a larger share",
            config.data.label_noise,
            train.len()
        );
        train = Arc::new(noisy);
    }
    if let Some(n) = config.data.test_subset {
        test = Arc::new(test.subset(n, 0)?); // the same images for every seed
    }
    let augment = match config.data.augment {
        AugmentName::None => Augment::none(),
        AugmentName::Standard => Augment::standard(),
    };
    let device = config.machine.device.open()?;
    let by_label = ByLabel::of(&train.labels, &truth.labels, {
        let (train, device) = (train.clone(), device.clone());
        move |indices| evaluated(Arc::new(train.select(indices)?), &device)
    });
    let placement = Placement::of(&train, &device)?;
    let whole = Loader { placement: placement.clone(), ..Loader::eval(train.clone(), config.optimisation.batch_size) };
    Ok(Streams {
        classes: train.classes,
        class_names: Vec::new(),
        normalisation,
        contents,
        whole: Arc::new(whole),
        train: Arc::new(Loader {
            augment: Augment { cutout: config.data.cutout, ..augment },
            placement,
            ..Loader::train(train, config.optimisation.batch_size, seed)
        }),
        test: evaluated(test, &device)?,
        by_label,
        broken: None,
    })
}

/// A set in order and as it is, in large batches, on the device.
fn evaluated(set: Arc<Dataset>, device: &Device) -> Result<Source> {
    Ok(Arc::new(Loader { placement: Placement::of(&set, device)?, ..Loader::eval(set, EVALUATION.0) }))
}
