//! A batch: inputs, targets, the key of its randomness and its place in the run.

use crate::{Error, Key, Share, TrainingPoint};
use candle_core::{Result, Tensor, bail};

/// What an objective is evaluated on.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[b, …]`; images are channels-last, `[b, h, w, c]`.
    pub inputs: Tensor,
    /// `[b]`, or whatever the objective expects with `b` in front.
    pub targets: Tensor,
    /// (seed, epoch, step), folded with the index of the micro-batch. Probes and dropout are functions of it.
    pub key: Key,
    /// How far training has come, where a trainer has said it.
    pub training_point: Option<TrainingPoint>,
    /// Which part of an optimizer step's batch it is.
    pub part: Part,
}

/// Which part of the batch of an optimizer step a batch is: what counts steps counts once for all parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Whether the step begins with it.
    pub first: bool,
    /// Whether the step ends with it.
    pub last: bool,
    /// Its share of this rank's samples of the step.
    pub share: f64,
    /// How many samples of the batch with this key are on the ranks before this one.
    pub before: usize,
    /// How many are on those after it.
    pub after: usize,
}

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { first: true, last: true, share: 1., before: 0, after: 0 };
}

impl Batch {
    /// A batch of its own, without a training point.
    pub fn new(inputs: Tensor, targets: Tensor, key: Key) -> Self {
        Self { inputs, targets, key, training_point: None, part: Part::WHOLE }
    }

    /// The same batch at a point of a training run, as schedules need it.
    pub fn at(self, point: TrainingPoint) -> Self {
        Self { training_point: Some(point), ..self }
    }

    /// How far training has come.
    ///
    /// # Errors
    /// [`Error::NoTrainingPoint`], if no trainer has said it.
    pub fn training_point(&self) -> Result<TrainingPoint> {
        Ok(self.training_point.ok_or(Error::NoTrainingPoint)?)
    }

