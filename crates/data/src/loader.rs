//! The loader: shuffled, augmented, normalised and prefetched batches of a data set.

use crate::augment::Normalise;
use crate::labels::order;
use crate::prefetch::Prefetch;
use crate::{Augment, Dataset, Error, Placement};
use candle_core::{Result, Tensor};
use msharp_core::{Batch, Batches, DataSource, Key, Part, Share};
use std::sync::Arc;

/// A data set, and how its epochs are cut into batches: the [`DataSource`] of this crate.
///
/// A [`Batch`] has inputs f32 `[b, h, w, 3]`, normalised by the data set's mean and deviation, and targets u32 `[b]`,
/// both on the device of [`placement`](Loader::placement). All randomness is a pure function: the order of epoch e of
/// ([`seed`](Loader::seed), e), the augmentation of an image of (seed, e, its index in the data set), the [`Key`] of
/// batch k of (seed, e, k). Neither order nor augmentation depends on the batch size. The loader has no state: an epoch
/// may be repeated, or begun at any step without preparing the batches before it.
///
/// A literal of public fields configures it: `Loader { drop_last: true, ..Loader::train(set, 128, seed) }`.
///
/// # Errors
/// The first item of an epoch is [`Error::InvalidArgument`] if a field is out of its range, the data set's lengths
/// disagree, or there is no batch at all. A batch is [`Error::UnknownLabel`] if a label is not below the number of
/// classes.
#[derive(Clone, Debug)]
pub struct Loader {
    /// The images and labels, shared and never copied.
    pub dataset: Arc<Dataset>,
    /// b, the number of samples in a batch; at least 1.
    pub batch_size: usize,
    /// The seed of order, augmentation and keys.
    pub seed: u64,
    /// Draw a new order for every epoch; otherwise keep the data set's own.
    pub shuffle: bool,
    /// Random changes of the images; at most the side of the images each.
    pub augment: Augment,
    /// Leave out the last samples of an epoch where they do not fill a batch; otherwise the last batch is smaller.
    pub drop_last: bool,
    /// The number of batches prepared ahead on one background thread, at most 1024; with 0 the calling thread prepares
    /// each batch. The batches are the same either way.
    pub prefetch: usize,
    /// Where images are stored and batches are made.
    pub placement: Placement,
}

impl Loader {
    /// For training: shuffled, [`Augment::standard`], every sample in every epoch, two batches prefetched, on the host.
    pub fn train(dataset: Arc<Dataset>, batch_size: usize, seed: u64) -> Self {
        let augment = Augment::standard();
        Self {
            dataset,
            batch_size,
            seed,
            shuffle: true,
            augment,
            drop_last: false,
            prefetch: 2,
            placement: Placement::default(),
        }
    }

    /// For evaluation: every sample in the order of the set, without augmentation.
    pub fn eval(dataset: Arc<Dataset>, batch_size: usize) -> Self {
        Self { shuffle: false, augment: Augment::none(), ..Self::train(dataset, batch_size, 0) }
    }

    /// What must hold before any batch is made.
    fn check(&self) -> std::result::Result<(), Error> {
        let Dataset { name, images, labels, mean, std, .. } = &*self.dataset;
        let (h, w) = self.dataset.size;
        let (side, Augment { crop_pad, cutout, .. }) = (h.min(w), self.augment);
        let finite = mean.iter().all(|mean| mean.is_finite()) && std.iter().all(|std| *std > 0. && std.is_finite());
        let wrong = if self.batch_size == 0 {
            "batch_size is 0, expected at least 1".to_owned()
        } else if !finite {
            format!(
                "{name} has the mean {mean:?} and the deviation {std:?}, expected finite numbers, deviations above 0"
            )
        } else if side == 0 {
            format!("{name} has images of {h}·{w} pixels, expected at least 1·1")
        } else if crop_pad > side || cutout.is_some_and(|cutout| cutout > side) {
            format!("crop_pad is {crop_pad} and cutout {cutout:?} on images of {h}·{w}, expected at most their side")
        } else if self.prefetch > 1024 {
            format!("prefetch is {}, expected at most 1024 batches", self.prefetch)
        } else if images.len() != labels.len() * self.dataset.image_len() {
            format!("{name} has {} bytes of images, expected {} of {h}·{w}·3 each", images.len(), labels.len())
        } else if self.steps() == 0 {
            format!("{name} has {} images, too few for one batch of {}", labels.len(), self.batch_size)
        } else {
            return Ok(());
        };
        Err(Error::InvalidArgument(wrong))
    }

