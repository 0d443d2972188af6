//! Where batches come from.

use crate::{Batch, Share};
use candle_core::Result;

/// An epoch's batches, in order.
pub type Batches<'a> = Box<dyn Iterator<Item = Result<Batch>> + 'a>;

/// A set of samples, cut into batches anew in every epoch.
///
/// What [`epoch_from`](DataSource::epoch_from) yields is a pure function of the source, the epoch and the step: that is
/// what makes a resumed run equal to an uninterrupted one.
pub trait DataSource {
    /// Batches in one epoch.
    fn steps(&self) -> usize;

    /// Samples in one epoch.
    fn samples(&self) -> usize;

    /// The batches of `epoch` from `step` on; those before it are not prepared.
    fn epoch_from(&self, epoch: usize, step: usize) -> Batches<'_>;

    /// All batches of `epoch`.
    fn epoch(&self, epoch: usize) -> Batches<'_> {
        self.epoch_from(epoch, 0)
    }

    /// What `share` has of each of these batches, as [`Batch::slice`] cuts it. Override it to prepare no other sample.
    fn slices_from(&self, epoch: usize, step: usize, share: Share) -> Batches<'_> {
        Box::new(self.epoch_from(epoch, step).map(move |batch| batch?.slice(share)))
    }
}

impl<D: DataSource + ?Sized> DataSource for std::sync::Arc<D> {
    fn steps(&self) -> usize {
        (**self).steps()
    }

    fn samples(&self) -> usize {
        (**self).samples()
    }

    fn epoch_from(&self, epoch: usize, step: usize) -> Batches<'_> {
        (**self).epoch_from(epoch, step)
    }

    fn slices_from(&self, epoch: usize, step: usize, share: Share) -> Batches<'_> {
        (**self).slices_from(epoch, step, share)
    }
}

impl<D: DataSource + ?Sized> DataSource for Box<D> {
    fn steps(&self) -> usize {
        (**self).steps()
    }

    fn samples(&self) -> usize {
        (**self).samples()
    }

    fn epoch_from(&self, epoch: usize, step: usize) -> Batches<'_> {
        (**self).epoch_from(epoch, step)
    }

    fn slices_from(&self, epoch: usize, step: usize, share: Share) -> Batches<'_> {
        (**self).slices_from(epoch, step, share)
    }
}
