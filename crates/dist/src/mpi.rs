//! Processes that MPI connects: started by `mpirun` or `srun`.

use crate::{Engine, Launch, Ranks};
use candle_core::{Result, bail};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::point_to_point::send_receive_into;
use mpi::topology::{Communicator as _, SimpleCommunicator};

/// MPI, from its start to its end.
///
/// One thread at a time may use it, and any thread. Where this is dropped while its thread panics, all ranks end: MPI
/// would wait for this one for ever.
pub struct World {
    _universe: Universe,
    ranks: Ranks<Mpi>,
}

/// All processes of one `mpirun` or `srun`, while a [`World`] exists. Of n processes, each sends n − 1 messages in an
/// exchange, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Mpi {
    rank: usize,
    size: usize,
}

impl World {
    /// Starts MPI in this process, which `launch` describes.
    ///
    /// # Errors
    /// If MPI was started before, does not serve threads, or counts other processes than the launcher.
    pub fn start(launch: &Launch) -> Result<Self> {
        let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Serialized) else {
            bail!("MPI was started before in this process; expected once")
        };
        if threading < Threading::Serialized {
            bail!("this MPI provides threads as {threading:?}; expected at least {:?}", Threading::Serialized)
        }
        let world = SimpleCommunicator::world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        if (rank, size) != (launch.rank, launch.size) {
            bail!(
                "{} is {}, and for MPI this is rank {rank} of {size}; expected a start by the mpirun of the MPI that \
                 this program is built with, or by srun --mpi=pmix",
                launch.variable,
                launch.size
            )
        }
        Ok(Self { _universe: universe, ranks: Ranks(Mpi { rank, size }) })
    }

    /// The communicator.
    pub fn ranks(&self) -> Ranks<Mpi> {
        self.ranks
    }

    /// What moves its bytes.
    pub fn engine(&self) -> &Mpi {
        &self.ranks.0
    }

    /// Ends all ranks at once, with this status.
    pub fn abort(&self, status: i32) -> ! {
        SimpleCommunicator::world().abort(status)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abort(101);
        }
    }
}

impl Engine for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, to: &[&[u8]], from: &mut [&mut [u8]]) -> Result<()> {
        let world = SimpleCommunicator::world();
        let at = |rank: usize| world.process_at_rank(rank as i32);
        // In pairs: in step k each rank sends to the k-th after it, and receives from the k-th before it.
        for step in 1..self.size {
            let [after, before] = [step, self.size - step].map(|step| (self.rank + step) % self.size);
            let length = to[after].len().max(from[before].len());
            if i32::try_from(length).is_err() {
                bail!("{length} bytes for one rank; MPI takes at most {} at once, expected more ranks", i32::MAX)
            }
            send_receive_into(to[after], &at(after), &mut *from[before], &at(before));
        }
        Ok(())
    }
}