    /// What `share` has of the batches of epoch `epoch` from `step` on, each made on demand.
    fn batches(&self, epoch: usize, step: usize, share: Share) -> impl Iterator<Item = Result<Batch>> + Send + 'static {
        let loader = self.clone();
        let key = Key::new(self.seed);
        let order = match self.shuffle {
            true => order(self.dataset.len(), key.fold_name("shuffle").fold(epoch as u64)),
            false => (0..self.dataset.len()).collect(),
        };
        let normalise = Normalise::new(&self.dataset);
        (step..self.steps()).map(move |k| {
            let rest = &order[k * loader.batch_size..];
            let key = key.fold_name("batch").fold(epoch as u64).fold(k as u64);
            let b = loader.batch_size.min(rest.len());
            let own = share.range(b);
            let part = Part { before: own.start, after: b - own.end, ..Part::WHOLE };
            Ok(Batch { part, ..loader.batch(&rest[own], &normalise, epoch, key)? })
        })
    }

    /// The batch of the samples at `indices`.
    fn batch(&self, indices: &[usize], normalise: &Normalise, epoch: usize, key: Key) -> Result<Batch> {
        let Dataset { labels, classes, .. } = &*self.dataset;
        let augment = Key::new(self.seed).fold_name("augment").fold(epoch as u64);
        if let Some(&index) = indices.iter().find(|&&index| labels[index] as usize >= *classes) {
            return Err(self.dataset.unknown_label(index).into());
        }
        let key_of = |index: usize| augment.fold(index as u64);
        let targets: Vec<u32> = indices.iter().map(|&index| labels[index]).collect();
        let inputs = self.placement.images(&self.dataset, indices, &self.augment, normalise, key_of)?;
        Ok(Batch::new(inputs, Tensor::from_vec(targets, indices.len(), &self.placement.device())?, key))
    }
}

impl DataSource for Loader {
    fn steps(&self) -> usize {
        let n = self.dataset.len();
        match self.batch_size {
            0 => 0,
            b if self.drop_last => n / b,
            b => n.div_ceil(b),
        }
    }

    fn samples(&self) -> usize {
        self.dataset.len().min(self.steps() * self.batch_size)
    }

