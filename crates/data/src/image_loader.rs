//! The loader of pictures of any size: read, decoded and transformed on worker threads, in order.

mod broken;

pub use broken::BrokenPictures;

use crate::augment::Normalise;
use crate::in_order::InOrder;
use crate::transform::Bytes;
use crate::{Error, Images, Transform};
use candle_core::{Device, Result, Tensor, bail};
use msharp_core::{Batch, Batches, DataSource, Key, Part, Share};
use std::sync::Arc;
use std::thread::available_parallelism;

/// Pictures that may stay on disk, and how its epochs are cut into batches: the [`DataSource`] of [`Images`].
///
/// A [`Batch`] has inputs f32 `[b, S, S, 3]`, as [`transform`](ImageLoader::transform) makes them, and targets u32
/// `[b]`, both on [`device`](ImageLoader::device). All randomness is a pure function, as in [`Loader`](crate::Loader):
/// the order of epoch e of ([`seed`](ImageLoader::seed), e), the draws of a picture of (seed, e, its index), the
/// [`Key`] of batch k of (seed, e, k). Batches are the same to the bit for any number of workers. The loader has no
/// state but the list of broken pictures; an epoch begun at step k reads no picture of the steps before it.
///
/// A literal of public fields configures it: `ImageLoader { workers: 4, ..ImageLoader::train(images, t, 128, seed) }`.
///
/// # Memory
/// [`ahead_bytes`](ImageLoader::ahead_bytes) for pictures that are ready or in the making, S·S·3 bytes each; the bytes
/// and the numbers of one batch; and for each worker the file and the pixels of the picture that it decodes. Nothing
/// grows with the number of pictures but their order, 8 bytes each.
///
/// # Errors
/// The first item of an epoch is [`Error::InvalidArgument`] if a field is out of its range, or there is no batch at
/// all. A batch is [`Error::UnknownLabel`] if a label is not below the number of classes, and an error that names the
/// picture if one cannot be read or a worker panics; with several, the first in the order of the epoch. The batches
/// after it follow.
#[derive(Clone, Debug)]
pub struct ImageLoader {
    /// The pictures and labels, shared.
    pub images: Arc<dyn Images>,
    /// What happens to each picture.
    pub transform: Transform,
    /// b, the number of samples in a batch; at least 1.
    pub batch_size: usize,
    /// The seed of order, draws and keys.
    pub seed: u64,
    /// Draw a new order for every epoch; otherwise keep that of the images.
    pub shuffle: bool,
    /// Leave out the last samples of an epoch where they do not fill a batch; otherwise the last batch is smaller.
    pub drop_last: bool,
    /// The number of threads that read, decode and transform, at most 1024; with 0 the calling thread does.
    pub workers: usize,
    /// How many bytes of pictures the workers keep ready or in the making, S·S·3 each; at least one picture is.
    pub ahead_bytes: usize,
    /// Leave out pictures that are [`Error::BrokenImage`], and list them here; where it is `None`, such a picture is an
    /// error. Other errors, as of a disk that fails, stay errors.
    ///
    /// The batch of a broken picture has fewer samples. No other picture takes its place, so that all others are where
    /// they were, none counts twice, and a mean over the samples, as an accuracy, has the denominator that it states. A
    /// batch without any picture is [`Error::NoPicture`].
    pub skip_broken: Option<Arc<BrokenPictures>>,
    /// Where batches are made. A GPU gets bytes, and normalises and erases them.
    pub device: Device,
}

impl ImageLoader {
    /// For training: shuffled, every picture in every epoch, one worker for each core, 64 MiB ahead, on the CPU.
    pub fn train(images: Arc<dyn Images>, transform: Transform, batch_size: usize, seed: u64) -> Self {
        Self {
            images,
            transform,
            batch_size,
            seed,
            shuffle: true,
            drop_last: false,
            workers: available_parallelism().map_or(1, usize::from),
            ahead_bytes: 64 << 20,
            skip_broken: None,
            device: Device::Cpu,
        }
    }

    /// For evaluation: every picture in the order of the images.
    pub fn eval(images: Arc<dyn Images>, transform: Transform, batch_size: usize) -> Self {
        Self { shuffle: false, ..Self::train(images, transform, batch_size, 0) }
    }

    /// What must hold before any picture is read.
    fn check(&self) -> std::result::Result<(), Error> {
        self.transform.check()?;
        let n = self.images.labels().len();
        let wrong = if self.batch_size == 0 {
            "batch_size is 0, expected at least 1".to_owned()
        } else if self.workers > 1024 {
            format!("workers is {}, expected at most 1024", self.workers)
        } else if self.steps() == 0 {
            format!("{} has {n} pictures, too few for one batch of {}", self.images.name(), self.batch_size)
        } else {
            return Ok(());
        };
        Err(Error::InvalidArgument(wrong))
    }