    /// `b`, the number of samples.
    #[track_caller]
    pub fn len(&self) -> usize {
        *self.inputs.dims().first().expect("a batch has the sample dimension in front")
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// # Errors
    /// If there is no sample, for which no mean, no norm and no weight is defined; or not as many targets.
    pub fn check(&self) -> Result<()> {
        if self.inputs.rank() == 0 {
            bail!("the inputs of a batch are a single number; expected the samples in the first dimension")
        }
        if self.is_empty() {
            return Err(Error::EmptyBatch { dims: self.inputs.dims().to_vec() }.into());
        }
        if self.targets.dims().first() != Some(&self.len()) {
            bail!("{} samples have targets {:?}; expected as many in front", self.len(), self.targets.dims())
        }
        Ok(())
    }

    /// The samples from `start` on, `len` of them, under `key`. No copy. It stands for the same part of a step as this
    /// batch does: micro-batches of a step are made by [`chunks`](Batch::chunks).
    pub fn narrow(&self, start: usize, len: usize, key: Key) -> Result<Batch> {
        let (inputs, targets) = (self.inputs.narrow(0, start, len)?, self.targets.narrow(0, start, len)?);
        Ok(Batch { inputs, targets, key, ..*self })
    }

    /// The samples that `share` has of this batch: one process of several takes them. The key stays that of the whole
    /// batch. No copy.
    pub fn slice(&self, share: Share) -> Result<Batch> {
        let (b, own) = (self.len(), share.range(self.len()));
        let (before, after) = (self.part.before + own.start, self.part.after + b - own.end);
        let part = Part { before, after, ..self.part };
        Ok(Batch { part, ..self.narrow(own.start, own.len(), self.key)? })
    }

    /// Micro-batches of `size` samples in order, the last one shorter where `size` does not divide `b`.
    /// Micro-batch j has the key `self.key.fold(j)`; a batch that is one micro-batch is handed back as it is.
    ///
    /// Those of a [slice](Batch::slice) that begins at a multiple of `size` are micro-batches of the whole batch, under
    /// their keys.
    ///
    /// # Errors
    /// If the batch is empty.
    ///
    /// # Panics
    /// If `size` is 0.
    #[track_caller]
    pub fn chunks(&self, size: usize) -> Result<Vec<Batch>> {
        assert!(size > 0, "a micro-batch needs at least one sample, its size is 0");
        self.check()?;
        let (b, whole) = (self.len(), self.part);
        if size >= b && whole.before == 0 && whole.after == 0 {
            return Ok(vec![self.clone()]);
        }
        let (count, earlier) = (b.div_ceil(size), whole.before / size);
        let chunk = |j: usize| {
            let len = size.min(b - j * size);
            let part = Part {
                first: whole.first && j == 0,
                last: whole.last && j + 1 == count,
                share: whole.share * len as f64 / b as f64,
                before: 0,
                after: 0,
            };
            Ok(Batch { part, ..self.narrow(j * size, len, self.key.fold((earlier + j) as u64))? })
        };
        (0..count).map(chunk).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Result};

    fn seven() -> Result<Batch> {
        let inputs = Tensor::arange(0f32, 7., &Device::Cpu)?.reshape((7, 1))?;
        Ok(Batch::new(inputs.clone(), inputs, Key::new(0)))
    }

    #[test]
    fn chunks_cover_the_batch_and_differ_in_key() -> Result<()> {
        let batch = seven()?;
        let chunks = batch.chunks(3)?;
        assert_eq!(chunks.iter().map(Batch::len).collect::<Vec<_>>(), [3, 3, 1]);
        assert_eq!(chunks[2].inputs.flatten_all()?.to_vec1::<f32>()?, [6.]);
        assert_ne!(chunks[0].key, chunks[1].key);
        assert_eq!(batch.chunks(7)?[0].key, batch.key);
        Ok(())
    }

    #[test]
    fn slices_are_cut_into_the_chunks_of_the_whole() -> Result<()> {
        let batch = seven()?;
        let seen = |batch: &Batch| Ok((batch.inputs.flatten_all()?.to_vec1::<f32>()?, batch.key));
        let expected: Vec<_> = batch.chunks(2)?.iter().map(seen).collect::<Result<_>>()?;
        let slices: Vec<Batch> = (0..2).map(|rank| batch.slice(Share { rank, of: 2 })).collect::<Result<_>>()?;
        assert_eq!(slices.iter().map(Batch::len).collect::<Vec<_>>(), [4, 3]);
        assert!(slices.iter().all(|slice| slice.key == batch.key && slice.part != Part::WHOLE));
        let found = slices.iter().map(|slice| slice.chunks(2)).collect::<Result<Vec<_>>>()?.concat();
        assert_eq!(found.iter().map(seen).collect::<Result<Vec<_>>>()?, expected);
        // A slice that is one micro-batch of the whole has the key of that.
        assert_eq!(seen(&slices[1].chunks(4)?[0])?, seen(&batch.chunks(4)?[1])?);
        assert_eq!(batch.slice(Share::WHOLE)?.part, Part::WHOLE);
        assert!(batch.slice(Share { rank: 7, of: 8 })?.is_empty());
        Ok(())
    }

    #[test]
    fn one_chunk_begins_a_step_and_one_ends_it_also_where_chunks_are_cut_again() -> Result<()> {
        let ends = |chunks: &[Batch]| chunks.iter().map(|c| (c.part.first, c.part.last)).collect::<Vec<_>>();
        let chunks = seven()?.chunks(3)?;
        assert_eq!(ends(&chunks), [(true, false), (false, false), (false, true)]);
        assert_eq!(ends(&seven()?.chunks(9)?), [(true, true)]);
        let nested: Vec<Batch> = chunks.iter().map(|c| c.chunks(2)).collect::<Result<Vec<_>>>()?.concat();
        assert_eq!(ends(&nested), [(true, false), (false, false), (false, false), (false, false), (false, true)]);
        assert!((nested.iter().map(|c| c.part.share).sum::<f64>() - 1.).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn a_batch_without_samples_says_so() -> Result<()> {
        let nothing = Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?;
        let batch = Batch::new(nothing.clone(), nothing, Key::new(0));
        for error in [batch.check().unwrap_err(), batch.chunks(2).unwrap_err()] {
            assert!(error.to_string().contains("the batch is empty (inputs [0, 3])"), "{error}");
        }
        Ok(())
    }
}
