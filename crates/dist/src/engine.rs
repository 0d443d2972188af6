//! What moves bytes between ranks: all that a communicator needs of MPI, of threads, or of anything else.

use candle_core::Result;

/// Two collective operations. All ranks call the same one at the same time, with as many bytes.
///
/// # Errors
/// If a rank has ended.
pub trait Engine {
    /// Which rank this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are, at least 1.
    fn size(&self) -> usize;

    /// Bytes of a vector that [`Ranks`](crate::Ranks) send at once, at most: few enough for the caches of a processor,
    /// and enough that the time of a message does not count.
    fn piece(&self) -> usize {
        1 << 20
    }

    /// Sends part k of `parts` to rank k, and puts what each rank sent to this one into `received`, in the order of the
    /// ranks. Both are [`size`](Engine::size) parts of one length.
    fn all_to_all(&self, parts: &[u8], received: &mut [u8]) -> Result<()>;

    /// Puts the bytes of every rank into `all`, in the order of the ranks.
    fn all_gather(&self, mine: &[u8], all: &mut [u8]) -> Result<()>;
}

impl<E: Engine + ?Sized> Engine for &E {
    fn rank(&self) -> usize {
        (**self).rank()
    }

    fn size(&self) -> usize {
        (**self).size()
    }

    fn piece(&self) -> usize {
        (**self).piece()
    }

    fn all_to_all(&self, parts: &[u8], received: &mut [u8]) -> Result<()> {
        (**self).all_to_all(parts, received)
    }

    fn all_gather(&self, mine: &[u8], all: &mut [u8]) -> Result<()> {
        (**self).all_gather(mine, all)
    }
}
