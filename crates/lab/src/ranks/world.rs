//! What connects the ranks of a command: MPI, or TCP.

use crate::{program, screen};
use anyhow::{Result, bail};
use msharp_dist::{Engine, Launch, Tcp};
use std::thread;

/// Ends this process with the status 1. Where NCCL connects GPUs, a kernel may wait for a rank that has ended, and the
/// usual end of a process for that kernel.
fn end() -> ! {
    #[cfg(feature = "nccl")]
    msharp_ops::exit_at_once(1);
    #[cfg(not(feature = "nccl"))]
    std::process::exit(1)
}

/// The processes that a launcher has started, connected.
pub enum World {
    /// By streams between each two. When one ends, the others end with the status 1, and one of them says who it was.
    Tcp(Tcp),
    /// By the MPI of their launcher.
    #[cfg(feature = "mpi")]
    Mpi(msharp_dist::World),
}

impl World {
    /// Meets the others. Processes that are started as by torchrun are connected by TCP. Of other launchers, they are
    /// connected by MPI if this program is built with it, else by TCP if MASTER_ADDR and MASTER_PORT are set.
    ///
    /// # Errors
    /// If none of these is possible, or as they say.
    pub fn start(launch: &Launch) -> Result<Self> {
        #[cfg(feature = "mpi")]
        if !launch.is_torchrun() {
            return Ok(Self::Mpi(msharp_dist::World::start(launch)?));
        }
        if launch.place.is_none() {
            let or = match launch.is_torchrun() {
                true => "or one process",
                false => "a program that is built with --features mpi, or one process",
            };
            bail!(
                "{} is {}, and nothing connects these processes; expected MASTER_ADDR and MASTER_PORT, where they meet over \
                 TCP, {or}",
                launch.variable,
                launch.size
            )
        }
        let tcp = Tcp::start(launch, &|line| screen::fail(line))?;
        tcp.on_end(|ended, reports| {
            if reports {
                screen::fail(format!("error: {ended}"));
            }
            end()
        })?;
        Ok(Self::Tcp(tcp))
    }

    /// What moves bytes between them.
    pub fn engine(&self) -> &(dyn Engine + Sync) {
        match self {
            Self::Tcp(tcp) => tcp,
            #[cfg(feature = "mpi")]
            Self::Mpi(world) => world.engine(),
        }
    }

    /// Says why this rank fails, and ends all; without a word if it fails because another has ended.
    pub fn fail(&self, error: &anyhow::Error) -> ! {
        let reason = program::one_line(&format!("{error:#}"));
        let say = || screen::fail(format!("error on rank {}: {reason}", self.engine().rank()));
        match self {
            Self::Tcp(tcp) if tcp.abort(&reason) => {
                say();
                end()
            }
            Self::Tcp(_) => loop {
                thread::park(); // the thread of `on_end` ends this process
            },
            #[cfg(feature = "mpi")]
            Self::Mpi(world) => {
                say();
                world.abort(1)
            }
        }
    }
}