    fn epoch_from(&self, epoch: usize, step: usize) -> Batches<'_> {
        self.slices_from(epoch, step, Share::WHOLE)
    }

    fn slices_from(&self, epoch: usize, step: usize, share: Share) -> Batches<'_> {
        let failed = |error: candle_core::Error| -> Batches<'_> { Box::new(std::iter::once(Err(error))) };
        if let Err(error) = self.check() {
            return failed(error.into());
        }
        let batches = self.batches(epoch, step, share);
        if self.prefetch == 0 {
            return Box::new(batches);
        }
        match Prefetch::new(self.prefetch, batches) {
            Ok(ahead) => Box::new(ahead),
            Err(error) => failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::tests::counting;

    /// (inputs, targets, key) of each batch.
    type Plain = Vec<(Vec<f32>, Vec<u32>, Key)>;

    fn plain(batches: Batches<'_>) -> Result<Plain> {
        batches
            .map(|batch| {
                let Batch { inputs, targets, key, .. } = batch?;
                Ok((inputs.flatten_all()?.to_vec1()?, targets.to_vec1()?, key))
            })
            .collect()
    }

    fn train() -> Loader {
        let augment = Augment { crop_pad: 1, flip: true, cutout: Some(1) };
        Loader { augment, ..Loader::train(Arc::new(counting(50, 50)), 8, 3) }
    }

    #[test]
    fn an_epoch_holds_every_sample_once_and_the_last_batch_is_smaller() -> Result<()> {
        let loader = train();
        let epoch = plain(loader.epoch(0))?;
        assert_eq!(epoch.iter().map(|(_, targets, _)| targets.len()).collect::<Vec<_>>(), [8, 8, 8, 8, 8, 8, 2]);
        assert_eq!((loader.steps(), loader.samples()), (7, 50));
        let mut seen: Vec<u32> = epoch.into_iter().flat_map(|(_, targets, _)| targets).collect();
        assert_ne!(seen, (0..50).collect::<Vec<_>>());
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn drop_last_leaves_out_the_rest() -> Result<()> {
        let loader = Loader { drop_last: true, ..train() };
        assert_eq!((loader.steps(), loader.samples()), (6, 48));
        assert_eq!(plain(loader.epoch(0))?, plain(train().epoch(0))?[..6]);
        Ok(())
    }

    #[test]
    fn prefetching_changes_nothing() -> Result<()> {
        let expected = plain(Loader { prefetch: 0, ..train() }.epoch(4))?;
        for prefetch in [1, 2, 100] {
            assert_eq!(plain(Loader { prefetch, ..train() }.epoch(4))?, expected);
        }
        Ok(())
    }

    #[test]
    fn epochs_and_seeds_differ_and_repeat() -> Result<()> {
        let loader = train();
        assert_eq!(plain(loader.epoch(1))?, plain(train().epoch(1))?);
        for other in [plain(loader.epoch(2))?, plain(Loader { seed: 4, ..train() }.epoch(1))?] {
            for (batch, other) in plain(loader.epoch(1))?.iter().zip(&other) {
                assert!(batch.0 != other.0 && batch.1 != other.1 && batch.2 != other.2);
            }
        }
        Ok(())
    }

    #[test]
    fn an_epoch_resumed_at_any_step_is_the_rest_of_it() -> Result<()> {
        for prefetch in [0, 2] {
            let loader = Loader { prefetch, ..train() };
            let whole = plain(loader.epoch(1))?;
            for step in 0..=8 {
                assert_eq!(plain(loader.epoch_from(1, step))?, whole[step.min(7)..]);
            }
        }
        Ok(())
    }

    #[test]
    fn slices_are_those_of_the_batches() -> Result<()> {
        for prefetch in [0, 2] {
            let loader = Loader { prefetch, ..train() };
            for rank in 0..3 {
                let share = Share { rank, of: 3 };
                let cut = Box::new(loader.epoch_from(1, 2).map(|batch| batch?.slice(share)));
                assert_eq!(plain(loader.slices_from(1, 2, share))?, plain(cut)?);
                let parts = |batches: Batches<'_>| batches.map(|batch| Ok(batch?.part)).collect::<Result<Vec<_>>>();
                let cut = Box::new(loader.epoch_from(1, 2).map(|batch| batch?.slice(share)));
                assert_eq!(parts(loader.slices_from(1, 2, share))?, parts(cut)?);
            }
        }
        Ok(())
    }

    #[test]
    fn nothing_before_the_step_is_prepared() -> Result<()> {
        let mut set = counting(50, 50);
        set.labels[..16].fill(99); // each of the first two batches would be an error
        for prefetch in [0, 2] {
            let loader = Loader { prefetch, ..Loader::eval(Arc::new(set.clone()), 8) };
            assert_eq!(plain(loader.epoch_from(0, 2))?.len(), 5);
            let error = loader.epoch(0).next().unwrap().unwrap_err();
            assert!(matches!(Error::of(&error), Some(Error::UnknownLabel { label: 99, classes: 50, .. })), "{error}");
            let error = error.to_string();
            assert!(error.contains("counting: image 0 has label 99, expected below 50"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn augmentation_does_not_depend_on_the_batch_size() -> Result<()> {
        let images = |batch_size| -> Result<Vec<f32>> {
            Ok(plain(Loader { batch_size, ..train() }.epoch(0))?.into_iter().flat_map(|batch| batch.0).collect())
        };
        assert_eq!(images(8)?, images(50)?);
        Ok(())
    }

    #[test]
    fn evaluation_is_the_set_in_order_and_the_same_in_every_epoch() -> Result<()> {
        let loader = Loader::eval(Arc::new(counting(20, 4)), 6);
        let epoch = plain(loader.epoch(0))?;
        let inputs: Vec<f32> = epoch.iter().flat_map(|batch| batch.0.clone()).collect();
        let expected = |i: usize| (i as f32 / 255. - 0.5) / 0.25;
        assert_eq!(inputs, (0..20).flat_map(|i| [expected(i); 12]).collect::<Vec<_>>());
        let again = plain(loader.epoch(9))?;
        assert!(epoch.iter().zip(&again).all(|(a, b)| a.0 == b.0 && a.1 == b.1));
        Ok(())
    }

    #[test]
    fn what_cannot_be_loaded_is_an_error_that_says_why() {
        let first = |loader: Loader| {
            let error = loader.epoch(0).next().unwrap().unwrap_err();
            assert!(matches!(Error::of(&error), Some(Error::InvalidArgument(_))), "{error}");
            error.to_string()
        };
        assert!(first(Loader { batch_size: 0, ..train() }).contains("batch_size is 0"));
        assert!(first(Loader { batch_size: 51, drop_last: true, ..train() }).contains("too few for one batch of 51"));
        let mut short = counting(50, 50);
        short.images.pop();
        assert!(first(Loader::eval(Arc::new(short), 8)).contains("599 bytes"));
        for std in [[1., 0., 1.], [1., 1., f32::NAN]] {
            let set = Dataset { std, ..counting(50, 50) };
            assert!(first(Loader::eval(Arc::new(set), 8)).contains("deviations above 0"));
        }
    }

    #[test]
    fn an_epoch_left_early_ends_its_thread() {
        let loader = train();
        let mut epoch = loader.epoch(0);
        assert!(epoch.next().unwrap().is_ok());
        drop(epoch);
        assert_eq!(Arc::strong_count(&loader.dataset), 1, "the thread still holds the dataset");
    }
}