    /// What `share` has of the batches of epoch `epoch` from `step` on; no other picture is read.
    fn batches(&self, epoch: usize, step: usize, share: Share) -> Result<Batches<'_>> {
        self.check()?;
        let key = Key::new(self.seed);
        let order: Arc<[usize]> = match self.shuffle {
            true => self.images.order(key.fold_name("shuffle").fold(epoch as u64)).into(),
            false => (0..self.images.labels().len()).collect(),
        };
        // The places in the order of each step's own pictures, and how many others are before and after them.
        let slices = (step..self.steps()).map(move |k| {
            let (first, b) =
                (k * self.batch_size, self.batch_size.min(self.images.labels().len() - k * self.batch_size));
            let own = share.range(b);
            let part = Part { before: own.start, after: b - own.end, ..Part::WHOLE };
            (k, first + own.start..first + own.end, part)
        });
        let places: Arc<[usize]> = slices.clone().flat_map(|(_, own, _)| own).collect();
        let count = places.len();
        let make = {
            let (images, transform, order) = (self.images.clone(), self.transform.clone(), order.clone());
            let draws = key.fold_name("augment").fold(epoch as u64);
            move |i: usize| Ok(sample(&*images, &transform, order[places[i]], draws))
        };
        let mut samples: Box<dyn Iterator<Item = Result<Sample>> + Send> = match self.workers {
            0 => Box::new((0..count).map(make)),
            workers => Box::new(InOrder::new(workers, (self.ahead_bytes / self.transform.len()).max(1), count, make)?),
        };
        let normalise = Normalise::of(self.transform.mean, self.transform.std);
        Ok(Box::new(slices.map(move |(k, own, part)| {
            let (bytes, targets) = self.take(&order[own], k, &mut samples)?;
            let targets = Tensor::from_vec(targets, bytes.len(), &self.device)?;
            let key = key.fold_name("batch").fold(epoch as u64).fold(k as u64);
            Ok(Batch { part, ..Batch::new(self.inputs(&bytes, &normalise)?, targets, key) })
        })))
    }

    /// Takes the samples of the pictures at `indices`, those of step `step`: what can be read, and the labels.
    fn take(
        &self,
        indices: &[usize],
        step: usize,
        samples: &mut dyn Iterator<Item = Result<Sample>>,
    ) -> Result<(Vec<Bytes>, Vec<u32>)> {
        let (images, mut bytes, mut targets) = (&*self.images, Vec::new(), Vec::new());
        let (mut wrong, mut broken) = (None, None);
        // To the end also after an error: the next batch begins with its own samples.
        for (&index, sample) in indices.iter().zip(samples) {
            let (label, classes) = (images.labels()[index], images.classes());
            if label as usize >= classes {
                let which = format!("{} has label", images.origin(index));
                wrong = wrong.or(Some(Error::UnknownLabel { which, label: label.into(), classes }.into()));
            }
            match (sample, &self.skip_broken) {
                (Ok(Ok(sample)), _) => {
                    bytes.push(sample);
                    targets.push(label);
                }
                (Ok(Err(ref error)), Some(list)) if let Some(why @ Error::BrokenImage { .. }) = Error::of(error) => {
                    broken = broken.or(Some(why.to_string()));
                    list.insert(images.origin(index), why.to_string());
                }
                (Ok(Err(error)), _) => wrong = wrong.or(Some(error)),
                (Err(panic), _) => wrong = wrong.or(Some(panic.context(images.origin(index)))),
            }
        }
        match (wrong, broken) {
            (Some(error), _) => Err(error),
            (None, Some(first)) if bytes.is_empty() => Err(Error::NoPicture { step, first }.into()),
            _ => Ok((bytes, targets)),
        }
    }

    /// The inputs of a batch, f32 `[b, S, S, 3]`.
    fn inputs(&self, samples: &[Bytes], normalise: &Normalise) -> Result<Tensor> {
        let size = self.transform.size;
        let shape = (samples.len(), size, size, 3);
        match &self.device {
            Device::Cpu => {
                let mut values = Vec::with_capacity(samples.len() * self.transform.len());
                samples.iter().for_each(|sample| sample.append(normalise, &mut values));
                Tensor::from_vec(values, shape, &self.device)
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => {
                let bytes: Vec<u8> = samples.iter().flat_map(|sample| &sample.picture.pixels).copied().collect();
                let placements: Vec<_> =
                    samples.iter().zip(0..).map(|(sample, index)| sample.placement(index)).collect();
                let images = Tensor::from_vec(bytes, shape, &self.device)?;
                msharp_ops::place_images(&images, &placements, &normalise.table(&self.device)?, 0)
            }
            other => bail!("batches on {other:?} need the feature `cuda`"),
        }
    }
}

/// A transformed picture, or why it cannot be read.
type Sample = Result<Bytes>;

/// Reads and transforms picture `index`.
fn sample(images: &dyn Images, transform: &Transform, index: usize, draws: Key) -> Sample {
    let picture = images.picture(index)?;
    let bytes = transform.bytes(&picture, draws.fold(index as u64));
    bytes.map_err(|error| candle_core::Error::from(error).context(images.origin(index)))
}

impl DataSource for ImageLoader {
    fn steps(&self) -> usize {
        let n = self.images.labels().len();
        match self.batch_size {
            0 => 0,
            b if self.drop_last => n / b,
            b => n.div_ceil(b),
        }
    }

    fn samples(&self) -> usize {
        self.images.labels().len().min(self.steps() * self.batch_size)
    }

    fn epoch_from(&self, epoch: usize, step: usize) -> Batches<'_> {
        self.slices_from(epoch, step, Share::WHOLE)
    }

    fn slices_from(&self, epoch: usize, step: usize, share: Share) -> Batches<'_> {
        self.batches(epoch, step, share).unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
    }
}

#[cfg(test)]
mod tests;
