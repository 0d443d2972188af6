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

    /// Sends part k of `parts` to rank k, and returns what each rank sent to this one, in the order of the ranks.
    /// `parts` is [`size`](Engine::size) parts of one length.
    fn all_to_all(&self, parts: &[u8]) -> Result<Vec<u8>>;

    /// The bytes of every rank, in the order of the ranks.
    fn all_gather(&self, mine: &[u8]) -> Result<Vec<u8>>;
}
