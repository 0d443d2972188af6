//! The micro-batches of a batch: runs of samples.

use candle_core::Tensor;
use std::ops::Range;

/// The samples of an activation: its first dimension, or one where there is no other.
pub(crate) fn samples(x: &Tensor) -> usize {
    if x.rank() > 1 { x.dims()[0] } else { 1 }
}

/// `samples` in micro-batches of `size` in order, the last one shorter where `size` does not divide them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Groups {
    pub(crate) samples: usize,
    pub(crate) size: usize,
}

impl Groups {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.samples.div_ceil(self.size)
    }

    /// The samples of micro-batch j.
    pub(crate) fn of(&self, j: usize) -> Range<usize> {
        j * self.size..self.samples.min((j + 1) * self.size)
    }

    /// Every micro-batch's samples.
    pub(crate) fn all(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.count()).map(move |j| self.of(j))
    }

    /// The sums over each micro-batch of what its samples have, `[samples][width]`.
    pub(crate) fn sums<R: AsRef<[f64]>>(self, of_samples: &[R]) -> Vec<Vec<f64>> {
        let sum = |range: Range<usize>| {
            let (first, others) = of_samples[range].split_first()?;
            let mut sum = first.as_ref().to_vec();
            for other in others {
                sum.iter_mut().zip(other.as_ref()).for_each(|(sum, term)| *sum += term);
            }
            Some(sum)
        };
        self.all().filter_map(sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_micro_batch_has_the_rest() {
        let groups = Groups { samples: 7, size: 3 };
        assert_eq!(groups.all().collect::<Vec<_>>(), [0..3, 3..6, 6..7]);
        let samples: Vec<[f64; 2]> = (0..7).map(|i| [f64::from(i), 1.]).collect();
        assert_eq!(groups.sums(&samples), [vec![3., 3.], vec![12., 3.], vec![6., 1.]]);
        assert_eq!(Groups { samples: 7, size: 9 }.all().collect::<Vec<_>>(), vec![0..7]);
    }
}
