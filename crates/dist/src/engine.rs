//! What moves bytes between ranks: all that a communicator needs of MPI, of threads, or of anything else.

use candle_core::Result;

/// Several ranks, each of which can send to each.
pub trait Engine {
    /// Which rank this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are, at least 1.
    fn size(&self) -> usize;

    /// Bytes of a vector that [`Ranks`](crate::Ranks) send to one rank at once, at most: few enough for the caches of a
    /// processor, and enough that the time of a message does not count.
    fn message(&self) -> usize {
        256 << 10
    }

    /// Sends `to[k]` to each other rank k, and fills `from[k]` with what that sends to this one. All ranks call it at
    /// the same time; `to[k]` here is as long as `from` of this rank is there. The entries of this rank itself are left
    /// as they are.
    ///
    /// # Errors
    /// If a rank has ended; and after an error, again: what others have sent for the exchange that failed is not of the
    /// next.
    fn exchange(&self, to: &[&[u8]], from: &mut [&mut [u8]]) -> Result<()>;

    /// Which rank has ended, and why: for whoever has seen something else fail that connects the ranks. It may wait for
    /// a moment to hear of it. `None` if none has, or the engine does not know.
    fn ended(&self) -> Option<String> {
        None
    }
}

impl<E: Engine + ?Sized> Engine for &E {
    fn rank(&self) -> usize {
        (**self).rank()
    }

    fn size(&self) -> usize {
        (**self).size()
    }

    fn message(&self) -> usize {
        (**self).message()
    }

    fn exchange(&self, to: &[&[u8]], from: &mut [&mut [u8]]) -> Result<()> {
        (**self).exchange(to, from)
    }

    fn ended(&self) -> Option<String> {
        (**self).ended()
    }
}
