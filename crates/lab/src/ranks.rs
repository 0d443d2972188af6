//! The processes of a run: one, or the ranks that `torchrun`, `mpirun` or `srun` has started.

mod meeting;
mod settings;
mod world;

pub use meeting::{Meeting, program};
pub use settings::{check, check_sync_batch_norm, with_local_perturbation};
pub use world::World;

use crate::config::{DeviceName, device};
use crate::screen;
use anyhow::{Result, bail};
use candle_core::Device;
use meeting::disagreement;
use msharp_core::{Alone, Communicator, SyncBatchNorm};
use msharp_dist::Launch;
use std::fmt::{self, Display};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// A communicator that the computing threads may use.
type Shared<'a> = dyn Communicator + Sync + 'a;

const THROUGH_THE_HOST: &str = "gradients go from GPU to GPU through the host: this program was built without the \
                                feature nccl, with which they go there directly";

/// What connects the GPUs of all ranks.
type Connects<'a> = dyn Fn(&Device) -> candle_core::Result<()> + Sync + 'a;

/// The ranks of a command, until and after they have met.
pub struct Ranks<'a> {
    all: &'a Shared<'a>,
    connects: Option<&'a Connects<'a>>,
    synced: SyncBatchNorm<&'a Shared<'a>>,
    syncs_batch_norm: AtomicBool,
    met: AtomicBool,
}

/// An error that all ranks know of: rank 0 reports it.
#[derive(Clone, Debug)]
pub struct Agreed(pub String);

impl Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Agreed {}

/// Runs `command` as this process was started: alone, or as one of several ranks, of which rank 0 prints. An error of
/// one rank is printed with its number, and ends all.
///
/// # Errors
/// Those of `command`; if the variables of a launcher contradict each other, or this program cannot serve it.
pub fn run<T>(command: impl FnOnce(&Ranks) -> Result<T>) -> Result<T> {
    match Launch::from_env()? {
        Some(launch) if launch.size > 1 => several(&launch, command),
        _ => command(&Ranks::of(&Alone)),
    }
}

/// # Errors
/// If this is one of several processes that a launcher has started: `command` is for one.
pub fn refuse(command: &str) -> Result<()> {
    match Launch::from_env()? {
        Some(launch) if launch.size > 1 => {
            bail!("{command} is for one process, and {} is {}; expected no launcher", launch.variable, launch.size)
        }
        _ => Ok(()),
    }
}

fn several<T>(launch: &Launch, command: impl FnOnce(&Ranks) -> Result<T>) -> Result<T> {
    if launch.rank > 0 {
        screen::silence();
    }
    let world = World::start(launch)?;
    device::of_rank(launch);
    #[cfg(feature = "nccl")]
    let all = msharp_dist::Nccl::new(world.engine());
    #[cfg(feature = "nccl")]
    let connects = |device: &Device| all.connect(device);
    #[cfg(not(feature = "nccl"))]
    let all = msharp_dist::Ranks(world.engine());
    let ranks = Ranks::of(&all);
    #[cfg(feature = "nccl")]
    let ranks = Ranks { connects: Some(&connects), ..ranks };
    let error = match command(&ranks) {
        Ok(value) => return Ok(value),
        Err(error) if error.is::<Agreed>() || ranks.met.load(Ordering::Relaxed) => error,
        Err(error) => ranks.stay_away(error),
    };
    if error.is::<Agreed>() {
        // While all ranks are there: launchers end the others as soon as one has failed.
        screen::say(crate::program::told(&error));
        screen::silence();
        return Err(error);
    }
    world.fail(&error)
}

impl Ranks<'static> {
    /// One process.
    pub fn alone() -> Self {
        Ranks::of(&Alone)
    }
}

impl<'a> Ranks<'a> {
    /// Those of a communicator.
    pub fn of(all: &'a Shared<'a>) -> Self {
        let no = || AtomicBool::new(false);
        Self { all, connects: None, synced: SyncBatchNorm(all), syncs_batch_norm: no(), met: no() }
    }

