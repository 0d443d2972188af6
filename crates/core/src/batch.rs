//! A batch: inputs, targets, the key of its randomness and when it comes.

use crate::{Key, Moment};
use candle_core::{Result, Tensor};

/// What an objective is evaluated on.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[b, …]`; images are channels-last, `[b, h, w, c]`.
    pub inputs: Tensor,
    /// `[b]`, or whatever the objective expects with `b` in front.
    pub targets: Tensor,
    /// (seed, epoch, step), folded with the index of the micro-batch. Probes and dropout are functions of it.
    pub key: Key,
    /// Where training stands; [`Moment::default`] unless a trainer says.
    pub moment: Moment,
}

impl Batch {
    /// A batch at the default moment.
    pub fn new(inputs: Tensor, targets: Tensor, key: Key) -> Self {
        Self { inputs, targets, key, moment: Moment::default() }
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

    /// The samples from `start` on, `len` of them, under `key`. No copy.
    pub fn narrow(&self, start: usize, len: usize, key: Key) -> Result<Batch> {
        let (inputs, targets) = (self.inputs.narrow(0, start, len)?, self.targets.narrow(0, start, len)?);
        Ok(Batch { inputs, targets, key, moment: self.moment })
    }

    /// Micro-batches of `size` samples in order, the last one shorter where `size` does not divide `b`.
    /// Micro-batch j has the key `self.key.fold(j)`; a batch that is one micro-batch is handed back as it is.
    ///
    /// # Panics
    /// If `size` is 0.
    #[track_caller]
    pub fn chunks(&self, size: usize) -> Result<Vec<Batch>> {
        assert!(size > 0, "a micro-batch needs at least one sample, its size is 0");
        let b = self.len();
        if size >= b {
            return Ok(vec![self.clone()]);
        }
        (0..b.div_ceil(size)).map(|j| self.narrow(j * size, size.min(b - j * size), self.key.fold(j as u64))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Result};

    #[test]
    fn chunks_cover_the_batch_and_differ_in_key() -> Result<()> {
        let inputs = Tensor::arange(0f32, 7., &Device::Cpu)?.reshape((7, 1))?;
        let batch = Batch::new(inputs.clone(), inputs, Key::new(0));
        let chunks = batch.chunks(3)?;
        assert_eq!(chunks.iter().map(Batch::len).collect::<Vec<_>>(), [3, 3, 1]);
        assert_eq!(chunks[2].inputs.flatten_all()?.to_vec1::<f32>()?, [6.]);
        assert_ne!(chunks[0].key, chunks[1].key);
        assert_eq!(batch.chunks(7)?[0].key, batch.key);
        Ok(())
    }
}