    /// From now on batch normalisation in training is over the samples of all.
    pub fn sync_batch_norm(&self) {
        self.syncs_batch_norm.store(true, Ordering::Relaxed);
    }

    /// Whether batch normalisation in training is over the samples of all.
    pub fn syncs_batch_norm(&self) -> bool {
        self.syncs_batch_norm.load(Ordering::Relaxed)
    }

    /// The communicator of training.
    pub fn training(&self) -> &(dyn Communicator + '_) {
        if self.syncs_batch_norm() { &self.synced } else { self.all }
    }

    /// The communicator.
    pub fn all(&self) -> &'a Shared<'a> {
        self.all
    }

    /// How many there are, where there are several.
    pub fn several(&self) -> Option<usize> {
        Some(self.all.size()).filter(|size| *size > 1)
    }

    /// Whether this is the rank that writes and prints.
    pub fn leads(&self) -> bool {
        self.all.rank() == 0
    }

    /// Meets the others before the first step.
    ///
    /// # Errors
    /// On all ranks, if one comes with another program, configuration, images or start than rank 0, or cannot come.
    pub fn meet(&self, own: Meeting) -> Result<()> {
        self.met.store(true, Ordering::Relaxed);
        match self.several() {
            None => Ok(()),
            Some(_) => self.exchange(Ok(own)),
        }
    }

    /// Connects the GPUs of all ranks, where there are several and `device` is a GPU. Without NCCL their vectors go
    /// through the host, which is said once.
    ///
    /// # Errors
    /// If one has no NCCL, or NCCL refuses.
    pub fn connect(&self, device: DeviceName) -> Result<()> {
        if self.several().is_none() || device == DeviceName::Cpu {
            return Ok(());
        }
        match self.connects {
            Some(connects) => Ok(connects(&device.open()?)?),
            None => {
                static SAID: Once = Once::new();
                SAID.call_once(|| screen::say(THROUGH_THE_HOST));
                Ok(())
            }
        }
    }

    /// Tells the others, who are about to meet, that this rank cannot; and what all ranks report.
    fn stay_away(&self, error: anyhow::Error) -> anyhow::Error {
        self.exchange(Err(format!("{error:#}"))).err().unwrap_or(error)
    }

    fn exchange(&self, own: Result<Meeting, String>) -> Result<()> {
        let all = self.all.gather(&serde_json::to_vec(&own)?)?;
        let all = all.iter().map(|text| serde_json::from_slice(text));
        let all: Vec<Result<Meeting, String>> = all.collect::<Result<_, _>>()?;
        match disagreement(&all) {
            Some(text) => Err(Agreed(text).into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::meeting::tests::meeting;
    use super::*;
    use msharp_dist::{Ranks as Of, Threads};

    #[test]
    fn a_rank_that_cannot_come_ends_the_meeting_of_all() {
        let texts: Vec<String> = std::thread::scope(|scope| {
            let start = |engine: Threads| {
                scope.spawn(move || {
                    let rank = msharp_dist::Engine::rank(&engine);
                    let all = Of(Locked(std::sync::Mutex::new(engine), rank, 3));
                    let ranks = Ranks::of(&all);
                    let error = match rank {
                        1 => ranks.stay_away(anyhow::anyhow!("the data are gone")),
                        _ => ranks.meet(meeting("")).unwrap_err(),
                    };
                    assert!(error.is::<Agreed>());
                    error.to_string()
                })
            };
            let all: Vec<_> = Threads::new(3).into_iter().map(start).collect();
            all.into_iter().map(|rank| rank.join().unwrap()).collect()
        });
        assert!(texts.iter().all(|text| text == "rank 1: the data are gone"), "{texts:?}");
    }

    /// Threads that may be shared.
    struct Locked(std::sync::Mutex<Threads>, usize, usize);

    impl msharp_dist::Engine for Locked {
        fn rank(&self) -> usize {
            self.1
        }

        fn size(&self) -> usize {
            self.2
        }

        fn exchange(&self, to: &[&[u8]], from: &mut [&mut [u8]]) -> candle_core::Result<()> {
            self.0.lock().unwrap().exchange(to, from)
        }
    }
}
